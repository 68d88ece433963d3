package street

import (
	"encoding/json"
	"math"

	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Profile is what a home is.
type Profile struct {
	Name    string
	PDC     uint32  // W: nameplate of the panels; 0 for a home without
	PAC     uint32  // W: what the inverter can give
	Tilt    float64 // degrees from level
	Azimuth float64 // degrees: 90 looks east, 180 south
	DER     bool    // the inverter speaks model 701 instead of 103 and 120
	Base    uint16  // registers: where the inverter's models begin: 0, 40000 or 50000
	Tenths  bool    // the registers count tenths of a watt-hour
	Load    Load
	Storage uint32 // Wh that the battery holds; 0 for none
	Charge  uint32 // W that the battery takes and gives at most
}

// Load is what a household uses, in W.
type Load struct {
	Base    float64 // what never sleeps
	Morning float64 // at its peak, at half past seven by the sun
	Evening float64 // … at seven
	Day     float64 // between nine and five: a heat pump, an office, a car
}

// efficiency is the battery's, there and back, in percent. What is lost is lost going in.
const efficiency = 90

// flow is power or energy in each of a home's branches.
type flow struct {
	pv, load, exp, imp, in, out uint64
}

// balanced reports whether what came in went out.
func (f *flow) balanced() bool { return f.pv+f.imp+f.out == f.load+f.exp+f.in }

// add adds what power gives in so many seconds: joules.
func (f *flow) add(w *flow, seconds uint64) {
	f.pv += w.pv * seconds
	f.load += w.load * seconds
	f.exp += w.exp * seconds
	f.imp += w.imp * seconds
	f.in += w.in * seconds
	f.out += w.out * seconds
}

// Home is one of the street's.
type Home struct {
	Profile
	Number int // from 1

	// Inverter, Grid and Battery are its units; nil for what it has not.
	Inverter, Grid, Battery *Unit

	street  *Street
	panels  geo.Vector
	address string

	sum    flow   // joules since the street began, up to the minute that runs
	power  flow   // W, in the minute that runs
	stored uint64 // joules in the battery
}

// Site is what an honest owner declares of the home.
func (h *Home) Site() energy.Site {
	s := energy.Site{Altitude: h.street.altitude, Grid: h.Grid.ID()}
	if h.PDC > 0 {
		s.Technology, s.PDC, s.PAC, s.PV = energy.Solar, h.PDC, h.PAC, h.Inverter.ID()
	}
	if h.Storage > 0 {
		s.Battery, s.Storage, s.Efficiency = h.Battery.ID(), h.Storage, efficiency*100
	}
	return s
}

// Settings returns what the home's owner sets for it: the section "energy" of node.yaml, which the provider
// reads. Prices differ from home to home.
func (h *Home) Settings() json.RawMessage {
	type meter struct {
		Role    string `json:"role"`
		Map     string `json:"map"`
		Address string `json:"address"`
		Unit    int    `json:"unit"`
		Rating  uint32 `json:"rating_w"`
	}
	at := "tcp://" + h.address
	meters := []meter{{"grid", "sunspec", at, UnitGrid, connection}}
	if h.PDC > 0 {
		meters = append(meters, meter{"pv", "sunspec", at, UnitInverter, h.PAC})
	}
	if h.Storage > 0 {
		meters = append(meters, meter{"battery", "sunspec", at, UnitBattery, h.Charge})
	}
	site := h.Site()
	raw, err := json.Marshal(map[string]any{
		"p_dc_w": h.PDC, "p_ac_w": h.PAC, "altitude_m": 100 * uint32(site.Altitude), "storage_wh": h.Storage, "efficiency_bp": site.Efficiency,
		"community_price": 100 + 10*(h.Number%8), "certificate_price": 5 + h.Number%8, "poll_s": 10, "meters": meters,
	})
	if err != nil {
		panic(err) // numbers and strings alone
	}
	return raw
}

// connection is the most that a home's grid connection carries, in W.
const connection = 43_000

// Address is the host:port that the home's units answer at.
func (h *Home) Address() string { return h.address }

// begin decides what flows in the minute that begins at a Unix second.
func (h *Home) begin(unix int64, l *light) {
	w := &h.power
	*w = flow{load: h.street.load(h, unix)}
	if h.PDC > 0 {
		w.pv = h.street.produce(h, unix, l)
	}
	have, need := w.pv-min(w.pv, w.load), w.load-min(w.load, w.pv)
	if h.Storage > 0 {
		room := uint64(h.Storage)*3600 - h.stored
		w.in = min(have, uint64(h.Charge), room*100/efficiency/minute)
		w.out = min(need, uint64(h.Charge), h.stored/minute)
		h.stored += w.in*minute*efficiency/100 - w.out*minute
	}
	w.exp, w.imp = have-w.in, need-w.out
}

// produce returns what the inverter gives, in W. A fifth of what falls on the panels is lost on the way, more
// when they are hot; the inverter gives no more than it can.
func (s *Street) produce(h *Home, unix int64, l *light) uint64 {
	if s.recording != nil {
		return min(s.recording.produced(h, unix), uint64(h.PAC))
	}
	on := l.on(h.panels, s.up)
	hot := 1 - 0.004*max(0, 0.03*on-10)
	own := 1 - 0.05*s.smooth("haze", h.Number, unix, 900)
	return min(uint64(float64(h.PDC)*on/1000*0.84*hot*own), uint64(h.PAC))
}

// load returns what the household uses, in W: never nothing, more in the morning and the evening, and whatever
// is switched on.
func (s *Street) load(h *Home, unix int64) uint64 {
	if s.recording != nil {
		return s.recording.used(h, unix)
	}
	hour := math.Mod(float64(unix+s.ahead)/3600, 24)
	bump := func(at, width float64) float64 { d := (hour - at) / width; return math.Exp(-d * d) }
	w := h.Load.Base * (0.8 + 0.4*s.smooth("base", h.Number, unix, 1800))
	w += h.Load.Morning * bump(7.5, 1.2) * (0.5 + s.smooth("morning", h.Number, unix, 1200))
	w += h.Load.Evening * bump(19, 2) * (0.5 + s.smooth("evening", h.Number, unix, 1200))
	if hour >= 9 && hour < 17 {
		w += h.Load.Day * (0.6 + 0.8*s.smooth("office", h.Number, unix, 2700))
	}
	if s.draw("kettle", h.Number, unix/300) < 0.03 {
		w += 2000
	}
	return uint64(w)
}

// profiles are the street's homes, in order; a longer street begins again with the first. Not all have panels,
// and some use more than they make.
var profiles = []Profile{
	{Name: "Ahorn", PDC: 8000, PAC: 6000, Tilt: 30, Azimuth: 180, Base: 40000, Load: Load{Base: 220, Morning: 900, Evening: 1500, Day: 100}},
	{Name: "Birke", PDC: 6000, PAC: 5000, Tilt: 25, Azimuth: 110, DER: true, Base: 40000, Load: Load{Base: 180, Morning: 700, Evening: 1100, Day: 150}},
	{Name: "Linde", PDC: 7000, PAC: 6000, Tilt: 25, Azimuth: 250, Base: 0, Tenths: true, Load: Load{Base: 250, Morning: 600, Evening: 1300, Day: 120}},
	{Name: "Eiche", PDC: 12000, PAC: 8000, Tilt: 15, Azimuth: 190, DER: true, Base: 50000, Load: Load{Base: 300, Morning: 900, Evening: 1600, Day: 200}},
	{Name: "Esche", PDC: 2000, PAC: 2000, Tilt: 35, Azimuth: 180, Base: 40000, Load: Load{Base: 350, Morning: 1200, Evening: 2200, Day: 2600}},
	{Name: "Hasel", Load: Load{Base: 300, Morning: 1000, Evening: 2000, Day: 1800}},
	{Name: "Tanne", PDC: 3000, PAC: 2500, Tilt: 5, Azimuth: 180, DER: true, Base: 40000, Load: Load{Base: 400, Morning: 1100, Evening: 1900, Day: 3000}},
	{Name: "Weide", PDC: 9000, PAC: 8000, Tilt: 30, Azimuth: 170, Base: 40000, Load: Load{Base: 260, Morning: 900, Evening: 1700, Day: 150}, Storage: 10_000, Charge: 5000},
}
