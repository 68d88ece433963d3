package customer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/bolt"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// ObjectID names an object: random bytes, 32 hexadecimal digits.
type ObjectID [16]byte

// String returns id in hexadecimal.
func (id ObjectID) String() string { return fmt.Sprintf("%x", id[:]) }

// object is what the books say of an object beside its manifest.
type object struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Profile string
	Created uint64 // Unix seconds
	Bytes   uint64
	Payer   types.Key   // whose holdings have its shards
	Devices []types.Key // by slot, the same for all segments
	Absent  []byte      // a bit for each (segment, slot) whose shard no device holds

	Type string `cbor:"-"` // the content type that the customer gave; beside the record, in typeBucket; "" for none
}

func (o *object) absent(segment, slot int) bool {
	at := segment*len(o.Devices) + slot
	return at/8 < len(o.Absent) && o.Absent[at/8]>>(at%8)&1 == 1
}

func (o *object) setAbsent(segment, slot int) {
	at := segment*len(o.Devices) + slot
	for len(o.Absent) <= at/8 {
		o.Absent = append(o.Absent, 0)
	}
	o.Absent[at/8] |= 1 << (at % 8)
}

func (o *object) clearAbsent(segment, slot int) {
	if at := segment*len(o.Devices) + slot; at/8 < len(o.Absent) {
		o.Absent[at/8] &^= 1 << (at % 8)
	}
}

// complete reports whether every shard is held.
func (o *object) complete() bool { return len(bytes.Trim(o.Absent, "\x00")) == 0 }

// session is what the books say of one holding.
type session struct {
	_       struct{} `cbor:",toarray"`
	Ask     *receipt.SignedAsk
	Holding storage.SignedHolding
	Pending *pending // a commit whose outcome is not known
	// What the device can have earned at most: Owed until Since, from then on Holding.Bytes per epoch.
	Owed   types.U128
	Since  types.Epoch
	Egress egress
}

// pending is a commit that was sent.
type pending struct {
	_       struct{} `cbor:",toarray"`
	Ops     []storage.Op
	Holding storage.SignedHolding
}

// egress is a session for what is read.
type egress struct {
	_     struct{} `cbor:",toarray"`
	ID    types.SessionID
	Ask   *receipt.SignedAsk
	Units types.U128 // bytes received, of which receipts may lag behind
	Seq   uint64
	First types.Epoch
}

var (
	objectBucket   = []byte("objects")   // id → object
	manifestBucket = []byte("manifests") // id → pipeline.Manifest
	typeBucket     = []byte("types")     // id → content type
	sessionBucket  = []byte("sessions")  // payer ‖ device → session
	shardBucket    = []byte("shards")    // payer ‖ device ‖ u64 slot → Shard
	dropBucket     = []byte("drops")     // payer ‖ device ‖ shard id: what the device has yet to be told to drop

	formerBucket      = []byte("former")        // like sessions: the session before, while shards are moved from it
	formerShardBucket = []byte("former shards") // like shards
	breakBucket       = []byte("breaks")        // payer ‖ device → apart
	partBucket        = []byte("parts")         // object id ‖ u64 → part
	lossBucket        = []byte("losses")        // payer ‖ device → u64 epoch in which it was last seen to have lost something
)

// tables are where a session is.
type tables struct{ sessions, shards []byte }

var (
	current = tables{sessionBucket, shardBucket}
	former  = tables{formerBucket, formerShardBucket}
)

// apart is what the books say of a device that came apart from them.
type apart struct {
	_      struct{} `cbor:",toarray"`
	Times  uint64
	Lapsed bool // nothing is agreed on in the former session any more
}

// books are one account's, on disk.
type books struct{ db *bbolt.DB }

// openBooks opens an account's books. What it finds damaged it says, and goes on: no record keeps an account
// from its others.
func openBooks(path string, log *slog.Logger) (*books, error) {
	db, err := bolt.Open(path, objectBucket, manifestBucket, typeBucket, sessionBucket, shardBucket, dropBucket, formerBucket, formerShardBucket,
		breakBucket, partBucket, lossBucket, foreignBucket)
	if err != nil {
		return nil, fmt.Errorf("storage: books: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return errors.Join(mend(tx, log), abandonParts(tx)) })
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("storage: prepare books %s: %w", path, err)
	}
	return &books{db}, nil
}

// maxRecord bounds one record of the books, in bytes: the pending operations of a commit, or the absent slots
// of a large object.
const maxRecord = 64 << 20

func get[T any](b *books, bucket, key []byte) (*T, error) {
	var v *T
	err := b.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucket).Get(key)
		if raw == nil {
			return nil
		}
		v = new(T)
		return types.DecodeLimit(raw, v, maxRecord)
	})
	if err != nil {
		return nil, fmt.Errorf("storage: books: %s %x: %w", bucket, key, err)
	}
	return v, nil
}

// maxName bounds an object's name, in bytes, as S3 does, and maxType its content type.
const (
	maxName = 1024
	maxType = 255
)

// readable decodes an object's record. One that is damaged is storage.BadRecord.
func readable(id, raw []byte) (*object, error) {
	o := new(object)
	if err := types.DecodeLimit(raw, o, maxRecord); err != nil {
		return nil, fmt.Errorf("storage: books: object %x: %w: %w", id, storage.BadRecord, err)
	}
	return o, nil
}

// lax reads text as it is.
var lax, _ = cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()

// mend looks at the record of each object. A name that cannot be read or shown, as earlier versions took it, is
// made into one that can.
func mend(tx *bbolt.Tx, log *slog.Logger) error {
	objects := tx.Bucket(objectBucket)
	changed := map[ObjectID][]byte{}
	err := objects.ForEach(func(k, v []byte) error {
		o := new(object)
		err := types.DecodeLimit(v, o, maxRecord)
		if err != nil && (lax.Unmarshal(v, o) != nil || !bytes.Equal(types.Encode(o), v)) {
			log.Error("storage: the record of an object is damaged: it can only be deleted", "object", fmt.Sprintf("%x", k), "err", err)
			return nil
		}
		if name := role.CleanText(o.Name, maxName); name != o.Name {
			log.Warn("storage: the name of an object could not be shown, and was changed", "object", fmt.Sprintf("%x", k), "from", o.Name, "to", name)
			o.Name = name
			changed[ObjectID(k)] = types.Encode(o)
		}
		return nil
	})
	for id, raw := range changed {
		err = errors.Join(err, objects.Put(id[:], raw))
	}
	return err
}

// object returns an object, or nil.
func (b *books) object(id ObjectID) (o *object, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(objectBucket).Get(id[:])
		if raw == nil {
			return nil
		}
		if o, err = readable(id[:], raw); err == nil {
			o.Type = string(tx.Bucket(typeBucket).Get(id[:]))
		}
		return err
	})
	return o, err
}

func (b *books) manifest(id ObjectID) (raw []byte, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		raw = append(raw, tx.Bucket(manifestBucket).Get(id[:])...)
		return nil
	})
	return raw, err
}

// shape returns an object's manifest, decoded. One that is damaged is storage.BadRecord.
func (b *books) shape(id ObjectID) (*pipeline.Manifest, error) {
	raw, err := b.manifest(id)
	if err != nil {
		return nil, err
	}
	m, err := pipeline.DecodeManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("storage: books: object %v: %w: %w", id, storage.BadRecord, err)
	}
	return m, nil
}

// putObject enters an object with its manifest.
func (b *books) putObject(id ObjectID, o *object, manifest []byte) error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		if err := errors.Join(tx.Bucket(manifestBucket).Put(id[:], manifest), wipe(tx.Bucket(partBucket), id[:])); err != nil {
			return err
		}
		if o.Type != "" {
			if err := tx.Bucket(typeBucket).Put(id[:], []byte(o.Type)); err != nil {
				return err
			}
		}
		return tx.Bucket(objectBucket).Put(id[:], types.Encode(o))
	})
	if err != nil {
		return fmt.Errorf("storage: books: enter object %v: %w", id, err)
	}
	return nil
}

// changeObject changes an object, and reports whether there is one.
func (b *books) changeObject(id ObjectID, change func(*object)) (known bool, err error) {
	err = b.db.Update(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(objectBucket).Get(id[:])
		if raw == nil {
			return nil
		}
		o, err := readable(id[:], raw)
		if err != nil {
			return err
		}
		known = true
		change(o)
		return tx.Bucket(objectBucket).Put(id[:], types.Encode(o))
	})
	if err != nil {
		return false, fmt.Errorf("storage: books: change object %v: %w", id, err)
	}
	return known, nil
}

func (b *books) deleteObject(id ObjectID) error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(manifestBucket).Delete(id[:]), tx.Bucket(typeBucket).Delete(id[:]), tx.Bucket(objectBucket).Delete(id[:]),
			tx.Bucket(foreignBucket).Delete(id[:]))
	})
	if err != nil {
		return fmt.Errorf("storage: books: delete object %v: %w", id, err)
	}
	return nil
}

// objects visits all objects by id. Of one whose record is damaged there is nothing but the id: o is nil.
func (b *books) objects(visit func(ObjectID, *object) error) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(objectBucket).ForEach(func(k, v []byte) error {
			o, _ := readable(k, v)
			if o != nil {
				o.Type = string(tx.Bucket(typeBucket).Get(k))
			}
			return visit(ObjectID(k), o)
		})
	})
}

func sessionKey(payer, device types.Key) []byte { return append(payer[:], device[:]...) }

// putSession enters a session, and the slots that its operations changed.
func (b *books) putSession(in *tables, payer, device types.Key, s *session, slots map[uint64]storage.Shard, length int) error {
	key := sessionKey(payer, device)
	err := b.db.Update(func(tx *bbolt.Tx) error {
		shards := tx.Bucket(in.shards)
		for slot, shard := range slots {
			at := binary.BigEndian.AppendUint64(append([]byte(nil), key...), slot)
			if slot >= uint64(length) {
				if err := shards.Delete(at); err != nil {
					return err
				}
			} else if err := shards.Put(at, types.Encode(&shard)); err != nil {
				return err
			}
		}
		return tx.Bucket(in.sessions).Put(key, types.Encode(s))
	})
	if err != nil {
		return fmt.Errorf("storage: books: enter session with %v: %w", device, err)
	}
	return nil
}

// session returns a session and its shards in slot order; nil if there is none.
func (b *books) session(in *tables, payer, device types.Key) (*session, []storage.Shard, error) {
	key := sessionKey(payer, device)
	s, err := get[session](b, in.sessions, key)
	if err != nil || s == nil {
		return nil, nil, err
	}
	list := make([]storage.Shard, 0, s.Holding.Holding.Shards)
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(in.shards).Cursor()
		for k, v := c.Seek(key); len(k) == len(key)+8 && string(k[:len(key)]) == string(key); k, v = c.Next() {
			var shard storage.Shard
			if err := types.Decode(v, &shard); err != nil {
				return err
			}
			if binary.BigEndian.Uint64(k[len(key):]) != uint64(len(list)) {
				return fmt.Errorf("slot %d is missing", len(list))
			}
			list = append(list, shard)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("storage: books: shards with %v: %w", device, err)
	}
	return s, list, nil
}

// sessions lists the devices that a payer has sessions with.
func (b *books) sessions(payer types.Key) (devices []types.Key, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(sessionBucket).Cursor()
		for k, _ := c.Seek(payer[:]); len(k) == 64 && types.Key(k[:32]) == payer; k, _ = c.Next() {
			devices = append(devices, types.Key(k[32:]))
		}
		return nil
	})
	return devices, err
}

// retire makes a session the former one, with the list of its shards, and begins a fresh one.
func (b *books) retire(payer, device types.Key, fresh, old *session, list []storage.Shard, times uint64, lapsed bool) error {
	key := sessionKey(payer, device)
	err := b.db.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range [][]byte{shardBucket, formerShardBucket} {
			if err := wipe(tx.Bucket(bucket), key); err != nil {
				return err
			}
		}
		for slot, shard := range list {
			at := binary.BigEndian.AppendUint64(append([]byte(nil), key...), uint64(slot))
			if err := tx.Bucket(formerShardBucket).Put(at, types.Encode(&shard)); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.Bucket(formerBucket).Put(key, types.Encode(old)),
			tx.Bucket(sessionBucket).Put(key, types.Encode(fresh)),
			tx.Bucket(breakBucket).Put(key, types.Encode(&apart{Times: times, Lapsed: lapsed})),
		)
	})
	if err != nil {
		return fmt.Errorf("storage: books: retire session with %v: %w", device, err)
	}
	return nil
}

// dismiss forgets the former session.
func (b *books) dismiss(payer, device types.Key) error {
	key := sessionKey(payer, device)
	err := b.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(wipe(tx.Bucket(formerShardBucket), key), tx.Bucket(formerBucket).Delete(key))
	})
	if err != nil {
		return fmt.Errorf("storage: books: dismiss session with %v: %w", device, err)
	}
	return nil
}

// breaks returns how often a device came apart from the books, and whether nothing is agreed on in the former
// session any more.
func (b *books) breaks(payer, device types.Key) (times uint64, lapsed bool, err error) {
	a, err := get[apart](b, breakBucket, sessionKey(payer, device))
	if a == nil {
		return 0, false, err
	}
	return a.Times, a.Lapsed, nil
}

// shunned reports whether a device came apart from the books too often.
func (b *books) shunned(payer, device types.Key) bool {
	times, _, err := b.breaks(payer, device)
	return err == nil && times >= maxBreaks
}

// restAfterLoss is for how many epochs a device that has lost something gets no further shards where others will do.
const restAfterLoss = 24

// rests reports whether a device has lost something lately.
func (b *books) rests(payer, device types.Key, now types.Epoch) (rests bool) {
	_ = b.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		if v := tx.Bucket(lossBucket).Get(sessionKey(payer, device)); len(v) == 8 {
			rests = types.Epoch(binary.BigEndian.Uint64(v))+restAfterLoss > now
		}
		return nil
	})
	return rests
}

// wipe deletes everything below a prefix.
func wipe(bucket *bbolt.Bucket, prefix []byte) error {
	var keys [][]byte
	c := bucket.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k)) // deleting under a cursor skips
	}
	for _, k := range keys {
		if err := bucket.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// markAbsent notes that a device does not have shards of a payer's objects any more.
func (b *books) markAbsent(payer, device types.Key, lost map[types.Hash]bool, now types.Epoch) error {
	if len(lost) == 0 {
		return nil
	}
	err := b.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(lossBucket).Put(sessionKey(payer, device), binary.BigEndian.AppendUint64(nil, uint64(now))); err != nil {
			return err
		}
		objects := tx.Bucket(objectBucket)
		changed := map[string][]byte{}
		err := objects.ForEach(func(k, v []byte) error {
			o, err := readable(k, v)
			if err != nil {
				return nil // it was said when the books were opened
			}
			slot := slices.Index(o.Devices, device)
			if o.Payer != payer || slot < 0 {
				return nil
			}
			m, err := pipeline.DecodeManifest(tx.Bucket(manifestBucket).Get(k))
			if err != nil {
				return nil // no shard of it can be told
			}
			for i, seg := range m.Segments {
				if lost[seg.Shards[slot]] && !o.absent(i, slot) {
					o.setAbsent(i, slot)
					changed[string(k)] = nil
				}
			}
			if _, ok := changed[string(k)]; ok {
				changed[string(k)] = types.Encode(o)
			}
			return nil
		})
		for k, v := range changed {
			err = errors.Join(err, objects.Put([]byte(k), v))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("storage: books: note shards that %v has lost: %w", device, err)
	}
	return nil
}

// queueDrops notes shards that a device is to drop.
func (b *books) queueDrops(payer, device types.Key, ids []types.Hash) error {
	return b.drops(func(bucket *bbolt.Bucket) error {
		for _, id := range ids {
			if err := bucket.Put(append(sessionKey(payer, device), id[:]...), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropped forgets what queueDrops noted.
func (b *books) dropped(payer, device types.Key, ids []types.Hash) error {
	return b.drops(func(bucket *bbolt.Bucket) error {
		for _, id := range ids {
			if err := bucket.Delete(append(sessionKey(payer, device), id[:]...)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *books) drops(change func(*bbolt.Bucket) error) error {
	if err := b.db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(dropBucket)) }); err != nil {
		return fmt.Errorf("storage: books: drops: %w", err)
	}
	return nil
}

// toDrop lists at most limit shards that a device has yet to drop.
func (b *books) toDrop(payer, device types.Key, limit int) (ids []types.Hash, err error) {
	key := sessionKey(payer, device)
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(dropBucket).Cursor()
		for k, _ := c.Seek(key); len(ids) < limit && len(k) == len(key)+32 && string(k[:len(key)]) == string(key); k, _ = c.Next() {
			ids = append(ids, types.Hash(k[len(key):]))
		}
		return nil
	})
	return ids, err
}
