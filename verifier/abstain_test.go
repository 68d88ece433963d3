package verifier

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// halting is a chain node that says where the chain stands, and while it is ill nothing of what a tally takes
// in: it was pruned, it is still syncing, or its store is damaged.
type halting struct {
	*ledger.Memory
	ill *atomic.Bool
}

var errIll = types.Refuse(types.NotFound, "the node does not have it")

func (l halting) Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error) {
	if l.ill.Load() {
		return nil, errIll
	}
	return l.Memory.Hashes(ctx, from, to)
}

func (l halting) Changes(ctx context.Context, e types.Epoch, r types.Region) ([]tally.Change, error) {
	if l.ill.Load() {
		return nil, errIll
	}
	return l.Memory.Changes(ctx, e, r)
}

// unsettled is a chain node that does not say what the chain made of an epoch while it is ill.
type unsettled struct {
	*ledger.Memory
	ill *atomic.Bool
}

func (l unsettled) Settlement(ctx context.Context, e types.Epoch) (*tally.Settlement, error) {
	if l.ill.Load() {
		return nil, errIll
	}
	return l.Memory.Settlement(ctx, e)
}

// cut is a link that is down while it says so.
type cut struct {
	bus.Bus
	down *atomic.Bool
}

func (c cut) Connected() bool { return !c.down.Load() && c.Bus.Connected() }

func (c cut) Gather(ctx context.Context, subject string, data []byte, handle func([]byte) bool) error {
	if c.down.Load() {
		return types.Refuse(types.BusUnavailable, "gather %s", subject)
	}
	return c.Bus.Gather(ctx, subject, data, handle)
}

// again restarts verifiers, after change, without what they kept.
func (n *network) again(who []int, change func(*peer)) {
	n.t.Helper()
	for _, i := range who {
		n.stop(i)
		change(n.peers[i])
		if err := os.RemoveAll(n.peers[i].cfg.Dir); err != nil {
			n.t.Fatal(err)
		}
		n.start(i)
	}
}

// others returns all verifiers but the one that leads the last round of an epoch.
func (n *network) others(e types.Epoch) (who []int) {
	n.t.Helper()
	left := n.leader(e, 3)
	for i := range n.peers {
		if i != left {
			who = append(who, i)
		}
	}
	return who
}

// TestNoVoteUnseen: three of four verifiers that could not check a header for a reason of their own do not vote
// against it when somebody appeals it: it stays, nobody is slashed, and they say why. Once they can check it,
// they vote for it.
func TestNoVoteUnseen(t *testing.T) {
	ill := new(atomic.Bool)
	for name, spoil := range map[string]func(*network, []int){
		"its node": func(n *network, who []int) { n.again(who, func(p *peer) { p.ledger = halting{n.chain, ill} }) },
		"its link": func(n *network, who []int) {
			n.again(who, func(p *peer) { p.wrap = func(b bus.Bus) bus.Bus { return cut{b, ill} } })
		},
		"its rules": func(n *network, who []int) { n.again(who, func(p *peer) { p.cfg.Version = 2 }) },
	} {
		t.Run(name, func(t *testing.T) {
			testNetwork(t, 4, 2, func(t *testing.T, n *network) {
				n.sendAll()
				n.accepted(2)
				for range 4 {
					n.block()
				}
				three := n.others(2)
				ill.Store(true)
				spoil(n, three)
				n.submit(n.owner, ledger.Appeal{Epoch: 2})
				n.toHeight(n.header(2).Voting.Until - 1)
				if h := n.header(2); h.Status != ledger.Appealed || h.Voting.No != 0 || h.Voting.Yes != 1000 {
					t.Fatalf("the header is %s, voting %+v", h.Status, h.Voting)
				}
				for _, i := range three {
					if said := n.peers[i].v.Abstained(); !slices.ContainsFunc(said, func(a Abstention) bool { return a.Epoch == 2 && a.Why != "" }) {
						t.Fatalf("verifier %d says %+v", i, said)
					}
				}
				ill.Store(false)
				if name == "its rules" {
					n.again(three, func(p *peer) { p.cfg.Version = 1 })
				}
				for range 3 {
					n.block()
				}
				if h := n.header(2); h.Status != ledger.Accepted {
					t.Fatalf("they can check it, and the header is %s, voting %+v", h.Status, h.Voting)
				}
				for _, i := range three {
					if said := n.peers[i].v.Abstained(); len(said) != 0 {
						t.Fatalf("verifier %d still says %+v", i, said)
					}
				}
				n.balanced()
			})
		})
	}
}

// TestNoVoteHidden: a batch that its signers show to nobody is a reason to vote against its header, and so is
// one for a header built on it.
func TestNoVoteHidden(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		three := n.others(2)
		for i, p := range n.peers {
			n.stop(i)
			p.cfg.Appeal = false
			if slices.Contains(three, i) {
				p.wrap = func(b bus.Bus) bus.Bus { return silent{b} }
			}
		}
		for i, p := range n.peers {
			n.start(i)
			if slices.Contains(three, i) {
				p.v.Guard.Pause() // it would vote for its header
			}
		}
		n.device[0].sendTo(three, evidenceItem(n.device[0].envelope(reading, nil)))
		n.accepted(2)
		n.toHeight(n.header(2).FinalAt - 2)
		n.submit(n.owner, ledger.Appeal{Epoch: 2})
		n.accepted(3)
		n.submit(n.owner, ledger.Appeal{Epoch: 3})
		for _, e := range []types.Epoch{2, 3} {
			n.toHeight(n.header(e).Voting.Until - 1)
			if h := n.header(e); h.Status != ledger.Appealed || h.Voting.No != 1000 {
				t.Fatalf("epoch %d is %s, voting %+v", e, h.Status, h.Voting)
			}
		}
		for i, p := range n.peers {
			if said := p.v.Abstained(); len(said) != 0 {
				t.Fatalf("verifier %d says %+v", i, said)
			}
		}
	})
}

// TestSignLaterInRound: a verifier whose node does not answer when a header is proposed checks it as soon as
// the node does, and signs it in its round.
func TestSignLaterInRound(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		ill := new(atomic.Bool)
		var two []int // of four, so that nothing is signed without one of them
		for i, p := range n.peers {
			if i != n.leader(2, 0) && len(two) < 2 {
				two = append(two, i)
				n.stop(i)
				p.ledger = unsettled{n.chain, ill}
				n.start(i)
			}
		}
		n.accepted(1)
		n.block()
		n.sendAll()
		ill.Store(true)
		n.toEpoch(3)
		if s := n.header(2).Status; s != ledger.Open {
			t.Fatalf("the header is %s before it could be checked", s)
		}
		for _, i := range two {
			if said := n.peers[i].v.Abstained(); len(said) != 1 || said[0].Epoch != 2 {
				t.Fatalf("verifier %d says %+v", i, said)
			}
		}
		ill.Store(false)
		n.block()
		n.block()
		if h := n.header(2); h.Status != ledger.Accepted || h.Signed != 4000 {
			t.Fatalf("the header is %s, signed by %d", h.Status, h.Signed)
		}
		for _, i := range two {
			if said := n.peers[i].v.Abstained(); len(said) != 0 {
				t.Fatalf("verifier %d still says %+v", i, said)
			}
		}
	})
}

// unready is a chain node that has just joined: it says nothing at all while it is ill.
type unready struct {
	halting
}

func (l unready) Head(ctx context.Context) (ledger.Block, error) {
	if l.ill.Load() {
		return ledger.Block{}, errIll
	}
	return l.Memory.Head(ctx)
}

// TestStartUnready: a verifier that starts beside a chain node which is not ready yet waits for it, and signs
// once it is.
func TestStartUnready(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		ill := new(atomic.Bool)
		ill.Store(true)
		at := n.others(2)[0]
		n.again([]int{at}, func(p *peer) { p.ledger = unready{halting{n.chain, ill}} })
		n.block()
		select {
		case err := <-n.peers[at].done:
			t.Fatalf("it ended: %v", err)
		default:
		}
		ill.Store(false)
		n.toEpoch(3)
		n.sendAll()
		n.accepted(3)
		for range 4 {
			n.block()
		}
		if h := n.header(3); h.Signed != 4000 {
			t.Fatalf("%d signed", h.Signed)
		}
	})
}
