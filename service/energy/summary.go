package energy

import (
	"encoding/binary"

	"github.com/cairn-network/cairn/core/types"
)

// Flow is an interval that is over, as Verify found it: what Cross compares and clears.
type Flow struct {
	K        uint64
	Span     uint8  // intervals that it goes over; 0 is more than MaxSpan, and nothing was accepted
	Late     bool   // its clearing is past: what was accepted can only be issued
	Bright   bool   // there was sun
	Ratio    uint16 // production to the bound at 10,000 bp; 0 where that says nothing
	From     uint64 // the virtual register at its start
	Accepted uint64 // Wh that may be sold or issued: the first from From on
	Battery  uint64 // … of which came out of the battery
	Import   uint64 // Wh drawn from the grid, net of what was fed in; 0 where it is not known
	PV       uint64 // Wh produced, as reported
	Excess   uint64 // … of which above the bound
}

// maxFlows bounds the flows of a summary: what can be late, and what waited.
const maxFlows = MaxLate + 2*MaxPending

// summarize writes what Verify leaves of a device for Cross: its flows, then its line.
func summarize(flows []Flow, line []byte) []byte {
	b := make([]byte, 0, len(line)+32*len(flows)+2)
	u := binary.AppendUvarint
	b = u(b, uint64(len(flows)))
	k, v := uint64(0), uint64(0)
	for i := range flows {
		f := &flows[i]
		flags := f.Span << 2
		if f.Late {
			flags |= 1
		}
		if f.Bright {
			flags |= 2
		}
		b = append(u(b, f.K-k), flags)
		b = u(u(u(u(b, uint64(f.Ratio)), f.From-v), f.Accepted), f.Battery)
		b = u(u(u(b, f.Import), f.PV), f.Excess)
		k, v = f.K, f.From
	}
	return append(b, line...)
}

// readSummary reads what summarize wrote.
func readSummary(b []byte) (flows []Flow, s *State, line []byte, err error) {
	r := reader{b: b}
	n := r.uint(maxFlows)
	flows = make([]Flow, 0, n)
	k, v := uint64(0), uint64(0)
	for range n {
		f := Flow{K: k + r.uint(1<<62)}
		flags := r.u8(MaxSpan<<2 | 3)
		f.Late, f.Bright, f.Span = flags&1 != 0, flags&2 != 0, flags>>2
		f.Ratio, f.From, f.Accepted, f.Battery = uint16(r.uint(1<<16-1)), v+r.uint(maxVirtual), r.uint(maxVirtual), r.uint(maxVirtual)
		f.Import, f.PV, f.Excess = r.uint(maxVirtual), r.uint(maxVirtual), r.uint(maxVirtual)
		if f.Battery > f.Accepted || f.Excess > f.PV || len(flows) > 0 && f.K == k {
			r.bad = true
		}
		flows = append(flows, f)
		k, v = f.K, f.From
	}
	if r.bad {
		return nil, nil, nil, types.Refuse(types.BadEncoding, "energy: summary of %d bytes", len(b))
	}
	s, err = DecodeState(r.b)
	return flows, s, r.b, err
}
