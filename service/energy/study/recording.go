package study

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/citylearn"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Config says where and when a folder of homes was recorded. The zero Config is not useful: DefaultConfig is
// where the CityLearn challenge of 2022 was.
type Config struct {
	Dir       string
	Latitude  float64   // degrees
	Longitude float64   // degrees, east is positive
	Altitude  int       // metres
	Clock     string    // of the recorder: UTC-8, UTC+05:30, a zone of the IANA's list; "" or auto: what the sun tells
	Hours     string    // whether rows name hours by their start or their end; "": what the sun tells
	Year      int       // of the first row; 0: the first from 2016 on whose weekdays are the recording's
	KWp       []float64 // kW of panels of each home, the last for all further ones
}

// DefaultConfig is the place of eight homes in Fontana, California (Electric Power Research Institute; CityLearn
// challenge 2022), whose panels the data set's schema gives.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Latitude: 34.09, Longitude: -117.44, Altitude: 400, KWp: []float64{4, 4, 4, 5, 4}}
}

// Recording is a street of recorded homes, by quarter hours. Its time is UTC.
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

// Read reads a folder (citylearn), of which it wants month, hour (1 to 24), day_type (1 is Monday, 7 Sunday, 8 a
// holiday; it may be missing), what the household used and what the panels gave.
//
// Rows tell a month and an hour, not a date: the first change of the month tells the day. What clock the hours
// are of, if nobody says it, is told by the sun; where it does not tell, nothing is read (ErrClock). An hour
// that a clock repeated is missing, and filled with the load before it; one that it left out is ignored.
func Read(cfg Config) (*Recording, error) {
	if err := onEarth(cfg.Latitude, cfg.Longitude, cfg.Altitude); err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	if len(cfg.KWp) == 0 {
		return nil, errors.New("study: no size of panels")
	}
	files, err := citylearn.Read(cfg.Dir, citylearn.Limit{Homes: maxHomes, Rows: maxRows}, calendar...)
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	var homes []*rows
	for n, f := range files {
		h, err := rowsOf(f)
		if err != nil {
			return nil, fmt.Errorf("study: home_%d.csv: %w", n+1, err)
		}
		if len(homes) > 0 && !h.beside(homes[0]) {
			return nil, fmt.Errorf("study: home_%d.csv: %s, home_1.csv has %s", n+1, h, homes[0])
		}
		homes = append(homes, h)
	}
	at := geo.Direction(cfg.Latitude, cfg.Longitude)
	r := &Recording{cell: types.CellAt(at, 7), metre: uint8(cfg.Altitude / 100)}
	r.place = energy.PlaceOf(r.cell, r.metre)
	wall, err := homes[0].begins(cfg.Year)
	if err != nil {
		return nil, fmt.Errorf("study: home_1.csv: %w", err)
	}
	if err := r.lay(homes, &cfg, wall); err != nil {
		return nil, err
	}
	return r, nil
}

// onEarth refuses what is no place.
func onEarth(latitude, longitude float64, altitude int) error {
	if math.Abs(latitude) <= 90 && math.Abs(longitude) <= 180 && altitude >= 0 && altitude <= 100*energy.MaxAltitude {
		return nil
	}
	return fmt.Errorf("no such place: latitude %v, longitude %v, %d m: "+
		"want -90 to 90 degrees north, -180 to 180 east, 0 to %d m",
		latitude, longitude, altitude, 100*energy.MaxAltitude)
}

// rows are a file's.
type rows struct {
	month []int
	hour  []int     // 1 to 24
	day   []int     // type of day, 0 where it is not given
	load  []float64 // Wh
	solar []float64 // Wh for each kW
}

func (h *rows) String() string {
	return fmt.Sprintf("%d rows from month %d, hour %d", len(h.solar), h.month[0], h.hour[0])
}

// beside reports whether two files' rows are of the same hours.
func (h *rows) beside(o *rows) bool {
	return len(h.solar) == len(o.solar) && h.month[0] == o.month[0] && h.hour[0] == o.hour[0]
}

// calendar are the columns that tell when a row was.
var calendar = []citylearn.Column{
	{Name: "month", From: 1, To: 12}, {Name: "hour", From: 1, To: 24}, {Name: "day_type", To: 8, Optional: true},
}

// rowsOf returns a file's rows. Their hours must follow one another.
func rowsOf(f citylearn.Home) (*rows, error) {
	h := &rows{solar: f[citylearn.Solar]}
	for i, kWh := range f[citylearn.Load] {
		month, hour := int(f["month"][i]), int(f["hour"][i])
		if i > 0 && hour != h.hour[i-1]%24+1 {
			return nil, fmt.Errorf("row %d: hour %d after hour %d", i+1, hour, h.hour[i-1])
		}
		h.month, h.hour, h.day = append(h.month, month), append(h.hour, hour), append(h.day, int(f["day_type"][i]))
		h.load = append(h.load, 1000*kWh)
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
		next := time.Date(year, time.Month(h.month[0])+1, 1, 0, 0, 0, 0, time.UTC)
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

// lay gives each row its time, by the clock that somebody named or that the sun tells.
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
	home := Home{Number: number, PDC: uint32(kwp * 1000), PAC: uint32(kwp * 1000)}
	home.PV, home.Load = make([]uint32, 0, 4*len(at)), make([]uint32, 0, 4*len(at))
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
