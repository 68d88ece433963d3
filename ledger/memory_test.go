package ledger_test

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

func open(_ *testing.T, verifiers, regions int) *ledgertest.Network {
	return ledgertest.Memory(verifiers, regions, nil)
}

func TestMemory(t *testing.T) { ledgertest.Run(t, open) }

// TestSkipsAndVoids: skips and voids at any epoch, in any order, neither pay twice nor wedge the region, and
// the supply balances after every step.
func TestSkipsAndVoids(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := open(t, 4, 1)
		p := &play{t: rt, Network: n, m: n.Ledger.(*ledger.Memory), books: ledgertest.NewBooks(), snapshots: map[types.Epoch]*ledgertest.Books{}}
		p.snapshots[0] = p.books.Copy()
		p.begin()
		for e := types.Epoch(1); e <= 8; e++ {
			p.epoch(e)
		}
		for e := types.Epoch(9); e <= 12; e++ { // not wedged: headers come, become final, and everything can be claimed
			p.commit(e, 0)
		}
		p.m.AdvanceTo(14 * 20)
		p.balanced()
		p.claim(p.books.Last)
		s, err := p.m.Supply(t.Context())
		if err != nil || s.Claimed != s.Amount {
			rt.Fatalf("claimed %d of %d, %v", s.Claimed, s.Amount, err)
		}
	})
}

// play is a network that goes through random epochs.
type play struct {
	*ledgertest.Network
	t         *rapid.T
	m         *ledger.Memory
	books     *ledgertest.Books
	snapshots map[types.Epoch]*ledgertest.Books // after the header of each epoch that stands
	devices   []types.Key
}

func (p *play) submit(from types.Account, msgs ...ledger.Msg) {
	if _, err := p.m.Submit(p.context(), from, msgs...); err != nil {
		p.t.Fatal(err)
	}
	p.balanced()
}

func (p *play) balanced() {
	if s, err := p.m.Supply(p.context()); err != nil || !s.Balanced {
		p.t.Fatalf("supply: %+v, %v", s, err)
	}
}

func (p *play) context() context.Context { return context.Background() }

func (p *play) begin() {
	p.submit(p.Accounts[0], ledger.Buy{Amount: 10_000_000_000})
	for i := range byte(3) {
		key := types.NewPrivateKey([32]byte{3, i})
		st := evidence.Statement{
			Chain: p.m.Chain(), Device: key.Public(), Owner: p.Accounts[0], Categories: []types.Category{ledgertest.Category}, Expiry: 99,
		}
		p.submit(p.Accounts[0], ledger.Register{Statement: *st.Sign(key), Bond: 1_000_000})
		p.devices = append(p.devices, key.Public())
	}
}

// epoch plays one: a header in some round or none, perhaps an appeal with either outcome, perhaps a claim.
func (p *play) epoch(e types.Epoch) {
	if rapid.IntRange(0, 3).Draw(p.t, "skip") == 0 {
		p.m.AdvanceTo(uint64(e)*20 + 17)
		p.balanced()
		return
	}
	p.commit(e, rapid.IntRange(0, 3).Draw(p.t, "round"))
	p.m.AdvanceTo(uint64(e)*20 + 17)
	target := types.Epoch(rapid.IntRange(1, int(e)).Draw(p.t, "appeal"))
	h, err := p.m.Header(p.context(), target, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	if h.Status == ledger.Accepted && h.FinalAt > uint64(e)*20+18 {
		yes := rapid.Bool().Draw(p.t, "yes")
		p.submit(p.Accounts[1], ledger.Appeal{Epoch: target})
		for _, v := range p.Verifiers[:3] {
			sig := v.Key.Sign("vote", p.m.Chain(), evidence.VoteBytes(h.Hash, yes))
			p.submit(p.Accounts[2], ledger.Vote{Epoch: target, Yes: yes, Key: v.Key.Public(), Sig: sig})
		}
		if !yes {
			for k := range p.snapshots {
				if k >= target {
					delete(p.snapshots, k)
				}
			}
			p.books = p.snapshots[h.Previous].Copy()
		}
	}
	if rapid.Bool().Draw(p.t, "claim") {
		for k := e; k > 0; k-- {
			if h, err := p.m.Header(p.context(), k, 0); err == nil && h.Status == ledger.Final {
				p.claim(k)
				break
			}
		}
	}
}

// commit closes the books of e, with something newly paid.
func (p *play) commit(e types.Epoch, round int) {
	p.m.AdvanceTo(uint64(e)*20 + 4*uint64(round))
	p.balanced()
	if p.books.Last != 0 {
		s, err := p.m.Settlement(p.context(), p.books.Last)
		if err == nil {
			err = p.books.Fold(s)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	for _, d := range p.devices {
		p.books.Line(d).Paid += types.Credit(rapid.IntRange(0, 50_000).Draw(p.t, "paid"))
	}
	ep, err := p.m.Epoch(p.context(), e)
	if err != nil {
		p.t.Fatal(err)
	}
	var vrf types.PrivateKey
	for _, v := range p.Verifiers {
		if v.Key.Public() == ep.Leaders[0][round] {
			vrf = v.VRF
		}
	}
	h, err := p.books.Header(p.m.Chain(), ep, uint8(round), vrf)
	if err != nil {
		p.t.Fatal(err)
	}
	msg := ledger.Commit{Header: h.Encode(), Bitmap: []byte{0}}
	hash := h.Hash()
	for i, seat := range ep.Verifiers {
		for _, v := range p.Verifiers {
			if v.Key.Public() == seat.Key {
				msg.Bitmap[0] |= 1 << i
				msg.Signatures = append(msg.Signatures, v.Key.Sign("header", p.m.Chain(), hash[:]))
			}
		}
	}
	p.submit(p.Accounts[2], msg)
	p.snapshots[e] = p.books.Copy()
}

// claim claims for all devices against the header of e.
func (p *play) claim(e types.Epoch) {
	var claims []ledger.Claim
	for _, d := range p.devices {
		if c, err := p.snapshots[e].Claim(e, d); err == nil {
			claims = append(claims, c)
		}
	}
	_, err := p.m.Submit(p.context(), p.Accounts[2], ledger.Claims{Claims: claims})
	if err != nil && types.ReasonOf(err) != types.AlreadyClaimed {
		p.t.Fatal(err)
	}
	p.balanced()
}
