package street

import (
	"fmt"
	"math"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/modbus"
	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
)

// Fault is what a unit does wrong, from when it is told to until it is told otherwise. The zero Fault is none.
type Fault struct {
	Exception modbus.Exception // answers every request with this Modbus exception
	Truncate  int              // sends so many bytes of each answer (a header has 7), then closes the connection
	Silent    bool             // answers nothing
	Frozen    bool             // the registers stay as they are
	Missing   bool             // energy registers and their scale have the values that say "not implemented"
}

// Counter is one of a unit's cumulative registers.
type Counter int

// The counters. An inverter has Given alone.
const (
	Given Counter = iota // exported: to the grid, out of the battery, by the panels
	Taken                // imported: from the grid, into the battery
	counters
)

// kind is what a unit measures.
type kind int

const (
	panels kind = iota
	grid
	battery
)

// Unit is one device on a home's bus: an inverter or a meter.
type Unit struct {
	home   *Home
	kind   kind
	base   uint16 // where its models begin
	scale  int    // the power of ten that registers count in, of Wh: at most 0
	maker  string
	model  string
	serial string
	swaps  int
	// offset is what a counter shows beyond what flowed, in joules, modulo 2⁶⁴.
	offset [counters]uint64
	fault  Fault
	still  *sunspec.Space // the registers, while they stand still
}

// ID names the unit as a site does (energy.MeterID).
func (u *Unit) ID() types.Hash {
	u.home.street.mu.Lock()
	defer u.home.street.mu.Unlock()
	return energy.MeterID(u.maker, u.model, u.serial)
}

// Serial is the unit's serial number.
func (u *Unit) Serial() string {
	u.home.street.mu.Lock()
	defer u.home.street.mu.Unlock()
	return u.serial
}

// Fail makes the unit do something wrong from now on; the zero Fault mends it.
func (u *Unit) Fail(f Fault) {
	s := u.home.street
	s.mu.Lock()
	defer s.mu.Unlock()
	u.still = nil
	if f.Frozen {
		u.fault = Fault{}
		u.still = u.registers()
	}
	u.fault = f
}

// Set sets a counter to so many Wh: to 0 for one that lost its count, just below 2³² for one that is about to wrap.
func (u *Unit) Set(c Counter, wh uint64) {
	s := u.home.street
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	u.offset[c] = wh*3600 - u.flowed(c)
}

// Swap puts another meter of the same make into the unit's place: it has another serial number, and counts from 0.
func (u *Unit) Swap() {
	s := u.home.street
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	u.swaps++
	u.number()
	for c := range u.offset {
		u.offset[c] = -u.flowed(Counter(c))
	}
}

// Wh returns what a counter has come to: what its registers show, before they wrap.
func (u *Unit) Wh(c Counter) uint64 {
	s := u.home.street
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return u.wh(c)
}

// number gives the unit its serial number.
func (u *Unit) number() {
	u.serial = fmt.Sprintf("%c%08X", "IGB"[u.kind], uint32(u.home.street.cfg.Seed)<<12|uint32(u.home.Number)<<4)
	if u.swaps > 0 {
		u.serial += fmt.Sprintf("-%d", u.swaps+1)
	}
}

func (u *Unit) wh(c Counter) uint64 { return (u.flowed(c) + u.offset[c]) / 3600 }

// flowed returns what flowed through a counter since the street began, in joules.
func (u *Unit) flowed(c Counter) uint64 {
	f := u.home.street.sum(u.home)
	switch {
	case u.kind == panels && c == Given:
		return f.pv
	case u.kind == grid && c == Given:
		return f.exp
	case u.kind == grid:
		return f.imp
	case u.kind == battery && c == Given:
		return f.out
	case u.kind == battery:
		return f.in
	}
	return 0
}

// registers returns what the unit shows.
func (u *Unit) registers() *sunspec.Space {
	if u.still != nil {
		return u.still
	}
	u.home.street.advance()
	names := sunspec.Common.New()
	text(names, "Mn", u.maker)
	text(names, "Md", u.model)
	text(names, "Vr", "1.0")
	text(names, "SN", u.serial)
	set(names, "DA", int64(u.kind)+1)
	p := &u.home.power
	switch {
	case u.kind == panels && u.home.DER:
		return sunspec.NewSpace(u.base, names, u.der(p))
	case u.kind == panels:
		return sunspec.NewSpace(u.base, names, u.inverter(p), u.nameplate())
	case u.kind == grid:
		return sunspec.NewSpace(u.base, names, u.meter(p.exp, p.imp))
	}
	return sunspec.NewSpace(u.base, names, u.meter(p.out, p.in))
}

// set sets a point; one that cannot hold the value is not implemented.
func set(b *sunspec.Block, point string, v int64) {
	if b.Set(point, v) != nil {
		b.Clear(point)
	}
}

// text sets a string, as far as it fits.
func text(b *sunspec.Block, point, s string) {
	if b.SetText(point, s) != nil {
		b.Clear(point)
	}
}

// Mains are 230 V and 50 Hz, always.
const volts = 230

// inverter returns model 103: three phases with equal currents.
func (u *Unit) inverter(p *flow) *sunspec.Block {
	b := sunspec.Inverter3.New()
	amps := int64(p.pv * 10 / volts) // tenths
	set(b, "A", amps)
	for _, phase := range []string{"A", "B", "C"} {
		set(b, "Aph"+phase, amps/3)
		set(b, "PhVph"+phase, volts*10)
	}
	set(b, "A_SF", -1)
	set(b, "V_SF", -1)
	set(b, "W", int64(p.pv))
	set(b, "W_SF", 0)
	set(b, "Hz", 5000)
	set(b, "Hz_SF", -2)
	u.count(b, "WH", "WH_SF", Given)
	set(b, "TmpCab", 40)
	set(b, "Tmp_SF", 0)
	state := int64(4) // MPPT
	if p.pv == 0 {
		state = 2 // sleeping
	} else if p.pv >= uint64(u.home.PAC) {
		state = 5 // throttled
	}
	set(b, "St", state)
	set(b, "Evt1", 0)
	set(b, "Evt2", 0)
	return b
}

// nameplate returns model 120.
func (u *Unit) nameplate() *sunspec.Block {
	b := sunspec.Nameplate.New()
	set(b, "DERTyp", 4) // photovoltaic
	set(b, "WRtg", int64(u.home.PAC/10))
	set(b, "WRtg_SF", 1)
	set(b, "VARtg", int64(u.home.PAC/10))
	set(b, "VARtg_SF", 1)
	set(b, "ARtg", int64(u.home.PAC/(3*volts)))
	set(b, "ARtg_SF", 0)
	return b
}

// der returns model 701.
func (u *Unit) der(p *flow) *sunspec.Block {
	b := sunspec.Measure.New()
	set(b, "ACType", 3)
	set(b, "St", 2)
	state := int64(4)
	if p.pv == 0 {
		state = 2
	}
	set(b, "InvSt", state)
	set(b, "ConnSt", 2)
	set(b, "Alrm", 0)
	set(b, "W", int64(p.pv/10))
	set(b, "W_SF", 1)
	set(b, "VA", int64(p.pv/10))
	set(b, "VA_SF", 1)
	set(b, "LNV", volts*10)
	set(b, "V_SF", -1)
	set(b, "Hz", 50_000)
	set(b, "Hz_SF", -3)
	u.count(b, "TotWhInj", "TotWh_SF", Given)
	if !u.fault.Missing {
		set(b, "TotWhAbs", 0)
	}
	return b
}

// meter returns model 203. Of power a meter says what flows towards the house: import is positive.
func (u *Unit) meter(given, taken uint64) *sunspec.Block {
	b := sunspec.Meter3.New()
	w := int64(taken) - int64(given)
	scale := 0
	for ; max(w, -w) > math.MaxInt16; scale++ {
		w /= 10
	}
	amps := w * 10 / volts
	set(b, "A", amps)
	for _, phase := range []string{"A", "B", "C"} {
		set(b, "Aph"+phase, amps/3)
		set(b, "PhVph"+phase, volts*10)
		set(b, "Wph"+phase, w/3)
	}
	for _, pair := range []string{"AB", "BC", "CA"} {
		set(b, "PhVph"+pair, 3984)
	}
	set(b, "A_SF", int64(scale-1))
	set(b, "PhV", volts*10)
	set(b, "PPV", 3984)
	set(b, "V_SF", -1)
	set(b, "Hz", 5000)
	set(b, "Hz_SF", -2)
	set(b, "W", w)
	set(b, "W_SF", int64(scale))
	u.count(b, "TotWhExp", "TotWh_SF", Given)
	u.count(b, "TotWhImp", "TotWh_SF", Taken)
	set(b, "Evt", 0)
	return b
}

// count writes a counter and its scale. What does not fit its register wraps.
func (u *Unit) count(b *sunspec.Block, name, scale string, c Counter) {
	if u.fault.Missing {
		return // as it was made: not implemented
	}
	v := u.flowed(c) + u.offset[c]
	for range -u.scale {
		v *= 10
	}
	set(b, name, int64(v/3600))
	set(b, scale, int64(u.scale))
}
