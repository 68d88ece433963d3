package verifier

import (
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// later is the verdict on what may become good with the next block: it is neither accepted nor refused.
const later types.Reason = "later"

// check judges all of an item but its signatures and its author's quota.
func (v *headView) check(it *item, rules *ruleBook) types.Reason {
	if why := checkAuthor(it, v.registry, rules, v.epoch.Epoch); why != "" {
		return why
	}
	switch it.Type {
	case tally.Evidence:
		return v.checkEvidence(it, v.registry.Device(it.Author) != nil, rules)
	case tally.Order:
		return v.checkOrder(it)
	}
	return ""
}

// checkOrder judges an order, which anybody may hand in, by what the state at the epoch's start knows of its
// session: old ones, which anybody can find in batches, would use up the payer's quota. One that begins a
// session needs as much credit as it will in the tally: else accounts that never bought any could fill mempools
// and batches. What passes here may still be refused by the tally.
func (v *headView) checkOrder(it *item) types.Reason {
	e, expiry := v.epoch.Epoch, it.session.Expiry()
	key := tally.SessionKey{Payer: it.Author, ID: it.session}
	old := v.registry.base.Order(key)
	switch {
	case expiry <= e:
		return types.SessionExpired
	case it.first > e+1, old == nil && it.first+receipt.MaxFresh < e, expiry > e+receipt.MaxExpiry:
		return types.WrongEpoch
	case old != nil && it.Seq <= old.Seq:
		return types.StaleSeq
	case v.registry.base.Session(key) != nil:
		return types.SessionMismatch
	}
	g, least := v.registry.Grant(it.Author), max(v.epoch.MinOpening, 1) // checkAuthor has seen the grant
	limit := g.Limit
	if k := v.registry.base.Key(it.Author); k != nil {
		limit -= min(limit, k.Spent)
	}
	switch {
	case old == nil && it.cap < least:
		return types.SessionOpening
	case old == nil && limit < least:
		return types.OverLimit
	case (old == nil || it.cap > old.Amount) && it.units > v.units(g.Account):
		return types.OverBudget
	}
	return ""
}

// units is how many least opening amounts an account has left.
func (v *headView) units(a types.Account) uint64 {
	bought := v.registry.bought(a)
	return uint64((bought - min(bought, v.registry.base.Balance(a).Spent)) / max(v.epoch.MinOpening, 1))
}

func (v *headView) checkEvidence(it *item, device bool, rules *ruleBook) types.Reason {
	kind := rules.kind(it.category, it.kind)
	switch {
	case kind == nil:
		return types.UnknownKind
	case !device && !kind.Witness:
		return types.UnknownAuthor // a verifier speaks about devices, never as one
	case it.epoch > v.epoch.Epoch+1:
		return types.WrongEpoch
	case it.epoch == v.epoch.Epoch+1:
		return later // the author saw the epoch's first block before this verifier did
	case it.epoch < v.epoch.Epoch && (!kind.Cumulative || it.epoch <= v.last):
		return types.WrongEpoch
	}
	return v.checkAnchor(it.anchor)
}

// checkAnchor judges the block that an envelope names.
func (v *headView) checkAnchor(a evidence.Anchor) types.Reason {
	if a.Height > v.head.Height {
		if a.Height > v.head.Height+evidence.MaxAnchorAge {
			return types.BadAnchor
		}
		return later
	}
	first := v.blocks[0].Height
	if a.Height < first || v.head.Height-a.Height > evidence.MaxAnchorAge {
		return types.BadAnchor
	}
	if b := v.blocks[a.Height-first]; [16]byte(b.Hash[:16]) != a.Hash {
		return types.BadAnchor
	}
	return ""
}

// checkAuthor judges whether an item's author may hand in such items in an epoch. It goes by the registry
// alone, of which all verifiers have the same view, so that none insists on what another must leave out. A
// suspended device is an author like any other: the tally says what of its items counts.
func checkAuthor(it *item, reg *registry, rules *ruleBook, e types.Epoch) types.Reason {
	if rules.specs[it.category] == nil {
		return types.UnknownCategory
	}
	if it.Type == tally.Order {
		if it.region != reg.base.Region() {
			return types.WrongRegion
		}
		// A key that ended is refused, too: states differ in how long they remember it.
		switch g := reg.Grant(it.Author); {
		case g == nil:
			return types.UnknownKey
		case g.Expiry <= e:
			return types.KeyExpired
		}
		return ""
	}
	d := reg.Device(it.Author)
	if d == nil {
		if it.Type != tally.Evidence || reg.Attester(it.Author) == nil {
			return types.UnknownAuthor
		}
		return ""
	}
	if !slices.Contains(d.Categories, it.category) {
		return types.UnknownCategory
	}
	return ""
}
