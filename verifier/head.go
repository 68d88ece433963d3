package verifier

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// view is the registry view of an epoch: that of an earlier state, and what changed since. It never changes once made.
type registry struct {
	base     *tally.State
	devices  map[types.Key]*tally.Device // nil: removed
	grants   map[types.Key]*tally.Grant
	holders  map[types.Account]types.Credit
	attester map[types.Key]*tally.Attester // nil: removed
}

var _ tally.Registry = (*registry)(nil)

// newRegistry returns base with changes made, in order.
func newRegistry(base *tally.State, changes []tally.Change) *registry {
	v := &registry{
		base: base, devices: map[types.Key]*tally.Device{}, grants: map[types.Key]*tally.Grant{},
		holders: map[types.Account]types.Credit{}, attester: map[types.Key]*tally.Attester{},
	}
	for _, c := range changes {
		switch {
		case c.Device != nil:
			v.devices[c.Device.Key] = c.Device
		case !c.Remove.IsZero():
			v.devices[c.Remove] = nil
		case c.Grant != nil:
			v.grants[c.Grant.Key] = c.Grant
		case c.Holder != nil:
			v.holders[c.Holder.Account] = c.Holder.Bought
		case c.Attester != nil:
			v.attester[c.Attester.Key] = c.Attester
			if c.Attester.Power == 0 {
				v.attester[c.Attester.Key] = nil
			}
		}
	}
	return v
}

// Device implements tally.Registry.
func (v *registry) Device(key types.Key) *tally.Device {
	if d, ok := v.devices[key]; ok {
		return d
	}
	return v.base.Device(key)
}

// Grant implements tally.Registry.
func (v *registry) Grant(key types.Key) *tally.Grant {
	if g, ok := v.grants[key]; ok {
		return g
	}
	return v.base.Grant(key)
}

// Attester implements tally.Registry.
func (v *registry) Attester(key types.Key) *tally.Attester {
	if a, ok := v.attester[key]; ok {
		return a
	}
	return v.base.Attester(key)
}

// Attesters implements tally.Registry.
func (v *registry) Attesters() iter.Seq[*tally.Attester] {
	return overlay(v.base.Attesters(), v.attester, func(a *tally.Attester) types.Key { return a.Key })
}

// Devices implements tally.Registry.
func (v *registry) Devices(c types.Category) iter.Seq[*tally.Device] {
	return func(yield func(*tally.Device) bool) {
		for d := range overlay(v.base.Devices(c), v.devices, func(d *tally.Device) types.Key { return d.Key }) {
			if slices.Contains(d.Categories, c) && !yield(d) {
				return
			}
		}
	}
}

// overlay lists base, which is ascending by key, with changes made; what changed to nil is left out.
func overlay[T any](base iter.Seq[*T], changed map[types.Key]*T, key func(*T) types.Key) iter.Seq[*T] {
	fresh := slices.SortedFunc(maps.Keys(changed), func(a, b types.Key) int { return slices.Compare(a[:], b[:]) })
	return func(yield func(*T) bool) {
		rest := fresh
		until := func(k *types.Key) bool { // yields what changed up to and with a key
			for len(rest) > 0 && (k == nil || slices.Compare(rest[0][:], k[:]) <= 0) {
				at := changed[rest[0]]
				rest = rest[1:]
				if at != nil && !yield(at) {
					return false
				}
			}
			return true
		}
		for old := range base {
			k := key(old)
			if !until(&k) {
				return
			}
			if _, replaced := changed[k]; !replaced && !yield(old) {
				return
			}
		}
		until(nil)
	}
}

// bought returns what an account has bought, as of the view.
func (v *registry) bought(a types.Account) types.Credit {
	if c, ok := v.holders[a]; ok {
		return c
	}
	return v.base.Balance(a).Bought
}

// headView is what intake goes by: the newest block and what follows from it. It never changes once made.
type headView struct {
	head     ledger.Block
	epoch    *ledger.Epoch
	last     types.Epoch       // of the region's newest header that was not voided
	blocks   []tally.BlockHash // the newest MaxAnchorAge+1, ascending
	registry *registry
}

// later is the verdict on what may become good with the next block: it is neither accepted nor refused.
const later types.Reason = "later"

// check judges all of an item but its signatures and its author's quota.
func (m *headView) check(it *item, rules *ruleBook) types.Reason {
	if why := checkAuthor(it, m.registry, rules, m.epoch.Epoch); why != "" {
		return why
	}
	switch it.Type {
	case tally.Evidence:
		return m.checkEvidence(it, m.registry.Device(it.Author) != nil, rules)
	case tally.Order:
		return m.checkOrder(it)
	}
	return ""
}

// checkOrder judges an order, which anybody may hand in, by what the state at the epoch's start knows of its session: old ones, which
// anybody can find in batches, would use up the payer's quota. One that begins a session needs as much credit as it will in the tally: else
// accounts that never bought any could fill mempools and batches. What passes here may still be refused by the tally.
func (m *headView) checkOrder(it *item) types.Reason {
	e, expiry := m.epoch.Epoch, it.session.Expiry()
	key := tally.SessionKey{Payer: it.Author, ID: it.session}
	old := m.registry.base.Order(key)
	switch {
	case expiry <= e:
		return types.SessionExpired
	case it.first > e+1, old == nil && it.first+receipt.MaxFresh < e, expiry > e+receipt.MaxExpiry:
		return types.WrongEpoch
	case old != nil && it.Seq <= old.Seq:
		return types.StaleSeq
	case m.registry.base.Session(key) != nil:
		return types.SessionMismatch
	}
	g, least := m.registry.Grant(it.Author), max(m.epoch.MinOpening, 1) // checkAuthor has seen the grant
	limit := g.Limit
	if k := m.registry.base.Key(it.Author); k != nil {
		limit -= min(limit, k.Spent)
	}
	switch {
	case old == nil && it.cap < least:
		return types.SessionOpening
	case old == nil && limit < least:
		return types.OverLimit
	case (old == nil || it.cap > old.Amount) && it.units > m.units(g.Account):
		return types.OverBudget
	}
	return ""
}

// units is how many least opening amounts an account has left.
func (m *headView) units(a types.Account) uint64 {
	bought := m.registry.bought(a)
	return uint64((bought - min(bought, m.registry.base.Balance(a).Spent)) / max(m.epoch.MinOpening, 1))
}

func (m *headView) checkEvidence(it *item, device bool, rules *ruleBook) types.Reason {
	kind := rules.kind(it.category, it.kind)
	switch {
	case kind == nil:
		return types.UnknownKind
	case !device && !kind.Witness:
		return types.UnknownAuthor // a verifier speaks about devices, never as one
	case it.epoch > m.epoch.Epoch+1:
		return types.WrongEpoch
	case it.epoch == m.epoch.Epoch+1:
		return later // the author saw the epoch's first block before this verifier did
	case it.epoch < m.epoch.Epoch && (!kind.Cumulative || it.epoch <= m.last):
		return types.WrongEpoch
	}
	return m.checkAnchor(it.anchor)
}

// checkAnchor judges the block that an envelope names.
func (m *headView) checkAnchor(a evidence.Anchor) types.Reason {
	if a.Height > m.head.Height {
		if a.Height > m.head.Height+evidence.MaxAnchorAge {
			return types.BadAnchor
		}
		return later
	}
	first := m.blocks[0].Height
	if a.Height < first || m.head.Height-a.Height > evidence.MaxAnchorAge {
		return types.BadAnchor
	}
	if b := m.blocks[a.Height-first]; [16]byte(b.Hash[:16]) != a.Hash {
		return types.BadAnchor
	}
	return ""
}

// changesSince returns the registry changes that lead from the view of epoch from to that of epoch to.
func changesSince(ctx context.Context, l Source, from, to types.Epoch, region types.Region) ([]tally.Change, error) {
	var out []tally.Change
	for e := from + 1; e <= to; e++ {
		c, err := l.Changes(ctx, e, region)
		if err != nil {
			return nil, fmt.Errorf("verifier: registry changes of epoch %d: %w", e, err)
		}
		out = append(out, c...)
	}
	return out, nil
}

// recentBlocks returns the newest n blocks up to head, ascending. known are blocks that need not be asked for again.
func recentBlocks(ctx context.Context, l ledger.Reader, head ledger.Block, n uint64, known []tally.BlockHash) ([]tally.BlockHash, error) {
	from := uint64(1)
	if head.Height > n {
		from = head.Height - n + 1
	}
	var out []tally.BlockHash
	if len(known) > 0 && known[0].Height <= from && known[len(known)-1].Height >= from {
		out = append(out, known[from-known[0].Height:]...)
	}
	next := from + uint64(len(out))
	if next > head.Height {
		return out, nil
	}
	list, err := l.Hashes(ctx, next, head.Height)
	if err != nil {
		return nil, fmt.Errorf("verifier: hashes of blocks %d to %d: %w", next, head.Height, err)
	}
	return append(out, list...), nil
}

// notFound reports whether the chain does not have something yet.
func notFound(err error) bool { return errors.Is(err, ledger.ErrNotFound) }
