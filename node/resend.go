package node

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// maxSubmits bounds how many messages leave at a time.
const maxSubmits = 8

// lasting are the reasons that end an item: no resending helps. After all others, the item is sent again.
var lasting = map[types.Reason]bool{
	types.Oversize: true, types.UnknownField: true, types.BadEncoding: true, types.WrongChain: true, types.WrongEpoch: true,
	types.WrongRegion: true, types.BadSignature: true, types.UnknownCategory: true, types.UnknownKind: true, types.StaleSeq: true,
	types.Equivocation: true, types.SessionExpired: true, types.SessionMismatch: true, types.FallingTotals: true,
	types.OverPrice: true, types.Superseded: true, types.KeyExpired: true,
}

// due returns what is to be sent now, evidence first and the lowest numbers first, each receipt with its ask, and puts
// each item off: by wait, doubled at each try up to a minute.
func (o *outbox) due(now time.Time, wait time.Duration) []*bus.Submit {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []*item
	for _, i := range o.items {
		if !i.next.After(now) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.order, b.order), slices.Compare(a.hash[:], b.hash[:]))
	})
	var (
		out   []*bus.Submit
		open  *bus.Submit
		size  int
		named map[types.Hash]bool // asks in the open one
	)
	for _, i := range list {
		ask := o.asks[i.ask]
		need := len(i.Raw) + len(ask)
		if open == nil || size+need > bus.MaxSubmitBytes || len(open.Items)+2 > bus.MaxItems {
			if len(out) == maxSubmits {
				break
			}
			open, size, named = &bus.Submit{Chain: o.chain}, 0, map[types.Hash]bool{}
			out = append(out, open)
		}
		if ask != nil && !named[i.ask] {
			named[i.ask] = true
			open.Items = append(open.Items, bus.Item{Type: bus.Ask, Raw: ask})
		}
		open.Items = append(open.Items, i.Item)
		size += need
		i.next = now.Add(min(wait<<min(i.sent, 10), time.Minute))
		i.sent++
	}
	return out
}

// soon makes everything due: the bus is back, or an epoch has begun.
func (o *outbox) soon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.items {
		i.next, i.sent = time.Time{}, 0
	}
}

// refused is an item that the outbox gave up.
type refused struct {
	item   types.Hash
	kind   bus.ItemType
	epoch  types.Epoch
	reason types.Reason
}

// ack takes a verifier's answer in. It forgets what more than two thirds of power acknowledged, and gives up what too many
// refuse for good, which it returns.
func (o *outbox) ack(a *bus.Ack, verifier types.Key, set bus.Set) (settled int, given []refused, err error) {
	if set.Power(verifier) == 0 {
		return 0, nil, types.Refuse(types.UnknownAuthor, "node: ack of %v, which is no verifier", verifier)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var done []*item
	for _, hash := range a.Accepted {
		if i := o.items[hash]; i != nil {
			i.verdict[verifier] = ""
			if set.Enough(tallyOf(i, set, func(r types.Reason) bool { return r == "" })) {
				done = append(done, i)
				settled++
			}
		}
	}
	for _, r := range a.Refused {
		i := o.items[r.Item]
		if i == nil {
			continue
		}
		if had, ok := i.verdict[verifier]; ok && had == "" {
			continue // it keeps the item
		}
		i.verdict[verifier] = r.Reason
		against := tallyOf(i, set, func(r types.Reason) bool { return lasting[r] })
		if !set.Enough(set.Total() - against) {
			done = append(done, i)
			given = append(given, refused{i.hash, i.Type, i.epoch, r.Reason})
		}
	}
	return settled, given, o.remove(done)
}

// tallyOf sums the power of the verifiers whose verdict on i is such.
func tallyOf(i *item, set bus.Set, such func(types.Reason) bool) uint64 {
	var power uint64
	for key, reason := range i.verdict {
		if such(reason) {
			power += set.Power(key)
		}
	}
	return power
}

// expire gives up what can no longer count in epoch e.
func (o *outbox) expire(e types.Epoch) ([]refused, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var done []*item
	var given []refused
	for _, i := range o.items {
		if i.expiry < e {
			reason := types.WrongEpoch
			if i.Type == bus.Receipt {
				reason = types.SessionExpired
			}
			done = append(done, i)
			given = append(given, refused{i.hash, i.Type, i.epoch, reason})
		}
	}
	return given, o.remove(done)
}

// remove forgets items, on disk too. One that is still there after a crash is sent once more, which does no harm.
func (o *outbox) remove(done []*item) error {
	if len(done) == 0 {
		return nil
	}
	err := o.db.Update(func(tx *bbolt.Tx) error {
		var err error
		for _, i := range done {
			err = errors.Join(err, tx.Bucket(i.bucket).Delete(i.key))
		}
		return err
	})
	for _, i := range done {
		o.drop(i)
	}
	if err != nil {
		return fmt.Errorf("node: forget %d items: %w", len(done), err)
	}
	return nil
}

// pending returns how many items wait, and their bytes.
func (o *outbox) pending() (items, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.items), o.bytes
}
