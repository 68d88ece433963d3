package keeper

import (
	"bytes"
	"errors"
	"testing"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/tally/types"
	core "github.com/cairn-network/cairn/core/types"
)

// TestRules: rules are kept once, as long as an epoch names them, and an epoch that is asked for shows them.
func TestRules(t *testing.T) {
	bank, ctx := testbank.New(types.ModuleName, "other")
	open := func(store string) Keeper {
		k, err := New(bank.Codec, bank.Store(store), nil, bank.Authority, nil, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open(types.ModuleName)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, b := bytes.Repeat([]byte("a"), 100), bytes.Repeat([]byte("b"), 100)
	in := [][2][]byte{{a, nil}, {a, b}, {b, a}, {nil, a}, {a, a}} // rules of two categories in epochs 1 to 5
	for i, rules := range in {
		e := types.Epoch{Epoch: uint64(i + 1), Time: 1, Categories: []types.CategoryParams{{Category: 1, Rules: rules[0]}, {Category: 2, Rules: rules[1]}}}
		must(k.keepRules(ctx, &e))
		for _, row := range e.Categories {
			if len(row.Rules) > 0 {
				t.Fatal("the record of an epoch holds rules")
			}
		}
		must(k.Epochs.Set(ctx, e.Epoch, e))
	}
	held := func(k Keeper) (n int) {
		must(k.rules.Walk(ctx, nil, func(_, raw []byte) (bool, error) {
			n++
			return !bytes.Equal(raw, a) && !bytes.Equal(raw, b), nil
		}))
		return n
	}
	show := func(k Keeper, e uint64) {
		t.Helper()
		res, err := NewQueryServer(k).Epoch(ctx, &types.QueryEpochRequest{Epoch: e})
		must(err)
		for i, want := range in[e-1] {
			if got := res.Epoch.Categories[i].Rules; !bytes.Equal(got, want) {
				t.Errorf("epoch %d, category %d: %q", e, i+1, got)
			}
		}
	}
	g := &types.GenesisState{}
	must(errors.Join(walk(ctx, k.Epochs, &g.Epochs), walk(ctx, k.rules, &g.Rules)))
	other := open("other")
	must(other.importRules(ctx, g))
	for _, e := range g.Epochs {
		must(other.Epochs.Set(ctx, e.Epoch, e))
	}
	for _, k := range []Keeper{k, other} {
		for e := range uint64(5) {
			show(k, e+1)
		}
		for i, want := range []int{2, 2, 1, 1, 0} { // b was last named in epoch 3
			must(k.forgetEpoch(ctx, uint64(i+1)))
			if n := held(k); n != want {
				t.Errorf("%d rules are kept after epoch %d was forgotten, want %d", n, i+1, want)
			}
			if i < 4 {
				show(k, uint64(i+2))
			}
		}
		if _, err := k.ruleUses.Iterate(ctx, nil); err != nil {
			t.Error(err)
		}
		if _, err := k.Epochs.Get(ctx, 5); !errors.Is(err, collections.ErrNotFound) {
			t.Errorf("epoch 5 is still there: %v", err)
		}
	}
	g.Rules = g.Rules[1:]
	if err := other.importRules(ctx, g); !errors.Is(err, core.BadEncoding) {
		t.Errorf("rules that are missing: %v", err)
	}
}
