package client_test

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestSilence: nobody ever votes on an appeal. All but one are jailed, because a chain without validators could
// not go on; and after the last repetition the header is voided, its escrow back in the vault, the bond
// returned and nobody's stake taken.
func TestSilence(t *testing.T) {
	p := newPeriod(t, 10)
	p.commit(1)
	p.commit(2)
	appellant := p.made.accounts[1]
	before, err := p.real.Account(t.Context(), appellant)
	p.must(err)
	p.submit(ledger.Appeal{Epoch: 2})
	h, err := p.real.Header(t.Context(), 2, 0)
	p.must(err)
	p.must(p.chain.AdvanceTo(h.Voting.Until))
	left, err := p.real.Verifiers(t.Context())
	p.must(err)
	power := 0
	for _, v := range left {
		if v.Power > 0 {
			power++
		}
	}
	if power != 1 {
		t.Fatalf("%d verifiers have power", power)
	}
	p.must(p.chain.AdvanceTo(h.Voting.Until + 99*p.blocks/2)) // a hundred votes in all
	h, err = p.real.Header(t.Context(), 2, 0)
	p.must(err)
	if h.Status != ledger.Voided || h.Voting != nil {
		t.Fatalf("header %+v", h)
	}
	after, err := p.real.Account(t.Context(), appellant)
	p.must(err)
	if after.Balance != before.Balance {
		t.Errorf("the appellant had %d and has %d", before.Balance, after.Balance)
	}
	supply, err := p.real.Supply(t.Context())
	p.must(err)
	// The dollar of epoch 1, at half a dollar for a STONE, has left the vault; that of epoch 2 is back.
	if !supply.Balanced || supply.Vault != 1_000_000*stone-2*stone || supply.Spent != 1_000_000 {
		t.Errorf("supply %+v", supply)
	}
	all, err := p.real.Verifiers(t.Context())
	p.must(err)
	for _, v := range all {
		if v.Power > 0 && v.Power != stake/stone {
			t.Errorf("%v was slashed to %d", v.Key, v.Power)
		}
	}
}

// TestLapse: whoever lets a round lapse gets nothing of that epoch, even if it signs what the next leader makes
// of it.
func TestLapse(t *testing.T) {
	earned := func(round uint8) types.Ustone {
		p := newPeriod(t, 10)
		ep, err := p.real.Epoch(t.Context(), 1)
		p.must(err)
		var first types.Account
		for _, v := range p.made.verifiers {
			if v.Key.Public() == ep.Leaders[0][0] {
				first = v.Owner
			}
		}
		before, err := p.real.Account(t.Context(), first)
		p.must(err)
		p.must(p.chain.AdvanceTo(ep.Cut + uint64(round)*ep.Round))
		p.commitAt(1, round)
		p.must(p.chain.AdvanceTo(4 * p.blocks)) // final, and nothing since was committed
		after, err := p.real.Account(t.Context(), first)
		p.must(err)
		return after.Balance - before.Balance
	}
	if got := earned(0); got == 0 {
		t.Error("the leader of round 0 earned nothing for its header")
	}
	if got := earned(1); got != 0 {
		t.Errorf("the leader of round 0, which lapsed, earned %d", got)
	}
}
