package energy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/servicetest"
)

const testChain = "cairn-test-1"

// start is 2026-06-20 00:00 at 117.4° west, give or take minutes: a summer's night.
const start = 1781913600 + 7*3600 + 50*60

// home is where test devices live: Fontana, California, at resolution 7.
var home = types.CellAt(types.Vector{-439347473022162432, -847587197706058240, 646372753153122560}, 7)

// key is a private key that a test can name.
func key(name string) types.PrivateKey { return types.NewPrivateKey(types.Sum([]byte(name))) }

// account is an account that a test can name.
func account(name string) (a types.Account) {
	h := types.Sum([]byte("account"), []byte(name))
	copy(a[:], h[:])
	return a
}

// world is one region as the category sees it: a clock, a registry, devices and orders. It keeps what the
// protocol keeps.
type world struct {
	servicetest.Registry
	t       testing.TB
	rules   verifier
	epoch   types.Epoch
	time    uint64 // of the epoch's start
	params  tally.Params
	devices []*device
	orders  []*tally.LiveOrder
	cells   []tally.CellState
	paid    map[types.Key]types.Credit
	sales   []Sale // all there ever were
	sheets  []lot.Sheet
	lots    map[types.Key]lot.Lots // all that were sealed
	markets []Market
	states  []Statement
	bought  map[types.SessionID][]Sale
	last    *tally.CrossOutput
	sky     Sky
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, rules: verifier{limits: DefaultThresholds()}, epoch: 10, time: start, params: New().Spec.Defaults(),
		paid: map[types.Key]types.Credit{}, lots: map[types.Key]lot.Lots{}, bought: map[types.SessionID][]Sale{},
	}
}

// done is the first interval that is not over at the epoch's start.
func (w *world) done() uint64 { return w.time / lot.Interval }

// device is an honest provider, reduced to what the evidence needs. Tests bend it.
type device struct {
	w        *world
	name     string
	key      types.PrivateKey
	reg      tally.Device
	site     Site
	line     []byte
	wh       [Registers]uint64
	seq      uint64
	evidence []*evidence.Envelope
	asks     []*receipt.Ask
	verdicts []types.Reason // of the last epoch's evidence
	first    *Record        // that was ever taken
}

// meterOf names a meter of a device.
func meterOf(name, what string) types.Hash { return MeterID("Test", what, name) }

// solar is a site of 8 kW of panels behind 6 kW with two meters.
func solar(name string) Site {
	return Site{Technology: Solar, PDC: 8000, PAC: 6000, Altitude: 4, Grid: meterOf(name, "grid"), PV: meterOf(name, "pv")}
}

// device adds a device of an owner of its own, with a site.
func (w *world) device(name string, site Site) *device {
	d := &device{w: w, name: name, key: key(name), site: site}
	d.reg = tally.Device{Key: d.key.Public(), Owner: account(name), Categories: []types.Category{types.Energy}, Cell: home}
	for i := range d.wh {
		d.wh[i] = 1000 * uint64(i+1)
	}
	w.devices = append(w.devices, d)
	d.submit(KindSite, site.Encode())
	return d
}

// submit signs evidence of the current epoch.
func (d *device) submit(kind evidence.Kind, body []byte) {
	d.seq++
	d.evidence = append(d.evidence, evidence.Sign(d.key, evidence.Payload{
		Chain: testChain, Category: types.Energy, Kind: kind, Epoch: d.w.epoch, Seq: d.seq, Body: body,
	}))
}

// ask offers a class at a price for as long as the test lasts.
func (d *device) ask(class types.Class, price uint64) {
	d.seq++
	d.asks = append(d.asks, &receipt.Ask{
		Chain: testChain, Device: d.key.Public(), Category: types.Energy, Class: class, Cell: home, Price: price,
		Terms: (&AskTerms{Seq: d.seq}).Encode(), Until: 1 << 40,
	})
}

// flows are what a site does in one interval, in Wh.
type flows struct{ exp, imp, pv, in, out uint64 }

// read moves the registers and returns the record of interval k.
func (d *device) read(k uint64, f flows) Record {
	d.wh[Export] += f.exp
	d.wh[Import] += f.imp
	d.wh[PV] += f.pv
	d.wh[Charge] += f.in
	d.wh[Discharge] += f.out
	return d.record(k)
}

// record is a reading of all that the site has.
func (d *device) record(k uint64) Record {
	r := Record{K: k, Boot: 1, Present: 1<<Export | 1<<Import}
	if !d.site.PV.IsZero() {
		r.Present |= 1 << PV
	}
	if !d.site.Battery.IsZero() {
		r.Present |= 1<<Charge | 1<<Discharge
	}
	for i := range r.Wh {
		if r.Present.Has(Register(i)) {
			r.Wh[i] = d.wh[i]
		}
	}
	return r
}

// hand hands records in.
func (d *device) hand(records ...Record) {
	for _, m := range Pack(records) {
		d.submit(KindMeter, m.Encode())
	}
}

// sunny is what a house with an honest roof does in interval k: 30 % of the bound for ideal panels, less a load
// of load Wh.
func (d *device) sunny(k uint64, load uint64) flows {
	place := PlaceOf(d.reg.Cell, d.site.Altitude)
	pv := uint64(d.site.PDC) * uint64(d.w.sky.Most(&place, k)>>30) * 30 / 400000
	f := flows{pv: pv}
	if pv > load {
		f.exp = pv - load
	} else {
		f.imp = load - pv
	}
	return f
}

// state is the device's line, decoded.
func (d *device) state() *State {
	s, err := DecodeState(d.line)
	if err != nil {
		d.w.t.Fatalf("%s: %v", d.name, err)
	}
	return s
}

func (d *device) input() *tally.Input {
	w := d.w
	return &tally.Input{
		Chain: testChain, Epoch: w.epoch, Time: w.time, Seed: w.seed(), Params: w.params, Registry: w, Device: &d.reg,
		Evidence: d.evidence, Asks: d.asks, State: d.line,
	}
}

// seed is that of the current epoch.
func (w *world) seed() types.Hash {
	return types.Sum([]byte("test seed"), binary.BigEndian.AppendUint64(nil, uint64(w.epoch)))
}

// order puts an order in force.
func (w *world) order(o receipt.Order, owner types.Account, reserved types.Credit) *tally.LiveOrder {
	o.Chain, o.Category, o.First = testChain, types.Energy, 1
	live := &tally.LiveOrder{Order: &o, Account: owner, Reserved: reserved}
	w.orders = append(w.orders, live)
	return live
}

// session is a session that a test can name.
func session(n byte) types.SessionID { return types.NewSessionID(1<<20, [12]byte{n}) }

// buys has a meter's owner order community energy.
func (w *world) buys(d *device, limit, most uint64, reserved types.Credit) *tally.LiveOrder {
	return w.order(receipt.Order{
		Session: session(byte(len(w.orders))), Payer: key("payer " + d.name).Public(), Rule: RuleCommunity, Limit: limit, Most: types.U64(most),
		Selector: (&Selector{Meter: d.key.Public()}).Encode(),
	}, d.reg.Owner, reserved)
}

// company orders certificates of a zone.
func (w *world) company(name string, zone types.Cell, limit, most uint64, reserved types.Credit) *tally.LiveOrder {
	return w.order(receipt.Order{
		Session: session(byte(len(w.orders))), Payer: key(name).Public(), Rule: RuleCertificate, Limit: limit, Most: types.U64(most),
		Selector: (&Selector{Zone: zone, Technology: Solar, Beneficiary: name}).Encode(),
	}, account(name), reserved)
}

// step closes the epoch for everybody: an hour passes.
func (w *world) step() *tally.CrossOutput { return w.pass(3600) }

// pass closes the epoch for everybody; the next one starts some seconds after it did.
func (w *world) pass(seconds uint64) *tally.CrossOutput {
	w.t.Helper()
	in := &tally.CrossInput{Chain: testChain, Epoch: w.epoch, Time: w.time, Seed: w.seed(), Params: w.params, Registry: w, Cells: w.cells, Orders: w.orders}
	for _, d := range w.devices {
		out := w.rules.verify(d.input())
		d.verdicts = nil
		for i, v := range out.Evidence {
			d.verdicts = append(d.verdicts, v.Reason)
			if e := d.evidence[i]; d.first == nil && e.Kind == KindMeter && v.Reason == "" {
				records, err := DecodeMeter(e.Body, nil)
				if err != nil {
					w.t.Fatal(err)
				}
				d.first = &records[0]
			}
		}
		d.line, d.evidence, d.asks = out.State, nil, nil
		if out.Summary != nil {
			in.Summaries = append(in.Summaries, tally.Summary{Device: &d.reg, Summary: out.Summary})
		}
	}
	slices.SortFunc(in.Summaries, func(a, b tally.Summary) int {
		return cmp.Or(cmp.Compare(a.Device.Cell, b.Device.Cell), bytes.Compare(a.Device.Key[:], b.Device.Key[:]))
	})
	out := w.rules.cross(in)
	w.take(in, out)
	w.check()
	w.epoch++
	w.time += seconds
	w.last = out
	return out
}

// take takes over what Cross found, as the tally does.
func (w *world) take(in *tally.CrossInput, out *tally.CrossOutput) {
	w.t.Helper()
	w.cells = out.Cells
	for _, s := range out.States {
		for _, d := range w.devices {
			if d.key.Public() == s.Device {
				d.line = s.State
			}
		}
	}
	left := map[tally.SessionKey]*tally.LiveOrder{}
	for _, o := range in.Orders {
		left[tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}] = o
	}
	for _, f := range out.Fills {
		o := left[f.Session]
		if o == nil || f.Amount > o.Reserved {
			w.t.Fatalf("a fill of %d out of %+v", f.Amount, o)
		}
		o.Reserved -= f.Amount
		o.Amount += f.Amount
		o.Units, _ = o.Units.Add(f.Units)
		w.paid[f.Device] += f.Amount
	}
	for _, o := range out.Outputs {
		w.output(o)
	}
}

func (w *world) output(o tally.OutputData) {
	w.t.Helper()
	switch o.Data[1] {
	case tagStatement:
		s, err := DecodeStatement(o.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		w.states = append(w.states, *s)
		if s.Reason != "" {
			return
		}
		sales, err := DecodeSales(o.Detail)
		if err != nil || !s.Matches(sales) {
			w.t.Fatalf("%v, or the sales are not those of the statement", err)
		}
		w.sales = append(w.sales, sales...)
		w.bought[s.Session] = append(w.bought[s.Session], sales...)
	case tagMarket:
		m, err := DecodeMarket(o.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		w.markets = append(w.markets, *m)
	default:
		s, err := lot.Decode(o.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		lots, err := lot.DecodeLots(o.Detail)
		if err != nil || !s.Matches(lots) {
			w.t.Fatalf("%v, or the lots are not those of the sheet", err)
		}
		w.sheets = append(w.sheets, *s)
		w.lots[s.Device] = append(w.lots[s.Device], lots...)
	}
}

// check holds the world to what must always be so: every watt-hour is accounted for once, and every credit.
func (w *world) check() {
	w.t.Helper()
	paid := map[types.Key]types.Credit{}
	ranges := map[types.Key][][2]uint64{}
	for _, s := range w.sales {
		paid[s.Device] += types.Credit((s.To - s.From) * s.Price)
		ranges[s.Device] = append(ranges[s.Device], [2]uint64{s.From, s.To})
	}
	if !maps.Equal(paid, w.paid) {
		w.t.Fatalf("epoch %d: sales come to %v, fills to %v", w.epoch, paid, w.paid)
	}
	for _, d := range w.devices {
		s := d.state()
		sum := s.Sums.Community + s.Sums.Certificate + s.Sums.Sealed + s.Sums.Netted + s.Sums.Withheld() + s.Lots.Total()
		for i := range s.Pending {
			sum += s.Pending[i].Wh[Export]
		}
		moved := s.V
		if d.first != nil {
			moved -= min(moved, d.first.Wh[Export])
		}
		if sum != s.Sums.Exported || s.Sums.Exported != moved {
			w.t.Fatalf("epoch %d: %s: %d Wh are accounted for of %d, the register moved by %d: %+v", w.epoch, d.name, sum, s.Sums.Exported, moved, s.Sums)
		}
		mine := ranges[d.key.Public()]
		sealed := uint64(0)
		for _, l := range slices.Concat(w.lots[d.key.Public()], s.Lots) {
			mine = append(mine, [2]uint64{l.From, l.To})
		}
		for _, l := range w.lots[d.key.Public()] {
			sealed += l.To - l.From
		}
		if sealed != s.Sums.Sealed {
			w.t.Fatalf("%s: sheets of %d Wh, %d are counted", d.name, sealed, s.Sums.Sealed)
		}
		slices.SortFunc(mine, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
		for i := range mine {
			if i > 0 && mine[i][0] < mine[i-1][1] {
				w.t.Fatalf("epoch %d: %s: [%d, %d) and [%d, %d) overlap", w.epoch, d.name, mine[i-1][0], mine[i-1][1], mine[i][0], mine[i][1])
			}
		}
	}
}

// hour has a device read the four intervals that end in the epoch that runs, as flow says.
func (d *device) hour(flow func(k uint64) flows) {
	var records []Record
	for k := d.w.done(); k < d.w.done()+4; k++ {
		records = append(records, d.read(k, flow(k)))
	}
	d.hand(records...)
}
