package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
)

// Source is one meter.
type Source interface {
	// Read returns what the meter shows next. A meter that speaks of itself is waited for until ctx ends. After
	// an error the next Read begins anew.
	Read(ctx context.Context) (*Reading, error)
	Close() error
}

// Number is a decimal.
type Number = sunspec.Number

// Role is what a meter measures at a site.
type Role string

// The roles.
const (
	Grid    Role = "grid"    // the connection to the grid: export and import
	PV      Role = "pv"      // the panels: pv
	Battery Role = "battery" // the battery: charge and discharge
)

// Registers returns the registers that a meter of the role has.
func (r Role) Registers() []energy.Register {
	switch r {
	case Grid:
		return []energy.Register{energy.Export, energy.Import}
	case PV:
		return []energy.Register{energy.PV}
	case Battery:
		return []energy.Register{energy.Charge, energy.Discharge}
	}
	return nil
}

// Meter is what a maker printed on a meter.
type Meter struct {
	Manufacturer, Model, Serial string
}

// ID names the meter in a site.
func (m Meter) ID() types.Hash { return energy.MeterID(m.Manufacturer, m.Model, m.Serial) }

// String returns the names, for people.
func (m Meter) String() string {
	return strings.TrimSpace(m.Manufacturer + " " + m.Model + " " + m.Serial)
}

// Counter is one of the counters whose sum is a register.
type Counter struct {
	Path  string
	Value Number // as counted, in units of Scale Wh
	Scale Number // Wh
	Bits  uint8  // the bare count goes over from 2^Bits−1 to 0; 0 if it does not
	Loose bool   // Value's power of ten does not say how finely it counts: zeros at its end may have been left out
}

// Reading is what a meter showed.
type Reading struct {
	At       time.Time // when it did; of several messages the earliest
	Meter    Meter
	Counters [energy.Registers][]Counter // nil: absent
	Power    *int64                      // W, as the meter counts its sign; nil: absent
	Bad      []error                     // what could not be read, though the meter should have it
	Sent     []string                    // where a register is absent: some of what the meter does say, by path
}

// Field is one value of a device.
type Field struct {
	Number *Number // nil for what is not a number
	Bits   uint8   // of a counter that goes over
	Loose  bool    // the digits of Number do not say how finely it counts
	Text   string
	At     time.Time
}

// Fields are a device's values by path.
type Fields map[string]Field

// bounds of what a device can send.
const (
	maxFields = 1024
	maxText   = 256
)

// put enters a field, as long as there is room.
func (f Fields) put(path string, v Field) error {
	if _, known := f[path]; !known && len(f) >= maxFields {
		return fmt.Errorf("more than %d values", maxFields)
	}
	if len(v.Text) > maxText {
		v.Text = v.Text[:maxText]
	}
	f[path] = v
	return nil
}
