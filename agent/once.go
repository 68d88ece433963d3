package agent

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// onceBucket holds the names of what is said once: name → u64 epoch of the envelope (big endian).
var onceBucket = []byte("once")

// onceEpochs is for how many epochs a name is remembered: what it names counts in one.
const onceEpochs = 2

// EvidenceOnce is Evidence under a name: the envelope and the name are stored in one transaction, and what has
// the name already is not stored again, also after a restart. It reports whether it was stored now. Names go
// with Expire, onceEpochs after their epoch.
func (o *Spool) EvidenceOnce(p evidence.Payload, name types.Hash) (stored bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if known, err := o.Named(name); known || err != nil {
		return false, err
	}
	_, err = o.store(p, func(tx *bbolt.Tx) error {
		return tx.Bucket(onceBucket).Put(name[:], binary.BigEndian.AppendUint64(nil, uint64(p.Epoch)))
	})
	return err == nil, err
}

// Named reports whether something was stored under a name.
func (o *Spool) Named(name types.Hash) (known bool, err error) {
	err = o.db.View(func(tx *bbolt.Tx) error {
		known = tx.Bucket(onceBucket).Get(name[:]) != nil
		return nil
	})
	return known, err
}

// forgetNames forgets names of before an epoch. The caller holds mu.
func (o *Spool) forgetNames(before types.Epoch) error {
	var old [][]byte
	err := o.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(onceBucket).ForEach(func(k, v []byte) error {
			if len(v) != 8 || types.Epoch(binary.BigEndian.Uint64(v)) < before {
				old = append(old, append([]byte(nil), k...))
			}
			return nil
		})
	})
	if err == nil && len(old) > 0 {
		err = o.db.Update(func(tx *bbolt.Tx) error {
			for _, k := range old {
				if err := tx.Bucket(onceBucket).Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("agent: forget %d names: %w", len(old), diskError(err))
	}
	return nil
}
