package street

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/citylearn"
	"github.com/cairn-network/cairn/service/role/geo"
)

// Recording is what was recorded at homes: a folder that citylearn reads, with what each household used and its
// panels gave, hour by hour. What follows the last row is the first again.
//
// A file place.json in the folder says where and when, as {"cell": "8729a…", "altitude": 4, "first":
// 1470034800, "kwp": [4, 4, 4, 5, …]}: the H3 cell, hundreds of metres above the sea, the Unix second at which
// the first row begins, and the panels of each home. Without it the recording is taken for that of the
// CityLearn challenge 2022: Fontana, California, from 31 July 2016, 23:00 in UTC−8.
type Recording struct {
	Cell     types.Cell `json:"cell"`
	Altitude uint8      `json:"altitude"`
	First    int64      `json:"first"`
	KWp      []float64  `json:"kwp"`

	up    geo.Vector
	homes []series
}

// series is one home's.
type series struct {
	load  []float64 // W, by hour
	solar []float64 // W for each kW of panels, by hour

	hour    int64   // that total was found for
	heights float64 // the sum of what the sun's height weighs, over the hour's minutes
}

const maxRows = 10 * 8784 // of a file

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
	r.up = geo.Float(r.Cell.Center())
	homes, err := citylearn.Read(dir, citylearn.Limit{Homes: MaxHomes, Rows: maxRows})
	if err != nil {
		return nil, fmt.Errorf("street: recording: %w", err)
	}
	for _, h := range homes {
		s := series{solar: h[citylearn.Solar], hour: -1}
		for _, kWh := range h[citylearn.Load] {
			s.load = append(s.load, kWh*1000)
		}
		r.homes = append(r.homes, s)
	}
	return r, nil
}

// fontana is where the CityLearn homes are, at resolution 7.
var fontana = types.CellAt(types.Vector{-439347473022162432, -847587197706058240, 646372753153122560}, 7)

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

// produced returns what a home's panels gave, in W. An hour's energy is laid over its minutes by the height of
// the sun, so that nothing is made before dawn that was made after it.
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
	return max(0, r.up.Dot(geo.Float(sun.Direction)))
}
