package ledgertest

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

func sortedKeys(m map[types.Key]*Line) []types.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b types.Key) int { return slices.Compare(a[:], b[:]) })
}

// buy buys credits for account and grants it session key n.
func (r *Rig) buy(account types.Account, amount types.Ustone, n byte) types.PrivateKey {
	r.t.Helper()
	quote := must(r.Ledger.Quote(r.ctx, amount))(r.t)
	r.Do("", account, ledger.Buy{Amount: amount, Min: quote})
	if got := must(r.Ledger.Account(r.ctx, account))(r.t); got.Bought < quote {
		r.t.Fatalf("bought %d credits, quoted %d", got.Bought, quote)
	}
	key := types.NewPrivateKey([32]byte{4, n})
	proof := key.Sign("grant", r.Ledger.Chain(), evidence.GrantBytes(account))
	r.Do("", account, ledger.GrantKey{Key: key.Public(), Limit: quote, Expiry: 100, Proof: proof})
	return key
}

// testLife: register → grant → buy → commit → settle → final → claim, exact to the ustone.
func testLife(t *testing.T, n *Network) {
	r := NewRig(t, n)
	owner, payer := r.Accounts[0], r.Accounts[1]
	a, b := DeviceKey(1).Public(), DeviceKey(2).Public()
	r.Register(owner, 1)
	r.Register(owner, 2)
	key := r.buy(payer, 10_000_000, 1)
	r.ToEpoch(2)
	r.changes(2, a, b, payer, key.Public())

	books := NewBooks()
	books.Line(a)
	r.Commit(books, 1) // nothing yet

	r.toRound(2, 0)
	r.fold(books)
	books.Line(a).Paid, books.Line(b).Paid = 1_000_001, 500_000
	h2 := r.Commit(books, 2)
	s2 := must(r.Ledger.Settlement(r.ctx, 2))(t)
	if s2.Owed != 1_500_001 || s2.Settled != 1_500_001 || s2.Payout == 0 {
		t.Fatalf("settlement of epoch 2: %+v", s2)
	}
	claim := must(books.Claim(2, a))(t)
	r.Do(types.NotFinal, owner, ledger.Claims{Claims: []ledger.Claim{claim}})

	r.toRound(3, 0)
	r.fold(books)
	h3 := r.Commit(books, 3)
	if h3.Totals.Amount != s2.Payout-dust(s2, books) {
		t.Fatalf("amount %d, supplier's part %d", h3.Totals.Amount, s2.Payout)
	}
	claims := []ledger.Claim{must(books.Claim(3, a))(t), must(books.Claim(3, b))(t)}

	r.toRound(4, 0)
	r.fold(books)
	r.Commit(books, 4)
	r.ToEpoch(6)
	r.hashes(3)
	r.Status(3, ledger.Final)
	if got := r.Status(2, ledger.Final); got.Hash != h2.Hash() || got.Previous != 1 {
		t.Fatalf("header of epoch 2: %+v", got)
	}
	before := must(r.Ledger.Account(r.ctx, owner))(t).Balance
	wrong := claims[0]
	wrong.Leaf.Amount++
	r.Do(types.BadClaim, owner, ledger.Claims{Claims: []ledger.Claim{wrong}})
	r.Do("", r.Accounts[2], ledger.Claims{Claims: claims}) // anybody may send it
	if got := must(r.Ledger.Account(r.ctx, owner))(t).Balance - before; got != h3.Totals.Amount {
		t.Fatalf("owner got %d, want %d", got, h3.Totals.Amount)
	}
	if got := must(r.Ledger.Claimed(r.ctx, a))(t); got != claims[0].Leaf.Amount {
		t.Fatalf("claimed %d of %d", got, claims[0].Leaf.Amount)
	}
	before = must(r.Ledger.Account(r.ctx, owner))(t).Balance
	r.Do(types.AlreadyClaimed, r.Accounts[2], ledger.Claims{Claims: claims})
	if got := must(r.Ledger.Account(r.ctx, owner))(t).Balance; got != before {
		t.Fatalf("a claim repeated paid %d", got-before)
	}
	s := must(r.Ledger.Supply(r.ctx))(t)
	if s.Claimed != h3.Totals.Amount || s.Burned == 0 || s.Minted == 0 || s.Spent != 1_500_001 {
		t.Fatalf("supply: %+v", s)
	}
}

// dust is what rounding left of the suppliers' part.
func dust(s *tally.Settlement, b *Books) types.Ustone {
	left := s.Payout
	for _, l := range b.Lines {
		left -= l.Amount
	}
	return left
}

// changes checks that the registry view of e came to hold all that was registered.
func (r *Rig) changes(e types.Epoch, a, b types.Key, payer types.Account, key types.Key) {
	r.t.Helper()
	var seen int
	for _, c := range must(r.Ledger.Changes(r.ctx, e, 0))(r.t) {
		switch {
		case c.Device != nil && (c.Device.Key == a || c.Device.Key == b):
			seen |= 1
		case c.Holder != nil && c.Holder.Account == payer && c.Holder.Bought > 0:
			seen |= 2
		case c.Grant != nil && c.Grant.Key == key && c.Grant.Account == payer:
			seen |= 4
		}
	}
	if seen != 7 {
		r.t.Fatalf("registry changes of epoch %d: %+v", e, must(r.Ledger.Changes(r.ctx, e, 0))(r.t))
	}
	for _, c := range must(r.Ledger.Changes(r.ctx, 1, 0))(r.t) {
		if c.Attester != nil && c.Attester.Power > 0 {
			return
		}
	}
	r.t.Fatal("the first registry view has no verifier")
}

// testLookup registers more devices of an owner, and looks them up by key and by owner.
func (r *Rig) testLookup(owner, other types.Account) {
	r.t.Helper()
	all := must(r.Ledger.Devices(r.ctx))(r.t)
	var keys []types.Key
	for seed := byte(21); seed < 24; seed++ {
		s := r.statement(owner, seed)
		r.Do("", owner, ledger.Register{Statement: *s.Sign(DeviceKey(seed)), Bond: r.bond()})
		keys = append(keys, s.Device)
	}
	found := must(r.Ledger.DevicesByKey(r.ctx, []types.Key{keys[2], {7}, keys[0]}))(r.t)
	if len(found) != 2 || found[0].Key != keys[2] || found[1].Key != keys[0] || found[0].Owner != owner || found[0].Bond != r.bond() {
		r.t.Fatalf("devices by key: %+v", found)
	}
	if _, err := r.Ledger.DevicesByKey(r.ctx, make([]types.Key, ledger.MaxKeys+1)); err == nil {
		r.t.Fatal("as many devices as one likes are looked up at once")
	}
	var of []ledger.Device
	var from []byte
	for {
		page, next, err := r.Ledger.DevicesOf(r.ctx, owner, from)
		if err != nil {
			r.t.Fatal(err)
		}
		of = append(of, page...)
		if from = next; from == nil {
			break
		}
	}
	want := slices.DeleteFunc(must(r.Ledger.Devices(r.ctx))(r.t), func(d ledger.Device) bool { return d.Owner != owner })
	if len(want) != len(all)+len(keys) || !reflect.DeepEqual(of, want) {
		r.t.Fatalf("devices of their owner: %+v, want %+v", of, want)
	}
	if none, next, err := r.Ledger.DevicesOf(r.ctx, other, nil); err != nil || len(none) > 0 || next != nil {
		r.t.Fatalf("devices of somebody who has none: %v, %v", none, err)
	}
}

// testMembership: what registration, grants, purchases and keys refuse.
func testMembership(t *testing.T, n *Network) {
	r := NewRig(t, n)
	owner, other, chain := r.Accounts[0], r.Accounts[1], r.Ledger.Chain()
	good := r.statement(owner, 1)
	send := func(want types.Reason, from types.Account, s evidence.Statement, change func(*evidence.SignedStatement)) {
		t.Helper()
		signed := s.Sign(DeviceKey(1))
		if change != nil {
			change(signed)
		}
		r.Do(want, from, ledger.Register{Statement: *signed, Bond: r.bond()})
	}
	send(types.BadSignature, owner, good, func(s *evidence.SignedStatement) { s.Signature[3] ^= 1 })
	send(types.NotOwner, other, good, nil)
	wrong := good
	wrong.Chain = "other-1"
	send(types.WrongChain, owner, wrong, nil)
	wrong = good
	wrong.Expiry = 0
	send(types.StatementExpired, owner, wrong, nil)
	wrong = good
	wrong.Categories = []types.Category{999}
	send(types.UnknownCategory, owner, wrong, nil)
	r.Do(types.BondLow, owner, ledger.Register{Statement: *good.Sign(DeviceKey(1)), Bond: r.bond() / 4})
	send("", owner, good, nil)
	send(types.DeviceKnown, owner, good, nil)
	if got := must(r.Ledger.Device(r.ctx, good.Device))(t); got.Owner != owner || got.Bond != r.bond() {
		t.Fatalf("device: %+v", got)
	}
	if _, err := r.Ledger.Device(r.ctx, types.Key{7}); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("unknown device: %v", err)
	}
	r.testLookup(owner, other)

	key := types.NewPrivateKey([32]byte{4, 9})
	grant := ledger.GrantKey{Key: key.Public(), Limit: 5, Expiry: 9, Proof: key.Sign("grant", chain, evidence.GrantBytes(owner))}
	r.Do(types.BadSignature, other, grant)
	r.Do("", owner, grant)
	theirs := grant
	theirs.Proof = key.Sign("grant", chain, evidence.GrantBytes(other))
	r.Do(types.KeyTaken, other, theirs)
	if got := must(r.Ledger.Grant(r.ctx, key.Public()))(t); got.Account != owner || got.Limit != 5 {
		t.Fatalf("grant: %+v", got)
	}

	quote := must(r.Ledger.Quote(r.ctx, 1_000_000))(t)
	r.Do(types.Slippage, owner, ledger.Buy{Amount: 1_000_000, Min: quote + 1})
	r.Do("", owner, ledger.Buy{Amount: 1_000_000, Min: quote})
	balance := must(r.Ledger.Account(r.ctx, owner))(t).Balance
	r.Do(types.InsufficientFund, owner, ledger.Send{To: other, Amount: balance + 1})
	r.Do("", owner, ledger.Send{To: other, Amount: 1})

	// All or none: the second message is refused, so the first must not act.
	before := must(r.Ledger.Account(r.ctx, other))(t).Balance
	r.Do(types.Slippage, owner, ledger.Send{To: other, Amount: 7}, ledger.Buy{Amount: 1_000_000, Min: quote * 2})
	if got := must(r.Ledger.Account(r.ctx, other))(t).Balance; got != before {
		t.Fatalf("a refused transaction moved %d", got-before)
	}

	things := ledger.SetFleet{Device: DeviceKey(1).Public(), Fleet: fleet.Fleet{Root: types.Hash{1, 2}, Count: 7}}
	large, stranger := things, things
	large.Fleet.Count, stranger.Device = fleet.MaxCount+1, types.Key{7}
	r.Do(types.NotOwner, other, things)
	r.Do(types.UnknownAuthor, owner, stranger)
	r.Do(types.Oversize, owner, large)
	for _, set := range []ledger.SetFleet{things, {Device: things.Device}, things} {
		r.Do("", owner, set)
		if got := must(r.Ledger.Device(r.ctx, things.Device))(t); got.Fleet != set.Fleet {
			t.Fatalf("fleet: %+v, want %+v", got.Fleet, set.Fleet)
		}
	}

	r.Do(types.NotOwner, other, ledger.Unbond{Device: DeviceKey(1).Public()})
	r.Do("", owner, ledger.Unbond{Device: DeviceKey(1).Public()})
	r.ToEpoch(2)
	if _, err := r.Ledger.Epoch(r.ctx, 99); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("epoch 99: %v", err)
	}
	v := r.Verifiers[0]
	fresh := NewVerifier(v.Owner, 77)
	bytes := evidence.VerifierBytes(v.Owner, fresh.Key.Public(), fresh.VRF.Public())
	set := ledger.SetVerifier{
		Key: fresh.Key.Public(), VRF: fresh.VRF.Public(),
		KeyProof: fresh.Key.Sign("verifier", chain, bytes), VRFProof: fresh.VRF.Sign("verifier", chain, bytes),
	}
	bad := set
	bad.VRFProof = set.KeyProof
	r.Do(types.BadSignature, v.Owner, bad)
	if got := must(r.Ledger.Verifier(r.ctx, v.Key.Public()))(t); got.Owner != v.Owner || got.Power == 0 || got.VRF != v.VRF.Public() {
		t.Fatalf("verifier %v: %+v", v.Key.Public(), got)
	}
	r.Do("", v.Owner, set)
	if got := must(r.Ledger.Verifier(r.ctx, set.Key))(t); got.Owner != v.Owner || got.Power == 0 || got.VRF != set.VRF {
		t.Fatalf("the new keys of %v: %+v", v.Owner, got)
	}
	for what, key := range map[string]types.Key{"the old key": v.Key.Public(), "a VRF key": set.VRF, "a stranger's": DeviceKey(1).Public()} {
		if _, err := r.Ledger.Verifier(r.ctx, key); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// testCommit: what a header must be.
func testCommit(t *testing.T, n *Network) {
	r := NewRig(t, n)
	a := DeviceKey(1).Public()
	r.Register(r.Accounts[0], 1)
	r.buy(r.Accounts[1], 10_000_000, 1)
	books := NewBooks()
	books.Line(a)
	from := r.Accounts[2]

	h := r.header(books.Copy(), 1, 0)
	r.Do(types.HeaderRound, from, r.commitMsg(h, 0, 1, 2, 3)) // before the cut
	r.toRound(1, 0)
	r.Do(types.LowPower, from, r.commitMsg(h, 0, 1)) // half
	msg := r.commitMsg(h, 0, 1, 2)
	msg.Signatures[1][5] ^= 1
	r.Do(types.BadSignature, from, msg)
	msg = r.commitMsg(h, 0, 1, 2)
	msg.Signatures = msg.Signatures[:2]
	r.Do(types.BadSignature, from, msg)
	spoil := func(want types.Reason, change func(*tally.Header)) {
		t.Helper()
		bad := *h
		bad.Totals.Categories = slices.Clone(h.Totals.Categories)
		change(&bad)
		r.Do(want, from, r.commitMsg(&bad, 0, 1, 2, 3))
	}
	spoil(types.WrongChain, func(h *tally.Header) { h.Chain = "other-1" })
	spoil(types.WrongRegion, func(h *tally.Header) { h.Region = 9 })
	spoil(types.HeaderRound, func(h *tally.Header) { h.Round = 1 })
	spoil(types.HeaderLink, func(h *tally.Header) { h.Rules++ })
	spoil(types.HeaderLink, func(h *tally.Header) { h.Previous[0] ^= 1 })
	spoil(types.HeaderLeader, func(h *tally.Header) { h.VRF = slices.Clone(h.VRF); h.VRF[9] ^= 1 })
	spoil(types.HeaderLeader, func(h *tally.Header) {
		for _, v := range r.Verifiers {
			if v.Key.Public() != h.Leader {
				h.Leader = v.Key.Public()
				return
			}
		}
	})
	spoil(types.HeaderTotals, func(h *tally.Header) { h.Totals.Spent++ })
	spoil(types.HeaderTotals, func(h *tally.Header) { h.Totals.Amount++ })
	spoil(types.HeaderTotals, func(h *tally.Header) { // minted out of nothing, consistently
		h.Totals.Amount++
		h.Devices.Sum++
	})
	spoil(types.HeaderTotals, func(h *tally.Header) { // spent what nobody bought
		h.Totals.Spent, h.Totals.Categories[0].Paid = 1<<40, 1<<40
	})
	spoil(types.HeaderTotals, func(h *tally.Header) { h.Totals.Settled = 1 })
	r.Do("", from, r.commitMsg(h, 0, 1, 2))
	books.Previous, books.Last = h.Hash(), 1
	r.Do(types.HeaderKnown, from, r.commitMsg(h, 0, 1, 2, 3))

	missing := -1
	got := r.Status(1, ledger.Accepted)
	for i, seat := range r.epoch(1).Verifiers {
		if !ledger.Signed(got.Bitmap, i) && seat.Key == r.Verifiers[3].Key.Public() {
			missing = i
		}
	}
	if missing < 0 {
		t.Fatalf("bitmap %08b", got.Bitmap)
	}
	bitmap, sigs := r.signatures(h, 3)
	r.Do("", from, ledger.AddSignatures{Epoch: 1, Bitmap: bitmap, Signatures: sigs})
	if got := r.Status(1, ledger.Accepted); got.Signed != r.epoch(1).Power() {
		t.Fatalf("%d of %d signed", got.Signed, r.epoch(1).Power())
	}

	// The next epoch: totals never fall, and amounts grow by no more than was settled.
	r.toRound(2, 0)
	r.fold(books)
	books.Line(a).Paid = 1000
	h = r.Commit(books, 2)
	r.toRound(3, 0)
	greedy := books.Copy()
	r.fold(books)
	r.fold(greedy)
	greedy.Line(a).Amount++
	r.Do(types.HeaderTotals, from, r.commitMsg(r.header(greedy, 3, 0), 0, 1, 2))
	fall := books.Copy()
	fall.Line(a).Paid = 999
	r.Do(types.HeaderTotals, from, r.commitMsg(r.header(fall, 3, 0), 0, 1, 2))
	// Round 1 is another turn: the header of round 0 is not taken any more.
	late := r.header(books.Copy(), 3, 0)
	r.toRound(3, 1)
	r.Do(types.HeaderRound, from, r.commitMsg(late, 0, 1, 2))
	r.Do("", from, r.commitMsg(r.header(books, 3, 1), 1, 2, 3))
	if !r.epoch(4).Challenged {
		t.Fatal("a header of round 1 came in time, but challenges do not bind")
	}
}

// testSkip: four rounds without a header skip the epoch, once and for all, and the next goes on from before it.
func testSkip(t *testing.T, n *Network) {
	r := NewRig(t, n)
	a := DeviceKey(1).Public()
	r.Register(r.Accounts[0], 1)
	r.buy(r.Accounts[1], 10_000_000, 1)
	books := NewBooks()
	r.toRound(1, 0)
	books.Line(a).Paid = 1000
	h1 := r.Commit(books, 1)
	r.toRound(2, 3)
	r.fold(books)
	seed := r.epoch(3).Seed
	if !seed.IsZero() {
		t.Fatal("the seed of epoch 3 is known before epoch 2 is in")
	}
	last := r.header(books.Copy(), 2, 3)
	r.toRound(2, 4)
	r.Status(2, ledger.Skipped)
	r.Do(types.HeaderKnown, r.Accounts[0], r.commitMsg(last, 0, 1, 2))
	if ep := r.epoch(3); ep.Seed.IsZero() || ep.Challenged {
		t.Fatalf("after a skip: seed %v, challenged %v", ep.Seed, ep.Challenged)
	}
	h3 := r.Commit(books, 3)
	if h3.Previous != h1.Hash() || h3.Totals.Amount == 0 {
		t.Fatalf("header after a skip: %+v", h3)
	}
	if got := r.Status(3, ledger.Accepted); got.Previous != 1 {
		t.Fatalf("header of epoch 3 follows epoch %d", got.Previous)
	}
	list := must(r.Ledger.Headers(r.ctx, 0, 10))(t)
	if len(list) != 3 || list[0].Status != ledger.Accepted || list[0].Epoch != 3 || list[1].Status != ledger.Skipped || list[2].Hash != h1.Hash() {
		t.Fatalf("headers: %+v", list)
	}
	if list := must(r.Ledger.Headers(r.ctx, 0, 1))(t); len(list) != 1 || list[0].Epoch != 3 {
		t.Fatalf("the newest header: %+v", list)
	}
	r.ToEpoch(6)
	r.Status(3, ledger.Final)
}

func (r *Rig) vote(h *tally.Header, yes bool, want types.Reason, who ...int) {
	r.t.Helper()
	for _, i := range who {
		v := r.Verifiers[i]
		sig := v.Key.Sign("vote", r.Ledger.Chain(), evidence.VoteBytes(h.Hash(), yes))
		r.Do(want, r.Accounts[2], ledger.Vote{Epoch: h.Epoch, Yes: yes, Key: v.Key.Public(), Sig: sig})
	}
}

// testVoid: a header that most call wrong goes, with all built on it; its escrow returns and its signers pay.
func testVoid(t *testing.T, n *Network) {
	r := NewRig(t, n)
	a := DeviceKey(1).Public()
	r.Register(r.Accounts[0], 1)
	r.buy(r.Accounts[1], 10_000_000, 1)
	books := NewBooks()
	r.toRound(1, 0)
	books.Line(a).Paid = 1000
	h1 := r.Commit(books, 1)
	r.toRound(2, 0)
	r.fold(books)
	safe := books.Copy()
	books.Line(a).Paid = 4_000_000 // nobody signed for that
	h2 := r.Commit(books, 2)
	spoilt := must(r.Ledger.Supply(r.ctx))(t)

	appellant := r.Accounts[2]
	r.Do("", appellant, ledger.Appeal{Epoch: 2})
	r.Do(types.AppealKnown, appellant, ledger.Appeal{Epoch: 2})
	before := must(r.Ledger.Account(r.ctx, appellant))(t).Balance
	if v := r.Status(2, ledger.Appealed).Voting; v == nil || v.Power == 0 {
		t.Fatalf("no vote is open: %+v", v)
	}
	r.vote(h2, false, "", 0, 1)
	r.vote(h2, false, types.AppealKnown, 1)
	r.Status(2, ledger.Appealed)
	r.vote(h2, false, "", 3)
	r.Status(2, ledger.Voided)
	r.vote(h2, false, types.AppealClosed, 2)
	if got := must(r.Ledger.Account(r.ctx, appellant))(t).Balance; got <= before {
		t.Fatalf("the appellant got %d", got-before)
	}
	after := must(r.Ledger.Supply(r.ctx))(t)
	if after.Vault <= spoilt.Vault || after.Spent != 1000 {
		t.Fatalf("after the void: %+v, before: %+v", after, spoilt)
	}

	// The region goes on from epoch 1, and folds its settlement.
	h3 := r.Commit(safe, 3)
	if h3.Previous != h1.Hash() || h3.Totals.Amount == 0 {
		t.Fatalf("header after a void: %+v", h3)
	}
	r.ToEpoch(6)
	r.Status(2, ledger.Voided)
	r.Status(3, ledger.Final)
	claim := must(safe.Claim(3, a))(t)
	r.Do("", appellant, ledger.Claims{Claims: []ledger.Claim{claim}})
}

// testUpheld: the bond of an appeal that most call wrong is lost, and silence is repeated and jailed.
func testUpheld(t *testing.T, n *Network) {
	r := NewRig(t, n)
	books := NewBooks()
	h := r.Commit(books, 1)
	r.Do(types.WrongEpoch, r.Accounts[2], ledger.Appeal{Epoch: 7})
	closes := r.Status(1, ledger.Accepted).FinalAt
	first := r.epoch(1)
	r.AdvanceTo(t, closes-(first.Cut-first.First+1)/8) // late, so that the vote outlasts the window
	r.Do("", r.Accounts[2], ledger.Appeal{Epoch: 1})
	r.vote(h, true, "", 0, 1)
	r.AdvanceTo(t, closes+1)
	until := r.Status(1, ledger.Appealed).Voting.Until // an open vote keeps it from becoming final
	r.AdvanceTo(t, until+1)
	again := r.Status(1, ledger.Appealed).Voting
	if again.Until <= until || len(again.Voted) != 0 {
		t.Fatalf("the vote does not repeat: %+v", again)
	}
	before := must(r.Ledger.Supply(r.ctx))(t)
	r.vote(h, true, "", 0, 1) // now all power that is not jailed
	r.AdvanceTo(t, again.Until+1)
	r.Status(1, ledger.Final)
	if after := must(r.Ledger.Supply(r.ctx))(t); after.Burned <= before.Burned {
		t.Fatal("the bond of a lost appeal was not burned")
	}
	r.Do(types.AppealKnown, r.Accounts[2], ledger.Appeal{Epoch: 1}) // once per header
}

// testEquivocation: two headers of one round cost stake and the seat.
func testEquivocation(t *testing.T, n *Network) {
	r := NewRig(t, n)
	books := NewBooks()
	r.toRound(1, 0)
	a := r.header(books.Copy(), 1, 0)
	b := *a
	b.State[0] ^= 1
	liar := r.Verifiers[3]
	sign := func(h *tally.Header) types.Signature {
		hash := h.Hash()
		return liar.Key.Sign("header", r.Ledger.Chain(), hash[:])
	}
	shown := ledger.Equivocation{Verifier: liar.Key.Public(), A: a.Encode(), B: b.Encode(), SigA: sign(a), SigB: sign(&b)}
	same := shown
	same.B, same.SigB = same.A, same.SigA
	r.Do(types.NoMisconduct, r.Accounts[0], same)
	forged := shown
	forged.SigB[0] ^= 1
	r.Do(types.BadSignature, r.Accounts[0], forged)
	r.Do("", r.Accounts[0], shown)
	r.Do(types.NoMisconduct, r.Accounts[0], shown)
	r.Commit(books, 1)
	r.ToEpoch(3)
	for _, v := range r.epoch(3).Verifiers {
		if v.Key == liar.Key.Public() && v.Power != 0 {
			t.Fatalf("the liar still has power %d", v.Power)
		}
	}
}

// hashes checks what the chain says of the blocks that a frame names which follows the header of an epoch.
func (r *Rig) hashes(final types.Epoch) {
	r.t.Helper()
	head := must(r.Ledger.Head(r.ctx))(r.t)
	from := tally.FrameStart(r.epoch(final+1).First, r.epoch(final+1).Cut, evidence.MaxAnchorAge)
	list := must(r.Ledger.Hashes(r.ctx, from, head.Height))(r.t)
	if len(list) != int(head.Height-from+1) {
		r.t.Fatalf("%d hashes of blocks %d to %d", len(list), from, head.Height)
	}
	for i, b := range list {
		if want := must(r.Ledger.Block(r.ctx, from+uint64(i)))(r.t); b.Height != want.Height || b.Hash != want.Hash {
			r.t.Fatalf("hash %d: %+v, want %+v", i, b, want)
		}
	}
	for _, bad := range [][2]uint64{{0, 1}, {head.Height, head.Height + 1}, {5, 4}} {
		if _, err := r.Ledger.Hashes(r.ctx, bad[0], bad[1]); !errors.Is(err, ledger.ErrNotFound) {
			r.t.Fatalf("hashes of blocks %d to %d: %v", bad[0], bad[1], err)
		}
	}
}
