package agent

import (
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// NoticeFor is what a role of a category is told of a notice, with the category's rules. A device's line is not
// in it.
func NoticeFor(n *bus.Notice, c types.Category, rules []byte) role.Notice {
	out := role.Notice{
		Epoch: n.Epoch, Seed: n.Seed, Challenged: n.Challenged, EpochTime: n.EpochTime, Height: n.Height, Hash: n.Hash, Time: n.Time,
		First: n.First, Cut: n.Cut, Final: n.Final.Epoch, Tallied: n.Tallied.Epoch, MinOpening: n.MinOpening, Rules: rules,
	}
	for _, t := range n.Totals {
		if t.Category == c {
			out.Totals = t.Sums
		}
	}
	return out
}
