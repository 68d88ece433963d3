package roletest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// offer names an ask of a device.
type offer struct {
	category types.Category
	class    types.Class
}

// Device is a device's host. It outlives the providers that run on it, as a disk does.
type Device struct {
	w        *World
	name     string
	key      types.PrivateKey
	owner    types.Account
	cell     types.Cell
	category types.Category
	asks     map[offer]*receipt.SignedAsk // the newest; guarded by World.mu
	beats    map[offer]role.Beat          // the newest; guarded by World.mu

	// Requests are what Market.Ask may ask the device: those of its provider.
	Requests map[string]role.RequestHandler
	// Blobs are what Market.Fetch may fetch from it.
	Blobs *role.Blobs
	// Crowded, if set, is what Room returns.
	Crowded func() error

	mu     sync.Mutex // guards what follows
	full   func() error
	dir    string
	seq    uint64
	prev   types.Hash
	known  map[types.Hash]*receipt.SignedAsk
	feeds  map[*feed]bool
	cancel context.CancelFunc
	ended  chan error
}

// feed is one reader of notices.
type feed struct {
	ctx context.Context
	out chan role.Notice
}

var _ role.Host = (*Device)(nil)

// Room implements role.Host.
func (d *Device) Room() error {
	if d.Crowded == nil {
		return nil
	}
	return d.Crowded()
}

// Device registers a device of an owner of its own, for the category of the first verifier, in World.Cell.
func (w *World) Device(name string) *Device { return w.register(name, account("owner of "+name)) }

// Device registers a device that the market's account owns.
func (m *Market) Device(name string) *Device { return m.w.register(name, m.account) }

func (w *World) register(name string, owner types.Account) *Device {
	d := &Device{
		w: w, name: name, key: Key(name), owner: owner, category: w.specs[0].Category, dir: w.t.TempDir(),
		asks: map[offer]*receipt.SignedAsk{}, beats: map[offer]role.Beat{}, known: map[types.Hash]*receipt.SignedAsk{}, feeds: map[*feed]bool{},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.cell = w.Cell
	w.devices = append(w.devices, d)
	w.changes = append(w.changes, tally.Change{Device: d.row()})
	return d
}

// row is the device's in the registry.
func (d *Device) row() *tally.Device {
	return &tally.Device{Key: d.key.Public(), Owner: d.owner, Categories: []types.Category{d.category}, Cell: d.cell}
}

// Start runs a provider, and waits until it has heard the present notice.
func (d *Device) Start(p interface {
	Run(context.Context, role.Host) error
}) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d.mu.Lock()
	d.cancel, d.ended = cancel, ended
	d.mu.Unlock()
	go func() { ended <- p.Run(ctx, d) }()
	d.w.t.Cleanup(func() { d.Stop() })
	for start := time.Now(); !d.listening(); time.Sleep(time.Millisecond) {
		select {
		case err := <-ended:
			d.w.t.Errorf("%s: %v", d.name, err)
			ended <- err
			return
		default:
		}
		if time.Since(start) > deadline {
			d.w.t.Fatalf("%s asks for no notices", d.name)
		}
	}
	for range 2 {
		d.tell()
	}
}

// Stop ends the provider and returns what Run did. A device that does not run is left alone.
func (d *Device) Stop() error {
	d.mu.Lock()
	cancel, ended := d.cancel, d.ended
	d.cancel = nil
	d.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	return <-ended
}

func (d *Device) listening() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.feeds) > 0
}

// tell gives the present notice to whoever runs.
func (d *Device) tell() {
	d.w.mu.Lock()
	n := d.w.notice()
	n.Line = d.w.state.CategoryLine(d.key.Public(), d.category)
	n.Totals = d.w.state.CategoryTotals(d.category)
	n.Rules = d.w.rulesOf(d.category)
	d.w.mu.Unlock()
	d.mu.Lock()
	feeds := make([]*feed, 0, 1)
	for f := range d.feeds {
		feeds = append(feeds, f)
	}
	d.mu.Unlock()
	for _, f := range feeds {
		select {
		case f.out <- n:
		case <-f.ctx.Done():
		case <-time.After(deadline):
			d.w.t.Errorf("%s has not taken a notice for %v", d.name, deadline)
		}
	}
}

// SetDir gives the device another disk.
func (d *Device) SetDir(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir = dir
}

// Chain is the world's.
func (d *Device) Chain() string { return Chain }

// Key returns the device's.
func (d *Device) Key() types.Key { return d.key.Public() }

// Sign signs as the device.
func (d *Device) Sign(kind string, payload []byte) types.Signature {
	return d.key.Sign(kind, Chain, payload)
}

// TLS returns the device's key.
func (d *Device) TLS() types.PrivateKey { return d.key }

// Log writes to the test's output.
func (d *Device) Log() *slog.Logger { return d.w.logger(d.name) }

// Dir is the device's disk.
func (d *Device) Dir() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir
}

// Notices delivers what Tell says.
func (d *Device) Notices(ctx context.Context) <-chan role.Notice {
	f := &feed{ctx, make(chan role.Notice)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.feeds[f] = true
	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.feeds, f)
	})
	return f.out
}

// Fill makes Submit, SubmitReceipt and SubmitAsk fail with what full returns; nil empties the device again.
func (d *Device) Fill(full func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// room asks whether something can be handed in.
func (d *Device) room() error {
	d.mu.Lock()
	full := d.full
	d.mu.Unlock()
	if full == nil {
		return nil
	}
	return full()
}

// Submit takes evidence on for the current epoch.
func (d *Device) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return err
	}
	epoch := d.w.Epoch()
	d.mu.Lock()
	d.seq++
	e := evidence.Sign(d.key, evidence.Payload{Chain: Chain, Category: d.category, Kind: kind, Epoch: epoch, Seq: d.seq, Prev: d.prev, Body: body})
	d.prev = e.Hash
	d.mu.Unlock()
	d.w.handIn(d.Key(), kind, tally.Item{Type: tally.Evidence, Raw: e.Raw})
	return nil
}

// SubmitReceipt countersigns a receipt and takes it on, with its ask.
func (d *Device) SubmitReceipt(ctx context.Context, signed *receipt.Signed) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return err
	}
	d.mu.Lock()
	ask := d.known[signed.Receipt.Terms]
	d.mu.Unlock()
	if ask == nil {
		return types.Refuse(types.UnknownAsk, "roletest: receipt of session %s", signed.Receipt.Session)
	}
	s := *signed
	s.DeviceSig = s.Receipt.Countersign(d.key)
	d.w.handIn(d.Key(), 0, tally.Item{Type: tally.Ask, Raw: ask.Encode()}, tally.Item{Type: tally.Receipt, Raw: s.Encode()})
	return nil
}

// SubmitAsk takes an ask on for the current epoch's batch.
func (d *Device) SubmitAsk(ctx context.Context, signed *receipt.SignedAsk) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return err
	}
	if signed.Ask.Device != d.Key() || signed.Ask.Chain != Chain || !signed.Verify() {
		return types.Refuse(types.UnknownAuthor, "roletest: ask of %v", signed.Ask.Device)
	}
	d.w.handIn(d.Key(), 0, tally.Item{Type: tally.Ask, Raw: signed.Encode()})
	return nil
}

// Offer publishes an ask.
func (d *Device) Offer(_ context.Context, ask receipt.Ask) (*receipt.SignedAsk, error) {
	signed := ask.Sign(d.key)
	d.mu.Lock()
	d.known[ask.Hash()] = signed
	d.mu.Unlock()
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.asks[offer{ask.Category, ask.Class}] = signed
	return signed, nil
}

// KeepAsk keeps an ask that receipts name.
func (d *Device) KeepAsk(_ context.Context, signed *receipt.SignedAsk) error {
	if signed.Ask.Device != d.Key() || signed.Ask.Chain != Chain || !signed.Verify() {
		return types.Refuse(types.UnknownAuthor, "roletest: ask of %v", signed.Ask.Device)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[signed.Ask.Hash()] = signed
	return nil
}

// Panel returns who was drawn for the device, as the tally will draw.
func (d *Device) Panel(_ context.Context, purpose string) ([]types.Key, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	panel, err := d.w.panel()
	if err != nil {
		return nil, err
	}
	return panel.Draw(d.row(), purpose), nil
}

// Payer says what the last tally has of a payer.
func (d *Device) Payer(_ context.Context, key types.Key) (role.Payer, error) { return d.w.payer(key) }
