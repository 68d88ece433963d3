package tally

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// machine drives a world with honest and dishonest moves, and holds every tally against what must hold.
type machine struct {
	*world
	devices []*device
	payers  []*payer
	witness *device
	bought  [3]types.Credit
	limit   [6]types.Credit
	seq     uint64 // of receipts and orders
	noise   []Item // what must change no amount
	past    []branch
	now     branch
	signed  map[SessionKey]map[types.Key]types.Credit // the most that was ever signed, by device
}

// branch is what a void goes back to.
type branch struct {
	state  *State
	header *Header
	known  []Item                       // items that counted in full
	paid   map[SessionKey]*sessionModel // receipts' sessions, also forgotten ones
	orders map[SessionKey]types.Credit
}

type sessionModel struct {
	device   types.Key
	category types.Category
	amount   types.Credit
}

func newMachine(t *rapid.T) *machine {
	m := &machine{world: newWorld(t), signed: map[SessionKey]map[types.Key]types.Credit{}}
	m.minOpening = 10
	for i := range 5 {
		m.devices = append(m.devices, m.device(i))
	}
	m.witness = &device{w: m.world, key: key("verifier", 1)}
	m.changes = append(m.changes, Change{Attester: &Attester{Key: m.witness.key.Public(), Power: 5}})
	for i := range m.limit {
		m.bought[i/2], m.limit[i] = 2000, 1500
		m.payers = append(m.payers, m.payer(i/2, i, 2000, 1500, 30))
	}
	m.epoch0()
	return m
}

func (m *machine) epoch0() {
	m.now = branch{paid: map[SessionKey]*sessionModel{}, orders: map[SessionKey]types.Credit{}}
}

func drawDevice(t *rapid.T, m *machine) *device {
	return m.devices[rapid.IntRange(0, len(m.devices)-1).Draw(t, "device")]
}

func (m *machine) category(t *rapid.T) types.Category {
	return rapid.SampledFrom([]types.Category{thing, other}).Draw(t, "category")
}

func (m *machine) session(t *rapid.T) types.SessionID {
	return session(types.Epoch(rapid.IntRange(3, 20).Draw(t, "expiry")), rapid.IntRange(0, 2).Draw(t, "session"))
}

// Receipt hands in a receipt, of which somebody may have signed more or less before.
func (m *machine) Receipt(t *rapid.T) {
	d, p := drawDevice(t, m), m.payers[rapid.IntRange(0, 5).Draw(t, "payer")]
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: m.category(t), Class: 1, Price: 1000, Until: 1 << 20}
	if rapid.IntRange(0, 4).Draw(t, "ask") > 0 {
		m.add(Ask, a.Sign(d.key).Encode())
	}
	m.seq++
	amount := types.Credit(rapid.IntRange(5, 900).Draw(t, "amount"))
	r := p.receipt(d, &a, m.session(t), uint64(amount)+rapid.Uint64Range(0, 50).Draw(t, "units"), amount, m.seq)
	m.items = append(m.items, p.sign(d, r))
	key := SessionKey{Payer: r.Payer, ID: r.Session}
	if m.signed[key] == nil {
		m.signed[key] = map[types.Key]types.Credit{}
	}
	m.signed[key][d.id] = max(m.signed[key][d.id], r.Amount)
}

func (m *machine) Order(t *rapid.T) {
	p := m.payers[rapid.IntRange(0, 5).Draw(t, "payer")]
	m.seq++
	p.order(m.session(t), types.Credit(rapid.IntRange(0, 900).Draw(t, "cap")), m.seq)
}

func (m *machine) Work(t *rapid.T) {
	drawDevice(t, m).say(m.category(t), kindWork, workBody{Class: types.Class(rapid.IntRange(1, 2).Draw(t, "class")),
		Units: types.U64(rapid.Uint64Range(0, 300).Draw(t, "units")), Quality: types.Bp(rapid.Uint32Range(0, 10_001).Draw(t, "quality"))})
}

// Ask hands in an ask by itself, perhaps an older one.
func (m *machine) Ask(t *rapid.T) {
	d := drawDevice(t, m)
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: m.category(t), Class: 1, Price: 1000, Until: 1 << 20,
		Terms: types.Encode(rapid.Uint64Range(0, 9).Draw(t, "number"))}
	m.add(Ask, a.Sign(d.key).Encode())
}

// Rule changes the rules from this epoch on; some are broken.
func (m *machine) Rule(t *rapid.T) {
	rules := rapid.SampledFrom([][]byte{nil, {3}, {200}, {1, 2}}).Draw(t, "rules")
	m.params = []Params{{Category: thing, Quota: 1 << 40, Bond: 1000, Penalty: 300, Threshold: 2_000_000, Hex: 9, Rules: rules}}
}

func (m *machine) Note(t *rapid.T) { drawDevice(t, m).say(m.category(t), kindNote, 0) }

func (m *machine) Break(t *rapid.T) { drawDevice(t, m).say(m.category(t), kindBreak, 0) }

func (m *machine) Report(t *rapid.T) {
	m.witness.say(thing, kindReport, reportBody{Device: drawDevice(t, m).id, Proof: rapid.Bool().Draw(t, "proof")})
}

func (m *machine) Open(t *rapid.T) {
	d, p, c := drawDevice(t, m), m.payers[rapid.IntRange(0, 5).Draw(t, "payer")], m.category(t)
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: c, Class: 1, Price: 1000, Until: 1 << 20}
	kind := rapid.SampledFrom([]evidence.Kind{kindOpen, kindOpen, kindClose}).Draw(t, "kind")
	d.say(c, kind, openBody{Session: SessionKey{Payer: p.id, ID: m.session(t)}, Terms: a.Hash(), Price: 1000})
}

// Equivocate signs two bodies with one number.
func (m *machine) Equivocate(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "rarely") > 0 {
		t.Skip()
	}
	d := drawDevice(t, m)
	d.say(thing, kindNote, 1)
	d.seq--
	d.say(thing, kindNote, 2)
}

// Buy raises what an account bought and what a key may spend.
func (m *machine) Buy(t *rapid.T) {
	i := rapid.IntRange(0, 5).Draw(t, "payer")
	m.bought[i/2] += types.Credit(rapid.IntRange(0, 500).Draw(t, "bought"))
	m.limit[i] += types.Credit(rapid.IntRange(0, 500).Draw(t, "limit"))
	m.changes = append(m.changes, Change{Holder: &Holder{Account: account(i / 2), Bought: m.bought[i/2]}},
		Change{Grant: &Grant{Key: m.payers[i].id, Account: account(i / 2), Limit: m.limit[i], Expiry: 30}})
}

// Replay hands in again what has counted, as it was or spoiled. It must change no amount.
func (m *machine) Replay(t *rapid.T) {
	if len(m.now.known) == 0 {
		t.Skip()
	}
	it := m.now.known[rapid.IntRange(0, len(m.now.known)-1).Draw(t, "item")]
	raw := bytes.Clone(it.Raw)
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 1:
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
	case 2:
		raw = raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "cut")]
	case 3: // by somebody else, in another session, on another chain
		if s, err := receipt.Decode(raw, testChain); err == nil && it.Type == Receipt {
			d := drawDevice(t, m)
			s.Receipt.Device = d.id
			s.DeviceSig = s.Receipt.Countersign(d.key)
			raw = s.Encode()
		}
	case 4:
		if s, err := receipt.Decode(raw, testChain); err == nil && it.Type == Receipt {
			s.Receipt.Session, s.Receipt.Chain = m.session(t), rapid.SampledFrom([]string{testChain, "cairn-test-2"}).Draw(t, "chain")
			if d := m.byKey(s.Receipt.Device); s.Receipt.Session != (types.SessionID{}) && d != nil {
				s.DeviceSig = s.Receipt.Countersign(d.key)
			}
			raw = s.Encode()
			if bytes.Equal(raw, it.Raw) {
				t.Skip()
			}
		}
	}
	m.noise = append(m.noise, Item{it.Type, raw})
}

func (m *machine) byKey(k types.Key) *device {
	for _, d := range m.devices {
		if d.id == k {
			return d
		}
	}
	return nil
}

// Skip lets an epoch pass without a header.
func (m *machine) Skip(t *rapid.T) {
	if m.epoch > 25 {
		t.Skip()
	}
	m.epoch++
}

// Void goes back to an earlier header. What was folded and counted since then may come again.
func (m *machine) Void(t *rapid.T) {
	if len(m.past) == 0 || rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip()
	}
	n := rapid.IntRange(0, len(m.past)-1).Draw(t, "to")
	m.now, m.past = m.past[n], m.past[:n]
	m.state, m.header = m.now.state, m.now.header
	m.changes, m.noise = m.changes[:0], nil
	for i, p := range m.payers { // the registry does not go back
		m.changes = append(m.changes, Change{Holder: &Holder{Account: account(i / 2), Bought: m.bought[i/2]}},
			Change{Grant: &Grant{Key: p.id, Account: account(i / 2), Limit: m.limit[i], Expiry: 30}})
	}
	if m.state.Epoch() == 0 {
		for i := range m.devices {
			m.device(i)
		}
		m.changes = append(m.changes, Change{Attester: &Attester{Key: m.witness.key.Public(), Power: 5}})
	}
}

// Tally ends the epoch.
func (m *machine) Tally(t *rapid.T) {
	m.past = append(m.past, branch{m.state, m.header, m.now.known, clonePaid(m.now.paid), cloneMap(m.now.orders)})
	if m.header != nil && rapid.Bool().Draw(t, "settle") {
		m.settle(rapid.Uint64Range(0, 100).Draw(t, "percent"), rapid.Uint64Range(0, 3).Draw(t, "pay"), types.Ustone(rapid.Uint64Range(0, 1000).Draw(t, "emission")))
	}
	frame, changes, items, prev := m.frame(), m.changes, m.items, m.state
	m.tally()
	m.sameBytes(t, frame, prev, items, changes)
	m.noNoise(t, frame, prev, items, changes)
	m.model(t, items)
	m.noise = nil
}

// sameBytes: any order of arrival and any split of the work gives the same bytes.
func (m *machine) sameBytes(t *rapid.T, frame *Frame, prev *State, items []Item, changes []Change) {
	order := make([]int, 2*len(items)) // each arrives twice
	for i := range order {
		order[i] = i % max(len(items), 1)
	}
	var shuffled []Item
	for _, i := range rapid.Permutation(order).Draw(t, "arrival") {
		shuffled = append(shuffled, items[i])
	}
	batch := NewBatch(testChain, shuffled)
	for _, p := range []Pool{parallel(3), backwards(17)} {
		next, header, result, err := p.Apply(m.rules, prev, frame, batch, changes, CheckSignatures(batch, testChain))
		if err != nil {
			t.Fatal(err)
		}
		if header.Hash() != m.header.Hash() || !bytes.Equal(pages(next), pages(m.state)) {
			t.Fatalf("%d parts: header %+v, want %+v", p.Parts, header, m.header)
		}
		if d := cmp.Diff(m.result, result); d != "" {
			t.Fatalf("%d parts: %s", p.Parts, d)
		}
	}
	var raws [][]byte
	for p := range m.state.Pages() {
		raws = append(raws, p.Raw)
	}
	if back, err := DecodeState(m.header.State, raws); err != nil || back.Hash() != m.header.State {
		t.Fatalf("state does not decode: %v", err)
	}
	m.rechunk(t)
}

// rechunk: where pages are cut follows from the records alone.
func (m *machine) rechunk(t *rapid.T) {
	for id, old := range m.state.tables {
		c := chunker{table: tableID(id)}
		for w := old.walk(nil, nil); w.next(); {
			c.add(w.key, w.val)
		}
		c.flush()
		if len(c.out) != len(old) {
			t.Fatalf("table %d: %d pages, built anew %d", id, len(old), len(c.out))
		}
		for i := range old {
			if old[i].hash != c.out[i].hash {
				t.Fatalf("table %d: page %d differs when built anew", id, i)
			}
		}
	}
}

// noNoise: what counted before, as it was or spoiled, changes no amount.
func (m *machine) noNoise(t *rapid.T, frame *Frame, prev *State, items []Item, changes []Change) {
	if len(m.noise) == 0 {
		return
	}
	batch := NewBatch(testChain, append(items[:len(items):len(items)], m.noise...))
	next, _, _, err := Apply(m.rules, prev, frame, batch, changes, CheckSignatures(batch, testChain))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(amounts(m.state), amounts(next)); d != "" {
		t.Fatalf("noise changes amounts: %s", d)
	}
}

// amounts prints all money of a state.
func amounts(s *State) (out []string) {
	for k, l := range s.Lines() {
		out = append(out, fmt.Sprintf("%x amount %d penalty %d settled %d shares %v", k[:4], l.Amount, l.Penalty, l.Settled, l.Shares))
	}
	for w := s.tables[accountTable].walk(nil, nil); w.next(); {
		out = append(out, fmt.Sprintf("%x %+v", w.key[:4], s.Balance(types.Account(w.key))))
	}
	return out
}

// model: each session is paid at most what was signed for its device, and devices are paid what their sessions are.
func (m *machine) model(t *rapid.T, items []Item) {
	rest := map[types.Hash]types.Credit{}
	refused := map[types.Hash]bool{}
	for _, j := range m.result.Rejections {
		rest[j.Item], refused[j.Item] = j.Rest, j.Rest == 0
	}
	for _, it := range items {
		h := types.Sum(it.Raw)
		if it.Type != Receipt || refused[h] {
			continue
		}
		s, err := receipt.Decode(it.Raw, testChain)
		if err != nil {
			t.Fatal(err)
		}
		k := SessionKey{Payer: s.Receipt.Payer, ID: s.Receipt.Session}
		old, amount := m.now.paid[k], s.Receipt.Amount-rest[h]
		if old == nil {
			old = &sessionModel{device: s.Receipt.Device, category: s.Receipt.Category}
			m.now.paid[k] = old
		}
		if old.device != s.Receipt.Device || amount < old.amount || amount > m.signed[k][s.Receipt.Device] {
			t.Fatalf("session %v: paid %d, was %+v, signed %d", k, amount, old, m.signed[k][s.Receipt.Device])
		}
		old.amount = amount
		if now := m.state.Session(k); now != nil && now.Amount != amount {
			t.Fatalf("session %v: %+v, want %d", k, now, amount)
		}
	}
	for k, s := range m.state.Orders() {
		if m.now.orders[k] > s.Amount || m.now.paid[k] != nil {
			t.Fatalf("order %v fell from %d to %d", k, m.now.orders[k], s.Amount)
		}
		m.now.orders[k] = s.Amount
	}
	var sessions, orders, paid types.Credit
	byDevice := map[types.Key]map[types.Category]types.Credit{}
	for _, s := range m.now.paid {
		if byDevice[s.device] == nil {
			byDevice[s.device] = map[types.Category]types.Credit{}
		}
		byDevice[s.device][s.category] += s.amount
		sessions += s.amount
	}
	for _, a := range m.now.orders {
		orders += a
	}
	for k, l := range m.state.Lines() {
		paid += l.Paid()
		for _, s := range l.Shares {
			if got := byDevice[k][s.Category]; s.Paid < got || s.Category == other && s.Paid != got {
				t.Fatalf("device %v is paid %d in %s, its sessions %d", k, s.Paid, s.Category, got)
			}
		}
	}
	if paid != sessions+orders {
		t.Fatalf("paid %d, by sessions %d, by orders %d", paid, sessions, orders)
	}
	m.now.known = m.now.known[:len(m.now.known):len(m.now.known)]
	for _, it := range items {
		if h := types.Sum(it.Raw); !refused[h] && rest[h] == 0 && it.Type != Ask {
			m.now.known = append(m.now.known, it)
		}
	}
}

func cloneMap[K comparable, V any](in map[K]V) map[K]V {
	out := make(map[K]V, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

func clonePaid(in map[SessionKey]*sessionModel) map[SessionKey]*sessionModel {
	out := cloneMap(in)
	for k, v := range out {
		c := *v
		out[k] = &c
	}
	return out
}

// TestMachine holds "What must hold" 1, 2 and 4, and the tally's part of 5, against random moves.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"receipt": m.Receipt, "receipt again": m.Receipt, "order": m.Order, "work": m.Work, "note": m.Note, "report": m.Report,
			"open": m.Open, "equivocate": m.Equivocate, "buy": m.Buy, "replay": m.Replay, "break": m.Break, "skip": m.Skip,
			"void": m.Void, "tally": m.Tally,
		})
		m.Tally(t)
	})
}
