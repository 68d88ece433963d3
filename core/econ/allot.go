package econ

import "github.com/cairn-network/cairn/core/types"

// Allotment is what one region's escrow for one epoch receives. See Void for what becomes of it with a voided header.
type Allotment struct {
	Settled   types.Credit // the region's part of F
	Pay       types.Ustone // to its devices, for settled credits: suppliers' part and bonus
	Bonus     types.Ustone // what of Pay was minted as demand bonus
	Subsidy   types.Ustone // to its devices, by weight: minted
	Verifiers types.Ustone // to the signers of its header, at finality
	Treasury  types.Ustone // to the community pool, at finality
	Burn      types.Ustone // burned, at finality
}

// Devices returns the most by which Σamount of the region's devices may grow.
func (a *Allotment) Devices() types.Ustone { return a.Pay + a.Subsidy }

// Total returns all that enters the escrow.
func (a *Allotment) Total() types.Ustone {
	return a.Devices() + a.Verifiers + a.Treasury + a.Burn
}

// Void undoes an allotment whose header was voided: what came from settlement goes back to the vault, its
// credits are owed again, and what was emitted is returned as burned.
func Void(v Vault, a Allotment) (Vault, types.Ustone, error) {
	var c calc
	v.Stone = types.Ustone(c.add(uint64(v.Stone), uint64(less(a.Pay, a.Bonus)), uint64(a.Verifiers), uint64(a.Treasury), uint64(a.Burn)))
	v.Settled = less(v.Settled, a.Settled)
	return v, types.Ustone(c.add(uint64(a.Bonus), uint64(a.Subsidy))), c.err("voided escrow of %d credits", a.Settled)
}

// Allot returns what enters the escrow of a region whose header shows that much owed and those weights, sorted
// by category. Every part is rounded down, so that regions together never get more than was split and emitted.
func Allot(s Split, e Emission, owed types.Credit, region []Weight) (Allotment, error) {
	total, err := Finish(s, e)
	if err != nil {
		return Allotment{}, err
	}
	f, err := NewFold(total, region)
	if err != nil {
		return Allotment{}, err
	}
	settled, devices, err := f.Allotted(owed)
	if err != nil {
		return Allotment{}, err
	}
	var c calc
	of := func(u types.Ustone) types.Ustone {
		return types.Ustone(c.div(uint64(u), uint64(settled), uint64(s.Settled)))
	}
	a := Allotment{
		Settled: settled, Pay: of(total.Payout), Bonus: of(e.Bonus),
		Verifiers: of(s.Verifiers), Treasury: of(s.Treasury), Burn: of(s.Burn),
	}
	a.Subsidy = devices - a.Pay
	c.add(uint64(a.Pay), uint64(a.Subsidy), uint64(a.Verifiers), uint64(a.Treasury), uint64(a.Burn))
	return a, c.err("a region's escrow")
}
