package node

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// maxSubmits bounds how many messages leave at a time.
const maxSubmits = 8

// due returns what is to be sent now, evidence first and the lowest numbers first, each receipt with its ask.
func (o *outbox) due(now time.Time, wait time.Duration) []*bus.Submit {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []*bus.Unacked
	for _, i := range o.items {
		if i.Due(now) {
			i.With = o.asks[i.ask]
			list = append(list, &i.Unacked)
		}
	}
	return bus.Submits(o.chain, list, now, wait, maxSubmits)
}

// soon makes everything due: the bus is back, or an epoch has begun.
func (o *outbox) soon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.items {
		i.Soon()
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
		if i := o.items[hash]; i != nil && i.Accept(verifier, set) {
			done = append(done, i)
			settled++
		}
	}
	for _, r := range a.Refused {
		if i := o.items[r.Item]; i != nil && i.Refuse(verifier, r.Reason, set) {
			done = append(done, i)
			given = append(given, refused{i.Hash, i.Type, i.epoch, r.Reason})
		}
	}
	return settled, given, o.remove(done)
}

// expire gives up what can no longer count in epoch e.
func (o *outbox) expire(e types.Epoch) ([]refused, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var done []*item
	var given []refused
	for _, i := range o.items {
		if i.Expiry < e {
			reason := types.WrongEpoch
			if i.Type == bus.Receipt {
				reason = types.SessionExpired
			}
			done = append(done, i)
			given = append(given, refused{i.Hash, i.Type, i.epoch, reason})
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
