package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// maxSubmits bounds how many messages leave an outbox at a time.
const maxSubmits = 8

// Item is something that its author hands in again and again until verifiers with more than two thirds of the
// power keep it, or so many refuse it for good that this can no longer be.
type Item[T any] struct {
	bus.Item
	Hash   types.Hash  // of bus.Item
	With   []byte      // the ask that a receipt names, which goes along; nil for none
	Order  uint64      // lower ones leave first, then lower hashes
	Expiry types.Epoch // the last one in which handing it in makes sense
	Own    T           // the owner's: how it finds the item on its disk

	verdict map[types.Key]types.Reason // "" of those who keep it
	sent    int                        // times
	next    time.Time
}

// Refused is an item that is given up, and why.
type Refused[T any] struct {
	*Item[T]
	Reason types.Reason
}

// Outbox hands in what waits to be kept. It remembers nothing over a restart: its owner writes an item to disk
// before it adds it, and takes it off the disk when Acked or Expire says that it is done. All methods are safe
// for concurrent use.
type Outbox[T any] struct {
	work chan struct{} // something is due

	mu    sync.Mutex
	items map[types.Hash]*Item[T]
	bytes int // of them
}

// NewOutbox returns an empty outbox.
func NewOutbox[T any]() *Outbox[T] {
	return &Outbox[T]{work: make(chan struct{}, 1), items: map[types.Hash]*Item[T]{}}
}

// Add has an item handed in, at once and until it is done. Its hash is filled in. One that waits already goes
// on as it was.
func (o *Outbox[T]) Add(i *Item[T]) {
	i.Hash, i.verdict = i.Item.Hash(), map[types.Key]types.Reason{}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.items[i.Hash] == nil {
		o.items[i.Hash] = i
		o.bytes += len(i.Raw)
	}
	Poke(o.work)
}

// Remove has an item not handed in any more.
func (o *Outbox[T]) Remove(hash types.Hash) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(hash)
}

func (o *Outbox[T]) remove(hash types.Hash) {
	if i := o.items[hash]; i != nil {
		delete(o.items, hash)
		o.bytes -= len(i.Raw)
	}
}

// Has reports whether an item waits.
func (o *Outbox[T]) Has(hash types.Hash) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.items[hash] != nil
}

// Size returns how many items wait, and their bytes.
func (o *Outbox[T]) Size() (items, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.items), o.bytes
}

// Soon has everything handed in again at once: the bus is back, or an epoch has begun.
func (o *Outbox[T]) Soon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.items {
		i.next, i.sent = time.Time{}, 0
	}
	Poke(o.work)
}

// Acked takes in what a verifier says of items, and returns those that are done with: more than two thirds of
// the set's power keep them, or so much of it refuses them for good that they will not be kept by enough.
func (o *Outbox[T]) Acked(a *bus.Ack, verifier types.Key, set bus.Set) (kept []*Item[T], refused []Refused[T], err error) {
	if set.Power(verifier) == 0 {
		return nil, nil, types.Refuse(types.UnknownAuthor, "agent: ack of %v, which is no verifier", verifier)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, hash := range a.Accepted {
		if i := o.items[hash]; i != nil && i.accept(verifier, set) {
			o.remove(hash)
			kept = append(kept, i)
		}
	}
	for _, r := range a.Refused {
		if i := o.items[r.Item]; i != nil && i.refuse(verifier, r.Reason, set) {
			o.remove(r.Item)
			refused = append(refused, Refused[T]{i, r.Reason})
		}
	}
	return kept, refused, nil
}

// Expire gives up, and returns, what handing in makes no sense for in epoch e.
func (o *Outbox[T]) Expire(e types.Epoch) (gone []*Item[T]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for hash, i := range o.items {
		if i.Expiry < e {
			o.remove(hash)
			gone = append(gone, i)
		}
	}
	return gone
}

// Run hands in what is due over the agent's bus, until ctx ends. What is not kept is handed in again after
// wait, which doubles at each try up to a minute.
func (o *Outbox[T]) Run(ctx context.Context, a *Agent, wait time.Duration) {
	a.Each(ctx, max(wait/4, 10*time.Millisecond), o.work, o.Soon, func(b bus.Bus) (sent bool) {
		list := o.Due(a.Chain(), time.Now(), wait)
		for _, s := range list {
			if err := b.Publish(ctx, bus.SubmitSubject(b.Key(), a.Region()), bus.Encode(s)); err != nil {
				a.log.Debug("hand in", "error", err)
				return false // all of it is due again once it can be sent
			}
		}
		if len(list) == maxSubmits {
			Poke(o.work)
		}
		return true
	})
}

// Due packs what is due into at most maxSubmits messages, in order, each item with its ask, and puts what it
// packed off.
func (o *Outbox[T]) Due(chain string, now time.Time, wait time.Duration) (out []*bus.Submit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []*Item[T]
	for _, i := range o.items {
		if !i.next.After(now) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *Item[T]) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), slices.Compare(a.Hash[:], b.Hash[:]))
	})
	var (
		open  *bus.Submit
		size  int
		named map[types.Hash]bool // asks in the open one
	)
	for _, i := range list {
		need := len(i.Raw) + len(i.With)
		if open == nil || size+need > bus.MaxSubmitBytes || len(open.Items)+2 > bus.MaxItems {
			if len(out) == maxSubmits {
				break
			}
			open, size, named = &bus.Submit{Chain: chain}, 0, map[types.Hash]bool{}
			out = append(out, open)
		}
		if hash := types.Sum(i.With); i.With != nil && !named[hash] {
			named[hash] = true
			open.Items = append(open.Items, bus.Item{Type: bus.Ask, Raw: i.With})
		}
		open.Items = append(open.Items, i.Item)
		size += need
		i.next = now.Add(min(wait<<min(i.sent, 10), time.Minute))
		i.sent++
	}
	return out
}

// accept takes in that a verifier keeps the item, and reports whether more than two thirds of power do.
func (i *Item[T]) accept(verifier types.Key, set bus.Set) bool {
	i.verdict[verifier] = ""
	return set.Enough(i.power(set, func(r types.Reason) bool { return r == "" }))
}

// refuse takes in that a verifier refuses the item, and reports whether so many do for good that it will not be
// kept by enough.
func (i *Item[T]) refuse(verifier types.Key, reason types.Reason, set bus.Set) bool {
	if had, ok := i.verdict[verifier]; ok && had == "" {
		return false // it keeps the item
	}
	i.verdict[verifier] = reason
	return !set.Enough(set.Total() - i.power(set, Lasting))
}

// power sums the power of the verifiers whose verdict is such.
func (i *Item[T]) power(set bus.Set, such func(types.Reason) bool) (power uint64) {
	for key, reason := range i.verdict {
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

// Acks calls handle with each ack that a verifier of the region sends the agent, until ctx ends. It returns
// when it is in force.
func (a *Agent) Acks(ctx context.Context, b bus.Bus, handle func(ack *bus.Ack, verifier types.Key) error) error {
	return b.Subscribe(ctx, bus.AckSubject(types.Key{}, b.Key()), func(m bus.Message) {
		ack, verifier, err := bus.Open[bus.Ack](m.Data, a.Chain())
		if err == nil && ack.Region != a.Region() {
			err = types.Refuse(types.WrongRegion, "ack of region %d", ack.Region)
		}
		if err == nil {
			err = handle(ack, verifier)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			a.log.Debug("an ack is thrown away", "subject", m.Subject, "error", err)
		}
	})
}

// Poke wakes whoever waits on c, which has room for one; if it was woken already, it is not twice.
func Poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
