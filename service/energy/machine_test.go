package energy

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// TestMachine lets anything happen, in any order, and holds the region after each epoch to what must always be
// so (world.check): sold + unsold + withheld + netted is what the registers moved by, fills come to what
// sellers are paid, no watt-hour is in two lots or sales. No order pays more than it said, for a watt-hour, in
// an interval or in all.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		limits := DefaultThresholds()
		limits.Commissioning, limits.Ratios, limits.MinPeers, limits.MinOwners = 1, 1, 2, 2
		w.rules = verifier{limits: limits}
		w.time = noon
		sites := []func(string) Site{solar, battery, func(n string) Site { return Site{Grid: meterOf(n, "grid")} },
			func(n string) Site { return Site{Technology: Solar, PDC: 5000, PAC: 4000, Grid: meterOf(n, "grid")} }}
		for i := range rapid.IntRange(2, 6).Draw(r, "devices") {
			name := fmt.Sprint("d", i)
			d := w.device(name, rapid.SampledFrom(sites).Draw(r, "site")(name))
			if rapid.IntRange(0, 3).Draw(r, "elsewhere") == 0 {
				d.reg.Cell = elsewhere
			}
		}
		given := map[int]types.Credit{}
		r.Repeat(map[string]func(*rapid.T){
			"": func(r *rapid.T) { w.bounds(given) },
			"hour": func(r *rapid.T) {
				for _, d := range w.devices {
					w.anything(r, d)
				}
				w.pass(rapid.SampledFrom([]uint64{3600, 3600, 3600, 900, 7200, 50000}).Draw(r, "passed"))
			},
			"asks": func(r *rapid.T) {
				d := rapid.SampledFrom(w.devices).Draw(r, "device")
				d.ask(rapid.SampledFrom([]types.Class{Community, Certificate}).Draw(r, "class"), rapid.Uint64Max(400).Draw(r, "price"))
			},
			"order": func(r *rapid.T) {
				if len(w.orders) >= 12 {
					r.Skip()
				}
				d := rapid.SampledFrom(w.devices).Draw(r, "meter")
				limit, most := rapid.Uint64Max(1200).Draw(r, "limit"), rapid.Uint64Max(3000).Draw(r, "most")
				reserved := types.Credit(rapid.SampledFrom([]uint64{0, 500, 30_000, 1_000_000}).Draw(r, "reserved"))
				given[len(w.orders)] = reserved
				switch rapid.IntRange(0, 3).Draw(r, "kind") {
				case 0, 1:
					w.buys(d, limit, most, reserved)
				case 2:
					w.company(fmt.Sprint("c", len(w.orders)), rapid.SampledFrom([]types.Cell{0, home.Parent(3)}).Draw(r, "zone"), limit, most, reserved)
				default:
					w.order(receipt.Order{
						Session: session(byte(len(w.orders))), Payer: key("match").Public(), Rule: RuleCertificate, Limit: limit, Most: types.U64(most),
						Selector: (&Selector{Meter: d.key.Public()}).Encode(),
					}, d.reg.Owner, reserved)
				}
			},
			"reset": func(r *rapid.T) {
				d := rapid.SampledFrom(w.devices).Draw(r, "device")
				if d.first == nil || len(d.evidence) > 0 {
					r.Skip()
				}
				reg := Register(rapid.IntRange(0, int(Registers)-1).Draw(r, "register"))
				reset := Reset{Register: reg, Last: d.state().Wh[reg], First: rapid.Uint64Max(5000).Draw(r, "first"), Cause: Zeroed}
				d.submit(KindReset, reset.Encode())
				d.wh[reg] = reset.First
			},
			"site": func(r *rapid.T) {
				d := rapid.SampledFrom(w.devices).Draw(r, "device")
				if d.site.PDC > 0 {
					d.site.PDC += 100
				}
				d.submit(KindSite, d.site.Encode())
			},
			"anew": func(r *rapid.T) {
				i := rapid.IntRange(0, len(w.devices)-1).Draw(r, "device")
				old := w.devices[i]
				w.devices = slices.Delete(w.devices, i, i+1)
				d := w.device(fmt.Sprint(old.name, "'"), old.site)
				d.reg.Cell, d.wh = old.reg.Cell, old.wh
			},
			"meter": func(r *rapid.T) {
				d, other := rapid.SampledFrom(w.devices).Draw(r, "device"), rapid.SampledFrom(w.devices).Draw(r, "other")
				d.site.Grid = other.site.Grid
				d.submit(KindSite, d.site.Encode())
			},
		})
	})
}

// elsewhere is a place in another zone: Berlin.
var elsewhere = types.CellAt(types.Vector{682746780019806336, 162653226124628192, 914674126773438720}, 7)

// anything has a device read some of the intervals since its last reading, with any flows.
func (w *world) anything(r *rapid.T, d *device) {
	if rapid.IntRange(0, 5).Draw(r, "silent") == 0 {
		return
	}
	first := w.done()
	if rapid.IntRange(0, 3).Draw(r, "late") == 0 {
		first -= rapid.Uint64Range(1, 20).Draw(r, "intervals")
	}
	if k := d.state().K; first <= k {
		first = k + 1
	}
	var records []Record
	for k := first; k < w.done()+4; k++ {
		if rapid.IntRange(0, 9).Draw(r, "missed") == 0 {
			continue
		}
		n := func(name string) uint64 { return rapid.Uint64Max(1800).Draw(r, name) }
		f := flows{pv: n("pv"), imp: n("imp")}
		switch rapid.IntRange(0, 3).Draw(r, "day") {
		case 0:
			f = d.sunny(k, 300)
		case 1:
			f.exp = f.pv / 2
			f.imp = 0
		case 2:
			f.exp, f.in, f.out = n("exp"), n("in"), n("out")
		}
		records = append(records, d.read(k, f))
	}
	if len(records) > 0 {
		d.hand(records...)
	}
}

// bounds holds what orders bought to what they said.
func (w *world) bounds(given map[int]types.Credit) {
	w.t.Helper()
	for i, o := range w.orders {
		if o.Amount+o.Reserved != given[i] {
			w.t.Fatalf("order %d paid %d of %d, %d are left", i, o.Amount, given[i], o.Reserved)
		}
		most, _ := o.Order.Most.Uint64()
		wh := map[uint64]uint64{}
		for _, s := range w.bought[o.Order.Session] {
			if wh[s.K] += s.To - s.From; wh[s.K] > most || s.Price > o.Order.Limit {
				w.t.Fatalf("order %d bought %d Wh at %d in interval %d, want at most %d at %d", i, wh[s.K], s.Price, s.K, most, o.Order.Limit)
			}
		}
	}
}
