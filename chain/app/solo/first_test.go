package solo

import (
	"testing"
	"time"

	"cosmossdk.io/math"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/cairn-network/cairn/chain/app/local"
)

// TestCutShort starts a chain over what a crash leaves in the middle of its first commit: stores have been
// written, the line that says so has not.
func TestCutShort(t *testing.T) {
	home := t.TempDir()
	if _, err := local.Init(local.Genesis{ChainID: "cairn-solo", Homes: []string{home}, Stake: math.NewInt(1_000_000_000)}); err != nil {
		t.Fatal(err)
	}
	db := dbm.NewMemDB()
	c, err := open(home, time.Second, db)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"s/latest", "s/1"} {
		if err := db.Delete([]byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = open(home, time.Second, db); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.AdvanceTo(3); err != nil {
		t.Fatal(err)
	}
}
