package street

import (
	"encoding/binary"
	"math"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/geo"
)

// light is what comes out of the sky in one minute.
type light struct {
	sun     geo.Vector
	height  float64 // the sine of the sun's elevation
	beam    float64 // W/m² on a panel that faces the sun
	diffuse float64 // W/m² on level ground, without the beam
}

// lightAt returns the light at a place at a Unix second, of which the clouds leave a share clear of 0 to 1. The
// clear sky is that of A. B. and M. P. Meinel, "Applied Solar Energy" (1976), with the air mass of F. Kasten
// (1965). It is not the sky that the bound is made of, and stays below it.
func lightAt(up geo.Vector, unix int64, clear float64) light {
	s := fixed.SunAt(unix)
	l := light{sun: geo.Float(s.Direction)}
	l.height = up.Dot(l.sun)
	if l.height <= 0 {
		return l
	}
	zenith := math.Acos(min(l.height, 1)) * 180 / math.Pi
	mass := 1 / (l.height + 0.15*math.Pow(93.885-zenith, -1.253))
	beam := 1353 * math.Pow(0.7, math.Pow(mass, 0.678))
	global := 1.1 * beam * l.height
	l.beam = beam * math.Pow(clear, 1.5)
	l.diffuse = 0.1*beam*l.height*clear + 0.25*global*(1-clear)
	return l
}

// on returns what falls on a panel, in W/m²; level ground gives back a fifth.
func (l *light) on(panel, up geo.Vector) float64 {
	if l.height <= 0 {
		return 0
	}
	tilt := panel.Dot(up)
	return l.beam*max(0, panel.Dot(l.sun)) + l.diffuse*(1+tilt)/2 + 0.2*(l.beam*l.height+l.diffuse)*(1-tilt)/2
}

// draw returns a number in [0, 1) that seed, purpose and position name.
func (s *Street) draw(purpose string, who int, at int64) float64 {
	b := binary.BigEndian.AppendUint64(nil, s.cfg.Seed)
	b = binary.BigEndian.AppendUint64(b, uint64(who))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	h := types.Sum([]byte(purpose), b)
	return float64(binary.BigEndian.Uint64(h[:8])>>11) / (1 << 53)
}

// smooth returns a number that moves between draws, each of which holds at its own time.
func (s *Street) smooth(purpose string, who int, unix, every int64) float64 {
	at := unix / every
	x := float64(unix%every) / float64(every)
	x = x * x * (3 - 2*x)
	return s.draw(purpose, who, at)*(1-x) + s.draw(purpose, who, at+1)*x
}

// clear returns what the clouds leave over the whole street at a Unix second, 0.1 to 1: some days are fine and
// some are dull, hours differ within a day, and clouds pass.
func (s *Street) clear(unix int64) float64 {
	day := 1 - 0.75*math.Pow(s.smooth("day", 0, unix-s.cfg.Begin, 86400), 2)
	hour := 1 - 0.5*math.Pow(s.smooth("hour", 0, unix, 3600), 3)
	cloud := 1 - 0.3*math.Pow(s.smooth("cloud", 0, unix, 420), 4)
	return max(0.1, day*hour*cloud)
}
