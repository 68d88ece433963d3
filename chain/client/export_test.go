package client_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// TestExport exports a chain with everything in flight: a final header, one that was skipped, one under appeal
// with a vote cast, one in its window, and an epoch without a header yet. The chain that starts from it goes on
// as the first does.
func TestExport(t *testing.T) {
	p := newPeriod(t, 10)
	for _, e := range []types.Epoch{1, 2, 4, 5, 6} {
		p.commit(e)
	}
	h := p.commit(7)
	p.must(p.chain.AdvanceTo(8*p.blocks - 3)) // the window of 7 is nearly closed, and the vote will go on beyond the epoch
	p.submit(ledger.Appeal{Epoch: 7})
	p.vote(p.real, h.Hash(), 7, 0)
	p.commit(8)
	for e, want := range map[types.Epoch]ledger.Status{3: ledger.Skipped, 6: ledger.Final, 7: ledger.Appealed, 8: ledger.Accepted, 9: ledger.Open} {
		got, err := p.real.Header(t.Context(), e, 0)
		p.must(err)
		if got.Status != want {
			t.Fatalf("epoch %d is %s, want %s", e, got.Status, want)
		}
	}
	ep, err := p.real.Epoch(t.Context(), 9)
	p.must(err)
	for _, k := range ep.Params {
		if want := k.Category == ledgertest.Category; bytes.Equal(k.Rules, testRules) != want || len(k.Rules) > 0 != want {
			t.Fatalf("%s has rules of %d bytes", k.Category, len(k.Rules))
		}
	}
	empty := p.chain.Height() + 1 // nobody makes this block: the export adds it
	forked, err := p.chain.Fork(t.TempDir())
	p.must(err)
	t.Cleanup(func() { forked.Close() })
	other := p.made.open(t, forked)
	p.must(p.chain.AdvanceTo(forked.Height()))
	compare := func(what string) {
		t.Helper()
		if a, b := picture(t, p.real), picture(t, other); cmp.Diff(a, b) != "" {
			t.Fatalf("%s (- first, + from its export):\n%s", what, cmp.Diff(a, b))
		}
	}
	compare("at once")
	for _, l := range []*client.Client{p.real, other} {
		p.vote(l, h.Hash(), 7, 1)
		p.vote(l, h.Hash(), 7, 2)
	}
	compare("after the header under appeal was voided")
	for _, s := range []*solo.Chain{p.chain, forked} {
		p.must(s.AdvanceTo(11*p.blocks + 5))
	}
	compare("three epochs later")
	first, err := other.Epoch(t.Context(), 7)
	p.must(err)
	hashes := func(l *client.Client) []tally.BlockHash { // of the frame that follows the last final header, back into the first chain
		t.Helper()
		list, err := l.Hashes(t.Context(), first.First-evidence.MaxAnchorAge, forked.Height())
		p.must(err)
		return list
	}
	a, b := hashes(p.real), hashes(other)
	i := slices.IndexFunc(a, func(h tally.BlockHash) bool { return h.Height == empty })
	if i < 0 || len(b) != len(a) || a[i].Hash == b[i].Hash {
		t.Fatalf("block %d of the second chain is not the empty one of the export", empty)
	}
	a[i] = b[i]
	if cmp.Diff(a, b) != "" {
		t.Fatalf("hashes of blocks (- first, + from its export):\n%s", cmp.Diff(a, b))
	}
	if _, err := other.Hashes(t.Context(), 1, 10); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("blocks that no tally names, of a chain that does not have them: %v", err)
	}
}

// picture is what can be seen of a chain.
func picture(t *testing.T, l *client.Client) any {
	t.Helper()
	supply, err := l.Supply(t.Context())
	if err != nil || !supply.Balanced {
		t.Fatalf("supply %+v, %v", supply, err)
	}
	headers, err := l.Headers(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var epochs []*ledger.Epoch
	var changes []any
	for e := max(1, head.Epoch-min(head.Epoch, 4)); e <= head.Epoch; e++ {
		ep, err := l.Epoch(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		list, err := l.Changes(t.Context(), e, 0)
		if err != nil {
			t.Fatal(err)
		}
		epochs, changes = append(epochs, ep), append(changes, list)
	}
	return []any{supply, headers, head.Epoch, epochs, changes}
}

func (p *period) submit(msg ledger.Msg) {
	p.t.Helper()
	_, err := p.real.Submit(p.t.Context(), p.made.accounts[1], msg)
	p.must(err)
}

// vote lets verifier n call the header of an epoch wrong.
func (p *period) vote(l *client.Client, hash types.Hash, e types.Epoch, n int) {
	p.t.Helper()
	v := p.made.verifiers[n].Key
	_, err := l.Submit(p.t.Context(), p.made.accounts[2], ledger.Vote{
		Epoch: e, Key: v.Public(), Sig: v.Sign("vote", chainID, evidence.VoteBytes(hash, false)),
	})
	p.must(err)
}
