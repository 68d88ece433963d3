package bus

import (
	"cmp"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Unacked is an item that its author hands in again and again until more than two thirds of power acknowledged it, or so many refuse
// it for good that this can no longer be. Who keeps it keeps it on disk, and serializes calls.
type Unacked struct {
	Item
	Hash   types.Hash  // of Item
	With   []byte      // the ask that a receipt names, which goes along; nil for none
	Order  uint64      // lower ones leave first, then lower hashes
	Expiry types.Epoch // the last one in which handing it in makes sense

	verdict map[types.Key]types.Reason
	sent    int // times
	next    time.Time
}

// NewUnacked returns an item that is due at once.
func NewUnacked(kind ItemType, raw []byte, order uint64, expiry types.Epoch) Unacked {
	return Unacked{Item: Item{Type: kind, Raw: raw}, Hash: types.Sum(raw), Order: order, Expiry: expiry, verdict: map[types.Key]types.Reason{}}
}

// Due reports whether p is to be sent now.
func (p *Unacked) Due(now time.Time) bool { return !p.next.After(now) }

// Soon makes p due: the bus is back, or an epoch has begun.
func (p *Unacked) Soon() { p.next, p.sent = time.Time{}, 0 }

// Accept takes in that a verifier keeps p, and reports whether more than two thirds of power in set do.
func (p *Unacked) Accept(verifier types.Key, set Set) (settled bool) {
	p.verdict[verifier] = ""
	return set.Enough(p.power(set, func(r types.Reason) bool { return r == "" }))
}

// Refuse takes in that a verifier refuses p, and reports whether so many do for good that p will not be kept by enough.
func (p *Unacked) Refuse(verifier types.Key, reason types.Reason, set Set) (given bool) {
	if had, ok := p.verdict[verifier]; ok && had == "" {
		return false // it keeps the item
	}
	p.verdict[verifier] = reason
	against := p.power(set, Lasting)
	return !set.Enough(set.Total() - against)
}

// power sums the power of the verifiers whose verdict is such.
func (p *Unacked) power(set Set, such func(types.Reason) bool) uint64 {
	var power uint64
	for key, reason := range p.verdict {
		if such(reason) {
			power += set.Power(key)
		}
	}
	return power
}

// lasting are the reasons that end an item.
var lasting = map[types.Reason]bool{
	types.Oversize: true, types.UnknownField: true, types.BadEncoding: true, types.WrongChain: true, types.WrongEpoch: true,
	types.WrongRegion: true, types.BadSignature: true, types.UnknownCategory: true, types.UnknownKind: true, types.StaleSeq: true,
	types.Equivocation: true, types.SessionExpired: true, types.SessionMismatch: true, types.FallingTotals: true,
	types.OverPrice: true, types.Superseded: true, types.KeyExpired: true,
}

// Lasting reports whether a reason ends an item: no resending helps. After all others, the item is sent again.
func Lasting(r types.Reason) bool { return lasting[r] }

// Submits packs what of list is due into at most most messages, in order, each item with its ask, and puts what it packed off: by wait,
// doubled at each try up to a minute. It sorts list.
func Submits(chain string, list []*Unacked, now time.Time, wait time.Duration, most int) []*Submit {
	list = slices.DeleteFunc(list, func(p *Unacked) bool { return !p.Due(now) })
	slices.SortFunc(list, func(a, b *Unacked) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), slices.Compare(a.Hash[:], b.Hash[:]))
	})
	var (
		out   []*Submit
		open  *Submit
		size  int
		named map[types.Hash]bool // asks in the open one
	)
	for _, p := range list {
		need := len(p.Raw) + len(p.With)
		if open == nil || size+need > MaxSubmitBytes || len(open.Items)+2 > MaxItems {
			if len(out) == most {
				break
			}
			open, size, named = &Submit{Chain: chain}, 0, map[types.Hash]bool{}
			out = append(out, open)
		}
		if hash := types.Sum(p.With); p.With != nil && !named[hash] {
			named[hash] = true
			open.Items = append(open.Items, Item{Type: Ask, Raw: p.With})
		}
		open.Items = append(open.Items, p.Item)
		size += need
		p.next = now.Add(min(wait<<min(p.sent, 10), time.Minute))
		p.sent++
	}
	return out
}
