package study

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines that have none

	"github.com/cairn-network/cairn/core/lot"
)

// A clock says how the hours of a recorder become time: how far it is ahead of UTC, what it does in summer, and
// whether a row's hour names its start or its end.
type clock struct {
	name   string
	offset int64 // seconds ahead of UTC, in winter
	starts bool  // an hour is named by its start: 24 is midnight, of the next day
	summer func(wall time.Time) bool
	zone   *time.Location // instead of offset and summer
}

// unix returns the second at which a row's hour began. wall is what the wall clock showed then, if hours are named by
// their end.
func (c *clock) unix(wall time.Time) int64 {
	if c.starts {
		wall = wall.Add(time.Hour)
	}
	if c.zone != nil {
		return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, c.zone).Unix()
	}
	u := wall.Unix() - c.offset
	if c.summer != nil && c.summer(wall) {
		u -= 3600
	}
	return u
}

// parseClock reads a clock: UTC, UTC-8, UTC+05:30, or a zone of the IANA's list such as America/Los_Angeles.
func parseClock(name string) (*clock, error) {
	if rest, ok := strings.CutPrefix(name, "UTC"); ok {
		seconds, err := parseOffset(rest)
		if err != nil {
			return nil, noClock(name)
		}
		return &clock{name: name, offset: seconds}, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, noClock(name)
	}
	return &clock{name: name, zone: zone}, nil
}

func noClock(name string) error {
	return fmt.Errorf("study: no clock %q: want UTC-8, UTC+05:30, or a zone such as America/Los_Angeles", name)
}

func parseOffset(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	sign := map[byte]int64{'+': 1, '-': -1}[s[0]]
	hours, minutes, _ := strings.Cut(s[1:], ":")
	h, err := strconv.ParseUint(hours, 10, 8)
	m := uint64(0)
	if err == nil && minutes != "" {
		m, err = strconv.ParseUint(minutes, 10, 8)
	}
	if err != nil || sign == 0 || h > 14 || m > 59 || m%15 != 0 {
		return 0, fmt.Errorf("an offset of %q", s)
	}
	return sign * int64(h*3600+m*60), nil
}

// offsetName is UTC-8 or UTC+05:30.
func offsetName(seconds int64) string {
	sign, s := '+', seconds
	if s < 0 {
		sign, s = '-', -s
	}
	if s%3600 == 0 {
		return fmt.Sprintf("UTC%c%d", sign, s/3600)
	}
	return fmt.Sprintf("UTC%c%02d:%02d", sign, s/3600, s%3600/60)
}

// summerUS: from 2:00 on the second Sunday of March to 2:00 on the first of November (since 2007).
func summerUS(wall time.Time) bool {
	y := wall.Year()
	from, to := sunday(y, time.March, 8).Add(2*time.Hour), sunday(y, time.November, 1).Add(2*time.Hour)
	return !wall.Before(from) && wall.Before(to)
}

// summerEU: from 2:00 on the last Sunday of March to 3:00 on the last of October, by Central European clocks (since
// 1996).
func summerEU(wall time.Time) bool {
	y := wall.Year()
	from, to := sunday(y, time.March, 25).Add(2*time.Hour), sunday(y, time.October, 25).Add(3*time.Hour)
	return !wall.Before(from) && wall.Before(to)
}

// summerAU: from 2:00 on the first Sunday of October to 3:00 on the first of April (since 2008).
func summerAU(wall time.Time) bool {
	y := wall.Year()
	from, to := sunday(y, time.October, 1).Add(2*time.Hour), sunday(y, time.April, 1).Add(3*time.Hour)
	return !wall.Before(from) || wall.Before(to)
}

// sunday returns the first Sunday of a month that is not before a day.
func sunday(year int, month time.Month, day int) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return t.AddDate(0, 0, (7-int(t.Weekday()))%7)
}

// When nobody names the clock, those from guessFrom to guessTo half hours around the place's own are tried. One
// is taken if production and sun contradict each other in at most mostOdd hours a day, and in leastMargin hours
// less than under any other. Or else its middle of the day must stray less, by the factor leastWander.
const (
	guessFrom, guessTo = -6, 7
	mostOdd            = 0.25
	leastMargin        = 0.10
	leastWander        = 0.8
)

// candidates returns the clocks that rows may be of. An hour named by its start looks like one hour of offset:
// without other knowledge only the sum of both can be told, and only the sum matters.
func (cfg *Config) candidates() ([]clock, error) {
	naming := []bool{false, true}
	switch cfg.Hours {
	case "":
	case "end", "start":
		naming = []bool{cfg.Hours == "start"}
	default:
		return nil, fmt.Errorf("study: hours are named by their start or their end, not %q", cfg.Hours)
	}
	var out []clock
	if cfg.Clock != "" && cfg.Clock != "auto" {
		c, err := parseClock(cfg.Clock)
		if err != nil {
			return nil, err
		}
		for _, starts := range naming {
			named := *c
			named.starts = starts
			named.name += ", hours named by their " + map[bool]string{true: "start", false: "end"}[starts]
			out = append(out, named)
		}
		return out, nil
	}
	summer, where := summerEU, "as in Europe"
	switch {
	case cfg.Latitude < 0:
		summer, where = summerAU, "as in Australia"
	case cfg.Longitude < -30:
		summer, where = summerUS, "as in the United States"
	}
	own := int64(math.Round(cfg.Longitude/15)) * 3600
	for n := int64(guessFrom); n <= guessTo; n++ {
		offset := own + n*1800
		name := fmt.Sprintf("%s if hours are named by their end, %s if by their start, ",
			offsetName(offset), offsetName(offset+3600))
		out = append(out, clock{name: name + "no daylight saving", offset: offset})
		out = append(out, clock{name: name + "daylight saving " + where, offset: offset, summer: summer})
	}
	return out, nil
}

// ErrClock is why a recording is refused: nobody named its clock, and the sun does not tell it.
var ErrClock = errors.New("the sun does not tell the recorder's clock")

// tell finds the clock by which a street's rows were written, and how sure that is. wall is when the first row began,
// if hours are named by their end; solar is what all homes made in each row.
//
// Nothing is made in the dark, and something is made while the sun stands well above the horizon. Hours that
// contradict this are counted; a clock that is an hour off has about one a day. It does not matter where panels
// look: at both ends of the day they live on the light of the whole sky.
func (r *Recording) tell(cfg *Config, wall time.Time, solar []float64) (*clock, error) {
	list, err := cfg.candidates()
	if err != nil {
		return nil, err
	}
	suns := map[int64]shine{}
	best := 0
	odd := make([]float64, len(list))
	for i := range list {
		odd[i] = r.odd(&list[i], wall, solar, suns)
		if odd[i] < odd[best] || odd[i] == odd[best] && !cfg.rare(&list[i]) && cfg.rare(&list[best]) {
			best = i
		}
	}
	rivals := func(c int) (out []int) {
		for i := range list {
			if rare := cfg.rare(&list[i]) && !cfg.rare(&list[c]); !rare && !list[i].same(&list[c], wall, len(solar)) {
				out = append(out, i)
			}
		}
		return out
	}
	// Where the ends of days leave more than one, their middles decide.
	wander := make([]float64, len(list))
	least := odd[best] + leastMargin
	near := func(i int) bool { return odd[i] < least }
	for _, i := range append(slices.DeleteFunc(rivals(best), func(i int) bool { return !near(i) }), best) {
		if wander[i] = r.wander(&list[i], wall, solar); wander[i] < wander[best] {
			best = i
		}
	}
	sure, next := odd[best] <= mostOdd, -1
	for _, i := range rivals(best) {
		if near(i) && wander[i]*leastWander < wander[best] {
			sure = false
		}
		if next < 0 || odd[i] < odd[next] {
			next = i
		}
	}
	c := &list[best]
	say := func(i int) string {
		out := fmt.Sprintf("%.2f hours a day contradict the sun", odd[i])
		if wander[i] > 0 {
			out += fmt.Sprintf(", the middle of days strays by %.2f hours", wander[i])
		}
		return out
	}
	r.Clock = c.name + " (" + say(best)
	if next >= 0 {
		r.Clock += "; next best: " + list[next].name + ", " + say(next)
	}
	r.Clock += ")"
	if next >= 0 && !sure {
		return nil, fmt.Errorf("study: %w: best is %s", ErrClock, r.Clock)
	}
	return c, nil
}

// wander returns how far the middle of a day's production strays from its median, in hours, in the mean over the
// brighter half of the days. It is measured against the middle of the sun's shine. Panels look the same way all year,
// so the middle moves only if the clock does.
func (r *Recording) wander(c *clock, wall time.Time, solar []float64) float64 {
	type day struct{ wh, moment, sun, sunMoment float64 }
	days := map[int64]*day{}
	for row, wh := range solar {
		u := c.unix(wall.Add(time.Duration(row) * time.Hour))
		n := r.place.Day(u)
		if days[n] == nil {
			days[n] = new(day)
		}
		cos, _ := r.place.Bound(u + 1800)
		d, hour, sun := days[n], float64(u-n*86400)/3600, max(float64(cos)/(1<<30), 0)
		d.wh, d.moment = d.wh+wh, d.moment+wh*hour
		d.sun, d.sunMoment = d.sun+sun, d.sunMoment+sun*hour
	}
	var all, middles []float64
	for _, d := range days {
		all = append(all, d.wh)
	}
	slices.Sort(all)
	for _, d := range days {
		if d.wh > 0 && d.sun > 0 && d.wh >= all[len(all)/2] {
			middles = append(middles, d.moment/d.wh-d.sunMoment/d.sun)
		}
	}
	if len(middles) == 0 {
		return 0
	}
	slices.Sort(middles)
	median, sum := middles[len(middles)/2], 0.0
	for _, m := range middles {
		sum += math.Abs(m - median)
	}
	return sum / float64(len(middles))
}

// same reports whether two clocks make the same of all rows.
func (c *clock) same(d *clock, wall time.Time, rows int) bool {
	for row := range rows {
		if w := wall.Add(time.Duration(row) * time.Hour); c.unix(w) != d.unix(w) {
			return false
		}
	}
	return true
}

// rare reports whether a clock is half an hour off whole hours in a place where no country has such a clock. It is
// taken only if it fits better than all others.
func (cfg *Config) rare(c *clock) bool {
	halves := cfg.Latitude >= 0 && cfg.Longitude > 44 && cfg.Longitude < 105 || // Iran to Burma
		cfg.Latitude < 0 && cfg.Longitude > 125 && cfg.Longitude < 143 || // the middle of Australia
		cfg.Latitude > 45 && cfg.Longitude > -60 && cfg.Longitude < -50 // Newfoundland
	return c.zone == nil && c.offset%3600 != 0 && !halves
}

// shine is what the sun does in an hour.
type shine uint8

const (
	twilight shine = iota
	dark           // throughout
	light          // well above the horizon throughout
)

// wellAbove is the sine of the sun's elevation, 8°, above which all panels give something. something is the share of
// the most that was ever made from which on it counts.
const (
	wellAbove = 0.14
	something = 0.003
)

// odd returns how many hours a day, in the mean, production and sun contradict each other.
func (r *Recording) odd(c *clock, wall time.Time, solar []float64, suns map[int64]shine) float64 {
	most := 0.0
	for _, wh := range solar {
		most = max(most, wh)
	}
	// Days without any production say nothing of the clock.
	made := make([]bool, len(solar)/24+2)
	for row, wh := range solar {
		made[row/24] = made[row/24] || wh > something*most
	}
	found, days := 0, 0
	for _, m := range made {
		if m {
			days++
		}
	}
	for row, wh := range solar {
		if !made[row/24] {
			continue
		}
		switch at := r.shine(c.unix(wall.Add(time.Duration(row)*time.Hour)), suns); {
		case at == dark && wh > something*most, at == light && wh <= something*most:
			found++
		}
	}
	return float64(found) / float64(max(days, 1))
}

// shine returns what the sun did in an hour.
func (r *Recording) shine(unix int64, known map[int64]shine) shine {
	s, ok := known[unix]
	if !ok {
		low, high := 1.0, -1.0
		for t := unix; t <= unix+3600; t += lot.Interval {
			cos, _ := r.place.Bound(t)
			low, high = min(low, float64(cos)/(1<<30)), max(high, float64(cos)/(1<<30))
		}
		switch {
		case high <= 0:
			s = dark
		case low > wellAbove:
			s = light
		}
		known[unix] = s
	}
	return s
}
