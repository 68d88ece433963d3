package study

import "github.com/cairn-network/cairn/core/fixed"

// limit is a rule that looks at one reading at a time. It returns the most Wh that panels of pdc W may have made in
// quarter hour k.
type limit func(r *Recording, k uint64, pdc uint32) uint64

// caps are the rules that Cairn's is compared with.
var caps = map[Rule]limit{
	// Glow's gca-backend: 35 % above the nameplate, at any time.
	"cap135": func(_ *Recording, _ uint64, pdc uint32) uint64 { return uint64(pdc) * 135 / 400 },
	// EnergyTag's registries: 10 % above the nameplate, at any time.
	"cap110": func(_ *Recording, _ uint64, pdc uint32) uint64 { return uint64(pdc) * 110 / 400 },
	// Nameplate times the cosine of the zenith angle: level panels under a sky that takes nothing away. It is given
	// what ours is given: the best moment from half an hour before the quarter to half an hour after it, and half a
	// percent of the nameplate by day.
	"cosine": func(r *Recording, k uint64, pdc uint32) uint64 {
		most := fixed.Num(0)
		for step := int64(k) - 2; step <= int64(k)+3; step++ {
			c, _ := r.place.Bound(step * 900)
			most = max(most, c)
		}
		if most <= 0 {
			return 0
		}
		return uint64(most)*uint64(pdc)/4>>30 + uint64(pdc)/200
	},
}

// limits returns what a rule allows a home in each quarter hour of the recording.
func (r *Recording) limits(rule Rule, h *Home) []uint64 {
	out := make([]uint64, len(h.PV))
	for i := range out {
		out[i] = caps[rule](r, r.First+uint64(i), h.PDC)
	}
	return out
}

// above reports whether any reading is refused. It returns how many Wh were claimed, and how many of these are in
// readings that are refused.
func above(limits []uint64, pv []uint32) (refused bool, claimed, lost uint64) {
	for i, wh := range pv {
		claimed += uint64(wh)
		if uint64(wh) > limits[i] {
			refused = true
			lost += uint64(wh)
		}
	}
	return refused, claimed, lost
}
