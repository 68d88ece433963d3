package provider

import (
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// session is one holding. Everything below id is guarded by mu, which is held through a commit.
type session struct {
	id types.SessionID

	mu     sync.Mutex
	dead   bool // its first commit failed: it is in no map any more
	record record
	progress
	shards *storage.Shards // nil while it is not in memory
	used   uint64          // when the list was last used: device.uses
	bare   types.Epoch     // since when its ladders reach too short; 0: they do not

	forsaken bool // too much of it is lost: it is given up
}

// maxSeen is how many sightings wait for finality; beyond it the newest gives way to a newer one.
const maxSeen = 32

// maxLoaded is how many shards the lists in memory have together; beyond it those not used for longest go.
// About 200 bytes each.
const maxLoaded = 1 << 20

// list returns the session's list, read from disk if need be. mu is held.
func (d *device) list(s *session) (*storage.Shards, error) {
	s.used = d.uses.Add(1)
	if s.shards == nil {
		shards, err := d.books.list(s.id, &s.record)
		if err != nil {
			return nil, err
		}
		s.shards = shards
		d.makeRoom(s)
	}
	return s.shards, nil
}

// makeRoom unloads lists until what is in memory is within bounds. The list of s stays, and those that are in use.
func (d *device) makeRoom(keep *session) {
	type loaded struct {
		s    *session
		n    int
		used uint64
	}
	var lists []loaded
	total := keep.shards.Len()
	for _, s := range d.allSessions() {
		if s != keep && s.mu.TryLock() {
			if s.shards != nil {
				lists = append(lists, loaded{s, s.shards.Len(), s.used})
				total += s.shards.Len()
			}
			s.mu.Unlock()
		}
	}
	for total > maxLoaded && len(lists) > 0 {
		oldest := 0
		for i := range lists {
			if lists[i].used < lists[oldest].used {
				oldest = i
			}
		}
		if s := lists[oldest].s; s.mu.TryLock() {
			s.shards = nil
			s.mu.Unlock()
		}
		total -= lists[oldest].n
		lists = append(lists[:oldest], lists[oldest+1:]...)
	}
}

// lapse reads the record anew after a failed write, since nobody knows whether it happened. mu is held.
func (d *device) lapse(s *session) {
	s.shards = nil
	err := d.books.db.View(func(tx *bbolt.Tx) error {
		r, err := decode[record](tx.Bucket(sessionBucket).Get(s.id[:]))
		if err == nil && r != nil {
			s.record = *r
		}
		return err
	})
	if err != nil {
		d.log.Error("storage: read session again", "session", s.id, "err", err)
	}
}

// keepProgress writes down how far sessions have come, all at once. follow alone calls it, so that it never
// takes back a newer one.
func (d *device) keepProgress(list []*session) error {
	if len(list) == 0 {
		return nil
	}
	lines := make([][]byte, len(list))
	for i, s := range list {
		s.mu.Lock()
		lines[i] = types.Encode(&s.progress)
		s.mu.Unlock()
	}
	return d.books.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(progressBucket)
		for i, s := range list {
			if err := b.Put(s.id[:], lines[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// errDead: the session was removed from the maps while somebody waited for it.
var errDead = errors.New("session is gone")

// commit makes c the session's newest revision and returns the countersignature.
func (d *device) commit(s *session, c *storage.Commit, p *peer) (*storage.Committed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errDead
	}
	h := &c.Holding.Holding
	if old := &s.record.Holding.Holding; old.Revision == h.Revision && string(old.Payload()) == string(h.Payload()) {
		return d.countersign(h), nil // it was lost on the way
	}
	list, err := d.list(s)
	if err != nil {
		return nil, err
	}
	if err := d.mayCommit(s, c, p); err != nil {
		return nil, err
	}
	appended, err := d.present(c)
	defer func() { d.shelf.unpin(appended...) }()
	if err != nil {
		return nil, err
	}
	if err := list.Commit(h.Revision, c.Ops); errors.Is(err, storage.ErrPast) {
		return nil, fmt.Errorf("%w: %w", err, storage.Full)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", err, storage.RootMismatch)
	}
	if list.Root() != h.Node() || uint64(list.Len()) != h.Shards {
		root := list.Root()
		err := types.Refuse(storage.RootMismatch, "storage: revision %d has root %s of %d bytes in %d shards here, the holding says %s of %d in %d",
			h.Revision, root.Hash, root.Sum, list.Len(), h.Root, h.Bytes, h.Shards)
		return nil, errors.Join(err, list.Undo())
	}
	d.cfg.at("applied")
	if err := d.store.Sync(); err != nil {
		return nil, errors.Join(err, list.Undo())
	}
	d.cfg.at("synced")
	if err := d.intact(false); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", err, storage.FolderGone), list.Undo())
	}
	if err := d.enter(s, c, appended); err != nil {
		d.lapse(s)
		return nil, err
	}
	d.cfg.at("entered")
	d.shelf.take(appended...)
	d.dirty(s)
	return d.countersign(h), nil
}

func (d *device) countersign(h *storage.Holding) *storage.Committed {
	return &storage.Committed{Revision: h.Revision, Signature: d.host.Sign(storage.DomainHeld, h.Payload())}
}

// present pins the shards that a commit appends and checks that each is stored.
func (d *device) present(c *storage.Commit) (keys []shardlog.Key, err error) {
	name := tag(c.Holding.Holding.Account)
	for _, op := range c.Ops {
		if op.Kind == storage.OpAppend && d.emptied() {
			return nil, types.Refuse(storage.NoShard, "storage: shard %s: the folder of this device is gone", op.Shard.ID)
		}
		if op.Kind == storage.OpAppend {
			keys = append(keys, shardlog.Key{Shard: op.Shard.ID, Session: name})
		}
	}
	d.shelf.pin(keys...)
	if len(c.Journal) > 0 {
		key := shardlog.Key{Shard: storage.ShardID(c.Journal), Session: name}
		if err := d.store.Put(key, c.Holding.Holding.Revision, c.Journal); err != nil {
			return keys, err
		}
		if _, err := d.shelf.add(key, uint64(len(c.Journal)), d.store.Stats().Capacity, d.now()+grace); err != nil {
			return keys, err
		}
	}
	for _, op := range c.Ops {
		if op.Kind != storage.OpAppend {
			continue
		}
		info, err := d.store.Stat(shardlog.Key{Shard: op.Shard.ID, Session: name})
		if errors.Is(err, shardlog.ErrNotFound) || errors.Is(err, shardlog.ErrDamaged) || err == nil && uint64(info.Length) != op.Shard.Bytes {
			return keys, types.Refuse(storage.NoShard, "storage: shard %s of %d bytes is not staged", op.Shard.ID, op.Shard.Bytes)
		}
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// enter writes a commit into the books. mu is held.
func (d *device) enter(s *session, c *storage.Commit, appended []shardlog.Key) error {
	next := s.record
	next.Holding = c.Holding
	next.Revision = c.Holding.Holding.Revision
	err := d.books.update(func(tx *bbolt.Tx) error {
		for _, key := range appended {
			if _, err := refer(tx, key, s.id, 1); err != nil {
				return err
			}
		}
		// The payer has signed for the list without them: it knows of all losses before this revision.
		if err := wipe(tx, lossBucket, s.id[:]); err != nil {
			return err
		}
		if err := put(tx, stepBucket, stepKey(s.id, next.Revision), &step{Revision: next.Revision, Ops: c.Ops}); err != nil {
			return err
		}
		return put(tx, sessionBucket, s.id[:], &next)
	})
	if err == nil {
		s.record = next
	}
	return err
}

// lose declares shards of a session lost, as many as there are, and returns how many slots it emptied. What the
// device says is lost is not read for it any more, and can be staged anew.
func (d *device) lose(s *session, ids []types.Hash) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Over {
		return 0, nil
	}
	list, err := d.list(s)
	if err != nil {
		return 0, err
	}
	lost := 0
	for len(ids) > 0 {
		var slots []int
		for len(ids) > 0 && len(slots) < storage.MaxLost {
			if slot, ok := list.Slot(ids[0]); ok {
				slots = append(slots, slot)
			}
			ids = ids[1:]
		}
		if len(slots) == 0 {
			break
		}
		if err := d.declare(s, list, slots); err != nil {
			return lost, err
		}
		lost += len(slots)
	}
	return lost, nil
}

// declare makes one loss the session's newest revision. mu is held.
func (d *device) declare(s *session, list *storage.Shards, slots []int) error {
	loss, err := storage.NewLoss(s.id, list, slots)
	if err != nil {
		return err
	}
	st := step{Revision: list.Revision(), Loss: loss.Encode()}
	for _, l := range loss.Slots {
		st.Ops = append(st.Ops, storage.Op{Kind: storage.OpLose, Slot: l.Slot, Shard: l.Shard})
	}
	next := s.record
	next.Revision = st.Revision
	err = d.books.update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{stepBucket, lossBucket} {
			if err := put(tx, bucket, stepKey(s.id, st.Revision), &st); err != nil {
				return err
			}
		}
		return put(tx, sessionBucket, s.id[:], &next)
	})
	if err != nil {
		d.lapse(s)
		return err
	}
	s.record = next
	d.agenda.lossBytes += len(st.Loss) + lossOverhead
	for _, op := range st.Ops {
		d.log.Warn("storage: a shard is lost", "session", s.id, "slot", op.Slot, "shard", op.Shard.ID, "bytes", op.Shard.Bytes)
	}
	d.dirty(s)
	return nil
}

// settle drops what is older than revision: a tally that has it is final.
func (d *device) settle(s *session, revision uint64) error {
	for done := false; !done; {
		next := s.record
		var gone []shardlog.Key
		err := d.books.update(func(tx *bbolt.Tx) error {
			for i := 0; i < 64 && !done; i++ {
				keys, last, err := fold(tx, s.id, &next, revision)
				if err != nil {
					return err
				}
				gone, done = append(gone, keys...), last
			}
			return nil
		})
		if err != nil {
			d.lapse(s)
			return err
		}
		s.record = next
		if len(gone) > 0 {
			d.cfg.at("folded")
		}
		if s.shards != nil {
			s.shards.Forget(s.record.Base)
		}
		if err := d.shelf.drop(gone...); err != nil {
			return err
		}
	}
	return nil
}

// finish drops everything that an ended session held. What it is owed can still be collected.
func (d *device) finish(s *session) error {
	if s.record.Over {
		return nil
	}
	list, err := d.list(s)
	if err != nil {
		return err
	}
	keys := map[shardlog.Key]bool{}
	note := func(shard storage.Shard) {
		if shard != (storage.Shard{}) {
			keys[shardlog.Key{Shard: shard.ID, Session: tag(s.record.Holding.Holding.Account)}] = true
		}
	}
	for _, shard := range list.All() {
		note(shard)
	}
	next := s.record
	next.Over, next.Slots, next.Base = true, 0, next.Revision
	err = d.books.update(func(tx *bbolt.Tx) error {
		err := all(tx, stepBucket, s.id[:], func(_ []byte, st *step) error {
			for _, op := range st.Ops {
				note(op.Shard)
			}
			return nil
		})
		for key := range keys {
			at := append(refPrefix(key), s.id[:]...)
			err = errors.Join(err, tx.Bucket(refBucket).Delete(at))
		}
		for _, bucket := range [][]byte{stepBucket, lossBucket, slotBucket} {
			err = errors.Join(err, wipe(tx, bucket, s.id[:]))
		}
		return errors.Join(err, put(tx, sessionBucket, s.id[:], &next))
	})
	if err != nil {
		d.lapse(s)
		return err
	}
	s.record, s.shards = next, nil
	for key := range keys {
		if err := d.shelf.drop(key); err != nil {
			return err
		}
	}
	return nil
}
