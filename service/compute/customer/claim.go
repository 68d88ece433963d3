package customer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// What a device signs to a customer and what it commits to are to be the same. The gateway keeps what it was sent, for
// as long as faults count. An auditor to whom a device has shown a leaf of a commitment calls its hash; a gateway that
// has another one tells it that, which proves a fault (compute.Conflict). One that has none, or the same, says nothing,
// and neither does it where the device did not commit to that hash: so nobody learns of a job but of a device that lied.

// Bounds of what is kept for that.
const (
	maxClaims = 1 << 18                // leaves; beyond it the oldest go
	mostSaid  = 2                      // different leaves of one job: two contradict each other, and any commitment one of them
	claimTime = compute.FaultDelay + 2 // epochs that a leaf is kept
	tellTime  = 5 * time.Second

	timelyWait = 4 * time.Second // less than link.Silence
)

// said is what a device signed of a job.
type said struct {
	_      struct{} `cbor:",toarray"`
	Leaves []compute.SignedLeaf
}

func claimKey(device types.Key, session types.SessionID, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append([]byte(nil), device[:]...), session[:]...), index)
}

func readSaid(raw []byte) (s said, err error) {
	if raw != nil {
		err = types.DecodeLimit(raw, &s, 1<<10)
	}
	return s, err
}

// keepClaim keeps a leaf that a device signed.
func keepClaim(tx *bbolt.Tx, device types.Key, leaf *compute.SignedLeaf) error {
	key := claimKey(device, leaf.Leaf.Session, leaf.Leaf.Index)
	bucket := tx.Bucket(claimsBucket)
	s, err := readSaid(bucket.Get(key))
	if err != nil {
		return err
	}
	if len(s.Leaves) >= mostSaid || slices.ContainsFunc(s.Leaves, func(o compute.SignedLeaf) bool { return o.Leaf == leaf.Leaf }) {
		return nil
	}
	s.Leaves = append(s.Leaves, *leaf)
	return bucket.Put(key, types.Encode(&s))
}

// claims returns what a device signed of a job.
func (b *books) claims(device types.Key, session types.SessionID, index uint64) (list []compute.SignedLeaf, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		s, err := readSaid(tx.Bucket(claimsBucket).Get(claimKey(device, session, index)))
		list = s.Leaves
		return err
	})
	return list, err
}

// forgetClaims forgets leaves that are too old for a fault, and the oldest beyond what is kept.
func (b *books) forgetClaims(now types.Epoch) error {
	type old struct {
		epoch types.Epoch
		key   []byte
	}
	var list []old
	err := b.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(claimsBucket).ForEach(func(k, v []byte) error {
			o := old{key: append([]byte(nil), k...)}
			if s, err := readSaid(v); err == nil {
				for _, l := range s.Leaves {
					o.epoch = max(o.epoch, l.Epoch)
				}
			}
			if o.epoch > now+1 && now > 0 { // nothing can come of it, and it would stay for ever
				o.epoch = 0
			}
			list = append(list, o)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	slices.SortFunc(list, func(a, b old) int { return int(int64(b.epoch) - int64(a.epoch)) })
	keep := 0
	for keep < min(len(list), maxClaims) && list[keep].epoch+claimTime >= now {
		keep++
	}
	if keep == len(list) {
		return nil
	}
	return b.write(func(tx *bbolt.Tx) error {
		for _, o := range list[keep:] {
			if err := tx.Bucket(claimsBucket).Delete(o.key); err != nil {
				return err
			}
		}
		return nil
	})
}

// claimed keeps what a device has signed of the job of a try that does not end by it, whatever is wrong with it.
func (c *Customer) claimed(leaf *compute.SignedLeaf, t *try) {
	if leaf == nil || leaf.Leaf.Session != t.Session || leaf.Leaf.Index != t.Index || !leaf.Verify(c.market.Chain(), t.Device) {
		return
	}
	if err := c.books.write(func(tx *bbolt.Tx) error { return keepClaim(tx, t.Device, leaf) }); err != nil {
		c.log.Warn("compute: what a device signed can't be kept", "device", t.Device, "err", err)
	}
}

// timely waits until a leaf is not of a time to come: of such a one a device could contradict itself, and it would
// count for nobody. The gateway may know the present epoch late, after a restart or while the bus is away: so it waits
// for a while and has the device say it again, and takes it for a cheat only after Patience: then it has a reason.
func (c *Customer) timely(ctx context.Context, j *job, leaf *compute.SignedLeaf) error {
	for end := time.Now().Add(min(timelyWait, c.cfg.Patience)); leaf != nil && leaf.Epoch > c.market.Notice().Epoch+1; {
		j.mu.Lock()
		if j.early.IsZero() {
			j.early = time.Now()
		}
		late := time.Since(j.early) > c.cfg.Patience
		j.mu.Unlock()
		switch {
		case late:
			return types.Refuse(types.WrongEpoch, "compute: a leaf of epoch %d, it is %d", leaf.Epoch, c.market.Notice().Epoch)
		case time.Now().After(end):
			return fmt.Errorf("compute: a leaf of epoch %d, as far as is known it is %d", leaf.Epoch, c.market.Notice().Epoch)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// called takes what verifiers call. Where many wait, further ones are thrown away: auditors call again.
func (c *Customer) called(q role.Called) {
	select {
	case c.questions <- q:
	default:
	}
}

// listenTo looks at what verifiers call, until ctx ends.
func (c *Customer) listenTo(ctx context.Context) {
	for {
		select {
		case q := <-c.questions:
			c.compare(ctx, q)
		case <-ctx.Done():
			return
		}
	}
}

// compare tells an auditor what a device has signed to this gateway, if that is not what it has committed to.
func (c *Customer) compare(ctx context.Context, q role.Called) {
	chain := c.market.Chain()
	seen, at, err := compute.DecodeSeen(q.Body, chain)
	if err != nil {
		return // a live check, mostly
	}
	list, err := c.books.claims(at.Device, at.Session, at.Index)
	if err != nil {
		c.log.Warn("compute: what a device signed can't be read", "device", at.Device, "err", err)
	}
	i := slices.IndexFunc(list, func(l compute.SignedLeaf) bool { return l.Leaf.Hash() != seen.Hash })
	if i < 0 || !seen.Verify(chain, at.Device) {
		return
	}
	c.log.Warn("compute: a device has committed to another result than it signed", "device", at.Device, "session", at.Session, "index", at.Index)
	c.book.Failed(at.Device)
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if err := c.market.Tell(ctx, q.By, (&compute.Other{Device: at.Device, Signed: list[i]}).Encode()); err != nil {
		c.log.Warn("compute: a fault can't be told", "verifier", q.By, "err", err)
	}
}
