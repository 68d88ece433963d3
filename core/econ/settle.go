package econ

import (
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Fixed by the protocol (tier 0), in ustone.
const (
	MaxSupply     types.Ustone = 1_000_000_000_000_000 // S_max: never more than 10⁹ STONE
	GenesisSupply types.Ustone = 400_000_000_000_000   // G
)

// Spans of time, in epochs.
const (
	EpochsPerDay  = 24
	EpochsPerYear = 8760
	meanEpochs    = 672 // 28 days: over so many epochs spending is averaged
)

// Demand is a category's discounted paid spending of 28 days, A_c: each epoch a 672nd of it fades.
type Demand struct {
	Category types.Category
	Spent    types.Credit
}

// Paid is what customers paid for a category's work: the growth of Σpaid_c in the headers of one epoch, all regions.
type Paid struct {
	Category types.Category
	Amount   types.Credit
}

// Vault is the state of x/credit: the STONE that customers put in, and what is owed against it.
type Vault struct {
	Stone     types.Ustone // V: held for credits that are not settled yet
	Allowance types.Ustone // h: what a shortfall may still mint; accrues by the epoch
	Bought    types.Credit // ever sold
	Settled   types.Credit // ever settled: Bought − Settled is owed
	Demand    []Demand     // A_c, sorted by category
	Window    Window       // today's purchases
}

// Owed returns C, the credits that were bought and not settled, whether spent or not.
func (v *Vault) Owed() types.Credit { return less(v.Bought, v.Settled) }

// Spending is what x/credit is told of an epoch.
type Spending struct {
	Supply types.Ustone // S: the bank's supply before anything of this epoch is minted
	Price  uint64       // P = hi(e), nUSD per STONE; 0: the epoch is unpriced and nothing is settled
	Owed   types.Credit // O = Σpaid − Σsettled over the regions that have a header for e
	Paid   []Paid       // what was newly paid in e, sorted by category, each once
}

// Split is how an epoch's settled credits become STONE. Drawn + Mint = Suppliers + Verifiers + Treasury, and
// Drawn + Burn leave the vault. All of it waits in the regions' escrows; Burn is burned at finality.
type Split struct {
	Price     uint64       // P, as settled at
	Owed      types.Credit // O
	Settled   types.Credit // F ≤ O
	Suppliers types.Ustone // u_s
	Verifiers types.Ustone // u_v
	Treasury  types.Ustone // u_t
	Drawn     types.Ustone // v: taken from the vault
	Mint      types.Ustone // shortfall, at most the allowance
	Burn      types.Ustone // taken from the vault as well
	Bonus     types.Ustone // K: demand bonus asked of x/reward, which grants at most that
	Demand    []Demand     // A_c as it was before this epoch: what Emit uses
}

// Settle turns what is owed at the end of an epoch into STONE, at one fraction for everybody: F < O only where
// vault and allowance together cannot pay, and then the rest stays owed in dollars. v itself is not changed.
func Settle(v Vault, p *Params, in Spending) (Vault, Split, error) {
	var c calc
	supply, price, owed := uint64(in.Supply), in.Price, uint64(in.Owed)

	limit := c.div(supply, p.Shortfall, Bps)
	h := c.add(uint64(v.Allowance), c.div(supply, p.Shortfall, Bps*EpochsPerDay))
	h = min(h, limit, uint64(less(MaxSupply, in.Supply)))

	funds := c.add(uint64(v.Stone), h)
	parts := c.add(p.Supplier, p.Verifier, p.Treasury)
	f := min(owed, c.quoSat(c.mul(funds, price, Bps), c.mul(parts, nano)))

	stone := func(credits, bp uint64) uint64 { return c.quo(c.mul(credits, bp, nano), c.mul(Bps, price)) }
	us, uv, ut := stone(f, p.Supplier), stone(f, p.Verifier), stone(f, p.Treasury)
	take := c.add(us, uv, ut)
	drawn := min(uint64(v.Stone), take)
	mint := take - drawn
	burn := min(uint64(v.Stone)-drawn, stone(f, p.Burn))

	var spent, bonus uint64
	for _, d := range v.Demand {
		spent = c.add(spent, uint64(d.Spent))
	}
	if mint == 0 {
		bonus = stone(min(f, spent/meanEpochs), p.Bonus)
	}
	demand, err := v.fade(in.Paid)
	if err != nil {
		return Vault{}, Split{}, err
	}
	settled := c.add(uint64(v.Settled), f)
	if err := c.err("settle %d credits at %d nUSD", owed, price); err != nil {
		return Vault{}, Split{}, err
	}
	split := Split{
		Price: price, Owed: in.Owed, Settled: types.Credit(f),
		Suppliers: types.Ustone(us), Verifiers: types.Ustone(uv), Treasury: types.Ustone(ut),
		Drawn: types.Ustone(drawn), Mint: types.Ustone(mint), Burn: types.Ustone(burn),
		Bonus: types.Ustone(bonus), Demand: v.Demand,
	}
	v.Stone -= types.Ustone(drawn + burn)
	v.Allowance = types.Ustone(h - mint)
	v.Settled = types.Credit(settled)
	v.Demand = demand
	return v, split, nil
}

// fade returns the demand after an epoch: A_c += paid_c − ⌊A_c/672⌋, for every category that ever was paid for.
func (v *Vault) fade(paid []Paid) ([]Demand, error) {
	var c calc
	out := make([]Demand, len(v.Demand), len(v.Demand)+len(paid))
	for i, d := range v.Demand {
		out[i] = Demand{d.Category, d.Spent - d.Spent/meanEpochs}
	}
	for i, p := range paid {
		if i > 0 && p.Category <= paid[i-1].Category {
			return nil, types.Refuse(types.EconRange, "econ: paid amounts are not sorted by category: %s after %s", p.Category, paid[i-1].Category)
		}
		at, found := slices.BinarySearchFunc(out, p.Category, func(d Demand, c types.Category) int { return cmp.Compare(d.Category, c) })
		if !found {
			out = slices.Insert(out, at, Demand{Category: p.Category})
		}
		out[at].Spent = types.Credit(c.add(uint64(out[at].Spent), uint64(p.Amount)))
	}
	return out, c.err("demand after paid amounts %v", paid)
}
