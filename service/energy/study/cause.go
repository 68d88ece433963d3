package study

import (
	"fmt"
	"math/rand/v2"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Cause is something that makes honest homes look odd. A made-up street has one, or all of them.
type Cause struct {
	Name  string
	What  string // for readers of docs/energy-fraud.md
	homes int    // in the street
	snow  bool   // only where it snows
	make  func(r *roof, i int, dice *rand.Rand)
}

// Causes are the ones that are studied. The first oddHomes homes of a street have the cause.
var Causes = []Cause{
	{"none", "roofs that look south or nearly so, and nothing happens", 12, false, func(*roof, int, *rand.Rand) {}},
	{"orientation", "17 roofs that look anywhere between east and west, some both ways, flat to steep", 17, false,
		turned},
	{"weak", "old or badly laid panels that give a third to two thirds of what others give", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				r.gives *= 0.35 + 0.35*d.Float64()
			}
		}},
	{"shade", "trees and houses up to 35° high on one or two sides", 12, false, func(r *roof, i int, d *rand.Rand) {
		if i < oddHomes {
			shade(r, d)
		}
	}},
	{"dead", "no panels at work for the first 20 to 100 days, then all", 12, false, func(r *roof, i int, d *rand.Rand) {
		if i < oddHomes {
			r.dead = append(r.dead, outage{0, 20 + d.IntN(81), 0})
		}
	}},
	{"string", "half of the panels dead for the first 20 to 100 days", 12, false, func(r *roof, i int, d *rand.Rand) {
		if i < oddHomes {
			r.dead = append(r.dead, outage{0, 20 + d.IntN(81), 0.5})
		}
	}},
	{"outage", "all or half of the panels off for 2 to 30 days, four times a year", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				for range 4 {
					from := d.IntN(340)
					r.dead = append(r.dead, outage{from, from + 2 + d.IntN(29), 0.5 * float64(d.IntN(2))})
				}
			}
		}},
	{"snow", "snow lies on roofs for up to nine days, on steep ones for less", 12, true,
		func(r *roof, i int, d *rand.Rand) {
			r.covered = max(0, 6-r.planes[0].tilt/8)
		}},
	{"clipping", "inverters of 60 to 75 % of the panels", 12, false, func(r *roof, i int, d *rand.Rand) {
		if i < oddHomes {
			r.inner = r.kw * 1000 * (0.6 + 0.15*d.Float64())
		}
	}},
	{"curtailment", "no more than 0 to 40 % of the nameplate may be fed in", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				r.limit = 0.01 + 0.4*d.Float64()
			}
		}},
	{"gaps", "one to five days without readings, filled by somebody, four times a year", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				for n := range 4 {
					from := 90*n + d.IntN(80)
					to, how := from+1+d.IntN(5), []string{filledLine, filledZero, filledRepeat}[d.IntN(3)]
					r.filled = append(r.filled, gap{from, to, how})
				}
			}
		}},
	{"clock", "meters whose clock is an hour late for half of the year", 12, false,
		func(r *roof, i int, d *rand.Rand) { r.late = i < oddHomes }},
	{"half hours", "meters that are read every half hour, or every hour", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				r.coarse = 2 + 2*(i%2)
			}
		}},
	{"dirt", "3 to 6 % a month lost, until it rains", 12, false, func(r *roof, i int, d *rand.Rand) {
		if i < oddHomes {
			r.dirt = 0.03 + 0.03*d.Float64()
		}
	}},
	{"growth", "30 to 80 % more panels at some time, declared on that day", 12, false,
		func(r *roof, i int, d *rand.Rand) {
			if i < oddHomes {
				r.grows, r.grown = 100+d.IntN(200), 0.3+0.5*d.Float64()
			}
		}},
	{everything, "17 roofs of any orientation, each with two of the above", 17, false, turned},
}

// oddHomes is how many homes of a street have its cause; in "none", "orientation", "snow" and "all" each has it.
const oddHomes = 4

// everything is the name of the cause that has all the others.
const everything = "all"

// turned makes a roof look anywhere.
func turned(r *roof, i int, d *rand.Rand) {
	azimuth := 75 + 210*d.Float64()
	tilt := 3 + 47*d.Float64()
	r.planes = []plane{{1, tilt, azimuth}}
	if i%5 == 4 {
		r.planes = []plane{{0.5, tilt, 90}, {0.5, tilt, 270}}
	}
}

func shade(r *roof, d *rand.Rand) {
	for range 1 + d.IntN(2) {
		at, high := d.IntN(len(r.horizon)), 15+20*d.Float64()
		for k := range 3 {
			r.horizon[(at+k)%len(r.horizon)] = high
		}
	}
}

// Made says which street is made up. Equal ones are equal streets.
type Made struct {
	Cause   string
	Climate string
	Seed    uint64
	Days    int
	Homes   int // 0: as many as the cause has
}

// begun is the earliest second at which a made-up street begins: 2021-01-01 00:00 UTC.
const begun = 1_609_459_200

// Make makes up a street: homes of one cause under one climate. A roof makes what the category's sky gives it.
// Less comes out of it for clouds over the whole street, for clouds over single roofs, and for the cause. The
// street begins in any season.
func Make(m Made) (*Recording, error) {
	var cause *Cause
	for i := range Causes {
		if Causes[i].Name == m.Cause {
			cause = &Causes[i]
		}
	}
	var climate *Climate
	for i := range Climates {
		if Climates[i].Name == m.Climate {
			climate = &Climates[i]
		}
	}
	if cause == nil || climate == nil {
		return nil, fmt.Errorf("study: no street of cause %q and climate %q", m.Cause, m.Climate)
	}
	hash := types.Sum([]byte(fmt.Sprintf("cairn-street|%s|%s|%d", m.Cause, m.Climate, m.Seed)))
	var seed [32]byte = hash
	dice := rand.New(rand.NewChaCha8(seed))
	at := geo.Direction(climate.Latitude, climate.Longitude)
	r := &Recording{cell: types.CellAt(at, 7), metre: uint8(climate.Altitude / 100), Clock: "made up"}
	r.place = energy.PlaceOf(r.cell, r.metre)
	// From the place's midnight on.
	unix := int64(begun + 86_400*dice.IntN(365))
	for day := r.place.Day(unix); r.place.Day(unix) == day; unix += lot.Interval {
	}
	r.First = uint64(unix) / lot.Interval
	light := skyOver(climate, &r.place, geo.Float(r.cell.Parent(3).Center()), r.First, m.Days*perDay, dice)
	homes := cause.homes
	if m.Homes > 0 {
		homes = m.Homes
	}
	for i := range homes {
		south := 180.0
		if climate.Latitude < 0 {
			south = 0
		}
		kw := 2.5 + float64(dice.IntN(16))/2
		house := &roof{kw: kw, gives: 0.82 + 0.1*dice.Float64()}
		house.planes = []plane{{1, 15 + 25*dice.Float64(), south - 30 + 60*dice.Float64()}}
		cause.make(house, i, dice)
		for n := 0; n < 2 && m.Cause == everything; n++ {
			Causes[2+dice.IntN(len(Causes)-3)].make(house, 0, dice)
		}
		if south == 0 {
			for n := range house.planes { // what looks south in the north looks north in the south
				if a := house.planes[n].azimuth; a > 60 && a < 300 {
					house.planes[n].azimuth = 180 - a
				}
			}
		}
		pv, load := light.produce(house, dice)
		home := Home{Number: i + 1, PDC: uint32(kw * 1000), PAC: uint32(kw * 1000)}
		home.Odd = i < oddHomes || cause.homes != 12 || cause.snow || m.Cause == "none"
		if house.inner > 0 {
			home.PAC = uint32(house.inner)
		}
		if house.grown > 0 {
			if home.Grows = light.begins(house.grows); home.Grows < len(light.sun) {
				home.Grown = uint32(kw * 1000 * (1 + house.grown))
			}
		}
		home.PV, home.Load = whole(light.record(house, pv)), whole(load)
		r.Homes = append(r.Homes, home)
	}
	return r, nil
}

// whole rounds to whole watt-hours. What rounding takes from one quarter hour, the next ones have.
func whole(wh []float64) []uint32 {
	out := make([]uint32, len(wh))
	sum, given := 0.0, uint64(0)
	for i, x := range wh {
		sum += x
		out[i] = uint32(uint64(sum) - given)
		given = uint64(sum)
	}
	return out
}
