package client

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"

	"github.com/cairn-network/cairn/core/types"
)

// Secret derives 32 bytes for a purpose that only who holds the account's key can derive, and always the same:
// HKDF-SHA-256 (RFC 5869) of the key's signature of a text that is no transaction. Signatures of the keyring
// are deterministic (RFC 6979).
func (c *Client) Secret(account types.Account, purpose string) (out [32]byte, err error) {
	if c.cfg.Keyring == nil {
		return out, fmt.Errorf("client: %w: none is open", ErrKeyring)
	}
	text := []byte("cairn/secret\x00" + purpose + "\x00" + account.String())
	signature, _, err := c.cfg.Keyring.SignByAddress(sdk.AccAddress(account[:]), text, signing.SignMode_SIGN_MODE_DIRECT)
	if err != nil {
		return out, fmt.Errorf("client: %w: sign as %v: %w", ErrKeyring, account, err)
	}
	key, err := hkdf.Key(sha256.New, signature, nil, "cairn/"+purpose, len(out))
	if err != nil {
		return out, fmt.Errorf("client: secret of %v: %w", account, err)
	}
	return [32]byte(key), nil
}
