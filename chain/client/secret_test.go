package client

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cosmos/cosmos-sdk/crypto/keyring"

	"github.com/cairn-network/cairn/chain/app"
)

// TestSecret pins what an account's words give: files that were sealed with it must still open.
func TestSecret(t *testing.T) {
	c := &Client{cfg: Config{Keyring: keyring.NewInMemory(app.NewEncoding().Codec)}}
	account, err := c.RestoreAccount("me", strings.Repeat("abandon ", 23)+"art")
	if err != nil {
		t.Fatal(err)
	}
	for purpose, want := range map[string]string{
		"storage/recovery": "79e9ece4263c56a712e7388518ee01cc89d0e9115ced62cf5651f5faefd41df0",
		"other":            "f0dc52e1347cf6892f4dd78b17871230722249197a5b2fc4cc708bb222032fa9",
	} {
		secret, err := c.Secret(account, purpose)
		if got := hex.EncodeToString(secret[:]); err != nil || got != want {
			t.Errorf("%s of %v: %s, want %s: %v", purpose, account, got, want, err)
		}
	}
}
