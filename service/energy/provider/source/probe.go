package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/cairn-network/cairn/internal/sunspec"
)

// Found is a SunSpec device that answers.
type Found struct {
	Meter    Meter
	Rating   uint32 // W, of models 120 or 702; 0 if it does not say
	Storage  uint32 // Wh, of model 120; 0 if it does not say
	Charges  bool   // its nameplate says that it can take power in: a battery
	Inverter bool   // it has an inverter's models
	Counts   bool   // it has a meter's models
	Channel  uint8  // which of the unit's inverters it is …
	Meters   uint8  // … and which of its meters
}

// Probe asks a unit at a Modbus address what its devices are. It is sunspec.ErrNone for one that answers, but
// has no models.
func Probe(ctx context.Context, address string, unit uint8, timeout time.Duration) ([]Found, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	s := &modbusSource{unit: unit}
	if s.conf, err = modbusConf(u, timeout); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	defer s.close()
	var found []Found
	var without error
	for device := range s.devices() {
		f, err := s.probe(ctx, device)
		switch {
		case err != nil:
			return found, err
		case f.Meter.Serial == "":
			without = errors.Join(without, fmt.Errorf("a device without a serial number: %s", f.Meter))
		default:
			found = append(found, *f)
		}
	}
	inverters, meters := uint8(0), uint8(0)
	for i := range found {
		f := &found[i]
		f.Channel, f.Meters = inverters, meters
		if f.Inverter {
			inverters++
		}
		if f.Counts {
			meters++
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(sunspec.ErrNone, without)
	}
	return found, nil
}

// devices counts the unit's devices.
func (s *modbusSource) devices() int {
	if len(s.places) == 0 {
		return 0
	}
	return s.places[len(s.places)-1].Device + 1
}

// probe asks what one device of a unit is.
func (s *modbusSource) probe(ctx context.Context, device int) (*Found, error) {
	f := &Found{}
	for _, place := range s.places {
		if place.Device != device {
			continue
		}
		f.Inverter = f.Inverter || isInverter(place.ID)
		f.Counts = f.Counts || isMeter(place.ID)
		if !slices.Contains([]uint16{1, 120, 702}, place.ID) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := sunspec.ReadBlock(s, place)
		if refused(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.nameplate(b)
	}
	return f, nil
}

func (f *Found) nameplate(b *sunspec.Block) {
	whole := func(name string) uint32 {
		n, ok := b.Number(name)
		v, fits := n.Floor(0)
		if !ok || !fits || v < 0 || v > 1<<31 {
			return 0
		}
		return uint32(v)
	}
	switch b.Model.ID {
	case 1:
		f.Meter.Manufacturer, _ = b.Text("Mn")
		f.Meter.Model, _ = b.Text("Md")
		f.Meter.Serial, _ = b.Text("SN")
	case 120:
		f.Rating, f.Storage = max(f.Rating, whole("WRtg")), whole("WHRtg")
		f.Charges = f.Charges || whole("MaxChaRte") > 0
	case 702:
		f.Rating = max(f.Rating, whole("WMaxRtg"))
		f.Charges = f.Charges || whole("WChaRteMaxRtg") > 0
	}
}
