package econ

import (
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Rounds of the price feed (tier 0).
const (
	RoundsPerEpoch = 12
	leastRounds    = 6  // valid, unpaused rounds that an epoch's price needs
	emaRounds      = 12 // weight of a round in the moving mean and deviation: 1/12
)

// Report is a verifier's word on one round: medians of its sources, in nUSD per STONE.
type Report struct {
	Spot, Twap uint64 // now, and averaged over 30 minutes
	Power      uint64 // the verifier's bonded stake
}

// Reduce returns what a verifier reports from its sources' prices: those further off their median than
// p.Outlier are dropped, and the median of the rest counts. Medians are the lower of two. Fewer than p.Sources
// prices are refused with types.PricePaused.
func Reduce(p *Params, prices []uint64) (uint64, error) {
	if uint64(len(prices)) < p.Sources {
		return 0, types.Refuse(types.PricePaused, "econ: %d sources, %d are needed", len(prices), p.Sources)
	}
	sorted := slices.Sorted(slices.Values(prices))
	mid := sorted[(len(sorted)-1)/2]
	kept := slices.DeleteFunc(sorted, func(x uint64) bool { return off(x, mid, p.Outlier) })
	return kept[(len(kept)-1)/2], nil // mid itself is kept
}

// off reports whether |x−from|·10⁴ > bp·from.
func off(x, from, bp uint64) bool {
	var c calc // 128 bits hold both
	d, limit := c.mul(gap(x, from), Bps), c.mul(from, bp)
	for i := len(d) - 1; i >= 0; i-- {
		if d[i] != limit[i] {
			return d[i] > limit[i]
		}
	}
	return false
}

func gap(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// Feed is the state of the price feed. The zero value has never had a valid round.
type Feed struct {
	Round     uint64 // the last valid round, counted from 1 since genesis
	Spot      uint64 // of that round
	Twap      uint64
	Ema, Dev  uint64      // moving mean of spot, and of its distance from that mean
	Deviating bool        // spot and twap of that round were too far apart
	Epoch     types.Epoch // the epoch that High belongs to
	High      []uint64    // hi of its valid, unpaused rounds so far, at most RoundsPerEpoch
	Prior     types.Epoch // the epoch before that in which a round was valid; its price is kept until it is settled
	PriorHigh uint64      // Price(Prior)
}

// Next returns the feed after round n, in epoch e, given the reports that came in and the power of all
// verifiers. A round without more than two thirds of power, or with a zero price, is not valid and changes
// nothing. n rises; an epoch keeps its first twelve rounds.
func (f Feed) Next(p *Params, e types.Epoch, n uint64, reports []Report, total uint64) (Feed, error) {
	spot, twap, err := medians(reports, total)
	if err != nil || spot == 0 || twap == 0 || n <= f.Round {
		return f, err
	}
	if e != f.Epoch {
		f.Prior, f.PriorHigh = f.Epoch, f.Price(f.Epoch)
		f.Epoch, f.High = e, nil
	}
	first := f.Round == 0 || f.Ema == 0
	f.Round, f.Spot, f.Twap, f.Deviating = n, spot, twap, off(spot, twap, p.Deviation)
	if f.Deviating {
		return f, nil
	}
	if first {
		f.Ema, f.Dev = spot, 0
	} else {
		f.Dev, f.Ema = toward(f.Dev, gap(spot, f.Ema)), toward(f.Ema, spot)
	}
	if len(f.High) < RoundsPerEpoch {
		_, hi := f.edges()
		f.High = append(slices.Clone(f.High), hi)
	}
	return f, nil
}

// toward returns x + (to−x)/12, the quotient truncated toward zero.
func toward(x, to uint64) uint64 {
	if to < x {
		return x - (x-to)/emaRounds
	}
	return x + (to-x)/emaRounds
}

// edges returns the low and high price of the last valid round. High prices beyond 2⁶⁴−1 stay there.
func (f *Feed) edges() (lo, hi uint64) {
	twice := f.Dev + min(f.Dev, ^uint64(0)-f.Dev)
	above := f.Ema + min(twice, ^uint64(0)-f.Ema)
	return min(f.Spot, f.Twap, less(f.Ema, twice)), max(f.Spot, f.Twap, above)
}

// Band returns the prices that count in round n: paused where the last valid round is older than the one
// before, or deviates.
func (f *Feed) Band(n uint64) Band {
	lo, hi := f.edges()
	return Band{Lo: lo, Hi: hi, Paused: f.Round == 0 || f.Deviating || less(n, f.Round) > 1}
}

// Price returns hi(e), the price that epoch e is settled at: the lower median of hi over its valid, unpaused
// rounds; 0, unpriced, where there were fewer than six. It is known for the current epoch and the one before.
func (f *Feed) Price(e types.Epoch) uint64 {
	if f.Prior == e && f.Epoch != e {
		return f.PriorHigh
	}
	if f.Epoch != e || len(f.High) < leastRounds {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.High))
	return sorted[(len(sorted)-1)/2]
}

// medians returns the power-weighted lower medians of spot and twap, or zeros without more than two thirds of
// total power.
func medians(reports []Report, total uint64) (spot, twap uint64, err error) {
	var c calc
	var power uint64
	for _, r := range reports {
		power = c.add(power, r.Power)
	}
	if err := c.err("power of %d reports", len(reports)); err != nil {
		return 0, 0, err
	}
	if third := types.Mul64(total, 2); types.Mul64(power, 3).Cmp(third) <= 0 {
		return 0, 0, nil
	}
	lower := func(price func(Report) uint64) uint64 {
		sorted := slices.SortedFunc(slices.Values(reports), func(a, b Report) int { return cmp.Compare(price(a), price(b)) })
		var below uint64
		for _, r := range sorted {
			if below += r.Power; below >= power-power/2 {
				return price(r)
			}
		}
		return 0
	}
	return lower(func(r Report) uint64 { return r.Spot }), lower(func(r Report) uint64 { return r.Twap }), nil
}
