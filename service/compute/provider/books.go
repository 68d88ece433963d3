package provider

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// record is what the journal says of an order that was accepted, beside the call itself.
type record struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Started bool   // it may have run
	Ended   []byte // compute.Ended; empty while it has not
	// At is the epoch in which it ended, or its leaf was committed to last.
	At   types.Epoch
	Kept bool // the gateway has the end, or is given up
}

// trust is what is known of who pays, over all of its sessions.
type trust struct {
	_      struct{}     `cbor:",toarray"`
	Window uint64       // nanoseconds of one slot that it may owe
	Since  uint64       // that it has paid for since the window last grew
	Debt   uint64       // nanoseconds of jobs that ended before they were paid for
	Lost   types.Credit // of sessions that ended without having reached the least opening, since one last did
	Seen   types.Epoch
}

// tab is what the journal says of a session.
type tab struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Class   types.Class
	Ask     []byte     // receipt.SignedAsk
	Next    uint64     // the index of its next job
	Ended   uint64     // units of the jobs that have ended
	Cost    types.U128 // Σ units·price of these
	Price   uint64     // of the newest job
	Receipt []byte     // the newest (receipt.Signed); empty for none
	Covered uint64     // units that it pays for, as far as there is money behind it
	Whole   []byte     // the newest receipt that the leaves cover
	Handed  []handed   // ascending
	Pruned  uint64     // the first leaf that is still here
	Seen    types.Epoch
}

// handed is a receipt that was handed in.
type handed struct {
	_      struct{} `cbor:",toarray"`
	Epoch  types.Epoch
	Units  uint64
	Amount types.Credit
}

// stub is a leaf with what its session's leaves before it cost.
type stub struct {
	_      struct{} `cbor:",toarray"`
	Before uint64
	Order  types.Hash
	Signed compute.SignedLeaf
}

var (
	callBucket    = []byte("calls")    // order → compute.Call
	jobBucket     = []byte("jobs")     // order → record
	sessionBucket = []byte("sessions") // payer ‖ session → tab
	leafBucket    = []byte("leaves")   // payer ‖ session ‖ u64 index → stub
	trustBucket   = []byte("trust")    // account → trust
	goneBucket    = []byte("gone")     // ids of sessions that were dropped before they ended → nothing
	metaBucket    = []byte("meta")     // what → u64 epoch in which it was done last
)

const journalName = "journal.db"

// books are the journal. What write did is on the disk when it returns.
type books struct{ db *bbolt.DB }

func openBooks(path string) (*books, error) {
	db, err := bolt.Open(path, callBucket, jobBucket, sessionBucket, leafBucket, trustBucket, goneBucket, metaBucket, auditBucket)
	if err != nil {
		return nil, fmt.Errorf("compute: journal: %w", err)
	}
	db.MaxBatchDelay = 200 * time.Microsecond // a customer waits for most of what is written
	return &books{db}, nil
}

func (b *books) close() error { return b.db.Close() }

// write changes the journal, all or nothing; what several do at a time shares one write to the disk. f may be
// called more than once.
func (b *books) write(f func(*bbolt.Tx) error) error {
	if err := b.db.Batch(f); err != nil {
		return fmt.Errorf("compute: write journal: %w", err)
	}
	return nil
}

func put(tx *bbolt.Tx, bucket, key []byte, v any) error {
	return tx.Bucket(bucket).Put(key, types.Encode(v))
}

// maxRecord bounds one record, in bytes: a call, or the end of a job.
const maxRecord = 512 << 10

// decode reads a record; nil for none.
func decode[T any](raw []byte) (*T, error) {
	if raw == nil {
		return nil, nil
	}
	v := new(T)
	if err := types.DecodeLimit(raw, v, maxRecord); err != nil {
		return nil, fmt.Errorf("compute: journal: %w", err)
	}
	return v, nil
}

// all decodes every record of a bucket whose key starts so, from one on.
func all[T any](tx *bbolt.Tx, bucket, prefix, from []byte, visit func(key []byte, v *T) (more bool, err error)) error {
	c := tx.Bucket(bucket).Cursor()
	for k, raw := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		v, err := decode[T](raw)
		if err != nil {
			return fmt.Errorf("%s %x: %w", bucket, k, err)
		}
		if more, err := visit(k, v); err != nil || !more {
			return err
		}
	}
	return nil
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

// sessionKey names a session: an id belongs to its payer.
type sessionKey struct {
	payer types.Key
	id    types.SessionID
}

func (k sessionKey) bytes() []byte { return append(k.payer[:len(k.payer):len(k.payer)], k.id[:]...) }

func (k sessionKey) leaf(index uint64) []byte { return binary.BigEndian.AppendUint64(k.bytes(), index) }

func parseSessionKey(b []byte) (k sessionKey, err error) {
	if len(b) != len(k.payer)+len(k.id) {
		return k, fmt.Errorf("compute: journal: a session's key of %d bytes", len(b))
	}
	copy(k.payer[:], b)
	copy(k.id[:], b[len(k.payer):])
	return k, nil
}
