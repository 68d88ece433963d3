package energy

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// latecomers is an hour's Cross over n commissioned homes of one neighbourhood, all of which come late: the
// homes' flows of each of the days end in all 96 quarter hours alike, so that each of the days is compared as
// of 96 of them. An account owns so many homes.
func latecomers(n, days, owns int) *tally.CrossInput {
	place := PlaceOf(home.Parent(3), 0)
	day := uint64(noon / 900) // the first interval of a solar day
	for place.day(day) == place.day(day-1) {
		day++
	}
	params := New().Spec.Defaults()
	in := &tally.CrossInput{Chain: testChain, Epoch: 500, Time: 900 * (day + 96*uint64(days)), Seed: types.Sum([]byte("seed")), Params: params}
	devices := make([]tally.Device, n)
	for i := range devices {
		name := fmt.Sprint("d", i)
		key := types.Key(types.Sum([]byte(name)))
		binary.BigEndian.PutUint32(key[:], uint32(i)) // ascending
		devices[i] = tally.Device{Key: key, Owner: account(fmt.Sprint(i / owns)), Categories: []types.Category{types.Energy}, Cell: home}
		s := &State{Site: solar(name), Since: [meterRoles]types.Epoch{10, 10, 0}, Done: day, K: day + 96*uint64(days), Present: 7, V: 1 << 20,
			Peak: 3_000, PeerEnvelope: 3_300, Commissioned: 60, Base: uint16(9_000 + i%2_000), FirstBase: 10_000, Day: place.day(day - 1), Records: 90, PV: 30_000}
		var flows []Flow
		for d := range days {
			k := day + 96*uint64(d) + uint64(i+d)%96
			flows = append(flows, Flow{K: k, Span: 1, Late: true, Bright: true, From: uint64(1000 * d), Accepted: 500, PV: 20_000 + uint64(i)*7919%9_000})
		}
		in.Summaries = append(in.Summaries, tally.Summary{Device: &devices[i], Summary: summarize(flows, s.Encode())})
	}
	return in
}

// BenchmarkPeers crosses homes of one neighbourhood whose days are compared as of every quarter hour: those of
// one day, those of a week that was handed in at once, and those of accounts that own a third of all homes
// each.
func BenchmarkPeers(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		for _, c := range []struct {
			name       string
			days, owns int
		}{{"day", 1, 1}, {"week", 7, 1}, {"owners=3", 1, n/3 + 1}} {
			b.Run(fmt.Sprintf("homes=%06d/%s", n, c.name), func(b *testing.B) {
				in := latecomers(n, c.days, c.owns)
				var out *tally.CrossOutput
				b.ReportAllocs()
				start := processorTime()
				for b.Loop() {
					out = New().Cross(in)
				}
				b.ReportMetric(float64(processorTime()-start)/float64(b.N)/float64(n), "cpu-ns/home")
				if len(out.States) != n || len(out.Cells) < 3 {
					b.Fatalf("%d lines, %d cells", len(out.States), len(out.Cells))
				}
			})
		}
	}
}
