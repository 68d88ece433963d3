package econ

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// washLimit is the most, in basis points, that supplier, verifiers, treasury and bonus may give back together
// (tier 0): whoever pays itself in every role at once loses at least the rest.
const washLimit = 9_800

// StepEpochs is the time in which a parameter may move by at most a tenth.
const StepEpochs = 720

// Timelocks of a change that loosens, in epochs from its announcement: 14 days, and 28 while the operators'
// chamber is silent.
const (
	Timelock       = 14 * EpochsPerDay
	TimelockSilent = 28 * EpochsPerDay
)

// direction is the way in which moving a parameter loosens what protects holders and customers.
type direction int8

const (
	neither direction = 0
	up      direction = 1
	down    direction = -1
)

// param is a row of the table of parameters, at one set of values.
type param struct {
	name    string
	tier    uint8
	value   types.U128
	lo, hi  types.U128 // both allowed
	loosens direction
}

// rows returns the table of p's parameters, the bounds of some of which are relative to genesis.
func (p *Params) rows(genesis *Params) []param {
	row := func(name string, value, lo, hi uint64, loosens direction) param {
		return param{name, 1, types.U64(value), types.U64(lo), types.U64(hi), loosens}
	}
	const most = ^uint64(0)
	rows := []param{
		row("supplier", p.Supplier, 0, Bps, neither),
		row("verifier", p.Verifier, 0, Bps, neither),
		row("treasury", p.Treasury, 0, Bps, neither),
		row("burn", p.Burn, 0, Bps, down),
		row("bonus", p.Bonus, 0, Bps, up),
		row("subsidy", p.Subsidy, 0, 600, up),
		row("match", p.Match, 0, 15_000, up),
		row("spread", p.Spread, 0, 200, down),
		row("daily", p.Daily, 10, 100, up),
		row("shortfall", p.Shortfall, 0, 2, up),
		row("sources", p.Sources, 3, most, down),
		row("outlier", p.Outlier, 0, 300, up),
		row("deviation", p.Deviation, 0, 1_500, up),
		row("device_fee", uint64(p.DeviceFee), 50_000, 50_000_000, down),
		row("bond_epochs", p.BondEpochs, PenaltyEpochs, 1_440, down),
	}
	for i := range p.Category {
		if g := genesis.Find(p.Category[i].Category); g != nil {
			rows = append(rows, p.Category[i].rows(g, len(p.Category))...)
		}
	}
	return rows
}

func (k *Category) rows(g *Category, of int) []param {
	name := func(s string) string { return fmt.Sprintf("%s.%s", k.Category, s) }
	near := func(s string, value, genesis types.U128) param {
		return param{name(s), 2, value, tenth(genesis), twice(genesis), up}
	}
	return []param{
		{name("share"), 1, types.U64(k.Share), types.U128{}, types.MaxU128, up},
		{name("demand"), 1, types.U64(uint64(k.Demand)), types.U64(10_000_000_000), types.U64(100_000_000_000_000), up},
		{name("target"), 1, k.Target, tenth(g.Target), types.MaxU128, down},
		near("ref", types.U64(uint64(k.Ref)), types.U64(uint64(g.Ref))),
		near("quota", types.U64(k.Quota), types.U64(g.Quota)),
		near("density", k.Density.Full, g.Density.Full),
	}
}

// tenth returns ⌈x/10⌉.
func tenth(x types.U128) types.U128 {
	q, _ := MulDivU128(x, types.U64(1), types.U64(10))
	if back, err := q.MulDiv(10, 1); err == nil && back != x {
		q, _ = q.Add(types.U64(1)) // below x
	}
	return q
}

// twice returns 2·x, and the greatest value where that does not fit.
func twice(x types.U128) types.U128 {
	if y, err := x.Add(x); err == nil {
		return y
	}
	return types.MaxU128
}

// Validate checks p against the bounds of every parameter, some of which are relative to the chain's first
// parameters. It refuses with types.ParamBound, and with types.ParamWash where a customer who pays itself would
// lose too little. The first parameters are valid if they are so against themselves.
func (p *Params) Validate(genesis *Params) error {
	if err := p.sameShape(genesis); err != nil {
		return err
	}
	for _, r := range p.rows(genesis) {
		if r.value.Cmp(r.lo) < 0 || r.value.Cmp(r.hi) > 0 {
			return types.Refuse(types.ParamBound, "econ: %s is %s, from %s to %s are allowed", r.name, r.value, r.lo, r.hi)
		}
	}
	// Each is at most Bps by now, so the sums fit.
	if sum := p.Supplier + p.Verifier + p.Treasury + p.Burn; sum != Bps {
		return types.Refuse(types.ParamBound, "econ: supplier, verifier, treasury and burn make %d basis points", sum)
	}
	if back := p.Supplier + p.Verifier + p.Treasury + p.Bonus; back > washLimit {
		return types.Refuse(types.ParamWash, "econ: supplier, verifier, treasury and bonus give back %d basis points, at most %d are allowed", back, washLimit)
	}
	return p.validShares()
}

// validShares checks that no category gets more than half of the subsidy, if there are several.
func (p *Params) validShares() error {
	var c calc
	var sum uint64
	for _, k := range p.Category {
		sum = c.add(sum, k.Share)
	}
	if c.over {
		return types.Refuse(types.ParamBound, "econ: the categories' shares are too large")
	}
	for _, k := range p.Category {
		if len(p.Category) > 1 && k.Share > sum/2 {
			return types.Refuse(types.ParamBound, "econ: %s has %d of %d shares, at most half are allowed", k.Category, k.Share, sum)
		}
	}
	return nil
}

// sameShape checks what no proposal may change: the list of categories, their units and where density counts.
func (p *Params) sameShape(genesis *Params) error {
	if len(p.Category) != len(genesis.Category) {
		return types.Refuse(types.ParamBound, "econ: %d categories, want %d", len(p.Category), len(genesis.Category))
	}
	for i, k := range p.Category {
		g := genesis.Category[i]
		switch {
		case i > 0 && k.Category <= p.Category[i-1].Category:
			return types.Refuse(types.ParamBound, "econ: categories are not sorted: %s after %s", k.Category, p.Category[i-1].Category)
		case k.Category != g.Category || k.Unit != g.Unit || k.Density.On != g.Density.On:
			return types.Refuse(types.ParamBound, "econ: %s: category, unit and density's switch are fixed", k.Category)
		case k.Unit == 0:
			return types.Refuse(types.ParamBound, "econ: %s has no price unit", k.Category)
		}
	}
	return nil
}

// Loosens returns the names of the parameters that differ between old and new in the direction that protects
// less. Such a change needs two thirds of both chambers and a timelock. Both are of one shape, as Validate
// checks.
func Loosens(old, new *Params) []string {
	var out []string
	after := new.rows(new)
	for i, r := range old.rows(old) {
		if d := after[i].value.Cmp(r.value); d != 0 && d == int(r.loosens) {
			out = append(out, r.name)
		}
	}
	return out
}

// Council reports whether all that differs between old and new is of tier 2, which the council may change alone.
func Council(old, new *Params) bool {
	after := new.rows(new)
	for i, r := range old.rows(old) {
		if after[i].value != r.value && r.tier != 2 {
			return false
		}
	}
	return true
}

// Drift is how a parameter has moved lately.
type Drift struct {
	Param    string
	Min, Max types.U128  // of the values it had since it last rested for StepEpochs, the current one included
	Last     types.Epoch // when it last changed
}

// History is the drift of every parameter that ever changed, sorted by name.
type History []Drift

// Change is a proposal that is about to take effect.
type Change struct {
	Old, New, Genesis *Params
	Now, Announced    types.Epoch
	Silent            bool // the operators' chamber was too small to be heard
}

// Check validates a change and returns the history after it. Besides Validate's reasons it refuses with
// types.ParamStep where a parameter would leave a tenth, or one unit if that is more, around any value that it
// had in the last 720 epochs, and with types.ParamTimelock where a change that loosens was announced too
// recently. (A parameter that keeps moving is measured against all its values since it last rested that long:
// steps at the edges of windows gain nothing.)
func (h History) Check(c Change) (History, error) {
	if err := c.New.Validate(c.Genesis); err != nil {
		return nil, err
	}
	lock := types.Epoch(Timelock)
	if c.Silent {
		lock = TimelockSilent
	}
	if loose := Loosens(c.Old, c.New); len(loose) > 0 && less(c.Now, c.Announced) < lock {
		return nil, types.Refuse(types.ParamTimelock, "econ: %v would loosen %d epochs after the announcement, %d are needed", loose, less(c.Now, c.Announced), lock)
	}
	out := slices.Clone(h)
	after := c.New.rows(c.Genesis)
	for i, r := range c.Old.rows(c.Genesis) {
		if after[i].value == r.value {
			continue
		}
		at, found := slices.BinarySearchFunc(out, r.name, func(d Drift, name string) int { return cmp.Compare(d.Param, name) })
		if !found {
			out = slices.Insert(out, at, Drift{Param: r.name, Min: r.value, Max: r.value})
		}
		if err := out[at].move(r.value, after[i].value, c.Now, found); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// move takes the parameter from one value to another, if that is near enough to all its recent values.
func (d *Drift) move(from, to types.U128, now types.Epoch, moved bool) error {
	if !moved || less(now, d.Last) >= StepEpochs {
		d.Min, d.Max = from, from
	}
	if away(d.Min, to) || away(d.Max, to) {
		return types.Refuse(types.ParamStep, "econ: %s from %s to %s: it was between %s and %s within %d epochs", d.Param, from, to, d.Min, d.Max, StepEpochs)
	}
	if to.Cmp(d.Min) < 0 {
		d.Min = to
	}
	if to.Cmp(d.Max) > 0 {
		d.Max = to
	}
	d.Last = now
	return nil
}

// away reports whether to is more than a tenth of from, and more than one unit, away from it.
func away(from, to types.U128) bool {
	if from.Cmp(to) > 0 {
		diff, _ := from.Sub(to)
		return diff.Cmp(step(from)) > 0
	}
	diff, _ := to.Sub(from)
	return diff.Cmp(step(from)) > 0
}

func step(from types.U128) types.U128 {
	q, _ := MulDivU128(from, types.U64(1), types.U64(10)) // a tenth always fits
	if q.IsZero() {
		return types.U64(1)
	}
	return q
}
