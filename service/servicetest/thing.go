package servicetest

import (
	"encoding/binary"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// MeterShown is the body of a thing's reading, which its device hands in: what it counted in the epoch, and
// that it is one of the device's.
type MeterShown struct {
	_      struct{} `cbor:",toarray"`
	Member fleet.Member
	Ticks  uint64
}

// Encode returns the body.
func (m *MeterShown) Encode() []byte { return types.Encode(m) }

// thingTicks is what a thing counted in an epoch.
type thingTicks struct {
	Key   types.Key
	Ticks uint64
}

const thingSize = 32 + 8 // of one in a summary

// countThings judges the evidence about things, and returns what each of them counted, in the order in which they are
// shown: left ticks at most in all.
func countThings(in *service.Input, out *service.Output, shown []int, left uint64) (list []thingTicks) {
	roll := fleet.NewRoll(in.Chain, in.Device.Key, in.Device.Fleet, in.Epoch)
	at := map[types.Key]int{}
	for _, i := range shown {
		var m MeterShown
		err := types.Decode(in.Evidence[i].Body, &m)
		if err == nil {
			err = roll.Admit(&m.Member)
		}
		if err == nil && m.Ticks > left {
			err = MeterFast
		}
		if err != nil {
			out.Evidence[i].Reason = types.ReasonOf(err)
			continue
		}
		left -= m.Ticks
		k, known := at[m.Member.Thing.Key]
		if !known {
			k = len(list)
			at[m.Member.Thing.Key], list = k, append(list, thingTicks{Key: m.Member.Thing.Key})
		}
		list[k].Ticks += m.Ticks
	}
	return list
}

// crossThings orders what things counted: each thing's for the first device that shows it, so that one thing behind
// many devices is one thing.
func crossThings(in *tally.CrossInput) (ordered []tally.CrossOrdered) {
	seen := map[types.Key]bool{}
	for _, s := range in.Summaries {
		var sum uint64
		for _, t := range summaryThings(s.Summary) {
			if !seen[t.Key] {
				sum += t.Ticks // at most MeterMost, as Verify saw to
			}
			seen[t.Key] = true
		}
		if sum > 0 {
			ordered = append(ordered, tally.CrossOrdered{Device: s.Device.Key, Class: MeterTicks, Units: types.U64(sum),
				Quality: summaryLine(s.Summary).Quality})
		}
	}
	return ordered
}

// summaryLine returns the line that a summary holds, and summaryThings the things.
func summaryLine(summary []byte) MeterLine { return ParseMeterLine(summary[8 : 8+meterState]) }

func summaryThings(summary []byte) (list []thingTicks) {
	for rest := summary[8+meterState:]; len(rest) >= thingSize; rest = rest[thingSize:] {
		list = append(list, thingTicks{Key: types.Key(rest[:32]), Ticks: binary.BigEndian.Uint64(rest[32:])})
	}
	return list
}
