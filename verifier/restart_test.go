package verifier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestSkip: with two of four away the epoch is skipped; what lasts of it counts in the next, what does not is lost.
func TestSkip(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
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

// TestSkipAndLeave: a device leaves after an epoch that is skipped. What lasted of it, and only some verifiers
// acknowledged, is in nobody's way, whoever leads; what lasted of a device that is still there counts.
func TestSkipAndLeave(t *testing.T) {
	for _, who := range [][]int{{0, 1}, {2, 3}} {
		testNetwork(t, 4, 2, func(t *testing.T, n *network) {
			left, stays := n.device[0], n.device[1]
			left.sendTo(who, append(left.receipt(1000), evidenceItem(left.envelope(lasting, nil)))...)
			stays.sendTo(who, append(stays.receipt(500), evidenceItem(stays.envelope(lasting, nil)))...)
			n.submit(n.owner, ledger.Unbond{Device: left.key.Public()})
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
			h := n.accepted(3)
			if h.Round != 0 || h.Totals.Spent != 500 || h.Totals.Counted != 3 || h.Totals.Refused != 0 {
				t.Fatalf("acknowledged by %v: round %d, spent %d, counted %d, refused %d", who, h.Round, h.Totals.Spent, h.Totals.Counted, h.Totals.Refused)
			}
			n.balanced()
		})
	}
}

// TestKill kills one verifier, the leader of round 0, at each block around the cut, and starts it again a block
// later. Nothing that was acknowledged is lost or counted twice, and nobody signs twice.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, verifiers := range []int{1, 4} {
		for at := range 7 {
			testNetwork(t, verifiers, 2, func(t *testing.T, n *network) {
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
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		items := n.sendAll()
		p := n.peers[0]
		n.stop(0)
		path := mempoolPath(p.cfg.Dir, 2)
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

// TestCatchUp: a verifier that was away for epochs recomputes them; one that lost its disk starts from the last
// final state.
func TestCatchUp(t *testing.T) {
	for _, lost := range []bool{false, true} {
		testNetwork(t, 4, 2, func(t *testing.T, n *network) {
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
			if n.peers[away].v.archive.state(h) == nil {
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
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
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
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
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

// trap is a link that dies at the first message of a kind: right before it is sent, or right after.
type trap struct {
	bus.Bus
	prefix string
	after  bool
	dead   *atomic.Bool
}

var errDead = errors.New("killed")

func (b trap) PublishLast(ctx context.Context, subject string, data []byte) error {
	if b.dead.Load() {
		return errDead
	}
	if strings.HasPrefix(subject, b.prefix) {
		b.dead.Store(true)
		if !b.after {
			return errDead
		}
		if err := b.Bus.PublishLast(ctx, subject, data); err != nil {
			return err
		}
		return errDead
	}
	return b.Bus.PublishLast(ctx, subject, data)
}

// TestKillAtMessage kills a verifier right before and right after each message of the agreement, the leader and
// a follower, and starts it again: what was acknowledged counts once, and nobody signs twice.
func TestKillAtMessage(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"last.held.", "last.handover.", "last.proposal.", "last.signature."} {
		for _, after := range []bool{false, true} {
			for _, role := range []int{0, 3} { // who leads round 0, and who leads the last
				if leads := kind == "last.held." || kind == "last.proposal."; leads != (role == 0) && kind != "last.signature." {
					continue
				}
				testNetwork(t, 4, 2, func(t *testing.T, n *network) {
					victim := n.leader(2, role)
					if role == 3 && victim == n.leader(2, 0) {
						t.Fatal("one verifier leads two rounds")
					}
					n.stop(victim)
					dead := new(atomic.Bool)
					n.peers[victim].wrap = func(b bus.Bus) bus.Bus { return trap{b, kind, after, dead} }
					n.start(victim)
					items := n.sendAll()
					for n.toEpoch(3); !dead.Load(); n.block() {
						if n.height() > 46 {
							t.Fatalf("%s was never sent", kind)
						}
					}
					n.stop(victim)
					n.peers[victim].wrap = nil
					n.start(victim)
					if h := n.accepted(2); h.Totals.Counted != uint64(items) || h.Totals.Spent != 2000 {
						t.Fatalf("%s, after: %v: round %d, counted %d of %d", kind, after, h.Round, h.Totals.Counted, items)
					}
					n.sendAll()
					if h := n.accepted(3); h.Totals.Spent != 4000 || h.Round != 0 {
						t.Fatalf("%s, after: %v: the next header: round %d, %+v", kind, after, h.Round, h.Totals)
					}
					for _, p := range n.peers {
						if _, out := n.chain.Jailed(p.v.Key()); out {
							t.Fatalf("%s, after: %v: somebody equivocated", kind, after)
						}
					}
				})
			}
		}
	}
}

// TestPrune: disk does not grow with epochs, and what is left is enough to start again.
func TestPrune(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		p := n.peers[0]
		n.stop(0)
		p.cfg.Keep = 1
		n.start(0)
		for e := types.Epoch(2); e <= 10; e++ {
			n.toEpoch(e)
			n.sendAll()
			n.accepted(e)
		}
		n.toEpoch(12)
		count := func(pattern string) int {
			list, err := filepath.Glob(filepath.Join(p.cfg.Dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if logs, folders := count("intake-*.log"), count("blobs/*"); logs > 6 || folders > 6 {
			t.Fatalf("%d logs, %d folders of blobs", logs, folders)
		}
		if _, err := p.v.Report(n.header(3).Hash); types.ReasonOf(err) != types.UnknownBlob {
			t.Fatalf("an old report: %v", err)
		}
		if r, err := p.v.Report(n.header(10).Hash); err != nil || len(r.Authors) != 2 || len(r.Devices) != 2 {
			t.Fatalf("the newest report: %+v, %v", r, err)
		}
		n.stop(0)
		n.start(0)
		n.sendAll()
		if h := n.accepted(12); h.Totals.Spent != 20_000 {
			t.Fatalf("after a restart: %+v", h.Totals)
		}
	})
}

// TestJoin: a new validator's verifier starts from the last final state, and signs once its power counts.
func TestJoin(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		n.sendAll()
		n.accepted(2)
		cfg := n.peers[0].cfg
		cfg.Dir, cfg.Account = filepath.Join(t.TempDir(), "new"), types.Account{0xb, 99}
		cfg.Key, cfg.VRF = types.NewPrivateKey([32]byte{1, 99}), types.NewPrivateKey([32]byte{2, 99})
		n.chain.AddVerifier(tally.Attester{Key: cfg.Key.Public(), VRF: cfg.VRF.Public(), Owner: cfg.Account, Power: 1000})
		n.toEpoch(6)
		n.peers = append(n.peers, &peer{cfg: cfg, ledger: n.chain, rules: []tally.Verifier{work}})
		n.start(4)
		n.toEpoch(7)
		items := n.sendAll()
		if h := n.accepted(7); h.Totals.Counted != uint64(items) {
			t.Fatalf("counted %d of %d", h.Totals.Counted, items)
		}
		n.toHeight(n.height() + 4)
		ep, _ := n.chain.Epoch(n.ctx, 7)
		if got := n.header(7); len(ep.Verifiers) != 5 || ep.Power() != 5000 || got.Signed != 5000 {
			t.Fatalf("%d of %d signed", got.Signed, ep.Power())
		}
	})
}

// pruned is the chain as a node shows it that came by its state from a snapshot, or whose chain began from an
// export: of blocks it has the hashes that the state keeps.
type pruned struct {
	*ledger.Memory
}

// Hashes implements ledger.Reader.
func (l pruned) Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error) {
	p, err := readPath(ctx, l.Memory, 0, 1000)
	if err != nil {
		return nil, err
	}
	floor := uint64(1)
	if p.final != nil { // of the tally that follows the last final header
		floor = tally.FrameStart(uint64(p.final.Epoch)*20+1, uint64(p.final.Epoch+1)*20, evidence.MaxAnchorAge)
	}
	if from < floor {
		return nil, fmt.Errorf("block %d: %w", from, ledger.ErrNotFound)
	}
	return l.Memory.Hashes(ctx, from, to)
}

// TestPrunedNode: a verifier whose own chain node has no old blocks starts from the last final state, also
// while the region's first header is still on its path, and signs within two epochs. One that was away too long
// for a replay does the same. Nobody appeals because of what its own node cannot say.
func TestPrunedNode(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		testNetwork(t, 4, 2, func(t *testing.T, n *network) {
			n.sendAll()
			n.accepted(2)
			const away, until = 3, 12
			n.stop(away)
			for e := types.Epoch(3); e <= until; e++ {
				n.toEpoch(e)
				n.sendAll()
				n.accepted(e)
			}
			p := n.peers[away]
			if !kept {
				if err := os.RemoveAll(p.cfg.Dir); err != nil {
					t.Fatal(err)
				}
			}
			p.ledger = pruned{n.chain}
			n.start(away)
			n.toEpoch(until + 2)
			n.sendAll()
			n.accepted(until + 2)
			for range 4 {
				n.block()
			}
			ep, _ := n.chain.Epoch(n.ctx, until+2)
			if got := n.header(until + 2); got.Signed != ep.Power() {
				t.Fatalf("its own states kept: %v: %d of %d signed", kept, got.Signed, ep.Power())
			}
			for e := types.Epoch(2); e < until; e++ {
				if s := n.header(e).Status; s != ledger.Final {
					t.Errorf("its own states kept: %v: epoch %d is %s", kept, e, s)
				}
			}
			n.balanced()
		})
	}
}
