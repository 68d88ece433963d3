package study

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// region is the street as the tally has it at the start of an epoch. Lines and cells are never changed, only
// replaced: a copy of a region is a region of its own.
type region struct {
	*street
	done  uint64 // the first interval that is not over
	epoch types.Epoch
	lines [][]byte
	cells []tally.CellState
	sites bool // have been declared
}

// street is the part of a region that never changes.
type street struct {
	rules   tally.Verifier
	devices []tally.Device
	sites   []energy.Site
	grown   []growth
	params  tally.Params
}

// growth is a site that a device declares later than its first one, in interval k; 0 is never.
type growth struct {
	k    uint64
	site energy.Site
}

// within reports whether the device declares the site in the time of the records.
func (g *growth) within(records []energy.Record) bool {
	return g.k > 0 && records[0].K <= g.k && g.k <= records[len(records)-1].K
}

// The street is its own registry. It knows nobody, as there are no orders.
func (*street) Device(types.Key) *tally.Device     { return nil }
func (*street) Attester(types.Key) *tally.Attester { return nil }
func (*street) Attesters() iter.Seq[*tally.Attester] {
	return func(func(*tally.Attester) bool) {}
}
func (*street) Devices(types.Category) iter.Seq[*tally.Device] {
	return func(func(*tally.Device) bool) {}
}
func (*street) Grant(types.Key) *tally.Grant { return nil }

const studied = "cairn-fraud-study"

// street makes a device of each home, with an owner of its own.
func (r *Recording) street(rules tally.Verifier) *street {
	s := &street{rules: rules, params: rules.Spec.Defaults()}
	for i := range r.Homes {
		h := &r.Homes[i]
		name := fmt.Sprintf("home %d", h.Number)
		var owner types.Account
		hash := types.Sum([]byte("owner of " + name))
		copy(owner[:], hash[:])
		s.devices = append(s.devices, tally.Device{
			Key: types.NewPrivateKey(types.Sum([]byte(name))).Public(), Owner: owner, Cell: r.cell,
			Categories: []types.Category{types.Energy},
		})
		site := energy.Site{
			Technology: energy.Solar, PDC: h.PDC, PAC: h.PAC, Altitude: r.metre,
			Grid: energy.MeterID("Recorded", "grid", name), PV: energy.MeterID("Recorded", "panels", name),
		}
		s.sites = append(s.sites, site)
		g := growth{}
		if h.Grown > 0 {
			g.k, g.site = r.First+uint64(h.Grows), site
			g.site.PDC, g.site.PAC = h.Grown, h.Grown
		}
		s.grown = append(s.grown, g)
	}
	return s
}

// pass closes an epoch: the records are handed in, and done is the first interval that is not over. It returns why a
// record was refused, if one was.
func (g *region) pass(done uint64, records [][]energy.Record) (refused types.Reason) {
	g.epoch++
	g.done = done
	time := done * lot.Interval
	in := &tally.CrossInput{
		Chain: studied, Epoch: g.epoch, Time: time, Params: g.params, Registry: g.street, Cells: g.cells,
	}
	lines := make([][]byte, len(g.devices))
	for i := range g.devices {
		d := &g.devices[i]
		v := &tally.Input{Chain: studied, Epoch: g.epoch, Time: time, Params: g.params, Registry: g.street, Device: d}
		if g.lines != nil {
			v.State = g.lines[i]
		}
		if !g.sites {
			v.Evidence = append(v.Evidence, g.envelope(d, energy.KindSite, g.street.sites[i].Encode()))
		}
		if more := &g.street.grown[i]; more.within(records[i]) {
			v.Evidence = append(v.Evidence, g.envelope(d, energy.KindSite, more.site.Encode()))
		}
		for _, m := range energy.Pack(records[i]) {
			v.Evidence = append(v.Evidence, g.envelope(d, energy.KindMeter, m.Encode()))
		}
		out := g.rules.Verify(v)
		for _, e := range out.Evidence {
			refused = cmp.Or(refused, e.Reason)
		}
		lines[i] = out.State
		if out.Summary != nil {
			in.Summaries = append(in.Summaries, tally.Summary{Device: d, Summary: out.Summary})
		}
	}
	slices.SortFunc(in.Summaries, func(a, b tally.Summary) int {
		return cmp.Or(cmp.Compare(a.Device.Cell, b.Device.Cell), bytes.Compare(a.Device.Key[:], b.Device.Key[:]))
	})
	out := g.rules.Cross(in)
	for _, s := range out.States {
		for i := range g.devices {
			if g.devices[i].Key == s.Device {
				lines[i] = s.State
			}
		}
	}
	g.lines, g.cells, g.sites = lines, out.Cells, true
	return refused
}

// envelope is evidence as Verify sees it: signatures were checked before.
func (g *region) envelope(d *tally.Device, kind evidence.Kind, body []byte) *evidence.Envelope {
	return &evidence.Envelope{Author: d.Key, Payload: evidence.Payload{
		Chain: studied, Category: types.Energy, Kind: kind, Epoch: g.epoch, Seq: uint64(g.epoch), Body: body,
	}}
}

// state is a device's.
func (g *region) state(home int) *energy.State {
	s, err := energy.DecodeState(g.lines[home])
	if err != nil {
		panic(fmt.Sprintf("study: a line that Verify wrote: %v", err))
	}
	return s
}

// meters are what a home's registers show, in Wh.
type meters struct{ exp, imp, pv uint64 }

// read moves the registers by a quarter hour and returns the record of interval k.
func (m *meters) read(k uint64, pv, load uint32) energy.Record {
	m.pv += uint64(pv)
	m.exp += uint64(pv - min(pv, load))
	m.imp += uint64(load - min(pv, load))
	r := energy.Record{K: k, Boot: 1, Present: 1<<energy.Export | 1<<energy.Import | 1<<energy.PV}
	r.Wh[energy.Export], r.Wh[energy.Import], r.Wh[energy.PV] = m.exp, m.imp, m.pv
	return r
}
