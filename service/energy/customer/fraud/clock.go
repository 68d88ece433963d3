package fraud

import (
	"math"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/lot"
)

// Recorders write wall clocks. A clock is how rows become time: whether a row's hour names its start or its end, and what becomes of it in
// summer.
type clock struct {
	name   string
	starts bool // an hour is named by its start: 24 is midnight, of the next day
	summer func(wall time.Time) bool
}

// clocks are those that recorders are known to use: each kind of summer with hours named by their end and by their start, the usual ones
// first.
var clocks = [...][2]clock{
	{{"hours named by their end, standard time", false, nil}, {"hours named by their start, standard time", true, nil}},
	{
		{"hours named by their end, daylight saving as in the United States", false, summerUS},
		{"hours named by their start, daylight saving as in the United States", true, summerUS},
	},
	{
		{"hours named by their end, daylight saving as in Europe", false, summerEU},
		{"hours named by their start, daylight saving as in Europe", true, summerEU},
	},
}

// summerUS: from 2:00 on the second Sunday of March to 2:00 on the first of November (since 2007).
func summerUS(wall time.Time) bool {
	y := wall.Year()
	return !wall.Before(sunday(y, time.March, 8).Add(2*time.Hour)) && wall.Before(sunday(y, time.November, 1).Add(2*time.Hour))
}

// summerEU: from 2:00 on the last Sunday of March to 3:00 on the last of October, by Central European clocks (since 1996).
func summerEU(wall time.Time) bool {
	y := wall.Year()
	return !wall.Before(sunday(y, time.March, 25).Add(2*time.Hour)) && wall.Before(sunday(y, time.October, 25).Add(3*time.Hour))
}

// sunday returns the first Sunday of a month that is not before a day.
func sunday(year int, month time.Month, day int) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return t.AddDate(0, 0, (7-int(t.Weekday()))%7)
}

// unix returns the second at which an hour began that a wall showed, offset seconds ahead of UTC in winter.
func (c *clock) unix(wall time.Time, offset int64) int64 {
	if c.starts {
		wall = wall.Add(time.Hour)
	}
	u := wall.Unix() - offset
	if c.summer != nil && c.summer(wall) {
		u -= 3600
	}
	return u
}

// tell tells by what clock a street's rows were written: wall is when the first began, if hours are named by their end, and solar what all
// homes made in each row.
//
// Panels look where they look all year: whether the clock had a summer shows in how the middle of a day's production wanders against the
// sun's. It must wander by a quarter less than under standard time for a summer to be believed. Then, nothing is produced in the dark:
// whether hours are named by their start or their end shows in how much was.
func (r *Recording) tell(wall time.Time, offset int64, solar []float64) *clock {
	suns := map[int64]float64{}
	least, pair := math.Inf(1), 0
	for i := range clocks {
		wander := r.wander(&clocks[i][0], wall, offset, solar, suns)
		if i == 0 {
			wander *= 0.75
		}
		if wander < least {
			least, pair = wander, i
		}
	}
	ends, starts := &clocks[pair][0], &clocks[pair][1]
	if r.inDark(starts, wall, offset, solar, suns) < r.inDark(ends, wall, offset, solar, suns) {
		return starts
	}
	return ends
}

// wander returns by how many hours, in the mean, the middle of production on the brighter days strays from where it is in the median,
// against the middle of the sun's shine.
func (r *Recording) wander(c *clock, wall time.Time, offset int64, solar []float64, suns map[int64]float64) float64 {
	middles := r.middles(c, wall, offset, solar, suns)
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

// middles returns, for the brighter half of the days, how many hours after the sun's the middle of production lies.
func (r *Recording) middles(c *clock, wall time.Time, offset int64, solar []float64, suns map[int64]float64) []float64 {
	type day struct{ wh, moment, sun, sunMoment float64 }
	days := map[int64]*day{}
	for row, wh := range solar {
		u := c.unix(wall.Add(time.Duration(row)*time.Hour), offset)
		n := r.place.Day(u)
		d := days[n]
		if d == nil {
			d = new(day)
			days[n] = d
		}
		hour, sun := float64(u-n*86400)/3600, r.sun(u, suns)
		d.wh += wh
		d.moment += wh * hour
		d.sun += sun
		d.sunMoment += sun * hour
	}
	var all []float64
	for _, d := range days {
		all = append(all, d.wh)
	}
	slices.Sort(all)
	var out []float64
	for _, d := range days {
		if d.wh > 0 && d.sun > 0 && d.wh >= all[len(all)/2] {
			out = append(out, d.moment/d.wh-d.sunMoment/d.sun)
		}
	}
	return out
}

// inDark returns what was produced in hours without any sun.
func (r *Recording) inDark(c *clock, wall time.Time, offset int64, solar []float64, suns map[int64]float64) (found float64) {
	for row, wh := range solar {
		if r.sun(c.unix(wall.Add(time.Duration(row)*time.Hour), offset), suns) == 0 {
			found += wh
		}
	}
	return found
}

// sun returns the mean cosine of the zenith angle of an hour, 0 where it is dark throughout.
func (r *Recording) sun(unix int64, known map[int64]float64) float64 {
	s, ok := known[unix]
	if !ok {
		for t := unix; t <= unix+3600; t += lot.Interval {
			cos, _ := r.place.Bound(t)
			s += max(float64(cos)/(1<<30), 0) / 5
		}
		known[unix] = s
	}
	return s
}
