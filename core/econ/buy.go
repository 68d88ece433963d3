package econ

import "github.com/cairn-network/cairn/core/types"

// Thresholds of backing (tier 0), in basis points of what the vault holds against what is owed, at the low price.
const (
	BackingWarn   = 9_500  // below: every quote carries a warning
	BackingRation = 9_000  // below: a day's purchases are rationed
	BackingExcess = 12_000 // above: a thirtieth of the excess is burned daily
)

// RationFloor is what may be bought on any day however badly the vault is backed and however little is spent:
// rationing never stops purchases. $100.
const RationFloor types.Credit = 100_000_000

// Band is the price that buyers and providers meet, in nUSD per STONE. Buying, bonds and fees use Lo,
// settlement uses Hi of a whole epoch, so a price that is wrong for a moment gains nobody anything.
type Band struct {
	Lo, Hi uint64
	Paused bool // no recent valid round, or spot and mean deviate: nothing is sold
}

// Fixed returns the band of a price that never moves, for a network on one machine.
func Fixed(price uint64) Band { return Band{Lo: price, Hi: price} }

// Window is what was bought on one day.
type Window struct {
	Day     uint64
	Stone   types.Ustone
	Credits types.Credit
}

// Bid is a purchase that somebody asks for.
type Bid struct {
	Stone  types.Ustone // t
	Least  types.Credit // refuse if it would give less
	Supply types.Ustone // S: the bank's supply
	Day    uint64       // DayOf the current epoch
	Band   Band
}

// Purchase is what a bid gives.
type Purchase struct {
	Credits  types.Credit
	Backing  uint64 // basis points, before the purchase; see Vault.Backing
	Warning  bool   // Backing is below BackingWarn: settlement may be partial
	Rationed bool   // Backing is below BackingRation
}

// Quote returns what a bid would give now: c = ⌊t·lo·(10⁴−spread)/10¹³⌋ credits. It refuses with
// types.PricePaused, with types.Slippage below the bid's least (or for nothing at all), and with
// types.BuyWindow beyond the day's limit or ration. With a Slippage or BuyWindow refusal the purchase is
// returned too, so that it can be shown.
func Quote(v *Vault, p *Params, b Bid) (Purchase, error) {
	if b.Band.Paused || b.Band.Lo == 0 {
		return Purchase{}, types.Refuse(types.PricePaused, "econ: quote for %d ustone", b.Stone)
	}
	var c calc
	credits := c.quo(c.mul(uint64(b.Stone), b.Band.Lo, less(Bps, p.Spread)), c.mul(Bps, nano))
	w := v.window(b.Day)
	stone, sold := c.add(uint64(w.Stone), uint64(b.Stone)), c.add(uint64(w.Credits), credits)
	limit := c.div(uint64(b.Supply), p.Daily, Bps)
	c.add(uint64(v.Stone), uint64(b.Stone))
	c.add(uint64(v.Bought), credits)
	var spent uint64
	for _, d := range v.Demand {
		spent = c.add(spent, uint64(d.Spent))
	}
	if err := c.err("quote for %d ustone at %d nUSD", b.Stone, b.Band.Lo); err != nil {
		return Purchase{}, err
	}
	out := Purchase{Credits: types.Credit(credits), Backing: v.Backing(b.Band.Lo)}
	out.Warning, out.Rationed = out.Backing < BackingWarn, out.Backing < BackingRation
	switch ration := max(spent/14, uint64(RationFloor)); { // twice the daily mean, A/28
	case credits == 0 || out.Credits < b.Least:
		return out, types.Refuse(types.Slippage, "econ: %d ustone give %d credits, at least %d are wanted", b.Stone, credits, b.Least)
	case stone > limit:
		return out, types.Refuse(types.BuyWindow, "econ: %d of today's %d ustone are left", less(limit, uint64(w.Stone)), limit)
	case out.Rationed && sold > ration:
		return out, types.Refuse(types.BuyWindow, "econ: backing is %d basis points: %d of today's %d credits are left", out.Backing, less(ration, uint64(w.Credits)), ration)
	}
	return out, nil
}

// Buy carries a bid out: its STONE enters the vault and its credits are owed. It refuses as Quote does; v
// itself is not changed.
func Buy(v Vault, p *Params, b Bid) (Vault, Purchase, error) {
	out, err := Quote(&v, p, b)
	if err != nil {
		return Vault{}, Purchase{}, err
	}
	v.Window = v.window(b.Day)
	v.Window.Stone += b.Stone
	v.Window.Credits += out.Credits
	v.Stone += b.Stone
	v.Bought += out.Credits
	return v, out, nil
}

// window returns the purchases of that day so far.
func (v *Vault) window(day uint64) Window {
	if v.Window.Day != day {
		return Window{Day: day}
	}
	return v.Window
}

// Backing returns CR = ⌊V·lo·10⁴/(C·10⁹)⌋: what the vault holds against the credits that are owed, in basis
// points. Where nothing is owed it is Bps, so that the first customer is not taken for one of an empty bank.
func (v *Vault) Backing(lo uint64) uint64 {
	owed := v.Owed()
	if owed == 0 {
		return Bps
	}
	var c calc // three words against two: cannot leave 256 bits
	return c.quoSat(c.mul(uint64(v.Stone), lo, Bps), c.mul(uint64(owed), nano))
}

// Excess returns what is burned of the vault at the start of a day: a thirtieth of what it holds beyond
// BackingExcess. Where nothing is owed, or there is no price, it is 0.
func (v *Vault) Excess(lo uint64) types.Ustone {
	owed := v.Owed()
	if owed == 0 || lo == 0 {
		return 0
	}
	var c calc
	keep := c.quoUp(c.mul(uint64(owed), nano, BackingExcess), c.mul(lo, Bps))
	if c.over {
		return 0 // more would have to be kept than can exist
	}
	return less(v.Stone, types.Ustone(keep)) / 30
}

// BurnExcess returns the vault after the day's excess was taken out of it, and the excess.
func BurnExcess(v Vault, lo uint64) (Vault, types.Ustone) {
	x := v.Excess(lo)
	v.Stone -= x
	return v, x
}
