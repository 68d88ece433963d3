package econ

import "github.com/cairn-network/cairn/core/types"

// Fixed by the protocol (tier 0).
const (
	PenaltyEpochs = 240 // a proven cheat costs so many epochs of the most it can earn: the gain over a detection of 0.1 a day

	AppealBond    types.Ustone = 500_000_000 // an appeal's, 500 STONE
	voidShare                  = 500         // basis points of stake, the least that signing a voided header costs
	voidMultiple               = 3           // times what the header released from escrow
	leaderShare                = 1_000       // basis points of the verifiers' part that its leader gets first
	bondedDivisor              = 2           // below 1/2 of the required bond network-ordered units count 0
)

// Bond returns what a device must lock for quotas of a category's quota: p.BondEpochs of the most that its
// network-ordered work can be subsidised, ⌈336·⌊quota·ref/pu⌋·m·10⁹/(10⁴·lo)⌉ each. Without a price it refuses
// with types.PricePaused.
func Bond(p *Params, k *Category, quotas, lo uint64) (types.Ustone, error) {
	if lo == 0 {
		return 0, types.Refuse(types.PricePaused, "econ: bond for %d quotas", quotas)
	}
	var c calc
	value := c.div(k.Quota, uint64(k.Ref), k.Unit)
	each := c.quoUp(c.mul(p.BondEpochs, value, p.Match, nano), c.mul(Bps, lo))
	bond := c.div(each, quotas, 1)
	return types.Ustone(bond), c.err("bond for %d quotas at %d nUSD", quotas, lo)
}

// DeviceFee returns what registering a device burns: p.DeviceFee dollars at lo, rounded up. Without a price it
// refuses with types.PricePaused.
func DeviceFee(p *Params, lo uint64) (types.Ustone, error) {
	if lo == 0 {
		return 0, types.Refuse(types.PricePaused, "econ: device fee")
	}
	var c calc
	fee := c.quoUp(c.mul(uint64(p.DeviceFee), nano), c.mul(lo))
	return types.Ustone(fee), c.err("device fee at %d nUSD", lo)
}

// Penalty returns what one rejection that is marked as proof adds to a device's cumulative penalty: 240 of the
// epochs that its required bond covers, rounded up. It is in ustone and needs no price, so the tally can
// compute it from the registry.
func Penalty(required types.Ustone, bondEpochs uint64) types.Ustone {
	if bondEpochs <= PenaltyEpochs {
		return required
	}
	var c calc // a part of required: cannot leave its range
	return types.Ustone(c.quoUp(c.mul(uint64(required), PenaltyEpochs), c.mul(bondEpochs)))
}

// EquivocationPenalty returns what brings a device's penalty to its whole bond: bond is what is locked now, and
// slashed what was burned of it before.
func EquivocationPenalty(bond, penalty, slashed types.Ustone) types.Ustone {
	return EffectiveBond(bond, penalty, slashed)
}

// EffectiveBond returns what of a locked bond is not forfeit yet: bond − (penalty − slashed), at least 0.
func EffectiveBond(bond, penalty, slashed types.Ustone) types.Ustone {
	return less(bond, less(penalty, slashed))
}

// Slash returns what a claim or an unbonding burns of a locked bond: min(bond, penalty − slashed).
func Slash(bond, penalty, slashed types.Ustone) types.Ustone {
	return min(bond, less(penalty, slashed))
}

// Bonded reports whether network-ordered units count: the effective bond is at least half of what is required.
// Paid work counts in any case.
func Bonded(effective, required types.Ustone) bool {
	return effective >= required-required/bondedDivisor
}

// VoidSlash returns what signing a header that was voided costs one signer: its part by power of max(5 % of the
// signers' stake, three times what the escrow released), at least 5 % of its own stake and at most all of it.
// Half of it, rounded down, is the appellant's. Power is bonded stake, so a zero power costs 5 % only.
func VoidSlash(stake types.Ustone, power, signers uint64, released types.Ustone) types.Ustone {
	var c calc
	own := c.div(uint64(stake), voidShare, Bps)
	part := c.quoSat(c.mul(uint64(released), voidMultiple, power), c.mul(signers))
	return min(stake, types.Ustone(max(own, part)))
}

// SignerPay shares the verifiers' part of a settlement among those who signed the header: a tenth to its leader
// first, the rest by power, each rounded down. leader indexes power, or is negative if the leader did not sign.
// What is left, all of it when no power signed, is the community pool's.
func SignerPay(part types.Ustone, power []uint64, leader int) (pay []types.Ustone, rest types.Ustone, err error) {
	var c calc
	var sum uint64
	for _, w := range power {
		sum = c.add(sum, w)
	}
	if err := c.err("power of %d signers", len(power)); err != nil {
		return nil, 0, err
	}
	pay, rest = make([]types.Ustone, len(power)), part
	if leader >= 0 && leader < len(power) {
		pay[leader] = types.Ustone(c.div(uint64(part), leaderShare, Bps))
		rest -= pay[leader]
	}
	shared := rest
	for i, w := range power {
		u := types.Ustone(c.div(uint64(shared), w, sum)) // w ≤ sum
		pay[i] += u
		rest -= u
	}
	return pay, rest, nil
}
