package verifier

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

const testChain = "verifier-test-1"

// Kinds of the test's category.
const (
	reading evidence.Kind = 1
	lasting evidence.Kind = 2 // cumulative
	report  evidence.Kind = 3 // by a witness
)

// work is a category in which each envelope is a unit of network-ordered work, and every receipt is fine.
var work = tally.Verifier{Spec: &workSpec, Verify: func(in *tally.Input) *tally.Output {
	return &tally.Output{
		Ordered: []tally.Ordered{{Class: 1, Units: types.U64(uint64(len(in.Evidence)))}}, Quality: 10_000,
		Totals: []uint64{uint64(len(in.Evidence))}, State: []byte{1},
	}
}}

var workSpec = tally.Spec{
	Category: types.Storage, Name: "work",
	Classes:  []tally.Class{{Class: 1, Name: "hold", Unit: "unit", Scale: 1}},
	Kinds:    []tally.Kind{{Kind: reading, Name: "reading"}, {Kind: lasting, Name: "lasting", Cumulative: true}},
	Quota:    tally.Quota{Count: 8, Bytes: 4096},
	Params:   tally.Params{Bond: 1_000_000, Penalty: 700_000},
	Economy:  tally.Economy{Quota: 100},
	MaxState: 16,
}

// peer is one verifier of the test's network.
type peer struct {
	cfg    Config
	v      *Verifier
	link   bus.Bus
	cancel context.CancelFunc
	done   chan error
	ledger ledger.Ledger // the network's, unless a test puts another in between
	rules  []tally.Verifier
	wrap   func(bus.Bus) bus.Bus // nil: none
}

// network is a chain in memory, a bus in memory, some verifiers, devices and one customer. It lives in a
// synctest bubble: after each block all goroutines have come to rest.
type network struct {
	t      *testing.T
	ctx    context.Context
	chain  *ledger.Memory
	mem    *bus.Memory
	peers  []*peer
	device []*device
	owner  types.Account
	payer  types.PrivateKey
	log    *slog.Logger
}

// device hands in envelopes and receipts, and remembers acks.
type device struct {
	n    *network
	key  types.PrivateKey
	link bus.Bus
	ask  *receipt.SignedAsk
	seq  uint64
	prev types.Hash
	paid types.Credit

	mu   sync.Mutex
	acks map[types.Hash]map[types.Key]types.Reason // by item and verifier; "" is accepted
}

func testNetwork(t *testing.T, verifiers, devices int, test func(t *testing.T, n *network)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := &network{t: t, ctx: ctx, owner: types.Account{0xa}, payer: types.NewPrivateKey([32]byte{4, 1}), log: quiet}
		if testing.Verbose() && os.Getenv("CAIRN_TEST_LOG") != "" {
			n.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		}
		cfg := ledger.Config{
			Chain: testChain, Params: []tally.Params{workSpec.Defaults()}, Econ: econ.Default(),
			Balances: map[types.Account]types.Ustone{n.owner: 100_000_000_000_000},
		}
		for i := range verifiers {
			p := &peer{cfg: Config{
				Dir: filepath.Join(dir, fmt.Sprint(i)), Key: types.NewPrivateKey([32]byte{1, byte(i)}), VRF: types.NewPrivateKey([32]byte{2, byte(i)}),
				Account: types.Account{0xb, byte(i)}, Appeal: true, Workers: 2, Log: n.log,
			}, rules: []tally.Verifier{work}}
			n.peers = append(n.peers, p)
			cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: p.cfg.Key.Public(), VRF: p.cfg.VRF.Public(), Owner: p.cfg.Account, Power: 1000})
			cfg.Balances[p.cfg.Account] = 1_000_000_000_000
		}
		n.chain = ledger.New(cfg)
		n.mem = bus.NewMemory(NewAuthorizer(n.chain), n.log)
		for i := range devices {
			n.register(byte(i))
		}
		n.submit(n.owner, ledger.Buy{Amount: 1_000_000_000})
		n.submit(n.owner, ledger.GrantKey{Key: n.payer.Public(), Limit: 1 << 40, Expiry: 1000, Proof: n.payer.Sign("grant", testChain, evidence.GrantBytes(n.owner))})
		for i := range n.peers {
			n.peers[i].ledger = n.chain
			n.start(i)
		}
		n.toEpoch(2) // registrations are in force
		test(t, n)
		for i := range n.peers {
			n.stop(i)
		}
		for _, d := range n.device {
			d.link.Close()
		}
		cancel()
		synctest.Wait()
	})
}

func (n *network) submit(from types.Account, msgs ...ledger.Msg) {
	n.t.Helper()
	if _, err := n.chain.Submit(n.ctx, from, msgs...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) register(i byte) {
	n.t.Helper()
	d := &device{n: n, key: types.NewPrivateKey([32]byte{3, i}), acks: map[types.Hash]map[types.Key]types.Reason{}}
	st := evidence.Statement{
		Chain: testChain, Device: d.key.Public(), Owner: n.owner, Nonce: [16]byte{i}, Categories: []types.Category{types.Storage},
		Cell: 0x8a1fb46622dffff, Expiry: 1000,
	}
	n.submit(n.owner, ledger.Register{Statement: *st.Sign(d.key), Bond: workSpec.Params.Bond})
	var err error
	if d.link, err = n.mem.Dial(n.ctx, d.key); err != nil {
		n.t.Fatal(err)
	}
	err = d.link.Subscribe(n.ctx, bus.AckSubject(types.Key{}, d.key.Public()), func(m bus.Message) {
		ack, who, err := bus.Open[bus.Ack](m.Data, testChain)
		if err != nil {
			n.t.Error(err)
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		note := func(h types.Hash, r types.Reason) {
			if d.acks[h] == nil {
				d.acks[h] = map[types.Key]types.Reason{}
			}
			d.acks[h][who] = r
		}
		for _, h := range ack.Accepted {
			note(h, "")
		}
		for _, r := range ack.Refused {
			note(r.Item, r.Reason)
		}
	})
	if err != nil {
		n.t.Fatal(err)
	}
	d.ask = receipt.Ask{Chain: testChain, Device: d.key.Public(), Category: types.Storage, Class: 1, Price: 1, Until: 1000}.Sign(d.key)
	n.device = append(n.device, d)
}

// start runs a verifier.
func (n *network) start(i int) {
	n.t.Helper()
	p := n.peers[i]
	ctx, cancel := context.WithCancel(n.ctx)
	var err error
	if p.link, err = n.mem.Dial(ctx, p.cfg.Key); err != nil {
		n.t.Fatal(err)
	}
	link := p.link
	if p.wrap != nil {
		link = p.wrap(link)
	}
	if p.v, err = New(p.cfg, p.ledger, link, p.rules); err != nil {
		n.t.Fatal(err)
	}
	p.cancel, p.done = cancel, make(chan error, 1)
	v := p.v
	go func() { p.done <- v.Run(ctx) }()
	synctest.Wait()
}

// stop ends a verifier as a kill would: at once, in the middle of whatever it does.
func (n *network) stop(i int) {
	n.t.Helper()
	p := n.peers[i]
	if p.v == nil {
		return
	}
	p.cancel()
	if err := <-p.done; err != nil {
		n.t.Errorf("verifier %d: %v", i, err)
	}
	p.link.Close()
	if err := p.v.Close(); err != nil {
		n.t.Errorf("close verifier %d: %v", i, err)
	}
	p.v = nil
	synctest.Wait()
}

// block makes one block and waits until everything has come to rest.
func (n *network) block() ledger.Block {
	b := n.chain.Advance(1)
	synctest.Wait()
	time.Sleep(400 * time.Millisecond)
	synctest.Wait()
	return b
}

func (n *network) height() uint64 {
	b, _ := n.chain.Head(n.ctx)
	return b.Height
}

func (n *network) toHeight(h uint64) {
	for n.height() < h {
		n.block()
	}
}

func (n *network) toEpoch(e types.Epoch) { n.toHeight(uint64(e-1)*20 + 1) }

// header returns the chain's header of e.
func (n *network) header(e types.Epoch) *ledger.Header {
	n.t.Helper()
	h, err := n.chain.Header(n.ctx, e, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// accepted waits for the header of e and returns it, decoded.
func (n *network) accepted(e types.Epoch) *tally.Header {
	n.t.Helper()
	n.toEpoch(e + 1)
	for range 16 {
		if n.header(e).Status != ledger.Open {
			break
		}
		n.block()
	}
	at := n.header(e)
	if at.Raw == nil || at.Status == ledger.Voided {
		n.t.Fatalf("epoch %d is %s at block %d", e, at.Status, n.height())
	}
	h, err := tally.DecodeHeader(at.Raw)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// leader returns who leads a round.
func (n *network) leader(e types.Epoch, round int) int {
	n.t.Helper()
	ep, err := n.chain.Epoch(n.ctx, e)
	if err != nil {
		n.t.Fatal(err)
	}
	return slices.IndexFunc(n.peers, func(p *peer) bool { return p.cfg.Key.Public() == ep.Leaders[0][round] })
}

func (n *network) balanced() {
	n.t.Helper()
	s, err := n.chain.Supply(n.ctx)
	if err != nil || !s.Balanced {
		n.t.Fatalf("supply: %+v, %v", s, err)
	}
}

// envelope makes the device's next envelope, anchored to the newest block.
func (d *device) envelope(kind evidence.Kind, change func(*evidence.Payload)) *evidence.Envelope {
	head, _ := d.n.chain.Head(d.n.ctx)
	d.seq++
	p := evidence.Payload{
		Chain: testChain, Category: types.Storage, Kind: kind, Epoch: head.Epoch, Seq: d.seq, Prev: d.prev,
		Anchor: evidence.Anchor{Height: head.Height, Hash: [16]byte(head.Hash[:16])}, Body: []byte{byte(d.seq)},
	}
	if change != nil {
		change(&p)
	}
	e := evidence.Sign(d.key, p)
	d.prev = e.Hash
	return e
}

// receipt makes a receipt over so much more.
func (d *device) receipt(more types.Credit) []bus.Item {
	d.paid += more
	r := receipt.Receipt{
		Chain: testChain, Category: types.Storage, Session: types.NewSessionID(1000, [12]byte([]byte(d.key.Public().String()[16:28]))), Payer: d.n.payer.Public(),
		Device: d.key.Public(), Terms: d.ask.Ask.Hash(), Units: types.U64(uint64(d.paid)), Amount: d.paid, Seq: uint64(d.paid), First: 2,
	}
	s := receipt.Signed{Receipt: r, PayerSig: r.Sign(d.n.payer), DeviceSig: r.Countersign(d.key)}
	return []bus.Item{{Type: bus.Ask, Raw: d.ask.Encode()}, {Type: bus.Receipt, Raw: s.Encode()}}
}

func evidenceItem(e *evidence.Envelope) bus.Item { return bus.Item{Type: bus.Evidence, Raw: e.Raw} }

// send hands in items and waits for the acks.
func (d *device) send(items ...bus.Item) {
	d.n.t.Helper()
	if err := d.link.Publish(d.n.ctx, bus.SubmitSubject(d.key.Public(), 0), bus.Encode(&bus.Submit{Chain: testChain, Items: items})); err != nil {
		d.n.t.Fatal(err)
	}
	synctest.Wait()
}

// sendTo hands in items to some verifiers only: the others are deaf meanwhile.
func (d *device) sendTo(who []int, items ...bus.Item) {
	d.n.t.Helper()
	now := make([]*headView, len(d.n.peers))
	for i, p := range d.n.peers {
		if p.v != nil && !slices.Contains(who, i) {
			now[i] = p.v.intake.now.Swap(nil)
		}
	}
	d.send(items...)
	for i, p := range d.n.peers {
		if now[i] != nil {
			p.v.intake.now.Store(now[i])
		}
	}
}

// verdict returns how many verifiers accepted an item, and the reason that others gave, "" for none.
func (d *device) verdict(h types.Hash) (accepted int, reason types.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.acks[h] {
		if r == "" {
			accepted++
		} else {
			reason = r
		}
	}
	return accepted, reason
}
