package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// start runs a chain of real nodes.
func start(t testing.TB, validators int, epoch uint64) *chain {
	t.Helper()
	return made(t, validators, epoch).run(t)
}

// run starts the chain's nodes.
func (c *chain) run(t testing.TB) *chain {
	t.Helper()
	for _, v := range c.validators {
		n, err := local.Start(t.Context(), local.Config{Home: v.Home})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Stop() })
		c.nodes = append(c.nodes, n)
	}
	c.advance(t, 1)
	return c
}

func (c *chain) advance(t testing.TB, height uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.nodes[0].WaitHeight(ctx, int64(height)); err != nil {
		t.Fatal(err)
	}
}

// TestNode uses a real node, from inside its process and through its socket at once.
func TestNode(t *testing.T) {
	c := start(t, 1, 20)
	inside := c.open(t, c.nodes[0].Client().Client)
	outside, err := client.New(t.Context(), client.Config{URL: "http://" + c.validators[0].Addresses.RPC, Keyring: c.keys, Poll: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outside.Close() })
	if inside.Chain() != chainID || outside.Chain() != chainID {
		t.Fatalf("chains %q and %q", inside.Chain(), outside.Chain())
	}
	for name, l := range map[string]*client.Client{"inside": inside, "outside": outside} {
		t.Run(name, func(t *testing.T) { follow(t, l) })
	}
	t.Run("crowd", func(t *testing.T) { crowd(t, c, inside, outside) })
}

// follow watches blocks arrive.
func follow(t *testing.T, l *client.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last ledger.Block
	blocks := l.Watch(ctx)
	for range 5 {
		b, ok := <-blocks
		if !ok || b.Height <= last.Height || b.Hash.IsZero() || b.Epoch == 0 {
			t.Fatalf("block %+v after %+v", b, last)
		}
		again, err := l.Block(ctx, b.Height)
		if err != nil || again != b {
			t.Fatalf("block %d: %+v, watched %+v, %v", b.Height, again, b, err)
		}
		last = b
	}
	if _, err := l.Block(ctx, last.Height+1000); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a block to come: %v", err)
	}
	cancel()
	for range blocks { // closed, at last
	}
}

// crowd sends from one account through two clients at once, neither of which knows of the other: sequences
// collide, nothing is lost and nothing is paid twice.
func crowd(t *testing.T, c *chain, clients ...*client.Client) {
	from, to := c.accounts[0], types.Account{7}
	const each = 10
	var wait sync.WaitGroup
	errs := make(chan error, each*len(clients))
	var hashes sync.Map
	for _, l := range clients {
		for range each {
			wait.Go(func() {
				done, err := l.Submit(t.Context(), from, ledger.Send{To: to, Amount: 3})
				if err == nil {
					if _, twice := hashes.LoadOrStore(done.TxHash, true); twice {
						t.Errorf("two submissions are one transaction: %s", done.TxHash)
					}
				}
				errs <- err
			})
		}
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	got, err := clients[0].Account(t.Context(), to)
	if want := types.Ustone(3 * each * len(clients)); err != nil || got.Balance != want {
		t.Errorf("%v, %v, want %d", got, err, want)
	}
	_, err = clients[1].Submit(t.Context(), types.Account{9}, ledger.Send{To: to, Amount: 1})
	if !errors.Is(err, client.ErrKeyring) {
		t.Errorf("an account whose key nobody holds: %v", err)
	}
	none := fmt.Sprintf("nobody-%d", each)
	if _, err := clients[0].Lookup(none); !errors.Is(err, client.ErrKeyring) {
		t.Errorf("a name nobody has: %v", err)
	}
}
