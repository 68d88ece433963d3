package energy

import (
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Register is one of the cumulative counters that a site reports, all in watt-hours.
type Register uint8

// The registers, in the order in which they are written.
const (
	Export    Register = iota // fed into the grid
	Import                    // drawn from the grid
	PV                        // produced by the panels
	Charge                    // into the battery
	Discharge                 // out of the battery
	Registers
)

var registerNames = [Registers]string{"export", "import", "pv", "charge", "discharge"}

// String returns the register's name.
func (r Register) String() string {
	if r < Registers {
		return registerNames[r]
	}
	return fmt.Sprintf("register(%d)", uint8(r))
}

// Whole is what a register counts in that shows whole kWh, in Wh. Both ends of an interval tell: one that
// counts finely stands at a whole kWh at both once in a million intervals.
const Whole = 1000

// Mask is a set of registers.
type Mask uint8

// Has reports whether r is in m.
func (m Mask) Has(r Register) bool { return m>>r&1 == 1 }

// Record is one reading of a site: its registers at the end of interval K, as near as the node could sample.
// What was not measured is absent, never zero.
type Record struct {
	K       uint64            // the interval that ends with this reading: [K·900 s, (K+1)·900 s) of energy time
	Boot    uint32            // counts the node's starts: readings of one boot came from one polling loop
	Present Mask              // the registers that were read
	Wh      [Registers]uint64 // cumulative; 0 where absent
}

// MaxRecords bounds the records of one envelope.
const MaxRecords = 256

// Meter is a run of records of one boot whose registers do not fall: the body of evidence of kind KindMeter.
// The first record is written whole, each further one as what was added, so that a quarter hour takes some
// fifteen bytes.
type Meter struct {
	_       struct{} `cbor:",toarray"`
	Present Mask
	Boot    uint32
	K       uint64
	First   []uint64   // the registers present, in order
	Steps   [][]uint64 // each {intervals since the record before, at least 1; then what was added to each register present}
}

// Pack packs records, ascending by K, into as few Meters as their order allows: another boot, other registers,
// a register that falls, or MaxRecords begin a new one.
func Pack(records []Record) []*Meter {
	var out []*Meter
	for i := range records {
		r := &records[i]
		if i == 0 || !records[i-1].joins(r) || len(out[len(out)-1].Steps) == MaxRecords-1 {
			m := &Meter{Present: r.Present, Boot: r.Boot, K: r.K, Steps: [][]uint64{}}
			m.First = r.append(nil, nil)
			out = append(out, m)
			continue
		}
		m := out[len(out)-1]
		m.Steps = append(m.Steps, r.append([]uint64{r.K - records[i-1].K}, &records[i-1]))
	}
	return out
}

// joins reports whether next can be written as what was added to r.
func (r *Record) joins(next *Record) bool {
	ok := next.Boot == r.Boot && next.Present == r.Present && next.K > r.K
	for i := range r.Wh {
		ok = ok && next.Wh[i] >= r.Wh[i]
	}
	return ok
}

// append appends the registers that are present, less those of an earlier record.
func (r *Record) append(to []uint64, since *Record) []uint64 {
	for i := Register(0); i < Registers; i++ {
		if !r.Present.Has(i) {
			continue
		}
		wh := r.Wh[i]
		if since != nil {
			wh -= since.Wh[i]
		}
		to = append(to, wh)
	}
	return to
}

// Encode returns the body of evidence that m makes.
func (m *Meter) Encode() []byte { return types.Encode(m) }

// maxMeter bounds an encoded Meter, in bytes.
const maxMeter = 64 + MaxRecords*(2+9*(1+int(Registers)))

// DecodeMeter reads the body of a run of records and unpacks it, appending to the records given. It checks
// form: at least the grid's import or export is present, K rises, nothing overflows.
func DecodeMeter(body []byte, to []Record) ([]Record, error) {
	m := new(Meter)
	if err := types.DecodeLimit(body, m, maxMeter); err != nil {
		return nil, fmt.Errorf("energy: meter: %w", err)
	}
	n := bits.OnesCount8(uint8(m.Present))
	if m.Present == 0 || m.Present >= 1<<Registers || len(m.First) != n || len(m.Steps) >= MaxRecords {
		return nil, types.Refuse(types.BadEncoding, "energy: meter: registers %05b, %d first, %d steps", m.Present, len(m.First), len(m.Steps))
	}
	r := Record{K: m.K, Boot: m.Boot, Present: m.Present}
	r.add(m.First)
	to = append(to, r)
	for i, step := range m.Steps {
		if len(step) != n+1 || step[0] == 0 || r.K+step[0] < r.K || !r.add(step[1:]) {
			return nil, types.Refuse(types.BadEncoding, "energy: meter: step %d", i)
		}
		r.K += step[0]
		to = append(to, r)
	}
	return to, nil
}

// add adds to each register present; false if one leaves its range.
func (r *Record) add(wh []uint64) bool {
	for i := Register(0); i < Registers; i++ {
		if !r.Present.Has(i) {
			continue
		}
		sum, carry := bits.Add64(r.Wh[i], wh[0], 0)
		if carry != 0 {
			return false
		}
		r.Wh[i], wh = sum, wh[1:]
	}
	return true
}

// Cause is why a register started over.
type Cause uint8

// The causes of a Reset.
const (
	Swapped Cause = 1 // the meter was exchanged; a Site with the new one's MeterID goes before
	Zeroed  Cause = 2 // the meter was set to zero, or lost its count
)

// Reset declares that a register started over: the body of evidence of kind KindReset. Records from First on
// are of the register as it counts now; what flowed in between is not known and nobody's.
type Reset struct {
	_        struct{} `cbor:",toarray"`
	Register Register
	Last     uint64 // Wh: the last reading handed in before
	First    uint64 // Wh: the first after
	Cause    Cause
}

// maxReset bounds an encoded Reset, in bytes.
const maxReset = 32

// Encode returns the body of evidence that r makes.
func (r *Reset) Encode() []byte { return types.Encode(r) }

// DecodeReset reads the body of a reset and checks its form.
func DecodeReset(body []byte) (*Reset, error) {
	r := new(Reset)
	if err := types.DecodeLimit(body, r, maxReset); err != nil {
		return nil, fmt.Errorf("energy: reset: %w", err)
	}
	if r.Register >= Registers || r.Cause != Swapped && r.Cause != Zeroed {
		return nil, types.Refuse(types.BadEncoding, "energy: reset: %v for cause %d", r.Register, r.Cause)
	}
	return r, nil
}
