// Package roletest runs providers and customers against each other without a chain and without a bus: an
// in-memory host for each device, a market for each customer, and between them the tally itself.
//
//	w := roletest.New(t, storage.New())
//	d := w.Device("device")
//	d.Start(provider.New(provider.Config{}))
//	m := w.Market("customer", 1_000_000)
//	handler, err := customer.New(customer.Config{}).Mount(m)
//	…
//	w.Next() // what devices handed in is counted, and a new epoch begins
//
// Epochs pass when the test says so. Next ends the epoch with core/tally's Apply over everything that was
// handed in, so what roles are paid and what is refused is what it would be in a network; settlement pays a
// ustone for a micro-credit.
package roletest

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Chain is the world's chain id.
const Chain = "cairn-test-1"

// Blocks is how many blocks an epoch has, BlockTime how many seconds lie between two, and Genesis when the
// first epoch begins, in Unix seconds: 2026-06-21T09:00:00Z.
const (
	Blocks    = 20
	BlockTime = 180
	Genesis   = 1782032400
)

// World is one region.
type World struct {
	t     testing.TB
	rules *tally.Rules
	specs []*tally.Spec
	// MinOpening is what opens a session with a receipt. Window is how many epochs a header takes to become
	// final. Both may be set before the first epoch.
	MinOpening types.Credit
	Window     types.Epoch
	// Cell is where devices are that are registered from now on; 0 is nowhere.
	Cell types.Cell
	// Drop, if set, says whether an item gets lost on its way to the tally.
	Drop func(author types.Key, item tally.ItemType, kind evidence.Kind) bool
	// Rules are the categories' own rules; those of a category that is not in it are its Spec's. It may be
	// replaced between epochs.
	Rules map[types.Category][]byte

	mu      sync.Mutex // guards what follows
	epoch   types.Epoch
	block   uint64 // of the epoch, from 0
	mid     bool   // the epoch's seed is known
	skipped bool   // the epoch before has no header
	state   *tally.State
	header  *tally.Header
	changes []tally.Change
	devices []*Device
	markets []*Market
	seats   []*Verifier
	items   []tally.Item
	refused []Refusal
	tallies map[types.Epoch]*counted
	known   map[types.Key]bool // payers that a device asked for
}

// First returns a World.Drop that loses the first count envelopes of a kind.
func First(kind evidence.Kind, count int) func(types.Key, tally.ItemType, evidence.Kind) bool {
	return func(_ types.Key, item tally.ItemType, k evidence.Kind) bool {
		if item != tally.Evidence || k != kind || count == 0 {
			return false
		}
		count--
		return true
	}
}

// Refusal is something that the tally did not count.
type Refusal struct {
	Epoch  types.Epoch
	Device types.Key
	Type   tally.ItemType
	Reason types.Reason
}

// New returns a world in its first epoch.
func New(t testing.TB, verifiers ...tally.Verifier) *World {
	rules, err := tally.NewRules(1, verifiers...)
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]*tally.Spec, len(verifiers))
	for i, v := range verifiers {
		specs[i] = v.Spec
	}
	return &World{t: t, rules: rules, specs: specs, MinOpening: 1, Window: 1, epoch: 1, mid: true, state: tally.NewState(Chain, 0), known: map[types.Key]bool{},
		tallies: map[types.Epoch]*counted{}}
}

// Key returns the private key of that name.
func Key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// account returns the account of that name.
func account(name string) (a types.Account) {
	h := types.Sum([]byte("account"), []byte(name))
	copy(a[:], h[:])
	return a
}

// Epoch returns the current epoch.
func (w *World) Epoch() types.Epoch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

// State returns the last tally.
func (w *World) State() *tally.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Refused returns everything that was not counted so far.
func (w *World) Refused() []Refusal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Refusal(nil), w.refused...)
}

// seed is the current epoch's. mu is held.
func (w *World) seed() types.Hash {
	return types.Sum([]byte("roletest seed"), binary.BigEndian.AppendUint64(nil, uint64(w.epoch)))
}

// epochTime is when an epoch's first block is made, in Unix seconds.
func epochTime(e types.Epoch) uint64 { return Genesis + uint64(e-1)*Blocks*BlockTime }

// panel draws the witnesses of the first verifier's category in the current epoch. mu is held.
func (w *World) panel() (*tally.Panel, error) { return tally.NewPanel(w.specs[0], w.state, w.seed()) }

// notice is what everybody hears. mu is held.
func (w *World) notice() role.Notice {
	n := role.Notice{
		Epoch: w.epoch, Height: uint64(w.epoch)*Blocks + w.block, First: uint64(w.epoch) * Blocks, Cut: uint64(w.epoch)*Blocks + Blocks - 1, MinOpening: w.MinOpening,
		Tallied: w.state.Epoch(), EpochTime: epochTime(w.epoch), Time: epochTime(w.epoch) + w.block*BlockTime,
	}
	if n.Tallied > w.Window {
		n.Final = n.Tallied - w.Window
	}
	if w.mid {
		n.Seed, n.Challenged = w.seed(), !w.skipped
	}
	return n
}

// Tell gives every running device the present notice, and returns when all have done what it calls for.
func (w *World) Tell() {
	w.t.Helper()
	w.mu.Lock()
	devices := append([]*Device(nil), w.devices...)
	seats := append([]*Verifier(nil), w.seats...)
	w.mu.Unlock()
	var group sync.WaitGroup
	for _, v := range seats {
		group.Go(v.tell)
	}
	for _, d := range devices {
		// Whoever takes it a second time is done with the first.
		group.Go(func() {
			for range 2 {
				d.tell()
			}
		})
	}
	group.Wait()
}

// Late goes to the epoch's last blocks.
func (w *World) Late() {
	w.mu.Lock()
	w.block = Blocks - 2
	w.mu.Unlock()
	w.Tell()
}

// Next ends the epoch and begins the next: its first block, and then its seed.
func (w *World) Next() {
	w.t.Helper()
	w.Late()
	w.mu.Lock()
	w.apply()
	w.begin(false)
	w.mu.Unlock()
	w.Tell()
}

// Skip ends the epoch without a header: what was handed in counts later, if it can.
func (w *World) Skip() {
	w.t.Helper()
	w.Late()
	w.mu.Lock()
	w.items = slices.DeleteFunc(w.items, w.passing) // verifiers let go of what cannot count any more
	w.begin(true)
	w.mu.Unlock()
	w.Tell()
}

// passing reports whether an item counts in its own epoch only.
func (w *World) passing(item tally.Item) bool {
	if item.Type != tally.Evidence {
		return false
	}
	e, err := evidence.Decode(item.Raw, Chain)
	if err != nil {
		return true
	}
	for _, spec := range w.specs {
		for _, k := range spec.Kinds {
			if spec.Category == e.Category && k.Kind == e.Kind {
				return !k.Cumulative
			}
		}
	}
	return true
}

// begin starts the next epoch. mu is held.
func (w *World) begin(skipped bool) {
	w.epoch++
	w.block, w.mid, w.skipped = 1, true, skipped
}

// apply counts everything that was handed in. mu is held.
func (w *World) apply() {
	w.t.Helper()
	frame := &tally.Frame{
		Chain: Chain, Epoch: w.epoch, Seed: w.seed(), Challenged: !w.skipped, PreviousEpoch: w.state.Epoch(),
		Blocks: []tally.BlockHash{{}}, Params: w.params(), MinOpening: w.MinOpening, Time: epochTime(w.epoch),
	}
	if w.header != nil {
		owed := w.header.Totals.Spent - w.header.Totals.Settled
		frame.Previous = w.header.Hash()
		frame.Fold = &tally.Settlement{Owed: owed, Settled: owed, Payout: types.Ustone(owed)}
	}
	batch := tally.NewBatch(Chain, w.items)
	next, header, result, err := tally.Apply(w.rules, w.state, frame, batch, w.changes, tally.CheckSignatures(batch, Chain))
	if err != nil {
		w.t.Fatalf("roletest: epoch %d: %v", w.epoch, err)
	}
	done := &counted{header, result.Outputs, map[types.Hash]types.Reason{}, nil}
	w.tallies[w.epoch] = done
	for _, r := range result.Rejections {
		done.refused[r.Item] = r.Reason
		w.refused = append(w.refused, Refusal{w.epoch, r.Author, r.Type, r.Reason})
	}
	for _, item := range batch.Items {
		if e, err := evidence.Decode(item.Raw, Chain); item.Type == tally.Evidence && err == nil && done.refused[e.Hash] == "" {
			done.evidence = append(done.evidence, e)
		}
	}
	w.state, w.header, w.changes, w.items = next, header, nil, nil
}

func (w *World) params() (list []tally.Params) {
	for _, spec := range w.specs {
		p := spec.Defaults()
		p.Rules = w.rulesOf(spec.Category)
		list = append(list, p)
	}
	return list
}

// rulesOf returns a category's own rules in force; nil for those of its Spec.
func (w *World) rulesOf(c types.Category) []byte { return w.Rules[c] }

// counted is what a tally put out, what it refused, and the evidence that counted.
type counted struct {
	header   *tally.Header
	outputs  []tally.OutputLeaf
	refused  map[types.Hash]types.Reason
	evidence []*evidence.Envelope
}

// handIn takes an item on, unless it gets lost.
func (w *World) handIn(author types.Key, kind evidence.Kind, items ...tally.Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Drop != nil && w.Drop(author, items[0].Type, kind) {
		return
	}
	w.items = append(w.items, items...)
}

// asks returns the live asks of a class, in the order in which devices came.
func (w *World) asks(category types.Category, class types.Class) (list []role.Offer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.devices {
		if ask := d.asks[offer{category, class}]; ask != nil && ask.Ask.Until >= w.epoch {
			list = append(list, role.Offer{Ask: ask, Owner: d.owner, Cell: d.row().Cell, Quality: 5000, Beat: d.beat(ask)})
		}
	}
	return list
}

// payer says what is known of a payer. The first question makes it known, a moment later.
func (w *World) payer(key types.Key) (role.Payer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known[key] {
		w.known[key] = true
		return role.Payer{}, types.Refuse(types.UnknownKey, "roletest: payer %v", key)
	}
	for _, m := range w.markets {
		if m.key.Public() != key {
			continue
		}
		p := role.Payer{Account: m.account, Limit: m.limit, Expiry: m.expiry}
		bought, spent := m.bought, types.Credit(0)
		if b := w.state.Balance(m.account); b.Bought > 0 {
			spent = b.Spent
		}
		if k := w.state.Key(key); k != nil {
			p.Spent = k.Spent
		}
		p.Balance = bought - min(spent, bought)
		return p, nil
	}
	return role.Payer{}, types.Refuse(types.UnknownKey, "roletest: payer %v", key)
}

// deadline is how long a device may take over one notice.
const deadline = 20 * time.Second

func (w *World) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("role", name)
}
