package study

import (
	"math"
	"math/rand/v2"

	"github.com/cairn-network/cairn/service/role/geo"
)

// plane is a part of a roof: the share of the panels on it, its tilt, and the azimuth that it looks to, in
// degrees. 180 is south.
type plane struct{ share, tilt, azimuth float64 }

// roof is what a made-up home's panels are, and what befalls them.
type roof struct {
	kw      float64
	planes  []plane
	gives   float64     // of what the panels could
	inner   float64     // W of the inverter; 0 is enough
	horizon [16]float64 // by azimuth, what stands in the way up to so many degrees
	limit   float64     // share of kw that may be fed in; 0 is all
	dead    []outage
	covered float64 // days until snow slides off; 0 is at once
	dirt    float64 // share lost in a month without rain
	grows   int     // day on which panels are added …
	grown   float64 // … by this share
	late    bool    // its clock is an hour late for half of the year
	filled  []gap
	coarse  int // quarter hours that a reading is spread over; 0 is 1
}

// outage is days without some of the panels.
type outage struct {
	from, to int
	left     float64 // share that goes on
}

// gap is days that somebody filled who had no readings.
type gap struct {
	from, to int
	how      string
}

// The ways in which gaps are filled.
const (
	filledLine   = "interpolation" // a straight line between the readings on both sides
	filledZero   = "zero"
	filledRepeat = "repeat" // the day before, again
)

// produce returns what a roof made in each quarter hour, in Wh, before gaps were filled, and what the household used.
func (s *sky) produce(r *roof, dice *rand.Rand) (pv, load []float64) {
	facing := make([]geo.Vector, len(r.planes))
	for i := range facing {
		facing[i] = s.up.Facing(r.planes[i].tilt, r.planes[i].azimuth)
	}
	number, today, noise, clean := -1, 1.0, 0.0, 1.0
	lies := -1.0 // days that snow will lie
	base, evening := 120+180*dice.Float64(), 500+900*dice.Float64()
	began := 0
	for i := range s.sun {
		k := dayKinds[s.kind[i]]
		if s.day[i] != number {
			number, began = s.day[i], i
			today = 1 + k.roofDay*dice.NormFloat64()
			if lies >= 0 {
				lies--
			}
			if s.snows[number] {
				lies = r.covered * (0.5 + dice.Float64())
			}
			if clean -= r.dirt / 30; s.kind[i] == dayDull && dice.IntN(4) == 0 {
				clean = 1 // rain
			}
		}
		noise = 0.6*noise + k.roof*0.8*dice.NormFloat64()
		hour := float64(i-began) / 4
		use := base * (0.7 + 0.6*dice.Float64())
		if hour > 17 && hour < 22 || hour > 6.5 && hour < 8.5 {
			use += evening * dice.Float64()
		}
		load = append(load, use/4)
		if s.high[i] <= 0 {
			pv = append(pv, 0)
			continue
		}
		through := min(max(s.through[i]*today+noise, 0.04), 1.1)
		beam := s.beam[i] * math.Pow(min(through, 1), 1.5)
		clear := s.beam[i]*s.high[i] + s.diffuse[i]
		diffuse := s.diffuse[i]*min(through, 1) + 0.3*clear*(1-min(through, 1)) + clear*max(through-1, 0)
		if s.hidden(r, i) {
			beam, diffuse = 0, 0.7*diffuse
		}
		w := 0.0
		for n, p := range r.planes {
			up := facing[n].Dot(s.up)
			on := beam*max(0, facing[n].Dot(s.sun[i])) + diffuse*(1+up)/2 + 0.2*(beam*s.high[i]+diffuse)*(1-up)/2
			if on > 15 { // what an inverter needs to begin
				w += p.share * on * (1 - 0.00015*on)
			}
		}
		w *= r.kw * r.gives * max(clean, 0.6)
		if r.grown > 0 && number >= r.grows {
			w *= 1 + r.grown
		}
		for _, o := range r.dead {
			if number >= o.from && number < o.to {
				w *= o.left
			}
		}
		if lies >= 0.5 {
			w *= 0.02
		}
		if r.inner > 0 {
			w = min(w, r.inner)
		}
		if r.limit > 0 {
			w = min(w, use+r.limit*r.kw*1000)
		}
		pv = append(pv, w/4)
	}
	return pv, load
}

// hidden reports whether something stands between a roof and the sun.
func (s *sky) hidden(r *roof, i int) bool {
	azimuth := math.Atan2(s.sun[i].Dot(s.east), s.sun[i].Dot(s.north))
	sector := int(math.Floor(azimuth/(2*math.Pi)*float64(len(r.horizon)))+float64(len(r.horizon))) % len(r.horizon)
	return s.high[i] < math.Sin(r.horizon[sector]*math.Pi/180)
}

// record returns what a recorder wrote down of a roof: late, in coarse steps, with its gaps filled.
func (s *sky) record(r *roof, pv []float64) []float64 {
	out := append([]float64(nil), pv...)
	if n := r.coarse; n > 1 {
		for i := 0; i+n <= len(out); i += n {
			sum := 0.0
			for _, wh := range out[i : i+n] {
				sum += wh
			}
			for k := range n {
				out[i+k] = sum / float64(n)
			}
		}
	}
	if r.late {
		for i := len(out) - 1; i >= 4; i-- {
			if d := s.day[i] % 365; d >= 120 && d < 300 {
				out[i] = out[i-4]
			}
		}
	}
	for _, g := range r.filled {
		from, to := s.begins(g.from), s.begins(g.to)
		if from < perDay || to <= from || to >= len(out) {
			continue
		}
		// It stopped at some time of the day, and began again at another.
		from, to = from+24+from%31, min(to+20+from%37, len(out)-1)
		before, after := out[from-1], out[to]
		for i := from; i < to; i++ {
			switch g.how {
			case filledZero:
				out[i] = 0
			case filledRepeat:
				out[i] = out[i-perDay]
			default:
				out[i] = before + (after-before)*float64(i-from)/float64(to-from)
			}
		}
	}
	return out
}

// begins returns the quarter hour in which a day begins.
func (s *sky) begins(day int) int {
	for i := max(0, (day-1)*perDay); i < len(s.day); i++ {
		if s.day[i] >= day {
			return i
		}
	}
	return len(s.day)
}
