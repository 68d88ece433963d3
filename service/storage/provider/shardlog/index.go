package shardlog

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// index is index.db: bucket "shards" from shard id ‖ session to log, offset, length (u32 each) and journal
// number (u64), and bucket "meta", where "covered" is the log and offset (u32 each) up to which it knows the
// logs. All big endian.
type index struct{ db *bolt.DB }

var (
	shardsBucket = []byte("shards")
	metaBucket   = []byte("meta")
	coveredKey   = []byte("covered")
)

const (
	keySize   = 32 + 16
	valueSize = 4 + 4 + 4 + 8
)

// openIndex opens or makes the index. Another process that has it open makes it fail within a second.
func openIndex(path string) (index, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return index{}, fmt.Errorf("index: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{shardsBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return index{}, fmt.Errorf("index: %w", err)
	}
	return index{db}, nil
}

func (x index) close() error {
	if x.db == nil {
		return nil
	}
	return x.db.Close()
}

func encodeKey(k Key) []byte { return append(k.Shard[:len(k.Shard):len(k.Shard)], k.Session[:]...) }

func decodeKey(b []byte) (k Key, ok bool) {
	if len(b) != keySize {
		return k, false
	}
	copy(k.Shard[:], b)
	copy(k.Session[:], b[32:])
	return k, true
}

func encodePlace(p place) []byte {
	b := make([]byte, 0, valueSize)
	b = binary.BigEndian.AppendUint32(b, p.log)
	b = binary.BigEndian.AppendUint32(b, p.offset)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Length))
	return binary.BigEndian.AppendUint64(b, p.Journal)
}

func decodePlace(b []byte) (p place, ok bool) {
	if len(b) != valueSize {
		return p, false
	}
	p.log = binary.BigEndian.Uint32(b)
	p.offset = binary.BigEndian.Uint32(b[4:])
	p.Length = int(binary.BigEndian.Uint32(b[8:]))
	p.Journal = binary.BigEndian.Uint64(b[12:])
	return p, true
}

func (x index) get(key Key) (at place, err error) {
	err = x.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(shardsBucket).Get(encodeKey(key))
		if b == nil {
			return fmt.Errorf("shardlog: %s of session %s: %w", key.Shard, key.Session, ErrNotFound)
		}
		var ok bool
		if at, ok = decodePlace(b); !ok {
			return fmt.Errorf("shardlog: %s: index entry of %d bytes: %w", key.Shard, len(b), ErrDamaged)
		}
		return nil
	})
	return at, err
}

// entry is one line of the index.
type entry struct {
	key Key
	place
}

// after returns up to n entries whose keys come after last, nil for the first ones.
func (x index) after(last []byte, n int) (entries []entry, next []byte, err error) {
	err = x.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(shardsBucket).Cursor()
		k, v := c.First()
		if last != nil {
			if k, v = c.Seek(last); k != nil && string(k) == string(last) {
				k, v = c.Next()
			}
		}
		for ; k != nil && len(entries) < n; k, v = c.Next() {
			key, ok := decodeKey(k)
			at, ok2 := decodePlace(v)
			if !ok || !ok2 {
				return fmt.Errorf("shardlog: index entry of %d and %d bytes: %w", len(k), len(v), ErrDamaged)
			}
			entries = append(entries, entry{key, at})
			next = append(next[:0], k...)
		}
		return nil
	})
	return entries, next, err
}

// covered returns the place up to which the index knows the logs, and false if it is new.
func (x index) covered() (log, offset uint32, ok bool, err error) {
	err = x.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(metaBucket).Get(coveredKey); len(b) == 8 {
			log, offset, ok = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), true
		}
		return nil
	})
	return log, offset, ok, err
}

// update applies changes and moves the place covered, all or nothing, durably.
func (x index) update(changes map[Key]change, log, offset uint32) error {
	return x.db.Update(func(tx *bolt.Tx) error {
		shards := tx.Bucket(shardsBucket)
		for key, c := range changes {
			var err error
			if c.gone {
				err = shards.Delete(encodeKey(key))
			} else {
				err = shards.Put(encodeKey(key), encodePlace(c.place))
			}
			if err != nil {
				return err
			}
		}
		b := binary.BigEndian.AppendUint32(nil, log)
		return tx.Bucket(metaBucket).Put(coveredKey, binary.BigEndian.AppendUint32(b, offset))
	})
}
