package storage

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/servicetest"
)

const testChain = "cairn-test-1"

// testPrice is a quarter of a micro-credit for a byte·epoch, so that small files cost something.
const testPrice = Scale / 4

// cut returns the first bytes of a name's hash.
func cut[T [12]byte | [20]byte](name string) (short T) {
	h := types.Sum([]byte(name))
	for i := range len(short) {
		short[i] = h[i]
	}
	return short
}

// key is a private key that a test can name.
func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// world is one region as the category sees it: a clock, a registry and devices. It keeps what the protocol's
// own checks keep.
type world struct {
	servicetest.Registry
	t      testing.TB
	epoch  types.Epoch
	totals []uint64
	rng    *rand.Rand

	refused map[tally.SessionKey]bool // sessions that the tally did not open
}

func newWorld(t testing.TB) *world {
	return &world{Registry: servicetest.Registry{Granted: map[types.Key]*tally.Grant{}}, t: t, epoch: 10, rng: rand.New(rand.NewPCG(1, 2))}
}

// seed is that of the current epoch.
func (w *world) seed() types.Hash {
	return types.Sum([]byte("test seed"), binary.BigEndian.AppendUint64(nil, uint64(w.epoch)))
}

// customer is an account with one session key.
type customer struct {
	w       *world
	key     types.PrivateKey
	account types.Account
}

func (w *world) customer(name string) *customer {
	c := &customer{w: w, key: key(name), account: types.Account(cut[[20]byte](name))}
	w.Granted[c.key.Public()] = &tally.Grant{Key: c.key.Public(), Account: c.account, Limit: 1 << 40, Expiry: 100000}
	return c
}

// device is an honest provider, reduced to what the evidence needs. Tests bend it.
type device struct {
	w        *world
	key      types.PrivateKey
	line     []byte // its state in the last tally
	seq      uint64
	disk     map[types.Hash][]byte
	shards   map[types.SessionID]*Shards
	paid     map[types.SessionID]tally.ReceiptItem
	evidence []*evidence.Envelope
	receipts []*tally.ReceiptItem
	silent   bool // does not answer
}

func (w *world) device(name string) *device {
	return &device{w: w, key: key(name), disk: map[types.Hash][]byte{}, shards: map[types.SessionID]*Shards{}, paid: map[types.SessionID]tally.ReceiptItem{}}
}

func (d *device) state() *State {
	s, err := DecodeState(d.line)
	if err != nil {
		d.w.t.Fatal(err)
	}
	return s
}

func (d *device) session(id types.SessionID) *Session {
	s := d.state().Find(id)
	if s == nil {
		d.w.t.Fatalf("the tally has no session %s", id)
	}
	return s
}

// submit signs evidence of the current epoch and returns its place among the epoch's evidence.
func (d *device) submit(kind evidence.Kind, body []byte) int {
	d.seq++
	d.evidence = append(d.evidence, evidence.Sign(d.key, evidence.Payload{
		Chain: testChain, Category: types.Storage, Kind: kind, Epoch: d.w.epoch, Seq: d.seq, Body: body,
	}))
	return len(d.evidence) - 1
}

// deal is a session between a customer and a device.
type deal struct {
	c       *customer
	d       *device
	ask     receipt.Ask
	holding Holding
	list    *Shards // the customer's own
}

func (c *customer) deal(d *device, name string) *deal {
	id := types.NewSessionID(c.w.epoch+5000, cut[[12]byte](name))
	list, _ := NewShards(0, nil)
	theirs, _ := NewShards(0, nil)
	d.shards[id] = theirs
	ask := receipt.Ask{Chain: testChain, Device: d.key.Public(), Category: types.Storage, Class: Hold, Price: testPrice, Until: c.w.epoch + 100}
	return &deal{c: c, d: d, ask: ask, list: list, holding: Holding{
		Device: d.key.Public(), Session: id, Account: c.account, Payer: c.key.Public(), Ask: ask.Hash(), Price: testPrice, Until: c.w.epoch + 4000,
	}}
}

// commit applies operations on both sides.
func (x *deal) commit(ops []Op) *SignedHolding {
	h := &x.holding
	h.Revision++
	for _, list := range []*Shards{x.list, x.d.shards[h.Session]} {
		if err := list.Commit(h.Revision, ops); err != nil {
			x.c.w.t.Fatal(err)
		}
	}
	root := x.list.Root()
	h.Root, h.Bytes, h.Shards = root.Hash, root.Sum, uint64(x.list.Len())
	return x.sign()
}

func (x *deal) sign() *SignedHolding {
	return &SignedHolding{Holding: x.holding, Signature: x.c.key.Sign(DomainHolding, testChain, x.holding.Payload())}
}

// put stores n shards of size bytes and hands the holding in.
func (x *deal) put(n, size int) int {
	var ops []Op
	for i := range n {
		data := make([]byte, size)
		for at := range data {
			data[at] = byte(x.c.w.rng.Uint32())
		}
		shard := Shard{ID: ShardID(data), Bytes: uint64(size)}
		x.d.disk[shard.ID] = data
		ops = append(ops, x.list.Append(i, shard))
	}
	return x.d.submit(KindHolding, x.commit(ops).Encode())
}

// drop deletes the n last shards and hands the holding in.
func (x *deal) drop(n int) int {
	var ops []Op
	for i := range n {
		slot := x.list.Len() - 1 - i
		ops = append(ops, Op{Kind: OpDelete, Slot: uint64(slot), Shard: x.list.At(slot)})
	}
	return x.d.submit(KindHolding, x.commit(ops).Encode())
}

// pay hands in a receipt of units, at the price of the session, and returns its place among the epoch's receipts.
func (x *deal) pay(units types.U128) int {
	amount, err := Amount(units, testPrice)
	if err != nil {
		x.c.w.t.Fatal(err)
	}
	return x.hand(Hold, receipt.Receipt{
		Chain: testChain, Category: types.Storage, Session: x.holding.Session, Payer: x.holding.Payer,
		Device: x.d.key.Public(), Terms: x.holding.Ask, Units: units, Amount: amount,
	})
}

func (x *deal) hand(class types.Class, r receipt.Receipt) int {
	before := x.d.paid[r.Session]
	x.d.receipts = append(x.d.receipts, &tally.ReceiptItem{
		Receipt: &r, Account: x.c.account, Class: class, Price: testPrice, Units: before.Units, Amount: before.Amount, Opened: true,
	})
	return len(x.d.receipts) - 1
}

// prove builds the honest answer to the current epoch, if there is anything to answer.
func (d *device) prove() Answer {
	answer, err := Prove(d.state().Draw(d.w.seed(), d.key.Public(), d.w.totals),
		func(id types.SessionID) (*Shards, error) { return d.shards[id], nil }, d.read)
	if err != nil {
		d.w.t.Fatal(err)
	}
	return answer
}

// read is the disk.
func (d *device) read(_ types.SessionID, shard Shard, chunk uint64) ([]byte, []types.Hash, error) {
	data := d.disk[shard.ID]
	if data == nil { // lost: the best a device can do is make something up
		data = make([]byte, shard.Bytes)
	}
	path, err := ProveChunk(data, chunk)
	return chunkOf(data, chunk), path, err
}

// input is what the tally hands to Verify for d in the current epoch.
func (d *device) input() *tally.Input {
	return &tally.Input{
		Chain: testChain, Epoch: d.w.epoch, Seed: d.w.seed(), Challenged: true, Registry: d.w, Device: &tally.Device{Key: d.key.Public()},
		Totals: d.w.totals, Evidence: d.evidence, Receipts: d.receipts, State: bytes.Clone(d.line),
		Opened: func(s tally.SessionKey) bool { return !d.w.refused[s] },
	}
}

// run answers, closes the epoch and begins the next.
func (w *world) run(d *device) *tally.Output {
	return w.close(d, func(*tally.Input) {})
}

// close is run with a last word on the input.
func (w *world) close(d *device, bend func(*tally.Input)) *tally.Output {
	if d.state().Bytes() > 0 && !d.silent {
		d.submit(KindAnswer, d.prove().Encode())
	}
	in := d.input()
	bend(in)
	out := New().Verify(in)
	for i, reason := range out.Receipts {
		if reason == "" {
			r := in.Receipts[i].Receipt
			d.paid[r.Session] = tally.ReceiptItem{Units: r.Units, Amount: r.Amount}
		}
	}
	d.line, d.evidence, d.receipts = out.State, nil, nil
	w.epoch++
	return out
}

// want holds one verdict against what it should be.
func (w *world) want(out *tally.Output, at int, reason types.Reason) {
	w.t.Helper()
	if got := out.Evidence[at]; got.Reason != reason || got.Proof {
		w.t.Errorf("epoch %d: evidence %d: %q, proof %t; want %q", w.epoch-1, at, got.Reason, got.Proof, reason)
	}
}

// wantPaid is want for receipts.
func (w *world) wantPaid(out *tally.Output, at int, reason types.Reason) {
	w.t.Helper()
	if got := out.Receipts[at]; got != reason {
		w.t.Errorf("epoch %d: receipt %d: %q, want %q", w.epoch-1, at, got, reason)
	}
}
