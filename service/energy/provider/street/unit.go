package street

import (
	"fmt"
	"math"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// Fault is what a unit does wrong, from when it is told to until it is told otherwise. The zero Fault is none.
type Fault struct {
	Exception byte // answers every request with this Modbus exception
	Truncate  int  // sends so many bytes of each answer (a header has 7), then closes the connection
	Silent    bool // answers nothing
	Frozen    bool // the registers stay as they are
	Missing   bool // energy registers and their scale have the values that say "not implemented"
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
	base   int // registers
	scale  int // the power of ten that a register counts in, of Wh
	maker  string
	model  string
	serial string
	swaps  int
	// offset is what a counter shows beyond what flowed, in joules, modulo 2⁶⁴.
	offset [counters]uint64
	fault  Fault
	still  []uint16 // the registers, while they stand still
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

// registers returns all of the unit's, from its base on: SunSpec's mark, its models, and the model that ends the list.
func (u *Unit) registers() []uint16 {
	if u.still != nil {
		return u.still
	}
	s := u.home.street
	s.advance()
	words := []uint16{'S'<<8 | 'u', 'n'<<8 | 'S'}
	b := common.block()
	b.text("Mn", u.maker)
	b.text("Md", u.model)
	b.text("Vr", "1.0")
	b.text("SN", u.serial)
	b.set("DA", int64(u.kind)+1)
	words = append(words, b.words...)
	p := &u.home.power
	switch {
	case u.kind == panels && u.home.DER:
		words = append(words, u.der(p).words...)
	case u.kind == panels:
		words = append(words, u.inverter(p).words...)
		words = append(words, u.nameplate().words...)
	case u.kind == grid:
		words = append(words, u.meter(p.exp, p.imp).words...)
	default:
		words = append(words, u.meter(p.out, p.in).words...)
	}
	return append(words, 0xffff, 0)
}

// Mains are 230 V and 50 Hz, always.
const volts = 230

// inverter returns model 103: three phases with equal currents.
func (u *Unit) inverter(p *flow) block {
	b := inverter.block()
	amps := int64(p.pv * 10 / volts) // tenths
	b.set("A", amps)
	for _, phase := range []string{"A", "B", "C"} {
		b.set("Aph"+phase, amps/3)
		b.set("PhVph"+phase, volts*10)
	}
	b.set("A_SF", -1)
	b.set("V_SF", -1)
	b.set("W", int64(p.pv))
	b.set("W_SF", 0)
	b.set("Hz", 5000)
	b.set("Hz_SF", -2)
	u.count(b, "WH", "WH_SF", Given)
	b.set("TmpCab", 40)
	b.set("Tmp_SF", 0)
	state := int64(4) // MPPT
	if p.pv == 0 {
		state = 2 // sleeping
	} else if p.pv >= uint64(u.home.PAC) {
		state = 5 // throttled
	}
	b.set("St", state)
	b.set("Evt1", 0)
	b.set("Evt2", 0)
	return b
}

// nameplate returns model 120.
func (u *Unit) nameplate() block {
	b := nameplate.block()
	b.set("DERTyp", 4) // photovoltaic
	b.set("WRtg", int64(u.home.PAC/10))
	b.set("WRtg_SF", 1)
	b.set("VARtg", int64(u.home.PAC/10))
	b.set("VARtg_SF", 1)
	b.set("ARtg", int64(u.home.PAC/(3*volts)))
	b.set("ARtg_SF", 0)
	return b
}

// der returns model 701.
func (u *Unit) der(p *flow) block {
	b := der.block()
	b.set("ACType", 3)
	b.set("St", 2)
	state := int64(4)
	if p.pv == 0 {
		state = 2
	}
	b.set("InvSt", state)
	b.set("ConnSt", 2)
	b.set("Alrm", 0)
	b.set("W", int64(p.pv/10))
	b.set("W_SF", 1)
	b.set("VA", int64(p.pv/10))
	b.set("VA_SF", 1)
	b.set("LNV", volts*10)
	b.set("V_SF", -1)
	b.set("Hz", 50_000)
	b.set("Hz_SF", -3)
	u.count(b, "TotWhInj", "TotWh_SF", Given)
	if !u.fault.Missing {
		b.set("TotWhAbs", 0)
	}
	return b
}

// meter returns model 203. Of power a meter says what flows towards the house: import is positive.
func (u *Unit) meter(given, taken uint64) block {
	b := meter.block()
	w := int64(taken) - int64(given)
	scale := 0
	for ; max(w, -w) > math.MaxInt16; scale++ {
		w /= 10
	}
	amps := w * 10 / volts
	b.set("A", amps)
	for _, phase := range []string{"A", "B", "C"} {
		b.set("Aph"+phase, amps/3)
		b.set("PhVph"+phase, volts*10)
		b.set("Wph"+phase, w/3)
	}
	for _, pair := range []string{"AB", "BC", "CA"} {
		b.set("PhVph"+pair, 3984)
	}
	b.set("A_SF", int64(scale-1))
	b.set("PhV", volts*10)
	b.set("PPV", 3984)
	b.set("V_SF", -1)
	b.set("Hz", 5000)
	b.set("Hz_SF", -2)
	b.set("W", w)
	b.set("W_SF", int64(scale))
	u.count(b, "TotWhExp", "TotWh_SF", Given)
	u.count(b, "TotWhImp", "TotWh_SF", Taken)
	b.set("Evt", 0)
	return b
}

// count writes a counter and its scale. What does not fit its register wraps.
func (u *Unit) count(b block, name, scale string, c Counter) {
	if u.fault.Missing {
		return // as it was made: not implemented
	}
	v := u.wh(c)
	for range u.scale {
		v /= 10
	}
	for range -u.scale {
		v *= 10
	}
	b.set(name, int64(v))
	b.set(scale, int64(u.scale))
}
