package keeper_test

import (
	"context"
	"testing"

	"cosmossdk.io/collections"

	"github.com/cairn-network/cairn/chain/testbank"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// at is where a header stands.
func at(r uint32, e uint64) collections.Pair[uint32, uint64] { return collections.Join(r, e) }

const bond = uint64(econ.AppealBond)

func (f *fixture) appeal(want core.Reason, e core.Epoch) { f.t.Helper(); f.appealIn(want, e, 0, bond) }

func (f *fixture) appealIn(want core.Reason, e core.Epoch, r core.Region, amount uint64) {
	f.t.Helper()
	f.do(want, func(ctx context.Context) error {
		_, err := f.msg.Appeal(ctx, &types.MsgAppeal{Appellant: appellant.String(), Epoch: uint64(e), Region: uint32(r), Bond: coin(amount)})
		return err
	})
}

// vote lets some validators vote on a header, until one is refused.
func (f *fixture) vote(want core.Reason, h *tally.Header, yes bool, who ...int) {
	f.t.Helper()
	for _, n := range who {
		sig := f.seats[n].Key.Sign("vote", testbank.ChainID, evidence.VoteBytes(h.Hash(), yes))
		f.do(want, func(ctx context.Context) error {
			_, err := f.msg.VoteAppeal(ctx, &types.MsgVoteAppeal{
				Sender: f.owner.String(), Epoch: uint64(h.Epoch), Region: uint32(h.Region), Key: f.seats[n].Key.Public().String(), Yes: yes, Signature: sig[:],
			})
			return err
		})
	}
}

// TestUpheld: a header that the vote finds right stands as if nothing had been; the bond is burned, and it is
// appealed once only.
func TestUpheld(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	f.tallied(1, 0, nil)
	h := f.tallied(2, 0, pays(10_000_000, d))
	before := f.balance(appellant)
	f.appealIn(core.BondLow, 2, 0, bond-1)
	f.appeal(core.WrongEpoch, 3)
	f.appeal("", 2)
	f.appeal(core.AppealKnown, 2)
	f.vote("", h, true, 0)
	f.vote(core.AppealKnown, h, true, 0)
	f.vote(core.AppealKnown, h, false, 0) // no second thoughts
	f.vote("", h, true, 1)
	f.status(2, 0, types.Status_STATUS_APPEALED)
	f.vote("", h, true, 2)
	f.status(2, 0, types.Status_STATUS_ACCEPTED)
	f.vote(core.AppealClosed, h, true, 3)
	f.appeal(core.AppealKnown, 2)
	if got := f.balance(appellant); got != before-core.Ustone(bond) {
		t.Fatalf("the appellant had %d and has %d", before, got)
	}
	if len(f.staking.slashed) != 0 {
		t.Fatalf("slashed %v", f.staking.slashed)
	}
	last := f.tallied(3, 0, nil)
	f.toRound(5, 0)
	f.status(3, 0, types.Status_STATUS_FINAL)
	f.appeal(core.AppealKnown, 2)
	f.appeal(core.AppealClosed, 3)
	if got := f.claim("", f.claimOf(last, d)); got == 0 {
		t.Fatal("nothing was paid")
	}
}

// TestVoid: a header that the vote finds wrong, and the one that was built on it, become skipped epochs: the
// vault has its part again, their signers are slashed, the appellant gets half and its bond, and the region
// goes on from before.
func TestVoid(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	f.tallied(1, 0, nil)
	base := f.book(0).Copy()
	vault := f.held(credittypes.ModuleName)
	f.toRound(2, 3)
	h := f.header(2, 0, 3, pays(10_000_000, d))
	f.commit("", f.commitMsg(h, 0, 1, 2))
	released, err := f.k.Escrows.Get(f.ctx, at(0, 2))
	f.must(err)
	f.appeal("", 2)
	f.to(61)
	h3 := f.header(3, 0, 0, nil)
	f.commit("", f.commitMsg(h3, 0, 1, 2, 3))
	before := f.balance(appellant)
	f.vote("", h, false, 0, 1)
	f.vote(core.BadSignature, &tally.Header{Epoch: 2}, false, 3) // of another header
	f.vote("", h, false, 3)
	f.status(2, 0, types.Status_STATUS_VOIDED)
	f.status(3, 0, types.Status_STATUS_VOIDED)
	if got := f.held(credittypes.ModuleName); got != vault {
		t.Fatalf("the vault held %d, and now %d", vault, got)
	}
	if has, _ := f.k.Escrows.Has(f.ctx, at(0, 2)); has || released.Settled != 10_000_000 {
		t.Fatalf("an escrow of a voided header: %v", released)
	}
	// Three signed the one, four the other: 5 % of what each has at the time.
	var sum core.Ustone
	for _, x := range f.staking.slashed {
		sum += core.Ustone(x.Uint64())
	}
	if n := len(f.staking.slashed); n != 7 || f.staking.slashed[0].Uint64() != stake/20 {
		t.Fatalf("slashed %v", f.staking.slashed)
	}
	if got := f.balance(appellant); got != before+core.Ustone(bond)+sum/2 {
		t.Fatalf("the appellant had %d, has %d; slashed %d", before, got, sum)
	}
	f.balanced()
	f.books[0] = base
	h4 := f.tallied(4, 0, pays(10_000_000, d))
	if got := f.status(4, 0, types.Status_STATUS_ACCEPTED); got.Previous != 1 || h4.Previous != base.Previous && h4.Totals.Spent != 10_000_000 {
		t.Fatalf("%+v", got)
	}
	last := f.tallied(5, 0, nil)
	f.toRound(7, 0)
	if got := f.claim("", f.claimOf(last, d)); got == 0 {
		t.Fatal("nothing was paid after the void")
	}
	f.appeal(core.AppealKnown, 2)
}

// TestSilence: a vote in which neither side gets two thirds is repeated, who did not vote is jailed, and after
// the last one the header is voided with nobody's stake taken.
func TestSilence(t *testing.T) {
	f := setup(t, 1)
	f.tallied(1, 0, nil)
	h := f.tallied(2, 0, nil)
	before := f.balance(appellant)
	f.appeal("", 2)
	f.vote("", h, true, 0)
	f.vote("", h, false, 1)
	first, err := f.k.Appeals.Get(f.ctx, at(0, 2))
	f.must(err)
	f.to(first.Closes + 1)
	second, err := f.k.Appeals.Get(f.ctx, at(0, 2))
	f.must(err)
	if second.Repeats != 1 || len(second.Votes) != 0 || second.Closes != first.Closes+10 {
		t.Fatalf("%+v, then %+v", first, second)
	}
	for i, want := range []bool{false, false, true, true} {
		if f.staking.of(i).Jailed != want {
			t.Fatalf("validator %d is jailed: %v", i, !want)
		}
	}
	f.vote(core.UnknownVerifier, h, true, 2)
	f.to(first.Closes + 21)
	f.status(2, 0, types.Status_STATUS_VOIDED)
	if got := f.balance(appellant); got != before || len(f.staking.slashed) != 0 {
		t.Fatalf("the appellant had %d and has %d; slashed %v", before, got, f.staking.slashed)
	}
	if f.staking.of(0).Jailed && f.staking.of(1).Jailed {
		t.Fatal("nobody is left")
	}
}

// TestEquivocation: two headers of one round cost a twentieth of the stake and the seat, once, whatever else is
// shown later.
func TestEquivocation(t *testing.T) {
	f := setup(t, 1)
	a := f.tallied(1, 0, nil)
	liar := f.seats[2].Key
	report := func(want core.Reason, key core.PrivateKey, x, y *tally.Header) {
		t.Helper()
		hx, hy := x.Hash(), y.Hash()
		sx, sy := key.Sign("header", testbank.ChainID, hx[:]), key.Sign("header", testbank.ChainID, hy[:])
		f.do(want, func(ctx context.Context) error {
			_, err := f.msg.ReportEquivocation(ctx, &types.MsgReportEquivocation{
				Sender: f.owner.String(), Key: liar.Public().String(), HeaderA: x.Encode(), SignatureA: sx[:], HeaderB: y.Encode(), SignatureB: sy[:],
			})
			return err
		})
	}
	edited := func(edit func(*tally.Header)) *tally.Header {
		h := *a
		edit(&h)
		return &h
	}
	b := edited(func(h *tally.Header) { h.State[0] ^= 1 })
	report(core.NoMisconduct, liar, a, a)
	report(core.NoMisconduct, liar, a, edited(func(h *tally.Header) { h.Round = 1 }))
	report(core.NoMisconduct, liar, a, edited(func(h *tally.Header) { h.Region = 1 }))
	report(core.NoMisconduct, liar, a, edited(func(h *tally.Header) { h.Epoch = 2 }))
	report(core.BadSignature, f.seats[1].Key, a, b) // not its own
	report("", liar, a, b)
	report(core.NoMisconduct, liar, a, b)
	report(core.NoMisconduct, liar, b, a)
	report(core.NoMisconduct, liar, b, edited(func(h *tally.Header) { h.State[1] ^= 1 }))
	v := f.staking.of(2)
	if len(f.staking.slashed) != 1 || v.Tokens.Uint64() != stake-stake/20 || !v.Jailed || len(f.staking.tombstoned) != 1 {
		t.Fatalf("slashed %v, jailed %v", f.staking.slashed, v.Jailed)
	}
	fresh := ledgertest.NewVerifier(f.seats[2].Owner, 99)
	rec := types.NewVerifier(testbank.ChainID, fresh.Owner, fresh.Key, fresh.VRF)
	f.do(core.UnknownVerifier, func(ctx context.Context) error {
		_, err := f.msg.SetVerifier(ctx, &types.MsgSetVerifier{Owner: rec.Owner, Key: rec.Key, Vrf: rec.Vrf, KeyProof: rec.KeyProof, VrfProof: rec.VrfProof})
		return err
	})
	f.balanced()
	f.toRound(2, 0)
	rec2, err := f.k.Epochs.Get(f.ctx, 3)
	f.must(err)
	for _, seat := range rec2.Verifiers {
		if seat.Key == liar.Public().String() && seat.Power != 0 {
			t.Fatalf("it still has power %d", seat.Power)
		}
	}
}

// TestSetVerifier: new keys count one appeal window after the next epoch begins, are proved, and are nobody
// else's, ever.
func TestSetVerifier(t *testing.T) {
	f := setup(t, 1)
	set := func(want core.Reason, v ledgertest.Verifier, edit func(*types.MsgSetVerifier)) {
		t.Helper()
		rec := types.NewVerifier(testbank.ChainID, v.Owner, v.Key, v.VRF)
		msg := &types.MsgSetVerifier{Owner: rec.Owner, Key: rec.Key, Vrf: rec.Vrf, KeyProof: rec.KeyProof, VrfProof: rec.VrfProof}
		if edit != nil {
			edit(msg)
		}
		f.do(want, func(ctx context.Context) error {
			_, err := f.msg.SetVerifier(ctx, msg)
			return err
		})
	}
	mine := f.seats[0].Owner
	fresh := ledgertest.NewVerifier(mine, 50)
	set(core.BadSignature, fresh, func(m *types.MsgSetVerifier) { m.KeyProof = m.VrfProof })
	set(core.BadSignature, fresh, func(m *types.MsgSetVerifier) { m.VrfProof = nil })
	set(core.BadEncoding, fresh, func(m *types.MsgSetVerifier) { m.Key = "nobody" })
	set(core.UnknownVerifier, ledgertest.NewVerifier(f.owner, 50), nil)
	set(core.KeyTaken, ledgertest.NewVerifier(mine, 1), nil) // another's
	set("", fresh, nil)
	set(core.KeyTaken, ledgertest.NewVerifier(f.seats[1].Owner, 0), nil) // given up, and still not to be had
	f.tallied(1, 0, nil)
	f.toRound(2, 0)
	for e, want := range map[uint64]string{2: f.seats[0].Key.Public().String(), 3: fresh.Key.Public().String()} {
		rec, err := f.k.Epochs.Get(f.ctx, e)
		f.must(err)
		found := false
		for _, v := range rec.Verifiers {
			found = found || v.Owner == mine.String() && v.Key == want
		}
		if !found {
			t.Fatalf("epoch %d: %+v", e, rec.Verifiers)
		}
	}
}
