package verifier

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// selling is work whose devices put out many leaves each, and in which every order buys a unit from each device.
var selling = tally.Verifier{Spec: &workSpec, Cross: sellEach, Verify: func(in *tally.Input) *tally.Output {
	out := work.Verify(in)
	out.Summary = []byte{1}
	return out
}}

const leavesEach = 150

func sellEach(in *tally.CrossInput) *tally.CrossOutput {
	out := &tally.CrossOutput{}
	for _, s := range in.Summaries {
		for i := range leavesEach {
			out.Outputs = append(out.Outputs, tally.OutputData{
				Data: fmt.Appendf(slices.Clone(s.Device.Key[:]), " %d of %d", i, in.Epoch), Detail: bytes.Repeat([]byte{byte(i)}, 10*i),
			})
		}
		for _, o := range in.Orders {
			out.Fills = append(out.Fills, tally.Fill{
				Session: tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}, Device: s.Device.Key, Units: types.U64(1), Amount: 1,
			})
		}
	}
	return out
}

// sell restarts all verifiers with selling.
func (n *network) sell() {
	for i := range n.peers {
		n.stop(i)
		n.peers[i].rules = []tally.Verifier{selling}
		n.start(i)
	}
}

// adopted waits until all verifiers have the header of e.
func (n *network) adopted(e types.Epoch) *tally.Header {
	n.t.Helper()
	h := n.accepted(e)
	n.block()
	return h
}

// gather gathers all answers to a query.
func (d *device) gather(what string, query []byte) (answers [][]byte) {
	ctx, cancel := context.WithTimeout(d.n.ctx, time.Second)
	defer cancel()
	_ = d.link.Gather(ctx, bus.QuerySubject(d.key.Public(), 0, what), query, func(raw []byte) bool {
		answers = append(answers, raw)
		return true
	})
	return answers
}

// outputs fetches the leaves with a prefix from one verifier, page by page, and checks them.
func (d *device) outputs(q bus.OutputsQuery, h *tally.Header) (all []bus.Output, pages int) {
	d.n.t.Helper()
	for {
		answers := d.gather(bus.QueryOutputs, bus.Encode(&q))
		if len(answers) != 1 {
			d.n.t.Fatalf("%d verifiers answer what one was asked", len(answers))
		}
		page, from, err := bus.Open[bus.Outputs](answers[0], testChain)
		if err != nil || from != q.Of {
			d.n.t.Fatalf("%v answers for %v: %v", from, q.Of, err)
		}
		if err := page.Check(&q, h); err != nil {
			d.n.t.Fatal(err)
		}
		all, pages = append(all, page.Leaves...), pages+1
		if !page.More {
			return all, pages
		}
		q.From = page.Leaves[len(page.Leaves)-1].Index + 1
	}
}

func TestOutputs(t *testing.T) {
	testNetwork(t, 4, 3, func(t *testing.T, n *network) {
		n.sell()
		for _, d := range n.device {
			d.send(evidenceItem(d.envelope(reading, nil)))
		}
		h := n.adopted(2)
		if h.OutCount != 3*leavesEach {
			t.Fatalf("%d outputs", h.OutCount)
		}
		asker := n.device[0]
		q := bus.OutputsQuery{Chain: testChain, Header: h.Hash(), Category: types.Storage}
		check := func(what string, from *peer, prefix []byte, want, wantPages int) {
			t.Helper()
			q := q
			q.Prefix = prefix
			var which types.Hash
			sums := asker.gather(bus.QueryOutputs, bus.Encode(&q))
			for _, raw := range sums {
				s, _, err := bus.Open[bus.OutputsSum](raw, testChain)
				if err != nil || s.Count != uint64(want) || s.Header != q.Header || !bytes.Equal(s.Prefix, prefix) {
					t.Fatalf("%s: %+v, %v", what, s, err)
				}
				if which = s.Which; which != s.Which {
					t.Fatalf("%s: verifiers differ", what)
				}
			}
			if len(sums) != len(n.peers) {
				t.Fatalf("%s: %d verifiers know", what, len(sums))
			}
			q.Of = from.cfg.Key.Public()
			leaves, pages := asker.outputs(q, h)
			var shown []bus.Leaf
			for _, l := range leaves {
				shown = append(shown, l.Leaf())
				if i := int(l.Index) % leavesEach; !bytes.Equal(l.Detail, bytes.Repeat([]byte{byte(i)}, 10*i)) {
					t.Fatalf("%s: detail of leaf %d: %x", what, l.Index, l.Detail)
				}
			}
			if len(leaves) != want || pages != wantPages || bus.Which(shown) != which {
				t.Fatalf("%s: %d leaves on %d pages", what, len(leaves), pages)
			}
		}
		own := n.device[1].key.Public()
		check("all", n.peers[0], nil, 3*leavesEach, 2)
		check("of one device", n.peers[1], own[:], leavesEach, 1)
		check("one leaf", n.peers[2], fmt.Appendf(own[:], " 77 of 2"), 1, 1)
		check("none", n.peers[3], []byte("nobody"), 0, 1)

		n.stop(2)
		n.start(2)
		check("after a restart", n.peers[2], own[:], leavesEach, 1)
		for what, bend := range map[string]func(*bus.OutputsQuery){
			"another header": func(q *bus.OutputsQuery) { q.Header = types.Hash{1} },
			"another region": func(q *bus.OutputsQuery) { q.Region = 1 },
			"of a stranger":  func(q *bus.OutputsQuery) { q.Of = own },
		} {
			q := q
			bend(&q)
			if answers := asker.gather(bus.QueryOutputs, bus.Encode(&q)); len(answers) != 0 {
				t.Errorf("%s: %d answers", what, len(answers))
			}
		}
	})
}

// TestOutputsKept: outputs go when the batch goes, and not before.
func TestOutputsKept(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		n.peers[0].cfg.Keep = 3
		n.sell()
		d := n.device[0]
		d.send(evidenceItem(d.envelope(reading, nil)))
		h := n.accepted(2)
		q := &bus.OutputsQuery{Chain: testChain, Header: h.Hash(), Category: types.Storage}
		for e := types.Epoch(3); e < 14; e++ {
			n.accepted(e)
			v := n.peers[0].v
			v.query.outputs = newCache[*outputs](keptOutputs) // what is in memory tells nothing
			_, batch := v.archive.blobs.where(h.Batch)
			if answers := d.gather(bus.QueryOutputs, bus.Encode(q)); (len(answers) == 1) != batch {
				t.Errorf("epoch %d: the batch is kept: %t; %d answers", e, batch, len(answers))
			}
		}
		if _, kept := n.peers[0].v.archive.blobs.where(h.Batch); kept {
			t.Error("the batch is kept for ever")
		}
	})
}

// TestOutputsSearch compares the search with a look at every leaf, and reading from disk with what was written.
func TestOutputsSearch(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		word := rapid.SliceOfN(rapid.ByteRange(0, 2), 0, 4)
		var leaves []tally.OutputLeaf
		for range rapid.IntRange(0, 30).Draw(t, "leaves") {
			leaves = append(leaves, tally.OutputLeaf{Category: types.Category(rapid.IntRange(3, 5).Draw(t, "category")),
				Data: word.Draw(t, "data"), Detail: word.Draw(t, "detail")})
		}
		b, err := openBlobs(fmt.Sprintf("%s/%d", dir, n))
		if err != nil {
			t.Fatal(err)
		}
		blob, err := b.put(1, encodeOutputs(leaves))
		if err != nil {
			t.Fatal(err)
		}
		h := &tally.Header{Outputs: tally.OutputTree(leaves).Root(), OutCount: uint64(len(leaves))}
		o, err := loadOutputs(b, blob.Hash, h)
		if err != nil {
			t.Fatal(err)
		}
		c, prefix := types.Category(rapid.IntRange(2, 6).Draw(t, "of")), word.Draw(t, "prefix")
		var want []uint32
		for i, l := range leaves {
			if l.Category == c && bytes.HasPrefix(l.Data, prefix) {
				want = append(want, uint32(i))
			}
		}
		got := o.search(c, prefix)
		if !slices.Equal(got, want) || !slices.Equal(o.search(c, prefix), want) {
			t.Fatalf("found %v, want %v", got, want)
		}
		page, more, err := o.page(b, got, 0)
		if err != nil || more || len(page) != len(want) {
			t.Fatalf("%d leaves, more %t, %v", len(page), more, err)
		}
		for k, i := range want {
			if l := leaves[i]; !bytes.Equal(page[k].Data, l.Data) || !bytes.Equal(page[k].Detail, l.Detail) || h.VerifyOutput(c, page[k].Data, page[k].Index, page[k].Siblings) != nil {
				t.Fatalf("leaf %d: %+v", i, page[k])
			}
		}
		if len(leaves) > 0 {
			h.Outputs = merkle.Root(nil)
			if _, err := loadOutputs(b, blob.Hash, h); types.ReasonOf(err) != types.Mismatch {
				t.Fatalf("outputs of another header: %v", err)
			}
		}
	})
}

// TestOutputsPage: a page keeps to its bound in bytes, whatever its leaves are, and shows at least one.
func TestOutputsPage(t *testing.T) {
	var leaves []tally.OutputLeaf
	for i := range 20 {
		leaves = append(leaves, tally.OutputLeaf{Category: 1, Data: bytes.Repeat([]byte{byte(i)}, tally.MaxOutput), Detail: bytes.Repeat([]byte{byte(i)}, tally.MaxOutput)})
	}
	b, err := openBlobs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blob, err := b.put(1, encodeOutputs(leaves))
	if err != nil {
		t.Fatal(err)
	}
	o, err := loadOutputs(b, blob.Hash, &tally.Header{Outputs: tally.OutputTree(leaves).Root(), OutCount: 20})
	if err != nil {
		t.Fatal(err)
	}
	list := o.search(1, nil)
	from, seen := uint64(0), 0
	for more := true; more; {
		var page []bus.Output
		if page, more, err = o.page(b, list, from); err != nil || len(page) == 0 {
			t.Fatalf("%d leaves from %d, %v", len(page), from, err)
		}
		if n := len(bus.Seal(types.NewPrivateKey([32]byte{}), &bus.Outputs{Chain: testChain, Leaves: page})); n > bus.MaxMessage {
			t.Fatalf("a page of %d bytes", n)
		}
		for _, l := range page {
			if !bytes.Equal(l.Detail, leaves[l.Index].Detail) {
				t.Fatalf("detail of leaf %d", l.Index)
			}
		}
		seen += len(page)
		from = page[len(page)-1].Index + 1
	}
	if seen != 20 {
		t.Fatalf("%d leaves", seen)
	}
}

// order makes an order of the network's payer.
func (n *network) order(id byte, cap types.Credit, seq uint64) *receipt.SignedOrder {
	return receipt.Order{Chain: testChain, Category: types.Storage, Session: types.NewSessionID(500, [12]byte{id}), Payer: n.payer.Public(),
		Limit: 1, Most: types.U64(1 << 30), Cap: cap, Seq: seq, First: 1}.Sign(n.payer)
}

// TestOrders: an order gets into the batch whoever hands it in, acts from the next epoch on, and is proven out
// of the state; what was handed in before, or by somebody else, uses up nobody's quota.
func TestOrders(t *testing.T) {
	testNetwork(t, 4, 2, func(t *testing.T, n *network) {
		n.sell()
		d, e := n.device[0], n.device[1]
		first := bus.Item{Type: bus.Order, Raw: n.order(1, 1000, 5).Encode()}
		d.send(first)
		if accepted, reason := d.verdict(first.Hash()); accepted != 4 {
			t.Fatalf("%d took the order, %q", accepted, reason)
		}
		for _, d := range n.device {
			d.send(evidenceItem(d.envelope(reading, nil)))
		}
		n.accepted(2)
		for _, d := range n.device {
			d.send(evidenceItem(d.envelope(reading, nil)))
		}
		h := n.adopted(3)
		key := tally.SessionKey{Payer: n.payer.Public(), ID: types.NewSessionID(500, [12]byte{1})}
		q := &bus.OrderQuery{Chain: testChain, Header: h.Hash(), Session: key}
		answers := e.gather(bus.QueryOrder, bus.Encode(q))
		if len(answers) != 4 {
			t.Fatalf("%d answers", len(answers))
		}
		for _, raw := range answers {
			at, _, err := bus.Open[bus.OrderAt](raw, testChain)
			if err != nil || at.Proof == nil {
				t.Fatalf("%+v, %v", at, err)
			}
			line, err := at.Proof.Order(h, key)
			if err != nil || line.Seq != 5 || line.Amount != 2 || line.Units != types.U64(2) {
				t.Fatalf("order %+v, %v", line, err)
			}
		}
		q.Session.ID = types.NewSessionID(500, [12]byte{2})
		for _, raw := range e.gather(bus.QueryOrder, bus.Encode(q)) {
			if at, _, err := bus.Open[bus.OrderAt](raw, testChain); err != nil || at.Proof != nil {
				t.Fatalf("an order that nobody made: %+v, %v", at, err)
			}
		}
		refused := func(d *device, it bus.Item, want types.Reason) {
			t.Helper()
			d.mu.Lock()
			delete(d.acks, it.Hash())
			d.mu.Unlock()
			d.send(it)
			if accepted, reason := d.verdict(it.Hash()); accepted != 0 || reason != want {
				t.Errorf("%d took it, %q, want %q", accepted, reason, want)
			}
		}
		refused(e, first, types.StaleSeq)
		refused(e, bus.Item{Type: bus.Order, Raw: n.order(1, 1, 4).Encode()}, types.StaleSeq)
		late := n.order(3, 1, 1).Order
		late.Session = types.NewSessionID(4, [12]byte{3})
		refused(e, bus.Item{Type: bus.Order, Raw: late.Sign(n.payer).Encode()}, types.SessionExpired)
		late.Session = types.NewSessionID(9000, [12]byte{3})
		refused(e, bus.Item{Type: bus.Order, Raw: late.Sign(n.payer).Encode()}, types.WrongEpoch)
		paid := d.receipt(10)
		refused(e, paid[0], types.NotPermitted)
		refused(e, paid[1], types.NotPermitted)
		d.send(paid...)
		if accepted, reason := d.verdict(paid[1].Hash()); accepted != 4 {
			t.Errorf("%d took the author's own receipt, %q", accepted, reason)
		}
		n.toEpoch(6)
		late = n.order(9, 1, 1).Order // the session of the receipt
		late.Session = types.NewSessionID(1000, [12]byte([]byte(d.key.Public().String()[16:28])))
		refused(e, bus.Item{Type: bus.Order, Raw: late.Sign(n.payer).Encode()}, types.SessionMismatch)
		synctest.Wait()
	})
}
