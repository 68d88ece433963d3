package fraud

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
)

// Config says where and when a folder of homes was recorded. The zero Config is not useful: DefaultConfig is where the CityLearn challenge
// of 2022 was.
type Config struct {
	Dir       string
	Latitude  float64   // degrees
	Longitude float64   // degrees, east is positive
	Altitude  int       // metres
	Clock     string    // of the recorder: UTC-8, UTC+05:30, a zone such as America/Los_Angeles; "" or auto: what the sun tells
	Hours     string    // whether rows name hours by their start or their end; "": what the sun tells
	Year      int       // of the first row; 0: the first from 2016 on whose weekdays are the recording's
	KWp       []float64 // kW of panels of each home, the last for all further ones
}

// DefaultConfig is the place of eight homes in Fontana, California (Electric Power Research Institute; CityLearn challenge 2022), whose
// panels the data set's schema gives.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Latitude: 34.09, Longitude: -117.44, Altitude: 400, KWp: []float64{4, 4, 4, 5, 4}}
}

// Recording is a street of recorded homes, by quarter hours of true time.
type Recording struct {
	Homes []Home
	First uint64 // the interval that the first quarter hour is
	Clock string // what the recorder's clock was taken for
	place energy.Place
	cell  types.Cell
	metre uint8 // the altitude, in hundreds
}

// Home is one of them.
type Home struct {
	Number int
	PDC    uint32   // W
	PAC    uint32   // W
	Grows  int      // the quarter hour from which on it has more panels; 0 is never …
	Grown  uint32   // W that it declares then
	Odd    bool     // it has what the street is made up for
	PV     []uint32 // Wh that the panels made, by quarter hour
	Load   []uint32 // Wh that the household used
}

// Bounds of a folder.
const (
	maxHomes = 64
	maxRows  = 3 * 8784
)

// Read reads home_1.csv, home_2.csv … of a folder: each a line of names, then a row for each hour, of which month, hour (1 to 24), day_type
// (1 is Monday, 7 Sunday, 8 a holiday), non_shiftable_load (kWh) and solar_generation (W for each kW of panels, averaged over the hour)
// are read.
//
// Rows tell a month and an hour, not a date: the first change of the month tells the day. What clock the hours are of, if nobody says it, is told
// by the sun; where it does not tell, nothing is read (ErrClock). An hour that a clock repeated is missing,
// and filled with the load before it; one that it left out is ignored.
func Read(cfg Config) (*Recording, error) {
	if !(math.Abs(cfg.Latitude) <= 90 && math.Abs(cfg.Longitude) <= 180) || cfg.Altitude < 0 || cfg.Altitude > 100*energy.MaxAltitude {
		return nil, fmt.Errorf("fraud: no such place: latitude %v, longitude %v, %d m", cfg.Latitude, cfg.Longitude, cfg.Altitude)
	}
	if len(cfg.KWp) == 0 {
		return nil, errors.New("fraud: no size of panels")
	}
	var homes []*rows
	for n := 1; n <= maxHomes; n++ {
		name := fmt.Sprintf("home_%d.csv", n)
		f, err := os.Open(filepath.Join(cfg.Dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("fraud: %w", err)
		}
		h, err := readRows(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("fraud: %s: %w", name, err)
		}
		if n > 1 && (len(h.solar) != len(homes[0].solar) || h.start != homes[0].start) {
			return nil, fmt.Errorf("fraud: %s: %d rows from %+v, home_1.csv has %d from %+v", name, len(h.solar), h.start, len(homes[0].solar), homes[0].start)
		}
		homes = append(homes, h)
	}
	if len(homes) == 0 {
		return nil, fmt.Errorf("fraud: %s holds no home_1.csv", cfg.Dir)
	}
	at := direction(cfg.Latitude, cfg.Longitude)
	r := &Recording{cell: types.CellAt(at, 7), metre: uint8(cfg.Altitude / 100)}
	r.place = energy.PlaceOf(r.cell, r.metre)
	wall, err := homes[0].begins(cfg.Year)
	if err != nil {
		return nil, fmt.Errorf("fraud: home_1.csv: %w", err)
	}
	if err := r.lay(homes, &cfg, wall); err != nil {
		return nil, err
	}
	return r, nil
}

// direction returns where a latitude and a longitude lie, from the earth's centre.
func direction(latitude, longitude float64) types.Vector {
	φ, λ := latitude*math.Pi/180, longitude*math.Pi/180
	v := types.Vector{}
	for i, x := range []float64{math.Cos(φ) * math.Cos(λ), math.Cos(φ) * math.Sin(λ), math.Sin(φ)} {
		v[i] = int64(math.Round(x * types.One))
	}
	return v
}

// rows are a file's.
type rows struct {
	start struct{ month, hour int } // of the first row
	month []int
	day   []int     // type of day, 0 where it is not given
	load  []float64 // Wh
	solar []float64 // Wh for each kW
}

func readRows(in io.Reader) (*rows, error) {
	c := csv.NewReader(in)
	c.ReuseRecord = true
	names, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("the line of names: %w", err)
	}
	at := map[string]int{}
	for i, n := range names {
		at[strings.TrimSpace(n)] = i
	}
	for _, n := range []string{"month", "hour", "non_shiftable_load", "solar_generation"} {
		if _, ok := at[n]; !ok {
			return nil, fmt.Errorf("no column %s", n)
		}
	}
	h := new(rows)
	hour := 0
	for n := 1; ; n++ {
		row, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		number := func(name string, most float64) float64 {
			x, e := strconv.ParseFloat(strings.TrimSpace(row[at[name]]), 64)
			if (e != nil || !(x >= 0 && x <= most)) && err == nil {
				err = fmt.Errorf("row %d: %s is %q, want 0 to %v", n, name, row[at[name]], most)
			}
			return x
		}
		month, hr := int(number("month", 12)), int(number("hour", 24))
		h.load = append(h.load, 1000*number("non_shiftable_load", 1000))
		h.solar = append(h.solar, number("solar_generation", 10_000))
		day := 0
		if i, ok := at["day_type"]; ok {
			day, _ = strconv.Atoi(row[i])
		}
		switch {
		case err != nil:
			return nil, err
		case month < 1 || hr < 1 || hour > 0 && hr != hour%24+1:
			return nil, fmt.Errorf("row %d: month %d, hour %d after hour %d", n, month, hr, hour)
		case n > maxRows:
			return nil, fmt.Errorf("more than %d rows", maxRows)
		case n == 1:
			h.start.month, h.start.hour = month, hr
		}
		hour = hr
		h.month, h.day = append(h.month, month), append(h.day, day)
	}
	if len(h.solar) == 0 {
		return nil, errors.New("no rows")
	}
	return h, nil
}

// begins returns what the wall showed an hour before the end of the first row, if hours are named by their end.
func (h *rows) begins(year int) (time.Time, error) {
	change := 0
	for change < len(h.month) && h.month[change] == h.month[0] {
		change++
	}
	if change == len(h.month) {
		return time.Time{}, errors.New("the month never changes: no telling what day it was")
	}
	of := func(year int) time.Time {
		next := time.Date(year, time.Month(h.start.month)+1, 1, 0, 0, 0, 0, time.UTC)
		return next.Add(-time.Duration(change) * time.Hour)
	}
	if year != 0 {
		return of(year), nil
	}
	for y := 2016; y < 2016+28; y++ {
		if h.fits(of(y)) {
			return of(y), nil
		}
	}
	return time.Time{}, errors.New("no year from 2016 on has these months and weekdays: name one (--year)")
}

// fits reports whether months and weekdays are those of a calendar.
func (h *rows) fits(wall time.Time) bool {
	for i := range h.month {
		t := wall.Add(time.Duration(i) * time.Hour)
		weekday := (int(t.Weekday())+6)%7 + 1
		if int(t.Month()) != h.month[i] || h.day[i] >= 1 && h.day[i] <= 7 && h.day[i] != weekday {
			return false
		}
	}
	return true
}

// lay lays rows into time, by the clock that somebody named or the sun tells.
func (r *Recording) lay(homes []*rows, cfg *Config, wall time.Time) error {
	var sum []float64
	for i := range homes[0].solar {
		s := 0.0
		for _, h := range homes {
			s += h.solar[i]
		}
		sum = append(sum, s)
	}
	clock, err := r.tell(cfg, wall, sum)
	if err != nil {
		return err
	}
	first := clock.unix(wall)
	at := make([]int, 0, len(sum)+2) // the row of each hour; −1 is none
	for row := range sum {
		hour := int((clock.unix(wall.Add(time.Duration(row)*time.Hour)) - first) / 3600)
		for len(at) < hour {
			at = append(at, -1)
		}
		if len(at) == hour {
			at = append(at, row)
		}
	}
	r.First = uint64(first) / lot.Interval
	for n, h := range homes {
		r.Homes = append(r.Homes, h.home(n+1, at, cfg.KWp[min(n, len(cfg.KWp)-1)]))
	}
	return nil
}

// home spreads hours evenly over quarter hours. What rounding takes from one, the next ones have.
func (h *rows) home(number int, at []int, kwp float64) Home {
	home := Home{Number: number, PDC: uint32(kwp * 1000), PAC: uint32(kwp * 1000), PV: make([]uint32, 0, 4*len(at)), Load: make([]uint32, 0, 4*len(at))}
	var made, used, pv, load float64
	row := 0
	for _, i := range at {
		solar := 0.0
		if i >= 0 {
			row, solar = i, h.solar[i]
		}
		for range 4 {
			pv += solar * kwp / 4
			load += h.load[row] / 4
			home.PV = append(home.PV, uint32(math.Floor(pv)-made))
			home.Load = append(home.Load, uint32(math.Floor(load)-used))
			made, used = math.Floor(pv), math.Floor(load)
		}
	}
	return home
}
