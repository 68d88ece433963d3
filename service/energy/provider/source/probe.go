package source

import (
	"context"
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
}

// Probe asks a unit at a Modbus address what it is. It is sunspec.ErrNone for one that answers, but has no models.
func Probe(ctx context.Context, address string, unit uint8, timeout time.Duration) (*Found, error) {
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
	f := &Found{}
	for _, place := range s.places {
		model := sunspec.ModelOf(place.ID)
		if model == nil {
			continue
		}
		f.Inverter = f.Inverter || slices.Contains([]uint16{101, 102, 103, 111, 112, 113, 701}, place.ID)
		f.Counts = f.Counts || place.ID >= 201 && place.ID <= 214
		if !slices.Contains([]uint16{1, 120, 702}, place.ID) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := sunspec.ReadBlock(s, place)
		if err != nil {
			return nil, err
		}
		f.nameplate(b)
	}
	if f.Meter.Serial == "" {
		return nil, fmt.Errorf("a device without a serial number: %s", f.Meter)
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
