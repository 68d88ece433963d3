package study

import (
	"math/rand/v2"
	"time"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Climate is where a made-up street stands, and what its weather is like.
type Climate struct {
	Name      string
	Latitude  float64
	Longitude float64
	Altitude  int        // metres
	Days      [4]float64 // how often a day is clear, broken, dull, or changes with a front
	Snow      bool       // it can snow from November to March
}

// Climates are those that are studied.
var Climates = []Climate{
	{"desert", 34.1, -117.4, 400, [...]float64{0.62, 0.20, 0.08, 0.10}, false},
	{"central Europe", 52.5, 13.4, 0, [...]float64{0.18, 0.34, 0.32, 0.16}, true},
	{"north", 60.2, 24.9, 0, [...]float64{0.20, 0.32, 0.34, 0.14}, true},
	{"tropics", 6.5, 3.4, 0, [...]float64{0.15, 0.55, 0.15, 0.15}, false},
	{"south", -33.9, 151.2, 100, [...]float64{0.40, 0.30, 0.14, 0.16}, false},
}

// Kinds of days.
const (
	dayClear = iota
	dayBroken
	dayDull
	dayFront
)

// dayKinds says of each kind of day how much of the sun comes through, how much that moves within the day, and by how
// much single roofs differ, in each quarter hour and over the whole day.
var dayKinds = [...]struct{ through, moves, roof, roofDay float64 }{
	dayClear:  {0.97, 0.02, 0.01, 0.01},
	dayBroken: {0.68, 0.22, 0.25, 0.04},
	dayDull:   {0.25, 0.10, 0.06, 0.08},
	dayFront:  {0.60, 0.10, 0.15, 0.06},
}

// sky is the light over a street, by quarter hours. It is made of the category's own bound: no panel gets more than
// that on a clear day.
type sky struct {
	up, east, north geo.Vector
	sun             []geo.Vector // where it stands
	beam            []float64    // W/m² on a panel that faces the sun, were the day clear …
	diffuse         []float64    // … on level ground, without the beam
	high            []float64    // cosine of the zenith angle
	kind            []int        // of day, by quarter hour
	day             []int        // number, by quarter hour
	through         []float64    // what clouds leave
	snows           []bool       // by number of the day
}

// skyOver makes a street's light from an interval on.
func skyOver(c *Climate, place *energy.Place, up geo.Vector, first uint64, n int, dice *rand.Rand) *sky {
	s := &sky{up: up}
	s.east, s.north = up.Level()
	kind, last, drift := dayClear, int64(-1), 0.0
	turn, turnsClear := 0.5, false
	number, begins := -1, 0
	for i := range n {
		unix := int64(first+uint64(i))*lot.Interval + lot.Interval/2
		if d := place.Day(unix); d != last {
			last = d
			number, begins = number+1, i
			if number == 0 || dice.Float64() < 0.65 { // weather lasts
				kind = c.draw(dice)
			}
			month := time.Unix(unix, 0).UTC().Month()
			winter := month >= time.November || month <= time.March
			s.snows = append(s.snows, c.Snow && winter && kind != dayClear && dice.Float64() < 0.15)
			turn, turnsClear = 0.3+0.4*dice.Float64(), dice.IntN(2) == 0
		}
		k := dayKinds[kind]
		drift = 0.93*drift + k.moves*0.37*dice.NormFloat64()
		through := k.through + drift
		if kind == dayFront {
			// Half a day is clear and the other dull: roofs that look east and west part.
			through = 0.22 + drift
			if (float64(i-begins)/perDay > turn) == turnsClear {
				through = 0.95 + drift/3
			}
		}
		cos, bound := place.Bound(unix)
		c, b := float64(cos)/(1<<30), float64(bound)/(1<<30)
		beam := 0.9 * b / (1 + 0.55*max(c, 0))
		s.sun = append(s.sun, geo.Float(fixed.SunAt(unix).Direction))
		s.beam, s.diffuse, s.high = append(s.beam, beam), append(s.diffuse, beam*0.12*(0.3+c)), append(s.high, c)
		s.kind, s.day = append(s.kind, kind), append(s.day, number)
		s.through = append(s.through, min(max(through, 0.05), 1.08))
	}
	return s
}

// draw returns a kind of day.
func (c *Climate) draw(dice *rand.Rand) int {
	x := dice.Float64()
	for kind, p := range c.Days {
		if x -= p; x < 0 {
			return kind
		}
	}
	return dayClear
}
