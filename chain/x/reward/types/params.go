package types

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// ParamsOf returns p in its stored form.
func ParamsOf(p econ.Params) Params {
	out := Params{
		Supplier: p.Supplier, Verifier: p.Verifier, Treasury: p.Treasury, Burn: p.Burn, Bonus: p.Bonus,
		Subsidy: p.Subsidy, Match: p.Match, Spread: p.Spread, Daily: p.Daily, Shortfall: p.Shortfall,
		Sources: p.Sources, Outlier: p.Outlier, Deviation: p.Deviation,
		DeviceFee: uint64(p.DeviceFee), BondEpochs: p.BondEpochs,
	}
	for i := range p.Category {
		k := &p.Category[i]
		out.Categories = append(out.Categories, Category{
			Category: uint32(k.Category), Share: k.Share, Demand: uint64(k.Demand), Target: k.Target.String(), Ref: uint64(k.Ref),
			Unit: k.Unit, Quota: k.Quota, Dense: k.Density.On, Full: k.Density.Full.String(), Hex: DefaultHex,
		})
	}
	return out
}

// DefaultHex is the H3 resolution at which density is counted where a category names no other: cells of about
// 0.1 km².
const DefaultHex = 9

// Econ returns p as the arithmetic takes it.
func (p *Params) Econ() (econ.Params, error) {
	out := econ.Params{
		Supplier: p.Supplier, Verifier: p.Verifier, Treasury: p.Treasury, Burn: p.Burn, Bonus: p.Bonus,
		Subsidy: p.Subsidy, Match: p.Match, Spread: p.Spread, Daily: p.Daily, Shortfall: p.Shortfall,
		Sources: p.Sources, Outlier: p.Outlier, Deviation: p.Deviation,
		DeviceFee: types.Credit(p.DeviceFee), BondEpochs: p.BondEpochs,
	}
	for i := range p.Categories {
		k, err := p.Categories[i].econ()
		if err != nil {
			return econ.Params{}, err
		}
		out.Category = append(out.Category, k)
	}
	return out, nil
}

func (k *Category) econ() (out econ.Category, err error) {
	if k.Category == 0 || k.Category > 1<<16-1 {
		return out, types.Refuse(types.UnknownCategory, "reward: category %d", k.Category)
	}
	out = econ.Category{
		Category: types.Category(k.Category), Share: k.Share, Demand: types.Credit(k.Demand), Ref: types.Credit(k.Ref),
		Unit: k.Unit, Quota: k.Quota, Density: econ.Density{On: k.Dense},
	}
	if out.Target, err = types.ParseU128(k.Target); err != nil {
		return out, types.Refuse(types.ParamBound, "reward: target of %s: %v", out.Category, err)
	}
	if out.Density.Full, err = types.ParseU128(k.Full); err != nil {
		return out, types.Refuse(types.ParamBound, "reward: full of %s: %v", out.Category, err)
	}
	return out, nil
}

// maxCategories bounds the list of categories.
const maxCategories = 64

// maxHex is the finest resolution of H3.
const maxHex = 15

// Validate checks p against the bounds of every parameter, some of which are relative to the chain's first;
// those are valid if they are so against themselves. A refusal carries its reason.
func (p *Params) Validate(genesis *Params) error {
	if len(p.Categories) > maxCategories {
		return types.Refuse(types.ParamBound, "reward: %d categories, at most %d", len(p.Categories), maxCategories)
	}
	own, err := p.Econ()
	if err != nil {
		return err
	}
	first, err := genesis.Econ()
	if err != nil {
		return err
	}
	if err := own.Validate(&first); err != nil {
		return err
	}
	for i, k := range p.Categories {
		if k.Hex != genesis.Categories[i].Hex || k.Hex > maxHex {
			return types.Refuse(types.ParamBound, "reward: %s: the resolution of density is fixed, and at most %d", types.Category(k.Category), maxHex)
		}
		if len(k.Rules) > tally.MaxRules {
			return types.Refuse(types.ParamBound, "reward: %s: rules of %d bytes, at most %d", types.Category(k.Category), len(k.Rules), tally.MaxRules)
		}
	}
	return nil
}

// SameRules reports whether every category has the same rules of its own in p and in q, whose categories are
// the same.
func (p *Params) SameRules(q *Params) bool {
	return slices.EqualFunc(p.Categories, q.Categories, func(a, b Category) bool { return bytes.Equal(a.Rules, b.Rules) })
}

// DefaultGenesis is the state of a new chain with categories.
func DefaultGenesis(categories ...econ.Category) *GenesisState {
	return &GenesisState{Params: ParamsOf(econ.Default(categories...))}
}

// Validate checks each part of a state.
func (g *GenesisState) Validate() error {
	first := g.GenesisParams
	if first == nil {
		first = &g.Params
	}
	if err := first.Validate(first); err != nil {
		return fmt.Errorf("first parameters: %w", err)
	}
	if err := g.Params.Validate(first); err != nil {
		return err
	}
	if g.Pending != nil {
		if err := g.Pending.Params.Validate(first); err != nil {
			return fmt.Errorf("pending parameters: %w", err)
		}
	}
	if g.Day.D1 > econ.Wad || g.Day.D2 > econ.Wad {
		return fmt.Errorf("day %d: decays of %d and %d are above one", g.Day.Number, g.Day.D1, g.Day.D2)
	}
	for i, e := range g.Emissions {
		if i > 0 && e.Epoch <= g.Emissions[i-1].Epoch {
			return fmt.Errorf("emissions are not in order: epoch %d after %d", e.Epoch, g.Emissions[i-1].Epoch)
		}
	}
	_, err := HistoryOf(g.History)
	return err
}

// HistoryOf reads the drift of parameters, which is sorted by name.
func HistoryOf(list []Drift) (econ.History, error) {
	var out econ.History
	for i, d := range list {
		if i > 0 && d.Param <= list[i-1].Param {
			return nil, fmt.Errorf("drift of %q after %q", d.Param, list[i-1].Param)
		}
		lo, err := types.ParseU128(d.Min)
		if err != nil {
			return nil, fmt.Errorf("drift of %q: %w", d.Param, err)
		}
		hi, err := types.ParseU128(d.Max)
		if err != nil {
			return nil, fmt.Errorf("drift of %q: %w", d.Param, err)
		}
		out = append(out, econ.Drift{Param: d.Param, Min: lo, Max: hi, Last: types.Epoch(d.Last)})
	}
	return out, nil
}

// Drifts returns a history in its stored form.
func Drifts(h econ.History) []Drift {
	var out []Drift
	for _, d := range h {
		out = append(out, Drift{Param: d.Param, Min: d.Min.String(), Max: d.Max.String(), Last: uint64(d.Last)})
	}
	return out
}

// Econ returns d as the arithmetic takes it.
func (d *Day) Econ() econ.Day {
	return econ.Day{Number: d.Number, D1: d.D1, D2: d.D2, Supply: types.Ustone(d.Supply)}
}

// DayOf returns d in its stored form.
func DayOf(d econ.Day) Day {
	return Day{Number: d.Number, D1: d.D1, D2: d.D2, Supply: uint64(d.Supply)}
}

// EmissionOf returns what was minted for an epoch in its stored form.
func EmissionOf(w econ.Work, e econ.Emission) Emission {
	out := Emission{
		Epoch: uint64(w.Epoch), Security: uint64(e.Security), Bonus: uint64(e.Bonus), Lid: uint64(e.Lid), Price: w.Price, Fees: uint64(w.Fees),
	}
	for _, k := range e.Category {
		out.Categories = append(out.Categories, Emitted{
			Category: uint32(k.Category), Weight: k.Weight.String(), Target: k.Target.String(), Budget: uint64(k.Budget),
			Faded: uint64(k.Faded), Reached: uint64(k.Reached), Cap: uint64(k.Cap), Amount: uint64(k.Amount),
		})
	}
	return out
}
