package verifier

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// generous is a liar's rule: it counts every unit twice.
var generous = tally.Verifier{Spec: &workSpec, Verify: func(in *tally.Input) *tally.Output {
	out := work.Verify(in)
	out.Ordered[0].Units = types.U64(2 * out.Ordered[0].Units.Lo)
	return out
}}

// sendAll lets each device hand in one reading and a receipt.
func (n *network) sendAll() (items int) {
	for _, d := range n.device {
		d.send(append(d.receipt(1000), evidenceItem(d.envelope(reading, nil)))...)
		items += 3
	}
	return items
}

func (n *network) weight(h *tally.Header) uint64 {
	if len(h.Totals.Categories) == 0 {
		return 0
	}
	return h.Totals.Categories[0].Weight.Lo / 10_000
}

// TestThreeOfFour: headers come with one verifier missing, and not with two.
func TestThreeOfFour(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		away := n.leader(2, 3)
		if away == n.leader(2, 0) {
			t.Fatal("leaders of one epoch repeat")
		}
		n.stop(away)
		items := n.sendAll()
		if h := n.accepted(2); h.Round != 0 || h.Totals.Counted != uint64(items) {
			t.Fatalf("header: %+v", h)
		}
		n.start(away)
		n.block()
		n.block()
		n.block()
		ep, _ := n.chain.Epoch(n.ctx, 2)
		if got := n.header(2).Signed; got != ep.Power() {
			t.Fatalf("the verifier that came back did not add its signature: %d of %d", got, ep.Power())
		}
	})
}

// TestLeaderDown: the next leader starts anew.
func TestLeaderDown(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		n.stop(n.leader(2, 0))
		items := n.sendAll()
		if h := n.accepted(2); h.Round != 1 || h.Totals.Counted != uint64(items) {
			t.Fatalf("round %d, counted %d of %d", h.Round, h.Totals.Counted, items)
		}
		if ep, _ := n.chain.Epoch(n.ctx, 3); !ep.Challenged {
			t.Fatal("the seed was known in round 1, but challenges do not bind")
		}
	})
}

// TestWrongHeader: a leader that computes by other rules gets no signature but its own, and its round lapses.
func TestWrongHeader(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		liar := n.leader(2, 0)
		n.stop(liar)
		n.peers[liar].rules = []tally.Verifier{generous}
		n.start(liar)
		n.sendAll()
		h := n.accepted(2)
		if h.Round != 1 || n.weight(h) != 2 {
			t.Fatalf("round %d, weight %d", h.Round, n.weight(h))
		}
		// To the liar the honest header is the wrong one: it appeals, alone, and loses the bond.
		n.toHeight(n.height() + 6)
		if at := n.header(2); at.Status != ledger.Accepted {
			t.Fatalf("the honest header is %s", at.Status)
		}
		if a, _ := n.chain.Account(n.ctx, n.peers[liar].cfg.Account); a.Balance >= 1_000_000_000_000 {
			t.Fatalf("the liar still has %d", a.Balance)
		}
	})
}

// deaf is a bus on which some subjects cannot be heard.
type deaf struct {
	bus.Bus
	prefix string
}

func (d deaf) SubscribeLast(ctx context.Context, pattern string, handle func(bus.Message)) error {
	return d.Bus.SubscribeLast(ctx, pattern, func(m bus.Message) {
		if !strings.HasPrefix(m.Subject, d.prefix) {
			handle(m)
		}
	})
}

// TestMissingItems: what only one verifier acknowledged comes into the batch, and a leader that will not hear
// of it gets no signatures.
func TestMissingItems(t *testing.T) {
	for _, hears := range []bool{true, false} {
		testNetwork(t, 4, 2, func(t *testing.T, n *network) {
			leader := n.leader(2, 0)
			if !hears {
				n.stop(leader)
				n.peers[leader].wrap = func(b bus.Bus) bus.Bus { return deaf{b, "last.handover."} }
				n.start(leader)
			}
			// Two others acknowledge: with three of four needed, their refusal decides.
			var who []int
			for i := range n.peers {
				if i != leader && len(who) < 2 {
					who = append(who, i)
				}
			}
			e := n.device[0].envelope(reading, nil)
			n.device[0].sendTo(who, evidenceItem(e))
			if got, _ := n.device[0].verdict(e.Hash); got != 2 {
				t.Fatalf("%d verifiers accepted", got)
			}
			h := n.accepted(2)
			if want := map[bool]uint8{true: 0, false: 1}[hears]; h.Round != want || h.Totals.Counted != 1 {
				t.Fatalf("leader hears: %v, round %d, counted %d", hears, h.Round, h.Totals.Counted)
			}
		})
	}
}

// lie has peer p publish and keep a header of epoch 2 over a batch, as if its leader liar had proposed it.
func (n *network) lie(liar, p *peer, raw []byte) {
	n.t.Helper()
	r := p.v.rounds.round
	h := &tally.Header{Epoch: 2, Leader: liar.cfg.Key.Public(), VRF: beacon.Prove(liar.cfg.VRF, testChain, r.ep.Seed, 0)}
	in, err := p.v.rounds.inputs(n.ctx, r.base, h, r.prev)
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := p.v.rounds.tally(in, raw, false)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := p.v.archive.blobs.put(2, raw); err != nil {
		n.t.Fatal(err)
	}
	m := &bus.Proposal{Chain: testChain, Epoch: 2, Header: c.header.Encode(), Batch: bus.BlobOf(raw)}
	if err := p.link.PublishLast(n.ctx, bus.ProposalSubject(p.v.Key(), 0), bus.Seal(liar.cfg.Key, m)); err != nil {
		n.t.Fatal(err)
	}
}

// TestMistypedItem: a leader puts a receipt that was acknowledged into the batch as an ask, so that its bytes
// are in and it counts for nothing. Nobody signs that.
func TestMistypedItem(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		sent := n.sendAll()
		at := n.leader(2, 0)
		n.stop(at)
		n.toEpoch(3)
		liar, p := n.peers[at], n.peers[(at+1)%4]
		items := slices.Clone(p.v.rounds.round.items)
		for i := range items {
			if items[i].Type == tally.Receipt {
				items[i].Type = tally.Ask
			}
		}
		raw := tally.NewBatch(testChain, items).Encode()
		n.lie(liar, p, raw)
		if h := n.accepted(2); h.Round != 1 || h.Totals.Counted != uint64(sent) {
			t.Fatalf("round %d, counted %d of %d", h.Round, h.Totals.Counted, sent)
		}
	})
}

// TestEquivocator: two signatures for one round are reported, and cost the seat.
func TestEquivocator(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		n.sendAll()
		h := n.accepted(2)
		liar := n.leader(2, int(h.Round))
		p := n.peers[liar]
		other := *h
		other.State[0] ^= 1
		proposal := &bus.Proposal{Chain: testChain, Epoch: 2, Round: h.Round, Header: other.Encode()}
		if err := p.link.PublishLast(n.ctx, bus.ProposalSubject(p.v.Key(), 0), bus.Seal(p.cfg.Key, proposal)); err != nil {
			t.Fatal(err)
		}
		sig := bus.SignHeader(p.cfg.Key, testChain, 2, 0, h.Round, other.Hash())
		if err := p.link.PublishLast(n.ctx, bus.SignatureSubject(p.v.Key(), 0), bus.Seal(p.cfg.Key, sig)); err != nil {
			t.Fatal(err)
		}
		n.block()
		n.block()
		if _, out := n.chain.Jailed(p.v.Key()); !out {
			t.Fatal("the equivocator was not reported")
		}
		n.balanced()
		n.accepted(3)
		n.accepted(4) // the other three go on
	})
}

// TestReplayedSignatures: one verifier says again, of the rounds to come, what the others signed before. What
// they sign then is heard all the same.
func TestReplayedSignatures(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		n.sendAll()
		old := []types.Hash{n.accepted(2).Hash()}
		old = append(old, n.accepted(3).Hash())
		liar := n.leader(4, 3)
		for _, p := range n.peers {
			for round := range uint8(4) {
				for _, hash := range old {
					m := bus.SignHeader(p.cfg.Key, testChain, 4, 0, round, hash) // p did sign this hash, in another epoch
					for _, raw := range [][]byte{types.Encode(m), bus.Seal(n.peers[liar].cfg.Key, m)} {
						if err := n.peers[liar].link.PublishLast(n.ctx, bus.SignatureSubject(n.peers[liar].v.Key(), 0), raw); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		items := n.sendAll()
		if h := n.accepted(4); h.Round != 0 || h.Totals.Counted != uint64(items) {
			t.Fatalf("round %d, counted %d of %d", h.Round, h.Totals.Counted, items)
		}
	})
}

// TestNoSecondSignature: a verifier that restarts in its own round proposes the same header again, whatever
// came meanwhile.
func TestNoSecondSignature(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		leader := n.leader(2, 0)
		for i := range n.peers {
			if i != leader {
				n.stop(i)
			}
		}
		n.sendAll()
		n.toEpoch(3)
		n.block() // the grace is over: it proposes alone
		first := n.peers[leader].v.archive.signed(2, 0, 0)
		if first == nil {
			t.Fatal("the leader did not propose")
		}
		n.stop(leader)
		for i := range n.peers {
			n.start(i)
		}
		n.device[0].send(evidenceItem(n.device[0].envelope(reading, nil))) // too late for epoch 2
		if h := n.accepted(2); h.Hash() != first.Hash() {
			t.Fatalf("another header was accepted, in round %d", h.Round)
		}
		for _, p := range n.peers {
			if _, out := n.chain.Jailed(p.v.Key()); out {
				t.Fatal("somebody equivocated")
			}
		}
	})
}

// TestRefusals: everything that intake refuses, with its reason; none of it is counted.
func TestRefusals(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		d, stranger := n.device[0], &device{n: n, key: types.NewPrivateKey([32]byte{3, 99})}
		n.toHeight(25)
		cases := []struct {
			want types.Reason
			item func() bus.Item
		}{
			{types.WrongChain, func() bus.Item {
				return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Chain = "other-1" }))
			}},
			{types.WrongEpoch, func() bus.Item { return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Epoch = 1 })) }},
			{types.WrongEpoch, func() bus.Item { return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Epoch = 9 })) }},
			{types.WrongEpoch, func() bus.Item { return evidenceItem(d.envelope(lasting, func(p *evidence.Payload) { p.Epoch = 1 })) }},
			{types.BadAnchor, func() bus.Item {
				return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Anchor.Hash[0] ^= 1 }))
			}},
			{types.BadAnchor, func() bus.Item {
				return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Anchor.Height = 9999 }))
			}},
			{types.BadAnchor, func() bus.Item {
				return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Anchor.Height = 0 }))
			}},
			{types.UnknownCategory, func() bus.Item {
				return evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Category = 9 }))
			}},
			{types.UnknownKind, func() bus.Item { return evidenceItem(d.envelope(77, nil)) }},
			{types.UnknownAuthor, func() bus.Item { return evidenceItem(stranger.envelope(reading, nil)) }},
			{types.BadSignature, func() bus.Item {
				raw := slices.Clone(d.envelope(reading, nil).Raw)
				raw[len(raw)-1] ^= 1
				return bus.Item{Type: bus.Evidence, Raw: raw}
			}},
			{types.BadEncoding, func() bus.Item {
				raw := d.envelope(reading, nil).Raw
				return bus.Item{Type: bus.Evidence, Raw: raw[:len(raw)-1]}
			}},
			{types.BadSignature, func() bus.Item { // the device's countersignature is missing
				item := d.receipt(1)[1]
				raw := slices.Clone(item.Raw)
				raw[len(raw)-3] ^= 1
				return bus.Item{Type: bus.Receipt, Raw: raw}
			}},
		}
		for i, c := range cases {
			item := c.item()
			d.send(item)
			if ok, got := d.verdict(item.Hash()); ok != 0 || got != c.want {
				t.Errorf("case %d: accepted by %d, reason %q, want %q", i, ok, got, c.want)
			}
		}
		if h := n.accepted(2); h.Totals.Counted != 0 || h.Totals.Refused != 0 {
			t.Fatalf("counted %d, refused %d", h.Totals.Counted, h.Totals.Refused)
		}
	})
}

// suspending is a chain that suspends a device from an epoch on.
type suspending struct {
	ledger.Ledger
	device types.Key
	from   types.Epoch
}

func (s suspending) Changes(ctx context.Context, e types.Epoch, region types.Region) ([]tally.Change, error) {
	out, err := s.Ledger.Changes(ctx, e, region)
	if e == s.from && err == nil {
		var d *ledger.Device
		if d, err = s.Ledger.Device(ctx, s.device); err == nil {
			d.Suspended = e + 10
			out = append(slices.Clone(out), tally.Change{Device: &d.Device})
		}
	}
	return out, err
}

// TestSuspended: intake takes what a suspended device says, and the tally counts what of it goes on: the
// sessions that customers pay. Its network-ordered work counts nothing.
func TestSuspended(t *testing.T) {
	testNetwork(t, 2, 2, func(t *testing.T, n *network) {
		for i, p := range n.peers {
			n.stop(i)
			p.ledger = suspending{n.chain, n.device[0].key.Public(), 3}
			n.start(i)
		}
		n.sendAll()
		n.accepted(2)
		d := n.device[0]
		e := d.envelope(reading, nil)
		receipt := d.receipt(700)
		d.send(append(receipt, evidenceItem(e))...)
		for _, hash := range []types.Hash{e.Hash, receipt[1].Hash()} {
			if ok, why := d.verdict(hash); ok != 2 {
				t.Fatalf("accepted by %d, %q", ok, why)
			}
		}
		n.device[1].send(evidenceItem(n.device[1].envelope(reading, nil)))
		h := n.accepted(3)
		if h.Totals.Spent != 2700 || n.weight(h) != 1 || h.Totals.Refused != 0 {
			t.Fatalf("spent %d, weight %d, refused %d", h.Totals.Spent, n.weight(h), h.Totals.Refused)
		}
	})
}

// TestOneBadApple: a wrong signature among many good ones spoils none of them.
func TestOneBadApple(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		d := n.device[0]
		var items []bus.Item
		var good []types.Hash
		for i := range 6 {
			e := d.envelope(reading, nil)
			if i == 3 {
				e.Raw = slices.Clone(e.Raw)
				e.Raw[len(e.Raw)-1] ^= 1
			} else {
				good = append(good, e.Hash)
			}
			items = append(items, evidenceItem(e))
		}
		d.send(items...)
		for _, h := range good {
			if ok, why := d.verdict(h); ok != 1 {
				t.Fatalf("a good envelope: %q", why)
			}
		}
		if ok, why := d.verdict(items[3].Hash()); ok != 0 || why != types.BadSignature {
			t.Fatalf("the wrong one: accepted by %d, %q", ok, why)
		}
	})
}

// TestQuota: beyond the quota nothing is acknowledged, lowest numbers first; what was acknowledged stays so
// when it is sent again, and counts once.
func TestQuota(t *testing.T) {
	testNetwork(t, 2, 1, func(t *testing.T, n *network) {
		d := n.device[0]
		var items []bus.Item
		for range workSpec.Quota.Count + 3 {
			items = append(items, evidenceItem(d.envelope(reading, nil)))
		}
		slices.Reverse(items) // the quota goes to the lowest all the same
		for range 3 {
			d.send(items...)
		}
		for i, item := range items {
			ok, why := d.verdict(item.Hash())
			if over := i < 3; over && (ok != 0 || why != types.OverQuota) || !over && ok != 2 {
				t.Fatalf("item %d of %d: accepted by %d, reason %q", i, len(items), ok, why)
			}
		}
		if h := n.accepted(2); h.Totals.Counted != uint64(workSpec.Quota.Count) || h.Totals.Refused != 0 {
			t.Fatalf("counted %d, refused %d", h.Totals.Counted, h.Totals.Refused)
		}
		// A replay in the next epoch changes nothing.
		n.toEpoch(4)
		d.send(items[3:]...)
		if ok, why := d.verdict(items[5].Hash()); why != types.WrongEpoch {
			t.Fatalf("a replay: accepted by %d, %q", ok, why)
		}
		if h := n.accepted(4); h.Totals.Counted != 0 {
			t.Fatalf("a replay counted: %d", h.Totals.Counted)
		}
	})
}

// TestSplitDevice: a device that shows one number twice, to different verifiers, loses what it handed in and
// its bond.
func TestSplitDevice(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		d := n.device[0]
		seq := d.seq
		a := d.envelope(reading, nil)
		d.seq = seq
		b := d.envelope(reading, func(p *evidence.Payload) { p.Body = []byte("other") })
		d.sendTo([]int{0, 1}, evidenceItem(a))
		d.sendTo([]int{2, 3}, evidenceItem(b))
		n.device[1].send(evidenceItem(n.device[1].envelope(reading, nil)))
		h := n.accepted(2)
		if h.Totals.Counted != 1 || h.Totals.Refused != 2 || h.Totals.Penalty != workSpec.Params.Bond {
			t.Fatalf("counted %d, refused %d, penalty %d", h.Totals.Counted, h.Totals.Refused, h.Totals.Penalty)
		}
	})
}

// TestVoid: three of four sign a wrong header; the fourth appeals, all others recompute and vote it down, and
// the region goes on from before it without losing what customers signed.
func TestVoid(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		honest := n.leader(2, 3)
		for i := range n.peers {
			if i != honest {
				n.stop(i)
				n.peers[i].rules = []tally.Verifier{generous}
				n.start(i)
			}
		}
		n.sendAll()
		h := n.accepted(2)
		if n.weight(h) != 4 {
			t.Fatalf("weight %d: the liars did not get their header", n.weight(h))
		}
		// The liars repent: from here on all compute by the rules, from what they acknowledged.
		for i := range n.peers {
			if i != honest {
				n.stop(i)
				n.peers[i].rules = []tally.Verifier{work}
				for _, name := range []string{"verifier.db", "blobs"} {
					if err := os.RemoveAll(filepath.Join(n.peers[i].cfg.Dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				n.start(i)
			}
		}
		for range 4 {
			n.block()
		}
		if got := n.header(2); got.Status != ledger.Voided {
			t.Fatalf("the wrong header is %s", got.Status)
		}
		n.balanced()
		n.device[0].send(evidenceItem(n.device[0].envelope(reading, nil)))
		h3 := n.accepted(3)
		if h3.Totals.Spent != 2000 || n.weight(h3) != 1 || h3.Totals.Refused != 0 {
			t.Fatalf("after the void: spent %d, weight %d, refused %d", h3.Totals.Spent, n.weight(h3), h3.Totals.Refused)
		}
		if h4 := n.accepted(4); h4.Totals.Spent != 2000 || h4.Totals.Amount == 0 {
			t.Fatalf("the epoch after: %+v", h4.Totals)
		}
		n.toEpoch(7)
		if got := n.header(4); got.Status != ledger.Final {
			t.Fatalf("epoch 4 is %s", got.Status)
		}
		n.balanced()
	})
}

// TestArrival: the order in which things arrive changes no byte.
func TestArrival(t *testing.T) {
	var headers []string
	for shuffle := range 3 {
		testNetwork(t, 2, 4, func(t *testing.T, n *network) {
			type sending struct {
				d     *device
				items []bus.Item
			}
			var all []sending
			for _, d := range n.device {
				all = append(all, sending{d, d.receipt(500)}, sending{d, []bus.Item{evidenceItem(d.envelope(reading, nil)), evidenceItem(d.envelope(lasting, nil))}})
			}
			for i := range all {
				s := all[(i*[]int{1, 3, 5}[shuffle]+shuffle)%len(all)]
				if shuffle == 2 {
					s.d.sendTo([]int{i % 2}, s.items...)
				} else {
					s.d.send(s.items...)
				}
			}
			headers = append(headers, fmt.Sprintf("%x", n.accepted(2).Encode()))
		})
	}
	if headers[0] != headers[1] || headers[0] != headers[2] {
		t.Fatalf("headers differ:\n%s\n%s\n%s", headers[0], headers[1], headers[2])
	}
}

// silent is a link on which nobody is served blobs.
type silent struct{ bus.Bus }

func (s silent) Subscribe(ctx context.Context, pattern string, handle func(bus.Message)) error {
	if strings.HasPrefix(pattern, "find.") || strings.HasPrefix(pattern, "blob.") {
		return nil
	}
	return s.Bus.Subscribe(ctx, pattern, handle)
}

// TestHiddenBatch: a header whose batch its signers show to nobody else is appealed by whoever lacks it, while
// the window is open; once the batch is shown, everybody follows again.
func TestHiddenBatch(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		left := n.leader(2, 3)
		var three []int
		for i := range n.peers {
			if i != left {
				three = append(three, i)
				n.stop(i)
				n.peers[i].wrap = func(b bus.Bus) bus.Bus { return silent{b} }
			}
		}
		for _, i := range three {
			n.start(i)
		}
		n.device[0].sendTo(three, evidenceItem(n.device[0].envelope(reading, nil)))
		if h := n.accepted(2); h.Totals.Counted != 1 {
			t.Fatalf("counted %d", h.Totals.Counted)
		}
		balance, _ := n.chain.Account(n.ctx, n.peers[left].cfg.Account)
		n.toHeight(n.header(2).FinalAt - 6)
		if after, _ := n.chain.Account(n.ctx, n.peers[left].cfg.Account); after.Balance != balance.Balance-econ.AppealBond {
			t.Fatalf("the verifier without the batch did not appeal: %d, before %d", after.Balance, balance.Balance)
		}
		if n.peers[left].v.archive.state(n.header(2)) != nil {
			t.Fatal("it knows the state all the same")
		}
		for _, i := range three { // they have it, and so vote for it
			n.stop(i)
			n.peers[i].wrap = nil
			n.start(i)
		}
		n.toHeight(n.height() + 12)
		if at := n.header(2); at.Status == ledger.Voided || n.peers[left].v.archive.state(at) == nil {
			t.Fatalf("the header is %s; followed: %v", at.Status, n.peers[left].v.archive.state(at) != nil)
		}
		items := n.sendAll()
		h := n.accepted(4)
		n.toHeight(n.height() + 3)
		if at := n.header(4); h.Totals.Counted == 0 || items == 0 || at.Signed != 4000 {
			t.Fatalf("epoch 4: counted %d, %d signed", h.Totals.Counted, at.Signed)
		}
	})
}

// far is a link whose answers to who looks for a blob take a while.
type far struct{ bus.Bus }

func (f far) Subscribe(ctx context.Context, pattern string, handle func(bus.Message)) error {
	if strings.HasPrefix(pattern, "find.") {
		return f.Bus.Subscribe(ctx, pattern, func(m bus.Message) { time.Sleep(time.Millisecond); handle(m) })
	}
	return f.Bus.Subscribe(ctx, pattern, handle)
}

// staller is a link of a liar that says of every blob, many times and before all others, that it has it, and
// sends none but what it hands over.
type staller struct {
	bus.Bus
	mu     sync.Mutex
	honest map[types.Hash]bool
}

func (s *staller) PublishLast(ctx context.Context, subject string, data []byte) error {
	if m, _, err := bus.Open[bus.MissingItems](data, testChain); err == nil {
		s.mu.Lock()
		s.honest[m.Items.Hash] = true
		s.mu.Unlock()
	}
	return s.Bus.PublishLast(ctx, subject, data)
}

func (s *staller) Subscribe(ctx context.Context, pattern string, handle func(bus.Message)) error {
	serves := func(hash types.Hash) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.honest[hash]
	}
	switch {
	case strings.HasPrefix(pattern, "find."):
		return s.Bus.Subscribe(ctx, pattern, func(m bus.Message) {
			var find bus.Find
			if types.Decode(m.Data, &find) == nil && serves(find.Hash) {
				handle(m)
				return
			}
			for range 64 {
				_ = s.Respond(ctx, m, types.Encode(&bus.Found{Holder: s.Key(), Size: 1000}))
			}
		})
	case strings.HasPrefix(pattern, "blob."):
		return s.Bus.Subscribe(ctx, pattern, func(m bus.Message) {
			var chunk bus.Chunk
			if types.Decode(m.Data, &chunk) == nil && serves(chunk.Hash) {
				handle(m)
			}
		})
	}
	return s.Bus.Subscribe(ctx, pattern, handle)
}

// TestStaller: one verifier that makes all others fetch the batch, as it alone acknowledged an item, and says
// first that it has every blob, keeps nobody from signing, nor from following the chain.
func TestStaller(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		liar := n.leader(2, 3)
		for i := range n.peers {
			n.stop(i)
			n.peers[i].wrap = func(b bus.Bus) bus.Bus { return far{b} }
		}
		n.peers[liar].wrap = func(b bus.Bus) bus.Bus { return &staller{Bus: b, honest: map[types.Hash]bool{}} }
		late := n.leader(2, 2)
		for i := range n.peers {
			n.start(i)
		}
		e := n.device[0].envelope(reading, nil)
		n.device[0].sendTo([]int{liar}, evidenceItem(e))
		h := n.accepted(2)
		if h.Round != 0 || h.Totals.Counted != 1 {
			t.Fatalf("round %d, counted %d", h.Round, h.Totals.Counted)
		}
		n.stop(late)
		e = n.device[0].envelope(reading, nil)
		n.device[0].sendTo([]int{liar}, evidenceItem(e))
		if h := n.accepted(3); h.Totals.Counted != 1 {
			t.Fatalf("counted %d", h.Totals.Counted)
		}
		n.start(late)
		n.toHeight(n.height() + 80) // longer than the liar can let it wait: for the pages of the last final state, their list, and the batch
		if n.peers[late].v.archive.state(n.header(3)) == nil {
			t.Fatal("a verifier that was away does not get the batch")
		}
	})
}

// stuffer is a link of a liar that sends the leader more than it says by itself.
type stuffer struct {
	bus.Bus
	peer  *peer
	stuff *[]bus.Item
}

func (s *stuffer) PublishLast(ctx context.Context, subject string, data []byte) error {
	m, _, err := bus.Open[bus.MissingItems](data, testChain)
	if err != nil {
		return s.Bus.PublishLast(ctx, subject, data)
	}
	raw, err := s.peer.v.archive.blobs.get(m.Items.Hash)
	if err != nil {
		return err
	}
	raw = append(raw, bus.Items(*s.stuff)...)
	if m.Items, err = s.peer.v.archive.blobs.put(m.Epoch, raw); err != nil {
		return err
	}
	m.Count += uint64(len(*s.stuff))
	return s.Bus.PublishLast(ctx, subject, bus.Seal(s.peer.cfg.Key, m))
}

// TestStuffedMissing: a verifier that sends the leader what no verifier can have kept, beyond an author's quota
// or signed by nobody, does not get it into the batch.
func TestStuffedMissing(t *testing.T) {
	for what, wrong := range map[string]bool{"beyond the quota": false, "signed by nobody": true} {
		testNetwork(t, 4, 2, func(t *testing.T, n *network) {
			liar := n.leader(2, 3)
			var stuff []bus.Item
			n.stop(liar)
			n.peers[liar].wrap = func(b bus.Bus) bus.Bus { return &stuffer{b, n.peers[liar], &stuff} }
			n.start(liar)
			for range 5000 {
				item := evidenceItem(n.device[1].envelope(reading, nil))
				if wrong {
					item.Raw = slices.Clone(item.Raw)
					item.Raw[len(item.Raw)-1] ^= 1
				}
				stuff = append(stuff, item)
			}
			n.device[0].send(evidenceItem(n.device[0].envelope(reading, nil)))
			h := n.accepted(2)
			if h.Totals.Counted == 0 || h.Totals.Refused > 0 || h.Totals.Counted > 1+uint64(workSpec.Quota.Count) {
				t.Errorf("%s: counted %d, refused %d", what, h.Totals.Counted, h.Totals.Refused)
			}
		})
	}
}

// TestWrongSignatures: nobody signs a batch in which an item is not signed by its author. No honest leader
// takes such items, and looking for them one by one takes longer than a round.
func TestWrongSignatures(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		sent := n.sendAll()
		at := n.leader(2, 0)
		n.stop(at)
		n.toEpoch(3)
		liar, p := n.peers[at], n.peers[(at+1)%4]
		e := slices.Clone(n.device[0].envelope(reading, nil).Raw)
		e[len(e)-1] ^= 1
		items := append(slices.Clone(p.v.rounds.round.items), tally.Item{Type: tally.Evidence, Raw: e})
		raw := tally.NewBatch(testChain, items).Encode()
		n.lie(liar, p, raw)
		if h := n.accepted(2); h.Round != 1 || h.Totals.Counted != uint64(sent) || h.Totals.Refused != 0 {
			t.Fatalf("round %d, counted %d of %d, refused %d", h.Round, h.Totals.Counted, sent, h.Totals.Refused)
		}
	})
}
