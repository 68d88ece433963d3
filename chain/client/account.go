package client

import (
	"errors"
	"fmt"

	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/cairn-network/cairn/core/types"
)

// ErrKeyring says that there is no keyring, or that it does not hold the key.
var ErrKeyring = errors.New("keyring")

// Account is an account whose key the keyring holds.
type Account struct {
	Name    string
	Account types.Account
}

// Accounts returns all accounts of the keyring, by name.
func (c *Client) Accounts() ([]Account, error) {
	if c.cfg.Keyring == nil {
		return nil, fmt.Errorf("client: %w: none is open", ErrKeyring)
	}
	records, err := c.cfg.Keyring.List()
	if err != nil {
		return nil, fmt.Errorf("client: list the %w: %w", ErrKeyring, err)
	}
	var out []Account
	for _, r := range records {
		a, err := address(r)
		if err != nil {
			return nil, err
		}
		out = append(out, Account{r.Name, a})
	}
	return out, nil
}

// Lookup returns the account of a name in the keyring, or of an address (cairn1…), which need not be in it.
func (c *Client) Lookup(nameOrAddress string) (types.Account, error) {
	if a, err := types.ParseAccount(nameOrAddress); err == nil {
		return a, nil
	}
	if c.cfg.Keyring == nil {
		return types.Account{}, fmt.Errorf("client: %w: none is open to look up %q", ErrKeyring, nameOrAddress)
	}
	r, err := c.cfg.Keyring.Key(nameOrAddress)
	if errors.Is(err, sdkerrors.ErrKeyNotFound) {
		return types.Account{}, fmt.Errorf("client: %w: no account %q: %w", ErrKeyring, nameOrAddress, types.NotFound)
	}
	if err != nil {
		return types.Account{}, fmt.Errorf("client: %w: account %q: %w", ErrKeyring, nameOrAddress, err)
	}
	return address(r)
}

// CreateAccount makes a key (BIP 32 path m/44'/118'/0'/0/0) and stores it under name. The words that restore it
// are returned once and kept nowhere else.
func (c *Client) CreateAccount(name string) (types.Account, string, error) {
	if c.cfg.Keyring == nil {
		return types.Account{}, "", fmt.Errorf("client: %w: none is open", ErrKeyring)
	}
	if _, err := c.cfg.Keyring.Key(name); err == nil {
		return types.Account{}, "", fmt.Errorf("client: %w: there is an account %q already", ErrKeyring, name)
	}
	r, words, err := c.cfg.Keyring.NewMnemonic(name, keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
	if err != nil {
		return types.Account{}, "", fmt.Errorf("client: %w: make account %q: %w", ErrKeyring, name, err)
	}
	a, err := address(r)
	return a, words, err
}

// RestoreAccount stores the key that words restore under name.
func (c *Client) RestoreAccount(name, words string) (types.Account, error) {
	if c.cfg.Keyring == nil {
		return types.Account{}, fmt.Errorf("client: %w: none is open", ErrKeyring)
	}
	r, err := c.cfg.Keyring.NewAccount(name, words, "", sdk.GetConfig().GetFullBIP44Path(), hd.Secp256k1)
	if err != nil {
		return types.Account{}, fmt.Errorf("client: %w: restore account %q: %w", ErrKeyring, name, err)
	}
	return address(r)
}

func address(r *keyring.Record) (a types.Account, err error) {
	raw, err := r.GetAddress()
	if err != nil {
		return a, fmt.Errorf("client: %w: account %q: %w", ErrKeyring, r.Name, err)
	}
	if len(raw) != len(a) {
		return a, fmt.Errorf("client: %w: account %q: an address of %d bytes", ErrKeyring, r.Name, len(raw))
	}
	return types.Account(raw), nil
}
