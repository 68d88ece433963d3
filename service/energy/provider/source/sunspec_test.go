package source

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/simonvetter/modbus"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
)

// registers are a unit's as a test lays them out: what is not there is an exception.
type registers struct {
	bank
	words map[uint16]uint16
	next  uint16
	fault func(address uint16) error
}

func newRegisters(base uint16) *registers {
	r := &registers{words: map[uint16]uint16{base: 0x5375, base + 1: 0x6e53}, next: base + 2}
	return r
}

// add lays blocks out behind those that are there.
func (r *registers) add(blocks ...*sunspec.Block) *registers {
	for _, b := range blocks {
		r.put(b.Words...)
	}
	return r
}

func (r *registers) put(words ...uint16) *registers {
	for _, w := range words {
		r.words[r.next] = w
		r.next++
	}
	return r
}

func (r *registers) HandleHoldingRegisters(q *modbus.HoldingRegistersRequest) (out []uint16, err error) {
	if r.fault != nil {
		if err := r.fault(q.Addr); err != nil {
			return nil, err
		}
	}
	for i := range q.Quantity {
		w, ok := r.words[q.Addr+i]
		if !ok {
			return nil, modbus.ErrIllegalDataAddress
		}
		out = append(out, w)
	}
	return out, nil
}

// serve answers for the registers, and returns their address.
func (r *registers) serve(t *testing.T) string {
	t.Helper()
	address := "tcp://127.0.0.1:" + freePort(t)
	server, err := modbus.NewServer(&modbus.ServerConfiguration{URL: address, Timeout: time.Minute, MaxClients: 8}, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return address
}

// common names a device. Many makers leave its last word out: the model has 65 words then, not 66.
func common(maker, model, serial string, short bool) *sunspec.Block {
	b := sunspec.Common.New()
	b.SetText("Mn", maker)
	b.SetText("Md", model)
	b.SetText("SN", serial)
	if short {
		b.Words = b.Words[:67]
		b.Words[1] = 65
	}
	return b
}

func block(m *sunspec.Model, values map[string]int64) *sunspec.Block {
	b := m.New()
	for name, v := range values {
		if err := b.Set(name, v); err != nil {
			panic(err)
		}
	}
	return b
}

// float sets a point of a float model.
func float(b *sunspec.Block, name string, v float64) *sunspec.Block {
	at, bits := b.Model.Point(name).Offset, math.Float32bits(float32(v))
	b.Words[at], b.Words[at+1] = uint16(bits>>16), uint16(bits)
	return b
}

func channel(n uint8) *uint8 { return &n }

// solarEdge is an inverter and its meter behind one unit, each after a Common block of its own, as SolarEdge
// lays them out.
func solarEdge() *registers {
	inverter := block(sunspec.Inverter3, map[string]int64{"WH": 14_676_442, "WH_SF": 0, "W": 1389, "W_SF": 0})
	meter := block(sunspec.Meter3, map[string]int64{"TotWhExp": 2_595_260, "TotWhImp": 9_671_540, "TotWh_SF": 0, "W": -1200, "W_SF": 0})
	return newRegisters(40000).add(common("SolarEdge", "SE10K", "7E0000001", true), inverter, common("SolarEdge", "SE-RGMTR-1D-240C-A", "M0000001", true), meter)
}

const firstMeter = 1000 // milli

// TestTwoInOneUnit: an inverter and a meter behind one unit are two meters with names of their own.
func TestTwoInOneUnit(t *testing.T) {
	at := solarEdge().put(0xffff, 0).serve(t)
	r := firstReading(t, open(t, Config{Role: PV, Map: "sunspec", Address: at, Rating: 10_000}))
	want(t, r, map[energy.Register]int64{energy.PV: 14_676_442 * firstMeter})
	if r.Meter != (Meter{"SolarEdge", "SE10K", "7E0000001"}) {
		t.Errorf("the inverter is %+v", r.Meter)
	}
	r = firstReading(t, open(t, Config{Role: Grid, Map: "sunspec", Address: at, Rating: 40_000}))
	want(t, r, map[energy.Register]int64{energy.Export: 2_595_260 * firstMeter, energy.Import: 9_671_540 * firstMeter})
	if r.Meter != (Meter{"SolarEdge", "SE-RGMTR-1D-240C-A", "M0000001"}) || r.Power == nil || *r.Power != -1200 {
		t.Errorf("the meter is %+v, %v W", r.Meter, r.Power)
	}
	found, err := Probe(t.Context(), at, 1, time.Second)
	if err != nil || len(found) != 2 || !found[0].Inverter || found[0].Counts || found[1].Inverter || !found[1].Counts || found[1].Meter.Serial != "M0000001" {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestSleeping: an inverter that has nothing to say is absent: the meter behind it is not taken for it.
func TestSleeping(t *testing.T) {
	u := solarEdge()
	u.put(0xffff, 0)
	for a := uint16(40000 + 2 + 67 + 24); a < 40000+2+67+26; a++ {
		u.words[a] = 0 // WH
	}
	r := firstReading(t, open(t, Config{Role: PV, Map: "sunspec", Address: u.serve(t), Rating: 10_000}))
	want(t, r, nil)
	if r.Meter.Serial != "7E0000001" {
		t.Errorf("%+v", r.Meter)
	}
}

// TestNoEnd: where the blocks break off, what was read before stays.
func TestNoEnd(t *testing.T) {
	kostal := func() *registers {
		return newRegisters(40000).add(common("KOSTAL", "PLENTICORE", "90010TD9000R", false),
			block(sunspec.Inverter3, map[string]int64{"WH": 14_676_442, "WH_SF": 0}))
	}
	for name, u := range map[string]*registers{
		"an exception": kostal(), "zeros": kostal().put(0, 0, 0, 0), "half a head": kostal().put(0), "a block that is longer than what is there": kostal().put(802, 4, 0, 0),
		"the end": kostal().put(0xffff, 0), "an unknown model": kostal().put(64999, 2, 1, 1, 0xffff, 0), "an empty model": kostal().put(802, 0, 0xffff, 0),
	} {
		t.Run(name, func(t *testing.T) {
			r := firstReading(t, open(t, Config{Role: PV, Map: "sunspec", Address: u.serve(t), Rating: 10_000}))
			want(t, r, map[energy.Register]int64{energy.PV: 14_676_442 * firstMeter})
			if r.Meter.Serial != "90010TD9000R" || len(r.Bad) > 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestSilentEnd: a device that does not answer at all behind its last model is read all the same, over another
// connection.
func TestSilentEnd(t *testing.T) {
	u := newRegisters(0).add(common("Maker", "Model", "1", false), block(sunspec.Inverter1, map[string]int64{"WH": 77, "WH_SF": 1}))
	end := u.next
	hold := make(chan bool)
	defer close(hold)
	u.fault = func(address uint16) error {
		if address == end {
			<-hold
		}
		return nil
	}
	s := open(t, Config{Role: PV, Map: "sunspec", Address: u.serve(t), Rating: 10_000, Timeout: 200 * time.Millisecond})
	for range 3 {
		want(t, firstReading(t, s), map[energy.Register]int64{energy.PV: 770 * firstMeter})
	}
}

// TestSeveral: of several devices of a sort in one unit the setting picks one, and what is not there is said
// with what is.
func TestSeveral(t *testing.T) {
	u := newRegisters(50000)
	for i, serial := range []string{"I1", "I2", "M1", "M2"} {
		u.add(common("Maker", "Model", serial, i%2 == 0))
		if i < 2 {
			u.add(block(sunspec.Inverter1, map[string]int64{"WH": int64(i + 1), "WH_SF": 0}))
		} else {
			u.add(block(sunspec.Meter1, map[string]int64{"TotWhExp": int64(i + 1), "TotWhImp": 9, "TotWh_SF": 0}))
		}
	}
	at := u.put(0xffff, 0).serve(t)
	for _, c := range []struct {
		role    Role
		channel *uint8
		serial  string
	}{{PV, nil, "I1"}, {PV, channel(0), "I1"}, {PV, channel(1), "I2"}, {PV, channel(2), "M1"}, {Grid, nil, "M1"}, {Grid, channel(1), "M2"}, {Battery, channel(1), "M2"}} {
		r := firstReading(t, open(t, Config{Role: c.role, Map: "sunspec", Address: at, Channel: c.channel, Rating: 10_000}))
		if r.Meter.Serial != c.serial || r.Counters[c.role.Registers()[0]] == nil {
			t.Errorf("%s %v is %+v", c.role, c.channel, r)
		}
	}
	_, err := open(t, Config{Role: Grid, Map: "sunspec", Address: at, Channel: channel(2), Rating: 1}).Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "channel") || !strings.Contains(err.Error(), "201") {
		t.Errorf("%v", err)
	}
}

// TestOneName: an inverter and a meter behind one Common block are two meters of a site all the same.
func TestOneName(t *testing.T) {
	at := newRegisters(0).add(common("Maker", "Model", "7", false), block(sunspec.Inverter3, map[string]int64{"WH": 5, "WH_SF": 0}),
		block(sunspec.Meter3, map[string]int64{"TotWhExp": 6, "TotWhImp": 7, "TotWh_SF": 0})).put(0xffff, 0).serve(t)
	pv := firstReading(t, open(t, Config{Role: PV, Map: "sunspec", Address: at, Rating: 1}))
	grid := firstReading(t, open(t, Config{Role: Grid, Map: "sunspec", Address: at, Rating: 1}))
	if pv.Meter.Serial != "7" || grid.Meter.ID() == pv.Meter.ID() {
		t.Errorf("%v and %v", pv.Meter, grid.Meter)
	}
	want(t, pv, map[energy.Register]int64{energy.PV: 5 * firstMeter})
	want(t, grid, map[energy.Register]int64{energy.Export: 6 * firstMeter, energy.Import: 7 * firstMeter})
}

// TestForms: whole numbers with a power of ten, floats and 64 bits, and the values by which each says that
// there is nothing.
func TestForms(t *testing.T) {
	none := map[energy.Register]int64{}
	wh := func(milli int64) map[energy.Register]int64 { return map[energy.Register]int64{energy.PV: milli} }
	nan := math.NaN()
	for name, c := range map[string]struct {
		block *sunspec.Block
		want  map[energy.Register]int64
	}{
		"101":                        {block(sunspec.Inverter1, map[string]int64{"WH": 123, "WH_SF": 2}), wh(12_300_000)},
		"102, tenths":                {block(sunspec.Inverter2, map[string]int64{"WH": 123, "WH_SF": -1}), wh(12_300)},
		"103 without a power of ten": {block(sunspec.Inverter3, map[string]int64{"WH": 123}), none},
		"103 at zero":                {block(sunspec.Inverter3, map[string]int64{"WH": 0, "WH_SF": 0}), none},
		"111":                        {float(sunspec.InverterFloat1.New(), "WH", 123.5), wh(123_500)},
		"112, not a number":          {float(sunspec.InverterFloat2.New(), "WH", nan), none},
		"113":                        {float(sunspec.InverterFloat3.New(), "WH", 14_676_442), wh(14_676_442_000)},
		"113, infinite":              {float(sunspec.InverterFloat3.New(), "WH", math.Inf(1)), none},
		"701":                        {block(sunspec.Measure, map[string]int64{"TotWhInj": 1<<40 + 3, "TotWh_SF": 0}), wh((1<<40 + 3) * 1000)},
		"701 without a power of ten": {block(sunspec.Measure, map[string]int64{"TotWhInj": 5}), none},
		"a meter of the panels, 213": {float(sunspec.MeterFloat3.New(), "TotWhExp", 77), wh(77_000)},
		"a meter of the panels, 204": {block(sunspec.Meter3Delta, map[string]int64{"TotWhExp": 77, "TotWh_SF": 1}), wh(770_000)},
		"a power of ten out of bounds": {func() *sunspec.Block {
			b := block(sunspec.Inverter3, map[string]int64{"WH": 1})
			b.Words[26] = 11
			return b
		}(), none},
	} {
		t.Run(name, func(t *testing.T) {
			// Model 160 (strings) is not known here, and stepped over.
			at := newRegisters(40000).add(common("Maker", "Model", "1", false)).put(160, 3, 1, 2, 3).add(c.block).put(0xffff, 0).serve(t)
			want(t, firstReading(t, open(t, Config{Role: PV, Map: "sunspec", Address: at, Rating: 10_000})), c.want)
		})
	}
}

// TestChanged: a model that lies elsewhere now is found anew.
func TestChanged(t *testing.T) {
	u := newRegisters(0).add(common("Maker", "Model", "1", false))
	head := u.next
	u.add(block(sunspec.Inverter1, map[string]int64{"WH": 5, "WH_SF": 0})).put(0xffff, 0)
	s := open(t, Config{Role: PV, Map: "sunspec", Address: u.serve(t), Rating: 10_000})
	want(t, firstReading(t, s), map[energy.Register]int64{energy.PV: 5 * firstMeter})
	u.fault = func(uint16) error { return modbus.ErrServerDeviceBusy }
	if r, err := s.Read(t.Context()); !errors.Is(err, modbus.ErrServerDeviceBusy) {
		t.Errorf("%+v, %v", r, err)
	}
	u.fault = nil
	u.next = head
	u.put(802, 1, 9).add(block(sunspec.Inverter1, map[string]int64{"WH": 6, "WH_SF": 0})).put(0xffff, 0)
	want(t, firstReading(t, s), map[energy.Register]int64{energy.PV: 6 * firstMeter})
}
