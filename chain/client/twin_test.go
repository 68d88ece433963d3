package client_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
)

// pair is the real chain and its twin in memory, which must never differ: not in what they refuse, not in any amount.
type pair struct {
	t      *rapid.T
	chain  *solo.Chain
	real   *client.Client
	twin   *ledger.Memory
	made   *chain
	blocks uint64 // of an epoch

	devices  int
	next     byte                              // session key
	books    map[types.Epoch]*ledgertest.Books // as they were closed, by the epoch of their header
	headers  map[types.Epoch]*tally.Header     // as accepted
	accepted []types.Epoch

	outputs   map[types.Epoch][]tally.OutputLeaf // of headers, as accepted
	published []sheet                            // in them
}

// pairBlock is the time between blocks of a pair: long, so that certificates expire.
const pairBlock = 3 * time.Hour

const pairVerifiers = 4

func newPair(t *testing.T, rt *rapid.T) *pair {
	p := &pair{t: rt, blocks: 20, books: map[types.Epoch]*ledgertest.Books{}, headers: map[types.Epoch]*tally.Header{}, outputs: map[types.Epoch][]tally.OutputLeaf{}}
	p.made = made(t, pairVerifiers, p.blocks)
	s, err := solo.New(p.made.validators[0].Home, pairBlock)
	p.must(err)
	p.chain = s
	p.real = p.made.open(t, s)
	first, err := p.real.Epoch(t.Context(), 1)
	p.must(err)
	doc, err := rewardtypes.NewQueryClient(p.real.Context()).Params(t.Context(), &rewardtypes.QueryParamsRequest{})
	p.must(err)
	economy, err := doc.Params.Econ()
	p.must(err)
	cfg := ledger.Config{
		Chain: chainID, Blocks: p.blocks, Window: 1, Genesis: first.Time, Econ: economy, Params: first.Params,
		Interval: pairBlock,
		Modules: map[string]ledger.Module{
			certificate.Module: certificate.NewTwin(certificate.Config{ExpiryDays: expiryDays, LapseEpochs: lapseEpochs}),
		},
		Balances: map[types.Account]types.Ustone{},
	}
	for _, a := range p.made.accounts {
		cfg.Balances[a] = 100_000_000 * stone
	}
	for _, v := range p.made.verifiers {
		cfg.Balances[v.Owner] = 10_000 * stone
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: v.Key.Public(), VRF: v.VRF.Public(), Owner: v.Owner, Power: stake / stone})
	}
	p.twin = ledger.New(cfg)
	return p
}

func (p *pair) must(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Fatal(err)
	}
}

// submit sends to both, and expects them to agree. What is accepted is a block on both.
func (p *pair) submit(from types.Account, msgs ...ledger.Msg) bool {
	_, a := p.real.Submit(p.t.Context(), from, msgs...)
	_, b := p.twin.Submit(p.t.Context(), from, msgs...)
	x, y := types.ReasonOf(a), types.ReasonOf(b)
	// What is refused when it is simulated, the chain has looked at as of its newest block; the twin looks as
	// of the next one, in which a certificate may have expired, and says so before all else. It is refused both
	// ways.
	simulated := a != nil && b != nil && y == types.CertificateExpired && strings.Contains(a.Error(), "failed to simulate")
	if (x != y && !simulated) || (a == nil) != (b == nil) {
		p.t.Fatalf("%T: the chain says %v, its twin %v", msgs[0], a, b)
	}
	p.twin.AdvanceTo(p.head()) // what is taken is a block, and so is what time alone made wrong since it was simulated
	return a == nil
}

func (p *pair) head() uint64 { return p.chain.Height() }

// equal compares all that can be read.
func (p *pair) equal() {
	ctx := p.t.Context()
	real, err := p.real.Supply(ctx)
	p.must(err)
	twin, err := p.twin.Supply(ctx)
	p.must(err)
	if !real.Balanced || !twin.Balanced {
		p.t.Fatalf("unbalanced: chain %v, twin %v", real.Faults, twin.Faults)
	}
	// What a void slashes, x/staking burns whole, and the appellant's half is minted again.
	real.Minted, twin.Minted, real.Burned, twin.Burned = 0, 0, 0, 0
	p.same("supply", real, twin)
	now := types.Epoch((p.head()-1)/p.blocks) + 1
	for e := max(1, now-min(now, 3)); e <= now; e++ {
		a, errA := p.real.Header(ctx, e, 0)
		b, errB := p.twin.Header(ctx, e, 0)
		p.same(fmt.Sprint("header of ", e), view(a), view(b))
		p.same(fmt.Sprint("error of header ", e), errA == nil, errB == nil)
		x, errX := p.real.Settlement(ctx, e)
		y, errY := p.twin.Settlement(ctx, e)
		p.same(fmt.Sprint("settlement of ", e), x, y)
		p.same(fmt.Sprint("error of settlement ", e), errX == nil, errY == nil)
		s, err := p.real.Epoch(ctx, e)
		p.must(err)
		u, err := p.twin.Epoch(ctx, e)
		p.must(err)
		s.Time, u.Time = time.Time{}, time.Time{} // the chain counts in seconds
		for _, x := range []*ledger.Epoch{s, u} { // the twin lists who was jailed before the view, too
			x.Verifiers = slices.DeleteFunc(slices.Clone(x.Verifiers), func(v tally.Attester) bool { return v.Power == 0 })
		}
		p.same(fmt.Sprint("epoch ", e), s, u)
	}
	for _, a := range p.made.accounts {
		x, err := p.real.Account(ctx, a)
		p.must(err)
		y, err := p.twin.Account(ctx, a)
		p.must(err)
		p.same("account", x, y)
	}
}

// view is what of a header must be equal: the power of a vote counts who is jailed meanwhile on one side only.
func view(h *ledger.Header) any {
	if h == nil {
		return nil
	}
	c := *h
	voting := h.Voting != nil
	c.Voting, c.Bitmap = nil, nil
	return []any{c, voting}
}

func (p *pair) same(what string, a, b any) {
	if d := cmp.Diff(a, b); d != "" {
		p.t.Helper()
		p.t.Fatalf("block %d: %s (- chain, + twin):\n%s", p.head(), what, d)
	}
}

func (p *pair) key(n int) types.PrivateKey { return types.NewPrivateKey([32]byte{3, byte(n)}) }

func (p *pair) account(t *rapid.T) types.Account {
	return rapid.SampledFrom(p.made.accounts).Draw(t, "account")
}

// register adds a device.
func (p *pair) register(t *rapid.T) {
	if p.devices == 20 {
		t.Skip("enough")
	}
	owner := p.account(t)
	s := evidence.Statement{
		Chain: chainID, Device: p.key(p.devices).Public(), Owner: owner, Nonce: [16]byte{byte(p.devices)},
		Categories: []types.Category{ledgertest.Category}, Cell: 0x8a1fb46622dffff, Expiry: types.Epoch(rapid.IntRange(0, 50).Draw(t, "expiry")),
	}
	bond := types.Ustone(rapid.SampledFrom([]int{1, 30 * stone, 900_000_000 * stone}).Draw(t, "bond"))
	if p.submit(owner, ledger.Register{Statement: *s.Sign(p.key(p.devices)), Bond: bond}) {
		p.devices++
	}
}

func (p *pair) buy(t *rapid.T) {
	p.submit(p.account(t), ledger.Buy{
		Amount: types.Ustone(rapid.Uint64Range(1, 50*stone).Draw(t, "amount")), Min: types.Credit(rapid.SampledFrom([]int{0, 0, 0, 20_000_000}).Draw(t, "min")),
	})
}

func (p *pair) send(t *rapid.T) {
	p.submit(p.account(t), ledger.Send{To: p.account(t), Amount: types.Ustone(rapid.Uint64Range(1, 200_000_000*stone).Draw(t, "amount"))})
}

func (p *pair) advance(t *rapid.T) {
	n := uint64(rapid.IntRange(1, 24).Draw(t, "blocks"))
	if len(p.votes()) > 0 {
		n = min(n, p.blocks/2-2)
	}
	p.to(p.head() + n)
}

// votes returns the epochs on whose headers a vote is open.
func (p *pair) votes() (open []types.Epoch) {
	for _, e := range p.accepted {
		h, err := p.twin.Header(p.t.Context(), e, 0)
		p.must(err)
		if h.Voting != nil {
			open = append(open, e)
		}
	}
	return open
}

// attend lets the first two verifiers vote against each other wherever they have not, so that they are never
// jailed: the chain spares its last validator, and the twin does not.
func (p *pair) attend() {
	for _, e := range p.votes() {
		for i, v := range p.made.verifiers[:2] {
			h, err := p.twin.Header(p.t.Context(), e, 0)
			p.must(err)
			jailed, _ := p.twin.Jailed(v.Key.Public())
			if jailed || h.Voting == nil || slices.Contains(h.Voting.Voted, v.Key.Public()) {
				continue
			}
			sig := v.Key.Sign("vote", chainID, evidence.VoteBytes(h.Hash, i == 0))
			p.submit(p.made.accounts[0], ledger.Vote{Epoch: e, Yes: i == 0, Key: v.Key.Public(), Sig: sig})
		}
	}
}

func (p *pair) to(height uint64) {
	p.must(p.chain.AdvanceTo(height))
	p.twin.AdvanceTo(height)
}

// last returns the newest header that stands, by the books.
func (p *pair) last() types.Epoch {
	for len(p.accepted) > 0 {
		e := p.accepted[len(p.accepted)-1]
		h, err := p.twin.Header(p.t.Context(), e, 0)
		p.must(err)
		if h.Status != ledger.Voided {
			return e
		}
		p.accepted = p.accepted[:len(p.accepted)-1]
	}
	return 0
}

// commit closes the books of the epoch whose rounds are on, and hands its header in.
func (p *pair) commit(t *rapid.T) {
	ctx := p.t.Context()
	e := types.Epoch(p.head() / p.blocks) // of the next block, less one
	if e == 0 {
		t.Skip("nothing was cut")
	}
	ep, err := p.twin.Epoch(ctx, e)
	p.must(err)
	round, ok := ep.RoundAt(p.head() + 1)
	if !ok || len(ep.Leaders) == 0 {
		t.Skip("between rounds")
	}
	b := ledgertest.NewBooks()
	if last := p.last(); last != 0 {
		b = p.books[last].Copy()
		s, err := p.twin.Settlement(ctx, last)
		p.must(err)
		p.must(b.Fold(s))
	}
	for i := range p.devices {
		l := b.Line(p.key(i).Public())
		l.Paid += types.Credit(rapid.SampledFrom([]int{0, 1, 77_777, 1_234_567}).Draw(t, "paid"))
		l.Weight = types.U64(rapid.SampledFrom([]uint64{0, 1, 1 << 59}).Draw(t, "weight"))
		l.Penalty += types.Ustone(rapid.SampledFrom([]int{0, 0, 0, 0, 3 * stone}).Draw(t, "penalty"))
	}
	if rapid.IntRange(0, 9).Draw(t, "greedy") == 0 && p.devices > 0 {
		b.Line(p.key(0).Public()).Amount++
	}
	h, err := b.Header(chainID, ep, round, p.vrf(ep.Leaders[0][round]))
	p.must(err)
	who := rapid.SliceOfNDistinct(rapid.IntRange(0, pairVerifiers-1), 2, pairVerifiers, rapid.ID[int]).Draw(t, "signers")
	if p.both(h, who, func(bitmap []byte, sigs []types.Signature) ledger.Msg {
		return ledger.Commit{Header: h.Encode(), Bitmap: bitmap, Signatures: sigs}
	}) {
		p.books[e], p.headers[e] = b, h
		p.accepted = append(p.accepted, e)
	}
}

func (p *pair) vrf(leader types.Key) types.PrivateKey {
	for _, v := range p.made.verifiers {
		if v.Key.Public() == leader {
			return v.VRF
		}
	}
	p.t.Fatalf("leader %v is nobody's", leader)
	return types.PrivateKey{}
}

// both submits what some verifiers sign: their places in the bitmap may differ, because the twin lists who has
// no power.
func (p *pair) both(h *tally.Header, who []int, msg func([]byte, []types.Signature) ledger.Msg) bool {
	var reasons []types.Reason
	var fine []bool
	for _, l := range []ledger.Ledger{p.real, p.twin} {
		ep, err := l.Epoch(p.t.Context(), h.Epoch)
		p.must(err)
		bitmap := make([]byte, (len(ep.Verifiers)+7)/8)
		hash := h.Hash()
		var sigs []types.Signature
		for i, seat := range ep.Verifiers {
			for _, n := range who {
				if v := p.made.verifiers[n]; v.Key.Public() == seat.Key {
					bitmap[i/8] |= 1 << (i % 8)
					sigs = append(sigs, v.Key.Sign("header", chainID, hash[:]))
				}
			}
		}
		_, err = l.Submit(p.t.Context(), p.made.accounts[0], msg(bitmap, sigs))
		reasons, fine = append(reasons, types.ReasonOf(err)), append(fine, err == nil)
		if fine[0] != (err == nil) || reasons[0] != types.ReasonOf(err) {
			p.t.Fatalf("block %d: the chain says %v %q, its twin %v", p.head(), fine[0], reasons[0], err)
		}
	}
	if fine[1] {
		p.twin.Advance(1)
	}
	return fine[1]
}

func (p *pair) recent(t *rapid.T) types.Epoch {
	if len(p.accepted) == 0 {
		t.Skip("no header yet")
	}
	return rapid.SampledFrom(p.accepted[max(0, len(p.accepted)-4):]).Draw(t, "epoch")
}

func (p *pair) addSignatures(t *rapid.T) {
	e := p.recent(t)
	who := rapid.SliceOfNDistinct(rapid.IntRange(0, pairVerifiers-1), 1, pairVerifiers, rapid.ID[int]).Draw(t, "signers")
	p.both(p.headers[e], who, func(bitmap []byte, sigs []types.Signature) ledger.Msg {
		return ledger.AddSignatures{Epoch: e, Bitmap: bitmap, Signatures: sigs}
	})
}

func (p *pair) appeal(t *rapid.T) {
	if len(p.votes()) > 0 {
		t.Skip("with several votes, who is jailed for one has no power in the others: the twin counts it")
	}
	p.submit(p.account(t), ledger.Appeal{Epoch: p.recent(t)})
}

// vote lets all who may vote on one header, one way, sometimes one short of enough.
func (p *pair) vote(t *rapid.T) {
	e := p.recent(t)
	h := p.headers[e]
	yes := rapid.Bool().Draw(t, "yes")
	for i, v := range p.made.verifiers[rapid.IntRange(0, 2).Draw(t, "from"):rapid.IntRange(3, pairVerifiers).Draw(t, "to")] {
		if jailed, _ := p.twin.Jailed(v.Key.Public()); jailed {
			continue // in the twin, whoever was jailed in this epoch still votes
		}
		sig := v.Key.Sign("vote", chainID, evidence.VoteBytes(h.Hash(), yes))
		p.submit(p.made.accounts[i%3], ledger.Vote{Epoch: e, Yes: yes, Key: v.Key.Public(), Sig: sig})
	}
}

// claim claims for some devices, against one header.
func (p *pair) claim(t *rapid.T) {
	if p.devices == 0 {
		t.Skip("no device")
	}
	e := p.recent(t)
	var list []ledger.Claim
	for range rapid.IntRange(1, 3).Draw(t, "claims") {
		c, err := p.books[e].Claim(e, p.key(rapid.IntRange(0, p.devices-1).Draw(t, "device")).Public())
		if err != nil {
			t.Skip("registered since")
		}
		if rapid.IntRange(0, 9).Draw(t, "forge") == 0 {
			c.Leaf.Amount++
		}
		list = append(list, c)
	}
	p.submit(p.account(t), ledger.Claims{Claims: list})
}

// equivocate shows two headers of one verifier, or the same one twice.
func (p *pair) equivocate(t *rapid.T) {
	if rapid.IntRange(0, 19).Draw(t, "rarely") != 0 || len(p.votes()) > 0 {
		t.Skip("not this time")
	}
	a := p.headers[p.recent(t)]
	b := *a
	if rapid.Bool().Draw(t, "two") {
		b.State[0] ^= 1
	}
	liar := p.made.verifiers[3].Key
	ep, err := p.real.Epoch(p.t.Context(), a.Epoch)
	p.must(err)
	if !slices.ContainsFunc(ep.Verifiers, func(v tally.Attester) bool { return v.Key == liar.Public() }) {
		t.Skip("jailed before: the chain does not list it, the twin does")
	}
	ha, hb := a.Hash(), b.Hash()
	p.submit(p.account(t), ledger.Equivocation{
		Verifier: liar.Public(), A: a.Encode(), B: b.Encode(), SigA: liar.Sign("header", chainID, ha[:]), SigB: liar.Sign("header", chainID, hb[:]),
	})
}

// TestTwin lets the chain and its twin in memory live through the same lives: headers in any round or none,
// appeals, votes, voids, claims good and bad, in any order. After each step everything that can be read of both
// is equal, to the ustone.
func TestTwin(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		f.Value.Set("10") // each check is a chain; ask for more with -rapid.checks
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := newPair(t, rt)
		defer p.chain.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				p.attend()
				p.equal()
			},
			"register": p.register, "buy": p.buy, "send": p.send, "advance": p.advance, "advance again": p.advance,
			"commit": p.commit, "commit again": p.commit, "commit once more": p.commit, "add signatures": p.addSignatures,
			"appeal": p.appeal, "vote": p.vote, "claim": p.claim, "claim again": p.claim, "equivocate": p.equivocate,
		})
	})
}
