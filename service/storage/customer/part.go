package customer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
)

// part is what a device is asked to hold of an object that the books do not have yet, or not there. It is noted
// before the device hears of it: should this process end before the object is entered, the next one has the
// device drop it.
type part struct {
	_      struct{} `cbor:",toarray"`
	Payer  types.Key
	Device types.Key
	Shards []types.Hash
}

// noteParts notes parts of an object, from number first on. What they name is not to be dropped any more.
func (b *books) noteParts(id ObjectID, first uint64, parts []part) error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		for i := range parts {
			key := binary.BigEndian.AppendUint64(id[:len(id):len(id)], first+uint64(i))
			if err := tx.Bucket(partBucket).Put(key, types.Encode(&parts[i])); err != nil {
				return err
			}
			for _, shard := range parts[i].Shards {
				if err := tx.Bucket(dropBucket).Delete(append(sessionKey(parts[i].Payer, parts[i].Device), shard[:]...)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storage: books: note what devices are to hold of object %v: %w", id, err)
	}
	return nil
}

// forgetParts forgets what noteParts noted of an object.
func (b *books) forgetParts(id ObjectID) error {
	if err := b.db.Update(func(tx *bbolt.Tx) error { return wipe(tx.Bucket(partBucket), id[:]) }); err != nil {
		return fmt.Errorf("storage: books: forget parts of object %v: %w", id, err)
	}
	return nil
}

// abandonParts has dropped what devices hold for uploads that an earlier run began and did not end. Where the
// object names the device, the shards are its own by now, or will be when it is made complete. A record that
// cannot be read is passed over.
func abandonParts(tx *bbolt.Tx) error {
	parts := tx.Bucket(partBucket)
	err := parts.ForEach(func(k, v []byte) error {
		p := new(part)
		if err := types.DecodeLimit(v, p, maxRecord); err != nil {
			return nil
		}
		if raw := tx.Bucket(objectBucket).Get(k[:min(len(k), len(ObjectID{}))]); raw != nil {
			o := new(object)
			if types.DecodeLimit(raw, o, maxRecord) != nil || slices.Contains(o.Devices, p.Device) {
				return nil
			}
		}
		for _, id := range p.Shards {
			if err := tx.Bucket(dropBucket).Put(append(sessionKey(p.Payer, p.Device), id[:]...), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var keys [][]byte
	c := parts.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := parts.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
