package provider

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/bolt"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// record is what the books say of a session, beside its list.
type record struct {
	_        struct{}              `cbor:",toarray"`
	Holding  storage.SignedHolding // the newest that was countersigned
	Opened   types.Epoch
	Revision uint64 // the newest, losses included
	Base     uint64 // revision of the list in slotBucket; steps lead from there to Revision
	Slots    uint64 // length of that list
	Over     bool   // it has ended and holds nothing any more; what it is owed can still be collected
}

// progress is how far a session has come in the tally. Only follow changes it.
type progress struct {
	_        struct{}    `cbor:",toarray"`
	Handed   uint64      // newest revision that was handed in as evidence
	HandedIn types.Epoch // when
	Late     types.Epoch // when it was last handed in for the second time in one epoch
	Paid     paid
	Leaving  types.Epoch // when the release was handed in; 0: not
	Seen     []sighting  // ascending
}

// sighting says which revision a tally had. When that tally is final, nothing older is needed.
type sighting struct {
	_        struct{} `cbor:",toarray"`
	Epoch    types.Epoch
	Revision uint64
	Ended    bool
}

// paid is the newest receipt of a session that was handed in.
type paid struct {
	_      struct{} `cbor:",toarray"`
	Units  types.U128
	Amount types.Credit
	Seq    uint64
	Epoch  types.Epoch // when
}

// step is one revision of a session's list.
type step struct {
	_        struct{} `cbor:",toarray"`
	Revision uint64
	Ops      []storage.Op
	Loss     []byte // the evidence that declares it, if it is a loss
}

// reading is what the books say of an egress session.
type reading struct {
	_       struct{} `cbor:",toarray"`
	ID      types.SessionID
	Payer   types.Key
	Account types.Account
	Served  uint64
	Newest  *receipt.Signed
	Paid    paid
}

// trust is what an account has read and signed for, over all of its sessions, in bytes.
type trust struct {
	_      struct{} `cbor:",toarray"`
	Limit  uint64   // that it may owe
	Served uint64
	Signed uint64 // by receipts
	Next   uint64 // when Signed reaches it, Limit doubles
}

var (
	sessionBucket  = []byte("sessions") // session → record
	progressBucket = []byte("progress") // session → progress
	slotBucket     = []byte("slots")    // session ‖ u32 slot → shard id ‖ u32 bytes
	stepBucket     = []byte("steps")    // session ‖ u64 revision → step
	lossBucket     = []byte("losses")   // session ‖ u64 revision → step: losses that no later holding covers yet
	refBucket      = []byte("refs")     // account ‖ shard id ‖ session → u32 count: the list has it, or a step that is not final
	ladderBucket   = []byte("ladders")  // session ‖ u64 seq → storage.Ladder
	readBucket     = []byte("reads")    // payer ‖ session → reading
	trustBucket    = []byte("trust")    // account → trust
	askBucket      = []byte("asks")     // hash → receipt.SignedAsk
	metaBucket     = []byte("meta")     // answered → u64 epoch
)

// maxRecord bounds one record, in bytes: the operations of one commit.
const maxRecord = 1 << 20

// books are books.db. What update did is on the disk when it returns.
type books struct {
	db   *bbolt.DB
	path string
	info os.FileInfo // of the file that is open
}

func openBooks(path string) (*books, error) {
	db, err := bolt.Open(path, sessionBucket, progressBucket, slotBucket, stepBucket, lossBucket, refBucket, ladderBucket, readBucket, trustBucket,
		askBucket, metaBucket)
	if err != nil {
		return nil, fmt.Errorf("storage: books: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("storage: open books: %w", errors.Join(err, db.Close()))
	}
	return &books{db, path, info}, nil
}

func (b *books) close() error { return b.db.Close() }

// update changes the books, all or nothing. After an error nobody knows which: whoever keeps a copy in memory
// reads it anew.
func (b *books) update(f func(*bbolt.Tx) error) error {
	if err := b.db.Update(f); err != nil {
		return fmt.Errorf("storage: write books: %w: %w", err, storage.Full)
	}
	return nil
}

// decode reads a record; nil for none.
func decode[T any](raw []byte) (*T, error) {
	if raw == nil {
		return nil, nil
	}
	v := new(T)
	if err := types.DecodeLimit(raw, v, maxRecord); err != nil {
		return nil, fmt.Errorf("storage: books: %w", err)
	}
	return v, nil
}

// all decodes every record of a bucket whose key starts so.
func all[T any](tx *bbolt.Tx, bucket, prefix []byte, visit func(key []byte, v *T) error) error {
	c := tx.Bucket(bucket).Cursor()
	for k, raw := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		v, err := decode[T](raw)
		if err != nil {
			return fmt.Errorf("%s %x: %w", bucket, k, err)
		}
		if err := visit(k, v); err != nil {
			return err
		}
	}
	return nil
}

func put(tx *bbolt.Tx, bucket, key []byte, v any) error {
	return tx.Bucket(bucket).Put(key, types.Encode(v))
}

// wipe removes every record of a bucket whose key starts so.
func wipe(tx *bbolt.Tx, bucket, prefix []byte) error {
	c := tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func stepKey(id types.SessionID, revision uint64) []byte {
	return binary.BigEndian.AppendUint64(id[:len(id):len(id)], revision)
}

func slotKey(id types.SessionID, slot uint64) []byte {
	return binary.BigEndian.AppendUint32(id[:len(id):len(id)], uint32(slot))
}

func encodeSlot(s storage.Shard) []byte {
	return binary.BigEndian.AppendUint32(s.ID[:len(s.ID):len(s.ID)], uint32(s.Bytes))
}

func decodeSlot(b []byte) (s storage.Shard, err error) {
	if len(b) != 36 {
		return s, fmt.Errorf("storage: books: a slot of %d bytes", len(b))
	}
	s.ID, s.Bytes = types.Hash(b[:32]), uint64(binary.BigEndian.Uint32(b[32:]))
	return s, nil
}

// tag is the name under which an account's shards lie in the shard log: what several of its sessions hold is
// stored once.
func tag(account types.Account) types.SessionID { return types.SessionID(account[:16]) }

func refPrefix(key shardlog.Key) []byte {
	return append(key.Session[:len(key.Session):len(key.Session)], key.Shard[:]...)
}

// refer counts a reference from a session to a shard up or down, and reports whether the shard has any left, of
// any session.
func refer(tx *bbolt.Tx, key shardlog.Key, session types.SessionID, by int32) (held bool, err error) {
	b := tx.Bucket(refBucket)
	prefix := refPrefix(key)
	at := append(prefix[:len(prefix):len(prefix)], session[:]...)
	count := by
	if raw := b.Get(at); len(raw) == 4 {
		count += int32(binary.BigEndian.Uint32(raw))
	}
	if count > 0 {
		return true, b.Put(at, binary.BigEndian.AppendUint32(nil, uint32(count)))
	}
	if err := b.Delete(at); err != nil {
		return false, err
	}
	return referred(tx, key), nil
}

// referred reports whether any session refers to a shard.
func referred(tx *bbolt.Tx, key shardlog.Key) bool {
	prefix := refPrefix(key)
	k, _ := tx.Bucket(refBucket).Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

// referrers lists the sessions that refer to a shard.
func (b *books) referrers(key shardlog.Key) (ids []types.SessionID, err error) {
	prefix := refPrefix(key)
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(refBucket).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+16; k, _ = c.Next() {
			ids = append(ids, types.SessionID(k[len(prefix):]))
		}
		return nil
	})
	return ids, err
}

// ladders returns those of a session, oldest first.
func (b *books) ladders(id types.SessionID) (list []*storage.Ladder, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		return all(tx, ladderBucket, id[:], func(_ []byte, l *storage.Ladder) error {
			list = append(list, l)
			return nil
		})
	})
	return list, err
}

// losses returns the steps of a session above a revision that are losses which no later holding covers.
func (b *books) losses(id types.SessionID, above uint64, limit int) (steps []step, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		return all(tx, lossBucket, id[:], func(_ []byte, s *step) error {
			if s.Revision > above && len(steps) < limit {
				steps = append(steps, *s)
			}
			return nil
		})
	})
	return steps, err
}

// list reads a session's list: as it was at record.Base, and the steps from there.
func (b *books) list(id types.SessionID, r *record) (*storage.Shards, error) {
	base := make([]storage.Shard, 0, r.Slots)
	var shards *storage.Shards
	err := b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(slotBucket).Cursor()
		for k, v := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = c.Next() {
			shard, err := decodeSlot(v)
			if err != nil {
				return err
			}
			if len(k) != 20 || uint64(binary.BigEndian.Uint32(k[16:])) != uint64(len(base)) {
				return fmt.Errorf("storage: books: slot %d is missing", len(base))
			}
			base = append(base, shard)
		}
		if uint64(len(base)) != r.Slots {
			return fmt.Errorf("storage: books: %d slots, want %d", len(base), r.Slots)
		}
		var err error
		if shards, err = storage.NewShards(r.Base, base); err != nil {
			return err
		}
		return all(tx, stepBucket, id[:], func(_ []byte, s *step) error { return shards.Commit(s.Revision, s.Ops) })
	})
	if err != nil {
		return nil, fmt.Errorf("storage: list of session %s: %w", id, err)
	}
	if shards.Revision() != r.Revision {
		return nil, fmt.Errorf("storage: books: session %s: steps lead to revision %d, want %d", id, shards.Revision(), r.Revision)
	}
	return shards, nil
}

// fold applies the oldest step of a session to the list on disk, if it leads to at most revision, and returns
// the shards that nothing refers to any more.
func fold(tx *bbolt.Tx, id types.SessionID, r *record, revision uint64) (gone []shardlog.Key, done bool, err error) {
	c := tx.Bucket(stepBucket).Cursor()
	k, raw := c.Seek(id[:])
	if !bytes.HasPrefix(k, id[:]) {
		return nil, true, nil
	}
	s, err := decode[step](raw)
	if err != nil || s.Revision > revision {
		return nil, true, err
	}
	slots := tx.Bucket(slotBucket)
	for _, op := range s.Ops {
		if op.Kind == storage.OpAppend {
			if err := slots.Put(slotKey(id, op.Slot), encodeSlot(op.Shard)); err != nil {
				return nil, false, err
			}
			r.Slots++
			continue
		}
		if op.Kind == storage.OpLose {
			err = slots.Put(slotKey(id, op.Slot), encodeSlot(storage.Shard{}))
		} else {
			r.Slots--
			err = fill(slots, id, op.Slot, r.Slots)
		}
		if err != nil {
			return nil, false, err
		}
		if op.Shard == (storage.Shard{}) {
			continue // a lost slot was deleted
		}
		key := shardlog.Key{Shard: op.Shard.ID, Session: tag(r.Holding.Holding.Account)}
		held, err := refer(tx, key, id, -1)
		if err != nil {
			return nil, false, err
		}
		if !held {
			gone = append(gone, key)
		}
	}
	r.Base = s.Revision
	if err := c.Delete(); err != nil {
		return nil, false, err
	}
	return gone, false, put(tx, sessionBucket, id[:], r)
}

// fill moves the last slot into another, or drops it if it is that one.
func fill(slots *bbolt.Bucket, id types.SessionID, slot, last uint64) error {
	if slot != last {
		moved := bytes.Clone(slots.Get(slotKey(id, last)))
		if err := slots.Put(slotKey(id, slot), moved); err != nil {
			return err
		}
	}
	return slots.Delete(slotKey(id, last))
}
