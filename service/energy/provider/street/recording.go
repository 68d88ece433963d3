package street

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/types"
)

// Recording is what was recorded at homes: a folder of files home_1.csv, home_2.csv …, each with a line of names and then a row for
// each hour, of which two columns are read: non_shiftable_load, kWh used in that hour, and solar_generation, W for each kW of panels,
// averaged over it. What follows the last row is the first again.
//
// A file place.json in the folder says where and when, as {"cell": "8729a…", "altitude": 4, "first": 1470034800, "kwp": [4, 4, 4, 5, …]}:
// the H3 cell, hundreds of metres above the sea, the Unix second at which the first row begins, and the panels of each home. Without it
// the recording is taken for that of the CityLearn challenge 2022: Fontana, California, from 31 July 2016, 23:00 in UTC−8.
type Recording struct {
	Cell     types.Cell `json:"cell"`
	Altitude uint8      `json:"altitude"`
	First    int64      `json:"first"`
	KWp      []float64  `json:"kwp"`

	up    vector
	homes []series
}

// series is one home's.
type series struct {
	load  []float64 // W, by hour
	solar []float64 // W for each kW of panels, by hour

	hour    int64   // that total was found for
	heights float64 // the sum of what the sun's height weighs, over the hour's minutes
}

const (
	maxRows   = 10 * 8784 // of a file
	maxSeries = MaxHomes
)

// ReadRecording reads a folder.
func ReadRecording(dir string) (*Recording, error) {
	r := &Recording{Cell: fontana, Altitude: 4, First: 1_470_034_800, KWp: []float64{4, 4, 4, 5, 4, 4, 4, 4}}
	raw, err := os.ReadFile(filepath.Join(dir, "place.json"))
	if err == nil {
		err = json.Unmarshal(raw, r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("street: recording: place.json: %w", err)
	}
	if !r.Cell.Valid() || r.Cell.Resolution() < 3 || len(r.KWp) == 0 {
		return nil, fmt.Errorf("street: recording: place.json: cell %v, want one of resolution 3 or finer, and the panels of at least one home", r.Cell)
	}
	r.up = toVector(r.Cell.Center())
	for i := 1; i <= maxSeries; i++ {
		name := fmt.Sprintf("home_%d.csv", i)
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("street: recording: %w", err)
		}
		s, err := readSeries(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("street: recording: %s: %w", name, err)
		}
		r.homes = append(r.homes, *s)
	}
	if len(r.homes) == 0 {
		return nil, fmt.Errorf("street: recording: %s holds no home_1.csv", dir)
	}
	return r, nil
}

// fontana is where the CityLearn homes are, at resolution 7.
var fontana = types.CellAt(types.Vector{-439347473022162432, -847587197706058240, 646372753153122560}, 7)

func readSeries(in io.Reader) (*series, error) {
	c := csv.NewReader(in)
	c.ReuseRecord = true
	names, err := c.Read()
	if err != nil {
		return nil, err
	}
	load, solar := -1, -1
	for i, n := range names {
		switch strings.TrimSpace(n) {
		case "non_shiftable_load":
			load = i
		case "solar_generation":
			solar = i
		}
	}
	if load < 0 || solar < 0 {
		return nil, errors.New("no columns non_shiftable_load and solar_generation")
	}
	s := &series{hour: -1}
	for {
		row, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(s.load) == maxRows {
			return nil, fmt.Errorf("more than %d rows", maxRows)
		}
		kwh, err1 := strconv.ParseFloat(row[load], 64)
		w, err2 := strconv.ParseFloat(row[solar], 64)
		if err := errors.Join(err1, err2); err != nil || !(kwh >= 0 && kwh < 1000) || !(w >= 0 && w < 10_000) {
			return nil, fmt.Errorf("row %d: load %s, solar %s", len(s.load)+1, row[load], row[solar])
		}
		s.load, s.solar = append(s.load, kwh*1000), append(s.solar, w)
	}
	if len(s.load) == 0 {
		return nil, errors.New("no rows")
	}
	return s, nil
}

// Profiles returns n homes with the recording's panels, the last with a battery.
func (r *Recording) Profiles(n int) []Profile {
	out := make([]Profile, n)
	for i := range out {
		kwp := r.KWp[i%len(r.homes)%len(r.KWp)]
		out[i] = Profile{Name: fmt.Sprintf("Home %d", i%len(r.homes)+1), PDC: uint32(kwp * 1000), PAC: uint32(kwp * 1000), DER: i%3 == 1, Base: 40000}
	}
	out[n-1].Storage, out[n-1].Charge = 6_400, 3_000
	return out
}

// row returns the row of a Unix second, and a home's series.
func (r *Recording) row(h *Home, unix int64) (*series, int) {
	s := &r.homes[(h.Number-1)%len(r.homes)]
	n := int64(len(s.load))
	hour := (unix - r.First) / 3600 % n
	if hour < 0 {
		hour += n
	}
	return s, int(hour)
}

// used returns what a home used, in W.
func (r *Recording) used(h *Home, unix int64) uint64 {
	s, at := r.row(h, unix)
	return uint64(s.load[at])
}

// produced returns what a home's panels gave, in W. An hour's energy is laid over its minutes by the height of the sun, so that nothing
// is made before dawn that was made after it.
func (r *Recording) produced(h *Home, unix int64) uint64 {
	s, at := r.row(h, unix)
	if s.solar[at] == 0 {
		return 0
	}
	first := unix - (unix-r.First)%3600
	if s.hour != first {
		s.hour, s.heights = first, 0
		for t := first; t < first+3600; t += minute {
			s.heights += r.height(t)
		}
	}
	w := s.solar[at] * float64(h.PDC) / 1000
	if s.heights == 0 {
		return uint64(w)
	}
	return uint64(w * 60 * r.height(unix) / s.heights)
}

// height returns the sine of the sun's elevation, 0 by night.
func (r *Recording) height(unix int64) float64 {
	sun := fixed.SunAt(unix)
	return max(0, r.up.dot(toVector(sun.Direction)))
}
