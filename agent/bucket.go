package agent

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"
)

// Bucket is a Store on disk: a bucket of a database, which must be there.
type Bucket struct {
	DB   *bbolt.DB
	Name []byte
}

var _ Store = Bucket{}

// Get implements Store.
func (b Bucket) Get(name string) (value []byte) {
	_ = b.DB.View(func(tx *bbolt.Tx) error { // fails only on a closed database
		value = bytes.Clone(tx.Bucket(b.Name).Get([]byte(name)))
		return nil
	})
	return value
}

// Put implements Store.
func (b Bucket) Put(name string, value []byte) error {
	err := b.DB.Update(func(tx *bbolt.Tx) error { return tx.Bucket(b.Name).Put([]byte(name), value) })
	if err != nil {
		return fmt.Errorf("agent: store %s: %w", name, diskError(err))
	}
	return nil
}
