package provider

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// TestMixGuest: the guest that devices run in checks computes the chain that witnesses compute.
func TestMixGuest(t *testing.T) {
	e, lacks, err := OpenWasm(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		t.Skipf("the machine lacks %v", lacks)
	}
	x := e.(*wasm)
	defer x.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := x.ReadyMix(ctx); err != nil {
		t.Fatal(err)
	}
	seed := types.Sum([]byte("chain"))
	want := compute.Step{Seed: seed}
	n := 0
	start := time.Now()
	err = x.Mix(ctx, seed, func(root types.Hash) error {
		want.Root = mac.Mix(want.Seed)
		if root != want.Root {
			t.Errorf("round %d: %v, want %v", n, root, want.Root)
		}
		want.Seed = want.Next()
		if n++; n == 4 {
			cancel()
		}
		return nil
	})
	if n < 4 {
		t.Fatalf("%d rounds in %v: %v", n, time.Since(start), err)
	}
	t.Logf("%d rounds in %v", n, time.Since(start))
}
