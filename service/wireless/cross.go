package wireless

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Beginner is at what rate, in bit/s, a device that no test of its whole prefix has read is tested at most where the
// claims of the prefix are more than can be tested. Every reading lets it be tested at twice as much.
const Beginner = 10_000_000

// cross shares out what a prefix can be tested at, among the devices of the region that claim to be in it. Verify has
// left each its own claim.
func cross(in *tally.CrossInput) *tally.CrossOutput {
	out := &tally.CrossOutput{Cells: in.Cells}
	most := RulesIn(in.Params.Rules).Prefix
	all := make([]member, 0, len(in.Summaries))
	for _, s := range in.Summaries {
		state, err := DecodeState(s.Summary)
		if err != nil {
			continue // not reached: Verify wrote it
		}
		all = append(all, member{device: s.Device.Key, state: state})
	}
	slices.SortStableFunc(all, func(a, b member) int { return bytes.Compare(a.state.Prefix[:], b.state.Prefix[:]) })
	for len(all) > 0 {
		n, sum := 0, uint64(0)
		for n < len(all) && all[n].state.Prefix == all[0].state.Prefix {
			sum += all[n].state.Claim // of 2²⁴ devices at most, below 2⁵⁸
			n++
		}
		if sum > most {
			out.States = append(out.States, share(all[:n], most, in.Seed)...)
		}
		all = all[n:]
	}
	slices.SortFunc(out.States, func(a, b tally.DeviceState) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	return out
}

// member is a device of a prefix.
type member struct {
	device types.Key
	state  *State
	want   uint64 // bit/s
}

// share shares out what a prefix can be tested at. Three quarters are first for those whom tests of the whole prefix have
// read, each at most twice what was read: so strangers who only claim take little from them. Then come the others, each at
// most its claim and twice its best reading, but Beginner at least.
func share(all []member, most uint64, seed types.Hash) (out []tally.DeviceState) {
	var shown, others []member
	for _, m := range all {
		best := uint64(0)
		for _, r := range m.state.Readings {
			best = max(best, r.Capacity)
		}
		m.state.Share = 0
		if m.want = min(m.state.Claim, max(Beginner, 2*best)); m.state.Last.Capacity >= pob.MinClaim/2 {
			m.want = min(m.state.Claim, 2*m.state.Last.Capacity)
			shown = append(shown, m)
		} else {
			others = append(others, m)
		}
	}
	given := fill(others, most-fill(shown, most/4*3, seed), seed)
	fill(shown, most-given, seed) // what they leave goes back
	for _, m := range all {
		out = append(out, tally.DeviceState{Device: m.device, State: m.state.Encode()})
	}
	return out
}

// fill gives each member the same, but none more than it wants; what one leaves goes to the others. So a large claim takes
// nothing from smaller ones. Where that would be too little for a test, the seed says who is tested in this epoch.
func fill(all []member, most uint64, seed types.Hash) (given uint64) {
	if n := most / pob.MinClaim; uint64(len(all)) > n {
		lot := func(m member) types.Hash { return types.Sum([]byte("cairn/wireless/share"), seed[:], m.device[:]) }
		slices.SortFunc(all, func(a, b member) int { x, y := lot(a), lot(b); return bytes.Compare(x[:], y[:]) })
		all = all[:n]
	}
	slices.SortStableFunc(all, func(a, b member) int { return cmp.Compare(a.want, b.want) })
	for i, m := range all {
		m.state.Share = min(m.want, (most-given)/uint64(len(all)-i))
		given += m.state.Share
	}
	return given
}
