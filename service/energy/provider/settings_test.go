package provider

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/energy/provider/street"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// neighbours opens a street of one home of the profile that f picks.
func neighbours(t *testing.T, now func() int64, f func(*street.Profile) bool) *street.Home {
	t.Helper()
	for _, p := range street.Profiles(8) {
		if !f(&p) {
			continue
		}
		s, err := street.Open(street.Config{Homes: []street.Profile{p}, Cell: home, Seed: 7, Now: now, Begin: roletest.Genesis - 3*86400, Hold: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s.Homes()[0]
	}
	t.Fatal("no such home")
	return nil
}

func noon() int64 { return roletest.Genesis * 1000 }

// TestFind finds a home's devices at an address that answers among those that do not, and proposes a site with
// every setting.
func TestFind(t *testing.T) {
	h := neighbours(t, noon, func(p *street.Profile) bool { return p.PDC > 0 && !p.DER && p.Storage > 0 })
	m := deviceIn(func() ([]string, error) { return []string{"127.0.0.1:1", h.Address(), "192.0.2.1:502"}, nil })
	raw, line, err := m.Find(t.Context(), "")
	if err != nil || raw == nil {
		t.Fatalf("%s, %q, %v", raw, line, err)
	}
	var o Settings
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	at := "tcp://" + h.Address()
	if o.PAC != h.PAC/10*10 || o.PDC == 0 || o.Community == 0 || o.Poll != 10 || !o.has(source.Battery) {
		t.Errorf("%s", raw)
	}
	for _, c := range o.Meters {
		if c.Address != at || c.Map != "sunspec" || c.Unit != map[source.Role]uint8{source.PV: 1, source.Grid: 2, source.Battery: 3}[c.Role] || c.Rating == 0 {
			t.Errorf("%+v", c)
		}
	}
	if !strings.Contains(line, "p_dc_w") || !strings.Contains(line, h.Grid.Serial()) {
		t.Errorf("%q", line)
	}
	o.Storage = h.Storage // no model says what a battery holds that a meter counts
	raw, _ = json.Marshal(&o)
	if _, err := m.New(raw); err != nil {
		t.Error(err)
	}
}

// TestTry reads what settings name, and says what it shows, what is missing with what is there, and what cannot
// be reached.
func TestTry(t *testing.T) {
	t.Parallel()
	h := neighbours(t, noon, func(p *street.Profile) bool { return p.PDC > 0 && !p.DER && p.Storage == 0 })
	at := "tcp://" + h.Address()
	o := Settings{PDC: 5000, PAC: 4000, Meters: []source.Config{{Role: source.Grid, Map: "sunspec", Address: at, Unit: street.UnitGrid, Rating: 40_000},
		{Role: source.PV, Map: "sunspec", Address: "tcp://127.0.0.1:1", Rating: 4000}}}
	try := func() string {
		raw, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(Device().Try(t.Context(), raw), "\n")
	}
	got := try()
	for _, want := range []string{"grid: ", h.Grid.Serial(), "import ", "export ", "pv: cannot be read now"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	o.Meters = o.Meters[:1]
	o.Meters[0].Unit = street.UnitInverter
	if got := try(); !strings.Contains(got, "cannot be read") || !strings.Contains(got, "model 103") {
		t.Errorf("%s", got)
	}
}

// TestCandidates: an inverter and two meters behind one unit are found as three meters.
func TestCandidates(t *testing.T) {
	var found []candidate
	for _, f := range []source.Found{{Meter: source.Meter{Serial: "i"}, Inverter: true}, {Meter: source.Meter{Serial: "m"}, Counts: true},
		{Meter: source.Meter{Serial: "n"}, Counts: true, Meters: 1}} {
		found = append(found, candidatesOf(&f)...)
	}
	if len(found) != 3 || found[0].role != source.PV || found[1].role != source.Grid || found[2].channel != 1 {
		t.Fatalf("%+v", found)
	}
	o, line := propose(found)
	if o == nil || len(o.Meters) != 2 || o.Meters[0].Channel != nil && *o.Meters[0].Channel != 0 || !strings.Contains(line, "p_ac_w") || !strings.Contains(line, "1 more") {
		t.Errorf("%+v, %q", o, line)
	}
}

func TestFindNothing(t *testing.T) {
	m := deviceIn(func() ([]string, error) { return []string{"127.0.0.1:1"}, nil })
	if raw, line, err := m.Find(t.Context(), ""); raw != nil || err != nil || line == "" {
		t.Errorf("%s, %q, %v", raw, line, err)
	}
}

// TestPrivate: only private addresses are ever asked.
func TestPrivate(t *testing.T) {
	for address, want := range map[string]bool{"192.168.1.9:502": true, "10.1.2.3:502": true, "127.0.0.1:502": true, "172.16.0.1:502": true,
		"8.8.8.8:502": false, "192.0.2.1:502": false, "example.org:502": false, "192.168.1.9": false} {
		if private(address) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
	list, err := localAddresses()
	if err != nil || len(list) > maxScanned {
		t.Fatalf("%d addresses, %v", len(list), err)
	}
	for _, a := range list {
		if p, err := netip.ParseAddrPort(a); err != nil || !p.Addr().IsPrivate() || p.Port() != modbusPort {
			t.Errorf("%s, %v", a, err)
		}
	}
}

// TestSettings refuses what cannot be.
func TestSettings(t *testing.T) {
	good := Settings{PDC: 5000, PAC: 4000, Community: 100, Certificate: 10, Poll: 10, Meters: []source.Config{
		{Role: source.Grid, Map: "dsmr", Address: "tcp://10.0.0.1:2001", Rating: 40_000}, {Role: source.PV, Map: "sunspec", Address: "tcp://10.0.0.2", Rating: 4000}}}
	make := func(f func(*Settings)) json.RawMessage {
		o := good
		o.Meters = append([]source.Config(nil), good.Meters...)
		f(&o)
		raw, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if p, err := provide(make(func(*Settings) {})); err != nil || p.Category != types.Energy {
		t.Fatal(err)
	}
	for name, raw := range map[string]json.RawMessage{
		"unknown field": json.RawMessage(`{"meters":[],"colour":"blue"}`),
		"no grid":       make(func(o *Settings) { o.Meters = o.Meters[1:] }),
		"two grids": make(func(o *Settings) {
			o.Meters[1].Role = source.Grid
			o.Meters[1].Map = "dsmr"
			o.Meters[1].Address = "tcp://a:1"
		}),
		"no panels":      make(func(o *Settings) { o.PDC, o.PAC = 0, 0 }),
		"half a battery": make(func(o *Settings) { o.Storage = 5000 }),
		"high":           make(func(o *Settings) { o.Altitude = 9100 }),
		"perfect":        make(func(o *Settings) { o.Efficiency = 9500 }),
		"dear":           make(func(o *Settings) { o.Community = 70_000 }),
		"sleepy":         make(func(o *Settings) { o.Poll = 7200 }),
		"no rating":      make(func(o *Settings) { o.Meters[0].Rating = 0 }),
		"map":            make(func(o *Settings) { o.Meters[0].Map = "abacus" }),
	} {
		if _, err := provide(raw); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestStreet: a home behind real sockets, in energy time that runs 900 times as fast: what is found is read,
// stamped and counted, and each interval is what the home let flow in it.
func TestStreet(t *testing.T) {
	t.Parallel()
	const rate = 900
	w := roletest.New(t, energy.New())
	w.Cell = home
	rules := energy.DefaultRules()
	start := time.Now()
	chain := func() time.Time { return time.Unix(roletest.Genesis, 0).Add(time.Since(start)) }
	rules.Clock = energy.Clock{Chain: roletest.Genesis, Energy: roletest.Genesis, Rate: rate}
	w.Rules = map[types.Category][]byte{types.Energy: rules.Encode()}
	h := neighbours(t, func() int64 { return int64(rules.Clock.AtMilli(uint64(chain().UnixMilli()))) }, func(p *street.Profile) bool { return p.PDC > 0 && p.Storage == 0 })
	site := h.Site()
	site.Grid, site.PV = types.Hash{}, types.Hash{}
	at := "tcp://" + h.Address()
	d := w.Device("home")
	kept := make(chan bool, 1024)
	d.Start(New(Config{kept: func() { kept <- true }, Site: site, Now: chain, Community: 100, Certificate: 10, Sources: []source.Config{
		{Role: source.PV, Map: "sunspec", Address: at, Unit: street.UnitInverter, Rating: h.PAC}, {Role: source.Grid, Map: "sunspec", Address: at, Unit: street.UnitGrid, Rating: 40_000}}}))
	first := rules.Clock.Done(roletest.Genesis)
	list := waitForRecords(t, d, kept, 6)
	for i, e := range list {
		if e.Record.K < first || e.Site != h.Site() || e.Record.Present != 1<<energy.Export|1<<energy.Import|1<<energy.PV {
			t.Errorf("%+v, site %+v", e, h.Site())
		}
		if i == 0 {
			continue
		}
		was, is := &list[i-1].Record.Wh, &e.Record.Wh
		exp, imp, pv := is[energy.Export]-was[energy.Export], is[energy.Import]-was[energy.Import], is[energy.PV]-was[energy.PV]
		if pv+imp+5 < exp || exp > pv+5 || is[energy.PV] < was[energy.PV] {
			t.Errorf("interval %d: out of %d Wh made and %d drawn, %d were fed in", e.Record.K, pv, imp, exp)
		}
	}
}

// waitForRecords waits until a running home has so many records on disk, and stops it: it locks its journal. An
// interval without a reading at its end, because the machine does other work, has no record.
func waitForRecords(t *testing.T, d *roletest.Device, kept <-chan bool, count int) []entry {
	t.Helper()
	late := time.After(2 * time.Minute)
	for range count {
		select {
		case <-kept:
		case <-late:
			t.Fatal("too few records in two minutes")
		}
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(d.Dir() + "/journal.db")
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	list, err := j.after(0)
	if err != nil || len(list) < count {
		t.Fatalf("%d records: %v", len(list), err)
	}
	return list
}
