package keeper_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// berlin is a cell of resolution 10.
const berlin = core.Cell(0x8a1fb46622dffff)

// pays lets devices be paid so many micro-credits more, and weigh something.
func pays(amount core.Credit, devices ...core.Key) func(*ledgertest.Books) {
	return func(b *ledgertest.Books) {
		for _, d := range devices {
			b.Line(d).Paid += amount
			b.Line(d).Weight = core.U64(1 << 50)
		}
	}
}

// TestLife: what customers pay is settled into escrow, waits out its window, and is claimed once, to the ustone.
func TestLife(t *testing.T) {
	f := setup(t, 1)
	a, b := f.register(1, berlin), f.register(2, berlin)
	f.buy(0)
	vault := f.held(credittypes.ModuleName)
	f.tallied(1, 0, nil)
	f.next()
	first := f.tallied(2, 0, pays(10_000_000, a, b)) // ten dollars each, which is 40 STONE
	got, err := f.k.Escrows.Get(f.ctx, at(0, 2))
	f.must(err)
	allot := got.Allotment()
	p, err := f.rewards.Economy(f.ctx)
	f.must(err)
	whole := core.Ustone(40 * stone)
	if allot.Settled != 20_000_000 || allot.Pay != whole*core.Ustone(p.Supplier)/10_000 || allot.Verifiers != whole*core.Ustone(p.Verifier)/10_000 ||
		allot.Treasury != whole*core.Ustone(p.Treasury)/10_000 || allot.Burn != whole*core.Ustone(p.Burn)/10_000 || allot.Subsidy == 0 {
		t.Fatalf("escrow %+v", allot)
	}
	if left := f.held(credittypes.ModuleName); left != vault-whole {
		t.Fatalf("the vault held %d, and now %d", vault, left)
	}
	// The amounts are in the header after the one that was settled.
	second := f.tallied(3, 0, nil)
	amount := f.book(0).Line(a).Amount
	if amount == 0 || 2*amount > allot.Devices() || allot.Devices()-2*amount > 2 || second.Totals.Amount != 2*amount {
		t.Fatalf("amounts of %d, allotted %d", amount, allot.Devices())
	}
	ca, cb := f.claimOf(second, a), f.claimOf(second, b)
	f.claim(core.NotFinal, ca)
	if _, err := f.k.FinalHeader(f.ctx, 3, 0); core.ReasonOf(err) != core.NotFinal {
		t.Fatalf("a final header: %v", err)
	}
	signers := f.balance(f.seats[0].Owner)
	community, supply := f.held(pool), f.bank.GetSupply(f.ctx, "ustone").Amount.Uint64()
	h := f.status(2, 0, types.Status_STATUS_ACCEPTED)
	if h.FinalAt != uint64(h.Height)+20 || h.Previous != 1 || h.Hash != first.Hash().String() {
		t.Fatalf("header %+v", h)
	}
	f.to(h.FinalAt)
	f.status(2, 0, types.Status_STATUS_ACCEPTED)
	f.next()
	f.status(2, 0, types.Status_STATUS_FINAL)
	if f.balance(f.seats[0].Owner) <= signers || f.held(pool) < community+allot.Treasury {
		t.Fatal("signers or community did not get their part")
	}
	if now := f.bank.GetSupply(f.ctx, "ustone").Amount.Uint64(); now > supply-uint64(allot.Burn) {
		t.Fatalf("supply %d, before %d: %d were to be burned", now, supply, allot.Burn)
	}
	f.to(f.status(3, 0, types.Status_STATUS_ACCEPTED).FinalAt + 1)

	for what, spoil := range map[string]func(*types.Claim){
		"another amount":     func(c *types.Claim) { c.Leaf = forged(t, c.Leaf, func(l *tally.Leaf) { l.Amount++ }) },
		"another device":     func(c *types.Claim) { c.Leaf = forged(t, c.Leaf, func(l *tally.Leaf) { l.Device = b }) },
		"no penalty":         func(c *types.Claim) { c.Leaf = forged(t, c.Leaf, func(l *tally.Leaf) { l.Penalty++ }) },
		"another place":      func(c *types.Claim) { c.Index ^= 1 },
		"a place outside":    func(c *types.Claim) { c.Index = 2 },
		"another sum":        func(c *types.Claim) { c.Siblings[7]++ },
		"another sibling":    func(c *types.Claim) { c.Siblings[39] ^= 1 },
		"a sibling more":     func(c *types.Claim) { c.Siblings = append(c.Siblings, c.Siblings...) },
		"no sibling":         func(c *types.Claim) { c.Siblings = nil },
		"half a sibling":     func(c *types.Claim) { c.Siblings = c.Siblings[:20] },
		"the header before":  func(c *types.Claim) { c.Epoch = 2 },
		"65 siblings":        func(c *types.Claim) { c.Siblings = make([]byte, 65*40) },
		"an endless proof":   func(c *types.Claim) { c.Siblings = make([]byte, 1<<20) },
		"an index of 64 bit": func(c *types.Claim) { c.Index = 1<<64 - 1 },
	} {
		bad := f.claimOf(second, a)
		spoil(&bad)
		t.Log(what)
		if got := f.claim(core.BadClaim, bad); got != 0 {
			t.Fatalf("%s paid %d", what, got)
		}
		// One bad entry, and nobody is paid.
		if got := f.claim(core.BadClaim, cb, bad); got != 0 {
			t.Fatalf("%s: its neighbour was paid %d", what, got)
		}
	}
	elsewhere := ca
	elsewhere.Region = 7
	f.claim(core.NotFinal, elsewhere)
	elsewhere.Region = 1 << 16 // region 0, if it were cut short
	f.claim(core.WrongRegion, elsewhere)
	f.claim(core.Oversize)
	f.claim(core.Oversize, slices.Repeat([]types.Claim{ca}, 201)...)

	if got := f.claim("", ca, ca); got != amount { // twice in one
		t.Fatalf("paid %d of %d", got, amount)
	}
	f.claim(core.AlreadyClaimed, ca)
	if got := f.claim("", ca, cb); got != amount { // b's alone
		t.Fatalf("paid %d of %d", got, amount)
	}
	f.claim(core.AlreadyClaimed, ca, cb)
	f.balanced()
	res, err := f.query.Ledgers(f.ctx, &types.QueryLedgersRequest{})
	f.must(err)
	if l := res.Ledgers[0]; l.Claimed != uint64(2*amount) || l.Amount != l.Claimed || res.Balance != res.Expected {
		t.Fatalf("%+v", res)
	}
}

func forged(t *testing.T, raw []byte, edit func(*tally.Leaf)) []byte {
	t.Helper()
	var l tally.Leaf
	if err := core.Decode(raw, &l); err != nil {
		t.Fatal(err)
	}
	edit(&l)
	return core.Encode(&l)
}

// TestMissedClaims: a claim against a later header makes up for those that nobody made, and an old one then
// pays nothing.
func TestMissedClaims(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	f.tallied(1, 0, nil)
	var old types.Claim
	var last *tally.Header
	for e := core.Epoch(2); e <= 6; e++ {
		last = f.tallied(e, 0, pays(1_000_000, d))
		if e == 3 {
			old = f.claimOf(last, d)
		}
	}
	f.toRound(8, 0)
	if got := f.claim("", f.claimOf(last, d)); got != f.book(0).Line(d).Amount {
		t.Fatalf("paid %d of %d", got, f.book(0).Line(d).Amount)
	}
	f.claim(core.AlreadyClaimed, old)
}

// TestPenalty: a leaf's penalty burns of the bond, once, and no more than the bond.
func TestPenalty(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.tallied(1, 0, nil)
	h := f.tallied(2, 0, func(b *ledgertest.Books) { b.Line(d).Penalty = 30 * stone })
	one := f.claimOf(h, d)
	h = f.tallied(3, 0, func(b *ledgertest.Books) { b.Line(d).Penalty = 500 * stone })
	all := f.claimOf(h, d)
	f.toRound(5, 0)
	for _, c := range []struct {
		claim types.Claim
		want  core.Reason
		left  uint64
	}{{one, "", 70 * stone}, {one, core.AlreadyClaimed, 70 * stone}, {all, "", 0}, {all, core.AlreadyClaimed, 0}} {
		f.claim(c.want, c.claim)
		got, err := f.devices.Get(f.ctx, d)
		f.must(err)
		if got.Bond-got.Slashed != c.left && got.Bond != c.left {
			t.Fatalf("bond %d, slashed %d, want %d left", got.Bond, got.Slashed, c.left)
		}
	}
	f.balanced()
}

// TestRefused: headers that the chain takes from nobody, and signatures that count for nothing.
func TestRefused(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	f.tallied(1, 0, nil)
	f.tallied(2, 0, func(b *ledgertest.Books) {
		pays(10_000_000, d)(b)
		b.Line(d).Penalty = 5
	})
	f.toRound(3, 0)
	h := f.header(3, 0, 0, pays(1_000_000, d))
	all := []int{0, 1, 2, 3}
	other := f.seats[slices.IndexFunc(f.seats, func(v ledgertest.Verifier) bool { return v.Key.Public() != h.Leader })]
	for _, c := range []struct {
		what string
		want core.Reason
		edit func(*tally.Header)
	}{
		{"another chain", core.WrongChain, func(h *tally.Header) { h.Chain = "other-1" }},
		{"a region that is not", core.WrongRegion, func(h *tally.Header) { h.Region = 1 }},
		{"an epoch to come", core.WrongEpoch, func(h *tally.Header) { h.Epoch = 9 }},
		{"the epoch that runs", core.HeaderRound, func(h *tally.Header) { h.Epoch = 4 }},
		{"an epoch that is in", core.HeaderKnown, func(h *tally.Header) { h.Epoch = 2 }},
		{"another round", core.HeaderRound, func(h *tally.Header) { h.Round = 1 }},
		{"other rules", core.HeaderLink, func(h *tally.Header) { h.Rules++ }},
		{"another header before", core.HeaderLink, func(h *tally.Header) { h.Previous[0] ^= 1 }},
		{"none before", core.HeaderLink, func(h *tally.Header) { h.Previous = core.Hash{} }},
		{"another leader", core.HeaderLeader, func(h *tally.Header) { h.Leader = other.Key.Public() }},
		{"another's proof", core.HeaderLeader, func(h *tally.Header) { h.VRF = slices.Clone(h.VRF); h.VRF[40] ^= 1 }},
		{"more in the tree", core.HeaderTotals, func(h *tally.Header) { h.Devices.Sum++ }},
		{"more than was allotted", core.HeaderTotals, func(h *tally.Header) { h.Totals.Amount += 10; h.Devices.Sum += 10 }},
		{"a penalty that falls", core.HeaderTotals, func(h *tally.Header) { h.Totals.Penalty-- }},
		{"more paid than spent", core.HeaderTotals, func(h *tally.Header) {
			h.Totals.Categories = []tally.CategoryTotal{{Category: ledgertest.Category, Paid: h.Totals.Spent + 1}}
		}},
		{"more spent than bought", core.HeaderTotals, func(h *tally.Header) {
			h.Totals.Spent = 1 << 50
			h.Totals.Categories = []tally.CategoryTotal{{Category: ledgertest.Category, Paid: 1 << 50}}
		}},
		{"paid falls", core.HeaderTotals, func(h *tally.Header) {
			h.Totals.Spent = 9_999_999
			h.Totals.Settled = 9_999_999
			h.Totals.Categories = []tally.CategoryTotal{{Category: ledgertest.Category, Paid: 9_999_999}}
		}},
		{"sums beyond 64 bits", core.HeaderTotals, func(h *tally.Header) {
			h.Totals.Categories = []tally.CategoryTotal{{Category: 1, Paid: 1<<64 - 1}, {Category: ledgertest.Category, Paid: h.Totals.Spent + 1}}
		}},
		{"categories out of order", core.HeaderTotals, func(h *tally.Header) {
			h.Totals.Categories = []tally.CategoryTotal{{Category: ledgertest.Category}, h.Totals.Categories[0]}
		}},
		{"more settled than the settlement", core.HeaderTotals, func(h *tally.Header) { h.Totals.Settled++ }},
	} {
		bad := *h
		bad.Totals.Categories = slices.Clone(h.Totals.Categories)
		c.edit(&bad)
		t.Log(c.what)
		msg := f.commitMsg(h, all...)
		msg.Header = bad.Encode()
		if rec, err := f.k.Epochs.Get(f.ctx, uint64(bad.Epoch)); err == nil && len(rec.Verifiers) > 0 {
			msg.Bitmap, msg.Signatures = f.signatures(&bad, all...)
		}
		f.commit(c.want, msg)
	}
	good := f.commitMsg(h, all...)
	for _, c := range []struct {
		what string
		want core.Reason
		edit func(*types.MsgCommitTally)
	}{
		{"two of four", core.LowPower, func(m *types.MsgCommitTally) { *m = *f.commitMsg(h, 1, 2) }},
		{"nobody", core.LowPower, func(m *types.MsgCommitTally) { *m = *f.commitMsg(h) }},
		{"one signature for all", core.BadSignature, func(m *types.MsgCommitTally) { m.Signatures = slices.Repeat(m.Signatures[:64], 4) }},
		{"a wrong one", core.BadSignature, func(m *types.MsgCommitTally) { m.Signatures = slices.Clone(m.Signatures); m.Signatures[99] ^= 1 }},
		{"signatures in another order", core.BadSignature, func(m *types.MsgCommitTally) {
			m.Signatures = slices.Concat(m.Signatures[64:128], m.Signatures[:64], m.Signatures[128:])
		}},
		{"one signature less", core.BadSignature, func(m *types.MsgCommitTally) { m.Signatures = m.Signatures[:192] }},
		{"one more", core.BadEncoding, func(m *types.MsgCommitTally) { m.Signatures = append(slices.Clone(m.Signatures), m.Signatures[:64]...) }},
		{"half a signature", core.BadEncoding, func(m *types.MsgCommitTally) { m.Signatures = m.Signatures[:200] }},
		{"a fifth verifier", core.BadEncoding, func(m *types.MsgCommitTally) { m.Bitmap = []byte{0x1f} }},
		{"a longer bitmap", core.BadEncoding, func(m *types.MsgCommitTally) { m.Bitmap = []byte{0x0f, 0} }},
		{"noise", core.BadEncoding, func(m *types.MsgCommitTally) { m.Header = []byte("noise") }},
	} {
		msg := *good
		c.edit(&msg)
		t.Log(c.what)
		f.commit(c.want, &msg)
	}
	f.commit("", good)
	f.commit(core.HeaderKnown, good)
	f.balanced()
}

// TestPower: who was jailed since the leaders were drawn counts for nothing, on neither side; what is needed is
// two thirds of the rest.
func TestPower(t *testing.T) {
	f := setup(t, 1)
	f.tallied(1, 0, nil)
	f.staking.of(3).Jailed = true
	f.toRound(3, 0) // epoch 3 began after that
	rec, err := f.k.Epochs.Get(f.ctx, 3)
	f.must(err)
	power := map[string]uint64{}
	for _, v := range rec.Verifiers {
		power[v.Key] = v.Power
	}
	if len(power) != 4 || power[f.seats[3].Key.Public().String()] != 0 || power[f.seats[0].Key.Public().String()] != stake/stone {
		t.Fatalf("powers %v", power)
	}
	round := uint8(0)
	for rec.Leaders[0].Keys[round] == f.seats[3].Key.Public().String() {
		round++
	}
	f.toRound(3, uint64(round))
	h := f.header(3, 0, round, nil)
	f.commit(core.LowPower, f.commitMsg(h, 0, 1, 3)) // two of three, and one that is no more
	f.commit("", f.commitMsg(h, 0, 1, 2))
	if got := f.status(3, 0, types.Status_STATUS_ACCEPTED); got.Signed != 3*stake/stone || got.Total != 3*stake/stone {
		t.Fatalf("signed %d of %d", got.Signed, got.Total)
	}
}

// TestAddSignatures: late signatures count until the next cut, each once; one that is wrong changes nothing.
func TestAddSignatures(t *testing.T) {
	f := setup(t, 1)
	f.toRound(1, 0)
	h := f.header(1, 0, 0, nil)
	f.commit("", f.commitMsg(h, 0, 1, 2))
	add := func(want core.Reason, e uint64, bitmap, sigs []byte) {
		t.Helper()
		f.do(want, func(ctx context.Context) error {
			_, err := f.msg.AddSignatures(ctx, &types.MsgAddSignatures{Sender: f.owner.String(), Epoch: e, Bitmap: bitmap, Signatures: sigs})
			return err
		})
	}
	bitmap, sigs := f.signatures(h, 0, 1)
	add("", 1, bitmap, sigs) // again
	if got := f.status(1, 0, types.Status_STATUS_ACCEPTED); got.Signed != 3*stake/stone {
		t.Fatalf("signed %d", got.Signed)
	}
	bitmap, sigs = f.signatures(h, 3)
	wrong := slices.Clone(sigs)
	wrong[5] ^= 1
	add(core.BadSignature, 1, bitmap, wrong)
	add(core.WrongEpoch, 2, bitmap, sigs)
	add("", 1, bitmap, sigs)
	if got := f.status(1, 0, types.Status_STATUS_ACCEPTED); got.Signed != got.Total {
		t.Fatalf("signed %d of %d", got.Signed, got.Total)
	}
	f.to(41)
	add(core.HeaderRound, 1, bitmap, sigs)
}

// TestSkip: without a header in four rounds the region skips; later is too late, and what was paid counts in
// the next header.
func TestSkip(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	h1 := f.tallied(1, 0, nil)
	f.toRound(2, 3)
	late := f.header(2, 0, 3, nil)
	msg := f.commitMsg(late, 0, 1, 2, 3)
	f.to(57)
	f.commit(core.HeaderKnown, msg)
	if got := f.status(2, 0, types.Status_STATUS_SKIPPED); got.Previous != 1 {
		t.Fatalf("%+v", got)
	}
	if s := f.settlement(2); s.Owed != 0 || s.Settled != 0 || s.Payout != 0 {
		t.Fatalf("settlement %+v", s)
	}
	f.books[0] = ledgertest.NewBooks()
	f.books[0].Previous, f.books[0].Last = h1.Hash(), 1
	h := f.tallied(3, 0, pays(10_000_000, d))
	if got := f.status(3, 0, types.Status_STATUS_ACCEPTED); got.Previous != 1 || h.Totals.Spent != 10_000_000 || f.settlement(3).Owed != 10_000_000 {
		t.Fatalf("%+v", got)
	}
	last := f.tallied(4, 0, nil)
	f.toRound(6, 0) // the skipped one holds up nothing
	if got := f.claim("", f.claimOf(last, d)); got == 0 {
		t.Fatal("nothing was paid")
	}
}

// TestGenesis: an export in the middle of everything comes back the same, holds what it must, and goes on as
// the original does.
func TestGenesis(t *testing.T) {
	f := setup(t, 1)
	d := f.register(1, berlin)
	f.buy(0)
	f.tallied(1, 0, nil)
	f.tallied(2, 0, pays(10_000_000, d))
	h := f.tallied(3, 0, pays(10_000_000, d))
	f.toRound(4, 3)
	f.to(uint64(4)*20 + 17) // skipped
	h5 := f.tallied(5, 0, pays(1_000_000, d))
	_ = h
	f.appeal("", 5)
	f.vote("", h5, true, 2)
	f.status(3, 0, types.Status_STATUS_FINAL)
	f.status(4, 0, types.Status_STATUS_SKIPPED)
	g, err := f.k.ExportGenesis(f.ctx)
	f.must(err)
	f.must(g.Validate())
	if len(g.Appeals) != 1 || len(g.Escrows) == 0 || len(g.Headers) != 5 || len(g.Keys) != 8 {
		t.Fatalf("exported %+v", g)
	}
	again := f.tally("again")
	again.Connect(f.devices, f.credits, f.rewards)
	f.must(again.InitGenesis(f.ctx, g))
	back, err := again.ExportGenesis(f.ctx)
	f.must(err)
	if d := cmp.Diff(g, back); d != "" {
		t.Fatalf("export, import, export:\n%s", d)
	}
	// Both end the vote, go final, and prune alike: side by side, the money being one, in contexts of their own.
	run := func(k interface {
		BeginBlock(context.Context) error
		EndBlock(context.Context) error
		ExportGenesis(context.Context) (*types.GenesisState, error)
	}) *types.GenesisState {
		ctx, _ := f.ctx.CacheContext()
		for range 60 {
			f.must(k.EndBlock(ctx))
			ctx = ctx.WithBlockHeight(ctx.BlockHeight() + 1)
			f.must(k.BeginBlock(ctx))
		}
		out, err := k.ExportGenesis(ctx)
		f.must(err)
		return out
	}
	jailed := func() { // what the test's own validators went through does not come back with the context
		for i := range f.seats {
			f.staking.of(i).Jailed = false
		}
	}
	x := run(f.k)
	jailed()
	y := run(again)
	if d := cmp.Diff(x, y); d != "" {
		t.Fatalf("60 blocks later (- original, + import):\n%s", d)
	}
	for what, spoil := range map[string]func(*types.GenesisState){
		"a coin more": func(g *types.GenesisState) { g.Dust++ },
		"a claim more": func(g *types.GenesisState) {
			g.Claimed = append(g.Claimed, types.Claimed{Device: d.String(), Amount: 1})
		},
		"an escrow less":    func(g *types.GenesisState) { g.Escrows = g.Escrows[:len(g.Escrows)-1] },
		"a header twice":    func(g *types.GenesisState) { g.Headers = append(g.Headers, g.Headers[0]) },
		"a region too far":  func(g *types.GenesisState) { g.Headers[0].Region = 1 },
		"a hole in time":    func(g *types.GenesisState) { g.Epochs = slices.Delete(g.Epochs, 1, 2) },
		"no vote to appeal": func(g *types.GenesisState) { g.Headers[4].Status = types.Status_STATUS_ACCEPTED },
		"no such key":       func(g *types.GenesisState) { g.Keys[0].Key = "nobody" },
	} {
		bad, err := f.k.ExportGenesis(f.ctx)
		f.must(err)
		spoil(bad)
		ctx, _ := f.ctx.CacheContext()
		empty := f.tally("spoilt")
		empty.Connect(f.devices, f.credits, f.rewards)
		if err := empty.InitGenesis(ctx, bad); err == nil {
			t.Errorf("%s is taken in", what)
		}
	}
}

// TestParams: only governance changes parameters, within bounds, and never what fixes the timetable.
func TestParams(t *testing.T) {
	f := setup(t, 1)
	p, err := f.k.Params.Get(f.ctx)
	f.must(err)
	for what, edit := range map[string]func(*types.Params){
		"epochs": func(p *types.Params) { p.EpochBlocks++ }, "regions": func(p *types.Params) { p.Regions++ },
		"window": func(p *types.Params) { p.AppealWindow++ }, "rules": func(p *types.Params) { p.Rules++ },
		"committee": func(p *types.Params) { p.Committee++ }, "no vote": func(p *types.Params) { p.VoteBlocks = 0 },
		"no bond": func(p *types.Params) { p.AppealBond = 0 }, "no claims": func(p *types.Params) { p.MaxClaims = 0 },
		"endless claims": func(p *types.Params) { p.MaxClaims = 1001 }, "more than all": func(p *types.Params) { p.EquivocationSlash = econ.Bps + 1 },
		"nobody must sign": func(p *types.Params) { p.MinSigned = 0 }, "nobody can": func(p *types.Params) { p.MinSigned = 100 },
		"endless votes": func(p *types.Params) { p.MaxVotes = 101 }, "headers that go before they are final": func(p *types.Params) { p.HeaderRetention = 5 },
		"days before hours": func(p *types.Params) { p.DailyRetention = p.HeaderRetention - 1 },
	} {
		bad := p
		edit(&bad)
		_, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: bad})
		wantReason(t, what, err, core.ParamBound)
	}
	if _, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.owner.String(), Params: p}); err == nil {
		t.Error("anybody may change parameters")
	}
	p.MaxClaims = 7
	f.do("", func(ctx context.Context) error {
		_, err := f.msg.UpdateParams(ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p})
		return err
	})
	if now, _ := f.k.Params.Get(f.ctx); now.MaxClaims != 7 {
		t.Fatal("the change did not hold")
	}
}
