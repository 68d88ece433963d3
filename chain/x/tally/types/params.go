package types

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// Rounds is how many rounds a tally has: one leader each, then the region skips.
const Rounds = 4

// MissWindow is over how many headers presence is counted.
const MissWindow = 100

// DefaultParams are those of a public chain with blocks of 5 s: epochs of an hour, a day to appeal.
func DefaultParams() Params {
	return Params{
		EpochBlocks: 720, Regions: 1, AppealWindow: 24, Rules: 1,
		VoteBlocks: 360, AppealBond: uint64(econ.AppealBond), MaxClaims: 200,
		EquivocationSlash: 500, MinSigned: MissWindow / 2,
		HeaderRetention: 35 * econ.EpochsPerDay, DailyRetention: 100 * econ.EpochsPerDay, MaxVotes: 5,
	}
}

// RoundBlocks is how long a round is.
func (p *Params) RoundBlocks() uint64 { return p.EpochBlocks / (Rounds + 1) }

// GraceBlocks is how long after the cut acked items are published.
func (p *Params) GraceBlocks() uint64 { return max(1, p.EpochBlocks/20) }

// Validate checks bounds; a value outside is refused with types.ParamBound.
func (p *Params) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint64
	}{
		{"epoch_blocks", p.EpochBlocks, Rounds + 1, 1_000_000},
		{"regions", uint64(p.Regions), 1, 256},
		{"appeal_window", p.AppealWindow, 1, 30 * econ.EpochsPerDay},
		{"committee", uint64(p.Committee), 0, 0}, // all verifiers sign every region
		{"rules", uint64(p.Rules), 1, 1<<32 - 1},
		{"vote_blocks", p.VoteBlocks, 1, 1_000_000},
		{"appeal_bond", p.AppealBond, 1, uint64(econ.MaxSupply)},
		{"max_claims", uint64(p.MaxClaims), 1, 1_000},
		{"equivocation_slash", uint64(p.EquivocationSlash), 0, econ.Bps},
		{"min_signed", uint64(p.MinSigned), 1, MissWindow - 1},
		{"max_votes", uint64(p.MaxVotes), 1, 100},
		{"header_retention", p.HeaderRetention, p.longest() + 10, 10 * econ.EpochsPerYear},
		{"daily_retention", p.DailyRetention, p.HeaderRetention, 10 * econ.EpochsPerYear},
	} {
		if r.value < r.low || r.value > r.high {
			return types.Refuse(types.ParamBound, "tally: %s is %d, from %d to %d are allowed", r.name, r.value, r.low, r.high)
		}
	}
	return nil
}

// longest is how many epochs a header can wait for finality on its own account: its window, and all votes on it.
func (p *Params) longest() uint64 {
	return p.AppealWindow + uint64(p.MaxVotes)*p.VoteBlocks/max(1, p.EpochBlocks) + 2
}

// Change checks that p may follow old outside an upgrade: what fixes the timetable stays.
func (p *Params) Change(old *Params) error {
	if p.EpochBlocks != old.EpochBlocks || p.Regions != old.Regions || p.AppealWindow != old.AppealWindow ||
		p.Committee != old.Committee || p.Rules != old.Rules {
		return types.Refuse(types.ParamBound, "tally: epochs, regions, window, committee and rules change in an upgrade only")
	}
	return p.Validate()
}
