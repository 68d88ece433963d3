package verifier

import (
	"os"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestSkip: with two of four away the epoch is skipped; what lasts of it counts in the next, what does not is lost.
func TestSkip(t *testing.T) {
	testNetwork(t, 4, 2, func(n *network) {
		d := n.device[0]
		d.send(append(d.receipt(1000), evidenceItem(d.envelope(reading, nil)), evidenceItem(d.envelope(lasting, nil)))...)
		n.stop(0)
		n.stop(1)
		n.toEpoch(3)
		for n.header(2).Status == ledger.Open {
			n.block()
		}
		if got := n.header(2); got.Status != ledger.Skipped {
			t.Fatalf("epoch 2 is %s", got.Status)
		}
		n.start(0)
		n.start(1)
		d.send(evidenceItem(d.envelope(reading, nil)))
		h := n.accepted(3)
		if h.Totals.Spent != 1000 || n.weight(h) != 2 || h.Totals.Counted != 4 || h.Totals.Refused != 0 {
			t.Fatalf("after the skip: spent %d, weight %d, counted %d, refused %d", h.Totals.Spent, n.weight(h), h.Totals.Counted, h.Totals.Refused)
		}
		if next := n.accepted(4); next.Totals.Spent != 1000 || next.Totals.Counted != 0 {
			t.Fatalf("counted twice: %+v", next.Totals)
		}
		n.balanced()
	})
}

// TestKill kills one verifier, the leader of round 0, at each block around the cut, and starts it again a block later. Nothing that
// was acknowledged is lost or counted twice, and nobody signs twice.
func TestKill(t *testing.T) {
	for _, verifiers := range []int{1, 4} {
		for at := range 7 {
			testNetwork(t, verifiers, 2, func(n *network) {
				victim := n.leader(2, 0)
				items := n.sendAll()
				n.toHeight(uint64(38 + at))
				n.stop(victim)
				n.block()
				n.start(victim)
				h := n.accepted(2)
				if h.Totals.Counted != uint64(items) || h.Totals.Spent != 2000 {
					t.Fatalf("%d verifiers, killed at block %d: counted %d of %d, spent %d", verifiers, 38+at, h.Totals.Counted, items, h.Totals.Spent)
				}
				if _, out := n.chain.Jailed(n.peers[victim].v.Key()); out {
					t.Fatalf("killed at block %d: it equivocated", 38+at)
				}
				n.sendAll()
				if h := n.accepted(3); h.Totals.Spent != 4000 || h.Round != 0 {
					t.Fatalf("killed at block %d: the next header: round %d, %+v", 38+at, h.Round, h.Totals)
				}
			})
		}
	}
}

// TestTornLog: a log whose last record was cut short loses that one only, of which nobody had an ack.
func TestTornLog(t *testing.T) {
	testNetwork(t, 1, 2, func(n *network) {
		items := n.sendAll()
		p := n.peers[0]
		n.stop(0)
		path := basketPath(p.cfg.Dir, 2)
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte{0, 0, 1, 0, 9, 9, 9, 9, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		f.Close()
		n.start(0)
		d := n.device[0]
		d.send(evidenceItem(d.envelope(reading, nil)))
		if h := n.accepted(2); h.Totals.Counted != uint64(items)+1 {
			t.Fatalf("counted %d, want %d", h.Totals.Counted, items+1)
		}
	})
}

// TestCatchUp: a verifier that was away for epochs recomputes them; one that lost its disk starts from the last final state.
func TestCatchUp(t *testing.T) {
	for _, lost := range []bool{false, true} {
		testNetwork(t, 4, 2, func(n *network) {
			n.sendAll()
			n.accepted(2)
			away := 3
			n.stop(away)
			for e := types.Epoch(3); e <= 6; e++ {
				n.toEpoch(e)
				n.sendAll()
				n.accepted(e)
			}
			if lost {
				if err := os.RemoveAll(n.peers[away].cfg.Dir); err != nil {
					t.Fatal(err)
				}
			}
			n.start(away)
			for range 10 {
				n.block()
			}
			h := n.header(6)
			if n.peers[away].v.stateOf(h) == nil {
				t.Fatalf("lost disk: %v: it did not catch up", lost)
			}
			n.toEpoch(8)
			n.sendAll()
			n.accepted(8)
			n.toEpoch(9)
			n.toHeight(n.height() + 6)
			ep, _ := n.chain.Epoch(n.ctx, 8)
			if got := n.header(8); got.Signed != ep.Power() {
				t.Fatalf("lost disk: %v: %d of %d signed", lost, got.Signed, ep.Power())
			}
		})
	}
}

// TestSlowPeer: a verifier whose rounds stand still delays nobody, and adds its signature later.
func TestSlowPeer(t *testing.T) {
	testNetwork(t, 4, 2, func(n *network) {
		slow := n.leader(2, 3)
		n.peers[slow].v.Rounds.Pause()
		items := n.sendAll()
		if h := n.accepted(2); h.Round != 0 || h.Totals.Counted != uint64(items) {
			t.Fatalf("header: %+v", h)
		}
		n.peers[slow].v.Rounds.Resume()
		for range 3 {
			n.block()
		}
		ep, _ := n.chain.Epoch(n.ctx, 2)
		if got := n.header(2); got.Signed != ep.Power() {
			t.Fatalf("%d of %d signed", got.Signed, ep.Power())
		}
	})
}

// TestQueries: notices are believed, and what devices ask is answered.
func TestQueries(t *testing.T) {
	testNetwork(t, 4, 2, func(n *network) {
		d := n.device[0]
		ep, _ := n.chain.Epoch(n.ctx, 2)
		follower := bus.NewFollower(bus.Pin{Chain: testChain, Epoch: 1, Set: bus.SetOf(ep.Verifiers)})
		err := d.link.SubscribeLast(n.ctx, bus.NoticeSubject(types.Key{}, 0), func(m bus.Message) {
			if _, err := follower.Take(m.Data); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		d.send(append(d.receipt(1000), evidenceItem(d.envelope(reading, nil)))...)
		over := d.receipt(1 << 30) // more than was bought
		d.send(over...)
		n.accepted(2)
		n.toEpoch(6)
		n.toHeight(n.height() + 5)
		notice := follower.Newest()
		if notice == nil || notice.Epoch != 6 || notice.Seed.IsZero() || notice.Final.Epoch < 2 || len(notice.Blocks) != bus.MaxBlocks {
			t.Fatalf("notice: %+v", notice)
		}

		raw, err := d.link.Request(n.ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryProof), bus.Encode(&bus.ProofQuery{Chain: testChain, Device: d.key.Public()}))
		if err != nil {
			t.Fatal(err)
		}
		proof, err := bus.Decode[bus.Proof](raw, testChain)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.Check(d.key.Public(), notice.Final); err != nil {
			t.Fatal(err)
		}

		raw, err = d.link.Request(n.ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryPayers), bus.Encode(&bus.PayersQuery{Chain: testChain, Payers: []types.Key{n.payer.Public()}}))
		if err != nil {
			t.Fatal(err)
		}
		payers, _, err := bus.Open[bus.Payers](raw, testChain)
		account, _ := n.chain.Account(n.ctx, n.owner)
		if err != nil || len(payers.Lines) != 1 || payers.Lines[0].Account != n.owner || payers.Lines[0].Spent != account.Bought || payers.Lines[0].Balance != 0 {
			t.Fatalf("payers: %+v, %v", payers, err)
		}

		raw, err = d.link.Request(n.ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryRefusals), bus.Encode(&bus.RefusalsQuery{Chain: testChain, Author: d.key.Public(), Epoch: 2}))
		if err != nil {
			t.Fatal(err)
		}
		refusals, _, err := bus.Open[bus.Refusals](raw, testChain)
		if err != nil || len(refusals.Refused) == 0 || len(refusals.Quality) != 1 || refusals.Quality[0].Bp != 10_000 {
			t.Fatalf("refusals: %+v, %v", refusals, err)
		}
	})
}
