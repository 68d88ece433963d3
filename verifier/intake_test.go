package verifier

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestTurnDuringWrite: an epoch does not turn while the keeper writes into its mempool. Else a round could read
// the mempool before what is being written, and acknowledged, is in it: nobody would insist on that.
func TestTurnDuringWrite(t *testing.T) {
	key := types.NewPrivateKey([32]byte{1})
	vrf := types.NewPrivateKey([32]byte{2})
	chain := ledger.New(ledger.Config{
		Chain: testChain, Params: []tally.Params{workSpec.Defaults()}, Econ: econ.Default(),
		Verifiers: []tally.Attester{{Key: key.Public(), VRF: vrf.Public(), Power: 1000}},
	})
	v, err := New(Config{Dir: t.TempDir(), Key: key, VRF: vrf, Log: quiet}, chain, nil, []tally.Verifier{work})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.clock.advance(t.Context(), chain.Advance(1)); err != nil {
		t.Fatal(err)
	}
	head := chain.Advance(25)
	if head.Epoch != 2 {
		t.Fatalf("block %d is of epoch %d", head.Height, head.Epoch)
	}
	v.intake.mu.Lock() // as the keeper does for as long as it writes
	turned := make(chan error, 1)
	go func() { turned <- v.clock.advance(t.Context(), head) }()
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if now := v.intake.now.Load(); now.epoch.Epoch != 1 {
			t.Errorf("epoch %d began while the mempool of epoch 1 was written", now.epoch.Epoch)
			break
		}
	}
	v.intake.mu.Unlock()
	if err := <-turned; err != nil {
		t.Fatal(err)
	}
	if now := v.intake.now.Load(); now.epoch.Epoch != 2 || v.intake.open.epoch != 2 || v.intake.prev.epoch != 1 {
		t.Fatalf("epoch %d, mempools of %d and %d", now.epoch.Epoch, v.intake.open.epoch, v.intake.prev.epoch)
	}
}

// TestUnsynced: what could not be synced is not acknowledged, also when it is sent again.
func TestUnsynced(t *testing.T) {
	devices := benchDevices(1)
	envelopes := benchEnvelopes(devices, 2)
	now := benchHead(devices)
	in := benchIntake(t, nil, 1)
	if err := in.turn(now); err != nil {
		t.Fatal(err)
	}
	b := in.open
	send := func(e *evidence.Envelope) types.Reason {
		sub := &submission{author: e.Author, items: []bus.Item{evidenceItem(e)}}
		in.judge(now, []*submission{sub})
		in.write([]*submission{sub})
		return sub.verdicts[0]
	}
	if why := send(envelopes[0]); why != "" {
		t.Fatalf("a good disk: %q", why)
	}
	b.close()
	var err error
	if b.file, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil { // takes every byte, and cannot be synced
		t.Fatal(err)
	}
	defer b.close()
	for range 2 {
		if why := send(envelopes[1]); why != types.HomeUnwritable {
			t.Fatalf("it is not on the disk, and the answer is %q", why)
		}
	}
	if why := send(envelopes[0]); why != "" {
		t.Fatalf("what was synced before: %q", why)
	}
}

// TestFlood: one author who sends more than can be taken in keeps nobody else out, and takes no more memory
// than its share, however little its messages weigh on the wire.
func TestFlood(t *testing.T) {
	devices := benchDevices(2)
	honest, flooder := devices[0], devices[1]
	e := benchEnvelopes(devices[:1], 1)[0]
	key := types.NewPrivateKey([32]byte{8})
	mem := bus.NewMemory(everybody{key.Public()}, quiet)
	dial := func(k types.PrivateKey) bus.Bus {
		link, err := mem.Dial(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(link.Close)
		return link
	}
	link := dial(key)
	in := benchIntake(t, link, 2)
	if err := in.turn(benchHead(devices)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.run(ctx) }()
	defer func() { cancel(); <-done }()
	acked := make(chan *bus.Ack, 1)
	door := dial(honest)
	if err := door.Subscribe(ctx, bus.AckSubject(types.Key{}, honest.Public()), func(m bus.Message) {
		if a, _, err := bus.Open[bus.Ack](m.Data, benchChain); err == nil {
			acked <- a
		}
	}); err != nil {
		t.Fatal(err)
	}
	junk := &bus.Submit{Chain: benchChain}
	for range 600 {
		junk.Items = append(junk.Items, bus.Item{Type: bus.Evidence, Raw: []byte{1}})
	}
	raw := bus.Encode(junk)
	in.mu.Lock() // the disk is slow
	noise := dial(flooder)
	for i := range bus.Pending + 4096 {
		if err := noise.Publish(ctx, bus.SubmitSubject(flooder.Public(), 0), raw); err != nil {
			t.Fatal(err)
		}
		if i%256 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	time.Sleep(time.Second) // what arrived has been looked at
	if err := door.Publish(ctx, bus.SubmitSubject(honest.Public(), 0), bus.Encode(&bus.Submit{Chain: benchChain, Items: []bus.Item{evidenceItem(e)}})); err != nil {
		t.Fatal(err)
	}
	in.mu.Unlock()
	select {
	case a := <-acked:
		if len(a.Accepted) != 1 || a.Accepted[0] != e.Hash {
			t.Fatalf("%+v", a)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the honest author hears nothing; the bus dropped %d messages", link.Dropped())
	}
}

// TestOldStates: whoever asks for the past does not fill a verifier's memory with it.
func TestOldStates(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		for e := types.Epoch(2); e <= 12; e++ {
			n.toEpoch(e)
			n.device[0].send(evidenceItem(n.device[0].envelope(reading, nil)))
			n.accepted(e)
		}
		d, v := n.device[0], n.peers[0].v
		states := func() int {
			v.archive.mu.Lock()
			defer v.archive.mu.Unlock()
			return len(v.archive.states)
		}
		before, answered := states(), 0
		for e := types.Epoch(2); e <= 12; e++ {
			line := &bus.LineQuery{Chain: testChain, Device: d.key.Public(), Tallied: e}
			order := &bus.OrderQuery{Chain: testChain, Header: n.header(e).Hash, Session: tally.SessionKey{Payer: n.payer.Public()}}
			for what, q := range map[string][]byte{bus.QueryLine: bus.Encode(line), bus.QueryOrder: bus.Encode(order)} {
				ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
				if _, err := d.link.Request(ctx, bus.QuerySubject(d.key.Public(), 0, what), q); err == nil {
					answered++
				}
				cancel()
			}
		}
		if answered < 20 {
			t.Fatalf("%d questions are answered", answered)
		}
		if after := states(); after > before {
			t.Fatalf("%d states in memory, %d before anybody asked", after, before)
		}
	})
}

// TestOldReports: whoever asks for older and older tallies' refusals does not fill memory with them.
func TestOldReports(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		n.accepted(12)
		n.block()
		d, v := n.device[0], n.peers[0].v
		answered := 0
		for e := types.Epoch(12); e >= 2; e-- {
			q := &bus.RefusalsQuery{Chain: testChain, Author: d.key.Public(), Epoch: e}
			ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
			if _, err := d.link.Request(ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryRefusals), bus.Encode(q)); err == nil {
				answered++
			}
			cancel()
		}
		if answered <= 2*keptReports {
			t.Fatalf("%d questions are answered", answered)
		}
		if got := len(v.query.reports.kept); got > keptReports {
			t.Fatalf("%d reports in memory, at most %d are kept", got, keptReports)
		}
	})
}

// TestBlobAgain: a blob that is kept is not written again for an earlier epoch, so nobody who asks for one line
// after two tallies in turn keeps the disk busy; and what a later epoch took over goes with its folder.
func TestBlobAgain(t *testing.T) {
	b, err := openBlobs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("a line")
	put := func(e types.Epoch) {
		t.Helper()
		if _, err := b.put(e, data); err != nil {
			t.Fatal(err)
		}
	}
	there := func(e types.Epoch) bool {
		_, err := os.Stat(filepath.Join(b.folder(e), types.Sum(data).String()))
		return err == nil
	}
	put(5)
	put(3)
	if there(3) {
		t.Fatal("it is written again")
	}
	put(7)
	if err := b.prune(6); err != nil {
		t.Fatal(err)
	}
	if there(5) || !there(7) {
		t.Fatalf("after pruning: %v of epoch 5, %v of epoch 7", there(5), there(7))
	}
	if got, err := b.get(types.Sum(data)); err != nil || string(got) != string(data) {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestMistyped: a liar hands in what somebody else is about to hand in under another type, to have it refused
// for good by those who would keep it, and passes the refusals on. There are none; and what is nothing under
// any type is refused as before.
func TestMistyped(t *testing.T) {
	testNetwork(t, 2, 2, func(t *testing.T, n *network) {
		d, liar := n.device[0], n.device[1]
		r := d.receipt(1000)
		order := receipt.Order{Chain: testChain, Category: types.Storage, Session: types.NewSessionID(1000, [12]byte{9}), Payer: n.payer.Public(), Cap: 1 << 20, Seq: 1, First: 2}
		for _, item := range []bus.Item{
			evidenceItem(d.envelope(reading, nil)),
			evidenceItem(d.envelope(reading, func(p *evidence.Payload) { p.Body = make([]byte, 1000) })), // longer than a receipt
			r[0], r[1],
			{Type: bus.Order, Raw: order.Sign(n.payer).Encode()},
		} {
			for _, as := range []bus.ItemType{bus.Evidence, bus.Receipt, bus.Order, bus.Ask} {
				if as == item.Type {
					continue
				}
				liar.send(bus.Item{Type: as, Raw: item.Raw})
				if ok, why := liar.verdict(item.Hash()); ok != 0 || agent.Lasting(why) {
					t.Errorf("%s as %s: accepted by %d, %q", item.Type, as, ok, why)
				}
			}
		}
		junk := bus.Item{Type: bus.Evidence, Raw: []byte("junk")}
		liar.send(junk)
		if _, why := liar.verdict(junk.Hash()); why != types.BadEncoding {
			t.Errorf("junk: %q", why)
		}
	})
}

// slow is a chain that takes its time.
type slow struct{ ledger.Ledger }

func (s slow) Head(ctx context.Context) (ledger.Block, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Ledger.Head(ctx)
}

// tardy is a link of a verifier whose disk takes its time to send a piece of a blob.
type tardy struct{ bus.Bus }

func (s tardy) Respond(ctx context.Context, to bus.Message, data []byte) error {
	if strings.HasPrefix(to.Subject, "blob.") {
		time.Sleep(10 * time.Millisecond)
	}
	return s.Bus.Respond(ctx, to, data)
}

// TestAskedTooMuch: one device that asks a verifier without end keeps it from answering nobody else, about
// lines and for blobs.
func TestAskedTooMuch(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		n.accepted(2)
		n.stop(0)
		n.peers[0].ledger, n.peers[0].wrap = slow{n.chain}, func(b bus.Bus) bus.Bus { return tardy{b} }
		n.start(0)
		time.Sleep(time.Second)
		v, honest, flooder := n.peers[0].v, n.device[0], n.device[1]
		line := bus.Encode(&bus.LineQuery{Chain: testChain, Device: honest.key.Public(), Tallied: 2})
		header, err := tally.DecodeHeader(n.header(2).Raw)
		if err != nil {
			t.Fatal(err)
		}
		chunk := types.Encode(&bus.Chunk{Hash: header.Frame})
		ask := func(d *device, subject string, data []byte) error {
			ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
			defer cancel()
			_, err := d.link.Request(ctx, subject, data)
			return err
		}
		for what, c := range map[string]struct {
			subject func(types.Key) string
			data    []byte
		}{
			"a line": {func(k types.Key) string { return bus.QuerySubject(k, 0, bus.QueryLine) }, line},
			"a blob": {func(k types.Key) string { return bus.ChunkSubject(k, v.Key()) }, chunk},
		} {
			over, stop := context.WithCancel(n.ctx)
			var wg sync.WaitGroup
			for range 4000 {
				wg.Go(func() { _, _ = flooder.link.Request(over, c.subject(flooder.key.Public()), c.data) })
			}
			synctest.Wait()
			if err := ask(honest, c.subject(honest.key.Public()), c.data); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			stop()
			wg.Wait()
			time.Sleep(time.Minute) // whatever is still asked is answered, to nobody
		}
	})
}

// TestPoorOrders: what an account without credits orders is not even kept, however many keys it grants; and of
// an account with credits there is a bound over all its keys.
func TestPoorOrders(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		d, v := n.device[0], n.peers[0].v
		grant := func(from types.Account, i byte, limit types.Credit) types.PrivateKey {
			k := types.NewPrivateKey([32]byte{5, from[0], i})
			n.submit(from, ledger.GrantKey{Key: k.Public(), Limit: limit, Expiry: 1000, Proof: k.Sign("grant", testChain, evidence.GrantBytes(from))})
			return k
		}
		poor, spent := grant(n.peers[0].cfg.Account, 0, 1<<40), grant(n.owner, 0, 0)
		var keys []types.PrivateKey
		for i := range byte(20) {
			keys = append(keys, grant(n.owner, i+1, 1<<40))
		}
		n.accepted(2)
		n.toEpoch(4)
		order := func(k types.PrivateKey, i int, cap types.Credit) bus.Item {
			o := receipt.Order{Chain: testChain, Category: types.Storage, Session: types.NewSessionID(1000, [12]byte{byte(i), byte(i >> 8)}), Payer: k.Public(), Cap: cap, Seq: 1, First: 2}
			return bus.Item{Type: bus.Order, Raw: o.Sign(k).Encode()}
		}
		for _, c := range []struct {
			item bus.Item
			want types.Reason
		}{
			{order(poor, 1, 1000), types.OverBudget}, {order(spent, 1, 1000), types.OverLimit}, {order(keys[0], 1, 0), types.SessionOpening},
		} {
			d.send(c.item)
			if ok, why := d.verdict(c.item.Hash()); ok != 0 || why != c.want {
				t.Errorf("accepted by %d, %q, want %q", ok, why, c.want)
			}
		}
		before := v.Stats().Accepted
		for _, k := range keys {
			var items []bus.Item
			for i := range tally.MaxNewOrder {
				items = append(items, order(k, i, 1000))
			}
			d.send(items...)
		}
		if got := v.Stats().Accepted - before; got != maxAccountOrders {
			t.Errorf("%d orders of one account are kept", got)
		}
	})
}

// TestLeanOrders: of an account's orders that begin a session no more are kept in an epoch than it has credits
// to stand behind.
func TestLeanOrders(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		d, from := n.device[0], n.peers[0].cfg.Account
		n.submit(from, ledger.Buy{Amount: 100})
		k := types.NewPrivateKey([32]byte{5, 1})
		n.submit(from, ledger.GrantKey{Key: k.Public(), Limit: 1 << 40, Expiry: 1000, Proof: k.Sign("grant", testChain, evidence.GrantBytes(from))})
		n.accepted(2)
		n.toEpoch(4)
		account, err := n.chain.Account(n.ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		o := receipt.Order{Chain: testChain, Category: types.Storage, Payer: k.Public(), Selector: make([]byte, receipt.MaxTerms), Cap: 1000, Seq: 1, First: 2}
		most := int(uint64(account.Bought) / tally.OrderUnits(&o)) // the least opening amount is 1 here
		if most < 2 || most > maxBegun-10 {
			t.Fatalf("%d credits are no good for this test", account.Bought)
		}
		var items []bus.Item
		for i := range byte(most) + 10 {
			o.Session = types.NewSessionID(1000, [12]byte{i})
			items = append(items, bus.Item{Type: bus.Order, Raw: o.Sign(k).Encode()})
		}
		before := n.peers[0].v.Stats().Accepted
		d.send(items...)
		if got := n.peers[0].v.Stats().Accepted - before; got != uint64(most) {
			t.Errorf("%d orders are kept, there are credits for %d", got, most)
		}
	})
}

// TestReplayedOrders: orders that a tally refused can be found in its batch and handed in again by anybody.
// They use up as much of the payer's quota as new sessions may, and the payer can still change and cancel what
// acts.
func TestReplayedOrders(t *testing.T) {
	testNetwork(t, 1, 2, func(t *testing.T, n *network) {
		stranger, door := n.device[0], n.device[1]
		order := func(i int, seq uint64, cap types.Credit) bus.Item {
			o := receipt.Order{Chain: testChain, Category: types.Storage, Session: types.NewSessionID(1000, [12]byte{byte(i), byte(i >> 8)}), Payer: n.payer.Public(), Cap: cap, Seq: seq, First: 2}
			return bus.Item{Type: bus.Order, Raw: o.Sign(n.payer).Encode()}
		}
		var all []bus.Item
		for i := range 4 * receipt.MaxOrders { // of which a quarter can act
			all = append(all, order(i, 1, 1000))
		}
		for e := types.Epoch(2); e < 6; e++ {
			n.toEpoch(e)
			door.send(all[int(e-2)*receipt.MaxOrders:][:receipt.MaxOrders]...)
			n.accepted(e)
		}
		n.toEpoch(8)
		stranger.send(all...)
		cancel := order(0, 2, 1)
		door.send(cancel)
		if ok, why := door.verdict(cancel.Hash()); ok != 1 {
			t.Fatalf("accepted by %d, %q", ok, why)
		}
	})
}

// bulky is a category whose lines are too long for an answer.
func bulky() tally.Verifier {
	spec := workSpec
	spec.MaxState = 2 * bus.MaxInline
	return tally.Verifier{Spec: &spec, Verify: func(in *tally.Input) *tally.Output {
		out := work.Verify(in)
		out.State = make([]byte, bus.MaxInline+1)
		copy(out.State, types.Encode(in.Epoch))
		return out
	}}
}

// TestLongLines: a line that is too long for an answer can be fetched, and whoever asks for lines writes
// nothing to the verifier's disk.
func TestLongLines(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		n.stop(0)
		n.peers[0].rules = []tally.Verifier{bulky()}
		n.start(0)
		d, p := n.device[0], n.peers[0]
		for e := types.Epoch(2); e <= 5; e++ {
			n.toEpoch(e)
			d.send(evidenceItem(d.envelope(reading, nil)))
			n.accepted(e)
		}
		n.block()
		kept := func() int {
			files, err := filepath.Glob(filepath.Join(p.cfg.Dir, "blobs", "*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			return len(files)
		}
		before := kept()
		for e := types.Epoch(2); e <= 5; e++ {
			ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
			raw, err := d.link.Request(ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryLine), bus.Encode(&bus.LineQuery{Chain: testChain, Device: d.key.Public(), Tallied: e}))
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			line, _, err := bus.Open[bus.Line](raw, testChain)
			if err != nil || len(line.Lines) != 1 || line.Lines[0].Blob.Size != bus.MaxInline+1 {
				t.Fatalf("%+v, %v", line, err)
			}
			if _, err := bus.FetchBlob(n.ctx, d.link, line.Lines[0].Blob.Hash, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if after := kept(); after != before {
			t.Fatalf("%d files, %d before anybody asked", after, before)
		}
	})
}

// counting is a chain that counts how often it is asked for an epoch.
type counting struct {
	ledger.Ledger
	asked atomic.Int64
}

func (c *counting) Epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	c.asked.Add(1)
	return c.Ledger.Epoch(ctx, e)
}

// TestFarEpochs: what somebody says of epochs that are far away costs no question to the chain, behind which
// what the others say would wait.
func TestFarEpochs(t *testing.T) {
	testNetwork(t, 2, 1, func(t *testing.T, n *network) {
		n.stop(0)
		chain := &counting{Ledger: n.chain}
		n.peers[0].ledger = chain
		n.start(0)
		before := chain.asked.Load()
		liar := n.peers[1]
		for i := range types.Epoch(500) {
			m := &bus.Inventory{Chain: testChain, Epoch: 1000 + i}
			if err := liar.link.PublishLast(n.ctx, bus.InventorySubject(liar.v.Key(), 0), bus.Seal(liar.cfg.Key, m)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := chain.asked.Load() - before; got > 10 {
			t.Fatalf("the chain was asked %d times", got)
		}
	})
}

// TestLongSkip: tallies that the chain never took do not stay in memory.
func TestLongSkip(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		n.stop(0)
		n.stop(1)
		for e := types.Epoch(2); e < 12; e++ {
			n.toEpoch(e)
			n.device[0].send(evidenceItem(n.device[0].envelope(reading, nil)))
		}
		n.toEpoch(13)
		for _, p := range n.peers[2:] {
			a := p.v.rounds.agreement
			a.mu.Lock()
			if got := len(a.computed); got > 16 { // two proposals in each round of two epochs
				t.Errorf("%d tallies in memory", got)
			}
			a.mu.Unlock()
		}
		n.start(0)
		n.start(1)
		n.accepted(13) // and the region goes on
	})
}

// TestFullMempool: a mempool does not grow beyond what a batch can be, with all that skipped epochs before it
// left. Else registered devices could hand in so much that nobody can fetch the batch, and as receipts last,
// none of the region's batches would ever be shorter.
func TestFullMempool(t *testing.T) {
	defer func(n int64) { maxMempool = n }(maxMempool)
	maxMempool = 2300
	testNetwork(t, 4, 4, func(t *testing.T, n *network) {
		n.stop(0)
		n.stop(1) // the region skips
		receipts := func() (taken int) {
			for _, d := range n.device {
				r := d.receipt(1000)
				d.send(r...)
				if ok, why := d.verdict(r[1].Hash()); why == "" {
					taken++
				} else if why != types.OverQuota {
					t.Fatalf("accepted by %d, %q", ok, why)
				}
			}
			return taken
		}
		first := receipts()
		if first != len(n.device) {
			t.Fatalf("%d receipts are taken while there is room", first)
		}
		n.toEpoch(3)
		if got := receipts(); got > 1 {
			t.Fatalf("%d receipts are taken beyond the bound", got)
		}
		n.toEpoch(4)
		n.start(0)
		n.start(1)
		n.accepted(4)
		n.block()
		if got := receipts(); got == 0 {
			t.Fatal("nothing is taken after the batch that was full is counted")
		}
	})
}
