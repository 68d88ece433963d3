package provider

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// entry is a record as it is kept, in CBOR; earlier versions kept JSON.
type entry struct {
	Record energy.Record `json:"record" cbor:"1,keyasint"`
	Site   energy.Site   `json:"site" cbor:"2,keyasint"`                     // whose meters it is of
	Sent   types.Epoch   `json:"sent,omitempty" cbor:"3,keyasint,omitempty"` // the epoch in which it was handed in last
	Anew   energy.Mask   `json:"anew,omitempty" cbor:"5,keyasint,omitempty"` // the registers that began anew since the record before
	// Unchecked: the clock that stamped it had not been compared with the chain's.
	Unchecked bool `json:"unchecked,omitempty" cbor:"4,keyasint,omitempty"`
}

func decodeEntry(raw []byte, e *entry) error {
	if len(raw) > 0 && raw[0] == '{' {
		return json.Unmarshal(raw, e)
	}
	return types.Decode(raw, e)
}

// journal is what is on disk. What put has returned from survives a crash.
type journal struct{ db *bbolt.DB }

var (
	recordBucket = []byte("records") // entries, by interval
	trackBucket  = []byte("tracks")  // tracks, by role and register
	metaBucket   = []byte("meta")
)

func openJournal(path string) (*journal, error) {
	db, err := bolt.Open(path, recordBucket, trackBucket, metaBucket)
	if err != nil {
		return nil, fmt.Errorf("energy: journal: %w", err)
	}
	return &journal{db}, nil
}

func (j *journal) close() error { return j.db.Close() }

func key(k uint64) []byte { return binary.BigEndian.AppendUint64(nil, k) }

// put adds a record, and where the counters stand that it is of. Beyond keepFor, the oldest go; dropped says
// how many of them never counted, as far as counted tells.
func (j *journal) put(e *entry, tracks map[string]*track, counted uint64) (dropped int, err error) {
	err = j.db.Update(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordBucket)
		records.FillPercent = 0.9 // they are added at the end
		if err := records.Put(key(e.Record.K), types.Encode(e)); err != nil {
			return err
		}
		for name, t := range tracks {
			raw, err := json.Marshal(t)
			if err != nil {
				return err
			}
			if err := tx.Bucket(trackBucket).Put([]byte(name), raw); err != nil {
				return err
			}
		}
		dropped, err = trim(records, e.Record.K, counted)
		return err
	})
	return dropped, err
}

// trim removes what is older than keepFor.
func trim(records *bbolt.Bucket, newest, counted uint64) (dropped int, err error) {
	var old [][]byte
	c := records.Cursor()
	for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k)+keepFor <= newest; k, _ = c.Next() {
		if binary.BigEndian.Uint64(k) > counted {
			dropped++
		}
		old = append(old, k)
	}
	for _, k := range old {
		if err := records.Delete(k); err != nil {
			return 0, err
		}
	}
	return dropped, nil
}

// after returns the records of intervals after k, in order.
func (j *journal) after(k uint64) (list []entry, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(recordBucket).Cursor()
		for at, raw := c.Seek(key(k + 1)); at != nil; at, raw = c.Next() {
			var e entry
			if err := decodeEntry(raw, &e); err != nil {
				return fmt.Errorf("energy: record %d on disk: %w", binary.BigEndian.Uint64(at), err)
			}
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// newest returns the last interval on disk.
func (j *journal) newest() (k uint64, ok bool) {
	j.db.View(func(tx *bbolt.Tx) error {
		if at, _ := tx.Bucket(recordBucket).Cursor().Last(); at != nil {
			k, ok = binary.BigEndian.Uint64(at), true
		}
		return nil
	})
	return k, ok
}

// change rewrites entries; those for which f says so go.
func (j *journal) change(list []entry, f func(*entry) (keep bool)) error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(recordBucket)
		for i := range list {
			if !f(&list[i]) {
				if err := b.Delete(key(list[i].Record.K)); err != nil {
					return err
				}
				continue
			}
			if err := b.Put(key(list[i].Record.K), types.Encode(&list[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// tracks returns where counters stand.
func (j *journal) tracks() (map[string]*track, error) {
	out := map[string]*track{}
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(trackBucket).ForEach(func(k, raw []byte) error {
			t := new(track)
			out[string(k)] = t
			if err := json.Unmarshal(raw, t); err != nil {
				return err
			}
			t.mend()
			return nil
		})
	})
	return out, err
}

// load reads a small value that store wrote; one that was never written leaves to as it is.
func (j *journal) load(name string, to any) error {
	return j.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(metaBucket).Get([]byte(name))
		if raw == nil {
			return nil
		}
		return json.Unmarshal(raw, to)
	})
}

// store writes a small value.
func (j *journal) store(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte(name), raw) })
}
