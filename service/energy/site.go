package energy

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// Technology is how a site produces.
type Technology uint8

// The technologies. Only the sun has a bound that nobody can talk their way past; others come when they have one too.
const (
	Solar Technology = 1
)

// String returns the technology's name.
func (t Technology) String() string {
	if t == Solar {
		return "solar"
	}
	return fmt.Sprintf("technology(%d)", uint8(t))
}

// Bounds of a site.
const (
	MaxPower      = 100_000_000 // W, of PDC and of PAC
	MaxAltitude   = 90          // hundreds of metres
	MaxStorage    = 1 << 31     // Wh
	MaxEfficiency = 9_000       // basis points, of a battery there and back
)

// Site is what a device is: the body of evidence of kind KindSite. A new one starts commissioning anew. A meter
// is named by MeterID; a site with one meter has Grid alone (what it feeds in is all that is known) and can
// have no certificates.
type Site struct {
	_          struct{}   `cbor:",toarray"`
	Technology Technology // Solar, or 0 for a site that only consumes
	PDC        uint32     // W: nameplate of the panels at standard test conditions; 0 without panels
	PAC        uint32     // W: what the inverter can give
	Altitude   uint8      // of the place, in hundreds of metres above the sea, at least 0
	Grid       types.Hash // MeterID of the meter at the grid connection; required
	PV         types.Hash // … of the meter of the panels (most often the inverter's own); zero for none
	Battery    types.Hash // … of the battery's meter; zero for none
	Storage    uint32     // Wh that the battery holds
	Efficiency types.Bp   // of the battery, there and back, at most MaxEfficiency
}

// MeterID names a meter by what its maker printed on it: manufacturer, model and serial number, in SunSpec's
// common model Mn, Md and SN. Each is prefixed by its length, so that no two name one hash.
func MeterID(manufacturer, model, serial string) types.Hash {
	var b []byte
	for _, s := range []string{manufacturer, model, serial} {
		b = types.AppendBytes(b, []byte(s))
	}
	return types.Sum(b)
}

// maxSite bounds an encoded site, in bytes.
const maxSite = 256

// Encode returns the body of evidence that s makes.
func (s *Site) Encode() []byte { return types.Encode(s) }

// DecodeSite reads the body of a site and checks its form.
func DecodeSite(body []byte) (*Site, error) {
	s := new(Site)
	if err := types.DecodeLimit(body, s, maxSite); err != nil {
		return nil, fmt.Errorf("energy: site: %w", err)
	}
	if err := s.Check(); err != nil {
		return nil, types.Refuse(SiteTerms, "energy: site: %v", err)
	}
	return s, nil
}

// Check reports what is wrong with a site.
func (s *Site) Check() error {
	switch {
	case s.Grid.IsZero():
		return fmt.Errorf("no meter at the grid connection")
	case s.Grid == s.PV || s.Grid == s.Battery || !s.PV.IsZero() && s.PV == s.Battery:
		return fmt.Errorf("one meter in two places")
	case s.Technology > Solar:
		return fmt.Errorf("%v is not known", s.Technology)
	case (s.Technology == 0) != (s.PDC == 0) || (s.PDC == 0) != (s.PAC == 0):
		return fmt.Errorf("%v of %d W behind an inverter of %d W", s.Technology, s.PDC, s.PAC)
	case s.PDC > MaxPower || s.PAC > MaxPower:
		return fmt.Errorf("%d W behind %d W, at most %d", s.PDC, s.PAC, MaxPower)
	case s.PDC == 0 && !s.PV.IsZero():
		return fmt.Errorf("a meter of panels that are not there")
	case s.Altitude > MaxAltitude:
		return fmt.Errorf("at %d m, at most %d", 100*int(s.Altitude), 100*MaxAltitude)
	case s.Battery.IsZero() != (s.Storage == 0):
		return fmt.Errorf("a battery needs a meter and a size")
	case s.Storage > MaxStorage || s.Efficiency > MaxEfficiency || s.Efficiency > econ.Bps:
		return fmt.Errorf("a battery of %d Wh at %d bp", s.Storage, s.Efficiency)
	}
	return nil
}
