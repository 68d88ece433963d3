package client_test

import (
	"encoding/binary"
	"testing"

	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// numbered is the key of device n: nobody has to sign for it.
func numbered(n int) (k types.Key) {
	k[0] = 0xd
	binary.BigEndian.PutUint32(k[1:], uint32(n))
	return k
}

// period has verifiers tally an epoch of that many devices, each of which was paid something.
type period struct {
	t      testing.TB
	made   *chain
	blocks uint64 // of an epoch
	chain  *solo.Chain
	real   *client.Client
	books  *ledgertest.Books
}

func newPeriod(t testing.TB, devices int) *period {
	const blocks = 20
	c := made(t, 4, blocks)
	p := &period{t: t, made: c, blocks: blocks, chain: c.solo(t), books: ledgertest.NewBooks()}
	p.real = c.open(t, p.chain)
	for i := range devices {
		p.books.Line(numbered(i))
	}
	_, err := p.real.Submit(t.Context(), c.accounts[0], ledger.Buy{Amount: 1_000_000 * stone})
	p.must(err)
	return p
}

func (p *period) must(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Fatal(err)
	}
}

// commit closes epoch e in round 0, after devices were paid a dollar together, and returns the header.
func (p *period) commit(e types.Epoch) *tally.Header { return p.commitAt(e, 0) }

// commitAt is commit in any round.
func (p *period) commitAt(e types.Epoch, round uint8) *tally.Header {
	ctx := p.t.Context()
	p.must(p.chain.AdvanceTo(uint64(e) * p.blocks))
	ep, err := p.real.Epoch(ctx, e)
	p.must(err)
	if p.books.Last != 0 {
		s, err := p.real.Settlement(ctx, p.books.Last)
		p.must(err)
		p.must(p.books.Fold(s))
	}
	for _, l := range p.books.Lines {
		l.Paid += 1_000_000 / types.Credit(len(p.books.Lines)) // the same in all, however many share it
	}
	h, msg := p.made.signed(p.t, p.books, ep, round)
	_, err = p.real.Submit(ctx, p.made.accounts[0], msg)
	p.must(err)
	return h
}

// signed returns the header of the books in a round, and what commits it, signed by all verifiers.
func (c *chain) signed(t testing.TB, books *ledgertest.Books, ep *ledger.Epoch, round uint8) (*tally.Header, ledger.Commit) {
	t.Helper()
	var vrf types.PrivateKey
	for _, v := range c.verifiers {
		if v.Key.Public() == ep.Leaders[0][round] {
			vrf = v.VRF
		}
	}
	h, err := books.Header(chainID, ep, round, vrf)
	if err != nil {
		t.Fatal(err)
	}
	hash := h.Hash()
	msg := ledger.Commit{Header: h.Encode(), Bitmap: make([]byte, (len(ep.Verifiers)+7)/8)}
	for i, seat := range ep.Verifiers {
		for _, v := range c.verifiers {
			if v.Key.Public() == seat.Key {
				msg.Bitmap[i/8] |= 1 << (i % 8)
				msg.Signatures = append(msg.Signatures, v.Key.Sign("header", chainID, hash[:]))
			}
		}
	}
	return h, msg
}

// TestCost: what an epoch takes of the chain does not depend on how many devices were counted in it.
func TestCost(t *testing.T) {
	type cost struct{ gas, bytes int64 }
	var all []cost
	sizes := []int{10, 1_000, 100_000}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, devices := range sizes {
		p := newPeriod(t, devices)
		var before cost
		for e := types.Epoch(1); e <= 4; e++ {
			if e == 2 {
				before.gas, before.bytes = p.chain.Used()
			}
			p.commit(e)
		}
		gas, bytes := p.chain.Used()
		all = append(all, cost{(gas - before.gas) / 3, (bytes - before.bytes) / 3})
		t.Logf("%d devices: %d gas, %d bytes an epoch", devices, all[len(all)-1].gas, all[len(all)-1].bytes)
	}
	// Only integers of other lengths differ: counts and amounts in the header, each at most 8 bytes longer.
	for i := 1; i < len(all); i++ {
		if d := all[i].bytes - all[0].bytes; d > 60 || d < -60 {
			t.Errorf("%d bytes at %d devices, %d at %d", all[i].bytes, sizes[i], all[0].bytes, sizes[0])
		}
		if d := all[i].gas - all[0].gas; d*50 > all[0].gas || d*50 < -all[0].gas {
			t.Errorf("%d gas at %d devices, %d at %d", all[i].gas, sizes[i], all[0].gas, sizes[0])
		}
	}
}
