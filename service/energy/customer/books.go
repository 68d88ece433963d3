package customer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// Bounds of the books. What comes first goes first.
const (
	maxRecords    = 512       // orders of one account that are remembered, those that ended too
	maxStatements = 50_000    // of one account: five years of hours
	maxPrices     = 500_000   // clearings, of all zones: in one zone, seven years
	maxSheets     = 100_000   // of all devices
	maxReadings   = 96 * 400  // intervals of one meter
	sheetEpochs   = 24 * 35   // for which the chain takes a sheet
	maxRow        = 128 << 10 // bytes of a row
)

// The buckets. Keys that begin with numbers hold them in big-endian order, so that the oldest is first. In a
// bucket of buckets, the sequence of each counts its rows.
var (
	orderBucket     = []byte("orders")     // account → bucket: session → record
	statementBucket = []byte("statements") // account → bucket: u64 epoch ‖ session ‖ u32 part → leaf
	idleBucket      = []byte("idle")       // session → idle: why the order did not act
	priceBucket     = []byte("prices")     // one bucket, "all": u64 k ‖ u64 zone ‖ u16 class ‖ u64 epoch → encoded Market
	sheetBucket     = []byte("sheets")     // one bucket, "all": device ‖ u32 day → leaf
	ageBucket       = []byte("sheet ages") // u64 epoch ‖ device ‖ u32 day
	readingBucket   = []byte("readings")   // device → bucket: u64 k → reading
	registerBucket  = []byte("registers")  // device → register
	openBucket      = []byte("open")       // u64 epoch ‖ place: rows of epochs that are not final
	epochBucket     = []byte("epochs")     // u64 epoch: read, not final
	cursorBucket    = []byte("cursor")     // "final" → u64 epoch
	unitBucket      = []byte("units")      // account → bucket: device → u8
	clientBucket    = []byte("clients")    // SHA-256 of a TLS client's certificate → client
)

var allBuckets = [][]byte{orderBucket, statementBucket, idleBucket, priceBucket, sheetBucket, ageBucket, readingBucket, registerBucket, openBucket,
	epochBucket, cursorBucket, unitBucket, clientBucket}

// all is the only bucket in a bucket that has one.
var all = []byte("all")

// record is an order as the books have it.
type record struct {
	_         struct{} `cbor:",toarray"`
	Account   types.Account
	Created   uint64 // Unix seconds
	Signed    receipt.SignedOrder
	Handed    bool         // to the market; else Run does it
	Refused   types.Reason // by the market, when Run did it
	Cancelled bool         // by the account
}

// key returns the order's name in the tally.
func (r *record) key() tally.SessionKey {
	return tally.SessionKey{Payer: r.Signed.Order.Payer, ID: r.Signed.Order.Session}
}

// idle is why an order did not act.
type idle struct {
	_      struct{} `cbor:",toarray"`
	Epoch  types.Epoch
	Reason types.Reason
}

// leaf is a leaf of a tally's outputs with its proof.
type leaf struct {
	_        struct{} `cbor:",toarray"`
	Epoch    types.Epoch
	Region   types.Region
	Index    uint64
	Data     []byte
	Detail   []byte
	Siblings []types.Hash
}

// books are the customer's, on disk.
type books struct{ db *bbolt.DB }

func openBooks(path string) (*books, error) {
	db, err := bolt.Open(path, allBuckets...)
	if err != nil {
		return nil, fmt.Errorf("energy: books: %w", err)
	}
	return &books{db}, nil
}

// view and update run a transaction that does what it says.
func (b *books) view(what string, do func(*bbolt.Tx) error) error {
	if err := b.db.View(do); err != nil {
		return fmt.Errorf("energy: books: %s: %w", what, err)
	}
	return nil
}

func (b *books) update(what string, do func(*bbolt.Tx) error) error {
	if err := b.db.Update(do); err != nil {
		return fmt.Errorf("energy: books: %s: %w", what, err)
	}
	return nil
}

// rows returns a bucket inside a bucket; nil where there is none and it is not made.
func rows(tx *bbolt.Tx, bucket, name []byte, create bool) (*bbolt.Bucket, error) {
	in := tx.Bucket(bucket)
	if !create {
		return in.Bucket(name), nil
	}
	return in.CreateBucketIfNotExists(name)
}

// put puts a row into a counted bucket, and lets the first rows go where there are more than most.
func put(in *bbolt.Bucket, key, value []byte, most uint64) error {
	n := in.Sequence()
	if in.Get(key) == nil {
		n++
	}
	if err := in.Put(key, value); err != nil {
		return err
	}
	var gone [][]byte
	c := in.Cursor()
	for k, _ := c.First(); k != nil && n-uint64(len(gone)) > most; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k)) // deleting under a cursor skips
	}
	for _, k := range gone {
		if err := in.Delete(k); err != nil {
			return err
		}
	}
	return in.SetSequence(n - uint64(len(gone)))
}

// remove takes a row out of a counted bucket.
func remove(in *bbolt.Bucket, key []byte) error {
	if in == nil || in.Get(key) == nil {
		return nil
	}
	return errors.Join(in.Delete(key), in.SetSequence(in.Sequence()-1))
}

func get[T any](in *bbolt.Bucket, key []byte) (*T, error) {
	if in == nil {
		return nil, nil
	}
	raw := in.Get(key)
	if raw == nil {
		return nil, nil
	}
	v := new(T)
	return v, types.DecodeLimit(raw, v, maxRow)
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// putOrder writes an order down.
func (b *books) putOrder(r *record) error {
	return b.update("write an order down", func(tx *bbolt.Tx) error {
		in, err := rows(tx, orderBucket, r.Account[:], true)
		if err != nil {
			return err
		}
		id := r.Signed.Order.Session
		return put(in, id[:], types.Encode(r), maxRecords) // by session: what expires first goes first
	})
}

// handed notes that the market has an order, unless a newer one of its session was written down meanwhile.
func (b *books) handed(r *record) error {
	return b.update("note an order", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, orderBucket, r.Account[:], false)
		id := r.Signed.Order.Session
		now, err := get[record](in, id[:])
		if err != nil || now == nil || now.Signed.Order.Seq != r.Signed.Order.Seq {
			return err
		}
		now.Handed = true
		return in.Put(id[:], types.Encode(now))
	})
}

// dropOrder forgets an order that the market refused.
func (b *books) dropOrder(r *record) error {
	return b.update("forget an order", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, orderBucket, r.Account[:], false)
		id := r.Signed.Order.Session
		return remove(in, id[:])
	})
}

// order returns an account's order; nil for none.
func (b *books) order(account types.Account, session types.SessionID) (r *record, err error) {
	err = b.view("order", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, orderBucket, account[:], false)
		r, err = get[record](in, session[:])
		return err
	})
	return r, err
}

// orders lists an account's orders; of the zero account, everybody's.
func (b *books) orders(account types.Account) (list []*record, err error) {
	err = b.view("orders", func(tx *bbolt.Tx) error {
		return tx.Bucket(orderBucket).ForEach(func(name, _ []byte) error {
			if !account.IsZero() && !bytes.Equal(name, account[:]) {
				return nil
			}
			return tx.Bucket(orderBucket).Bucket(name).ForEach(func(k, v []byte) error {
				r := new(record)
				if err := types.DecodeLimit(v, r, maxRow); err != nil {
					return fmt.Errorf("order %x: %w", k, err)
				}
				list = append(list, r)
				return nil
			})
		})
	})
	return list, err
}

// idle returns why an order did not act last.
func (b *books) idle(session types.SessionID) (i *idle, err error) {
	err = b.view("idle", func(tx *bbolt.Tx) error {
		i, err = get[idle](tx.Bucket(idleBucket), session[:])
		return err
	})
	return i, err
}

// final returns the newest epoch whose outputs were read and are final; 0 for none.
func (b *books) final() (e types.Epoch, err error) {
	err = b.view("cursor", func(tx *bbolt.Tx) error {
		if raw := tx.Bucket(cursorBucket).Get([]byte("final")); len(raw) == 8 {
			e = types.Epoch(binary.BigEndian.Uint64(raw))
		}
		return nil
	})
	return e, err
}

// read reports whether an epoch that is not final was read.
func (b *books) read(e types.Epoch) (yes bool, err error) {
	err = b.view("epoch", func(tx *bbolt.Tx) error {
		yes = tx.Bucket(epochBucket).Get(u64(uint64(e))) != nil
		return nil
	})
	return yes, err
}

// open lists the epochs that were read and are not final.
func (b *books) open() (list []types.Epoch, err error) {
	err = b.view("open epochs", func(tx *bbolt.Tx) error {
		return tx.Bucket(epochBucket).ForEach(func(k, _ []byte) error {
			list = append(list, types.Epoch(binary.BigEndian.Uint64(k)))
			return nil
		})
	})
	return list, err
}

// place is where a row of an open epoch is: in which bucket of which bucket.
type place struct {
	_        struct{} `cbor:",toarray"`
	In, Name []byte
	Key      []byte
}

// close makes an open epoch final; with drop, what was read of it goes: its header was voided.
func (b *books) close(e types.Epoch, drop bool) error {
	return b.update("close an epoch", func(tx *bbolt.Tx) error {
		at := u64(uint64(e))
		var gone [][]byte
		c := tx.Bucket(openBucket).Cursor()
		for k, _ := c.Seek(at); bytes.HasPrefix(k, at); k, _ = c.Next() {
			gone = append(gone, bytes.Clone(k))
		}
		for _, k := range gone {
			var p place
			if err := types.DecodeLimit(k[8:], &p, maxRow); err != nil {
				return err
			}
			if drop {
				if in, _ := rows(tx, p.In, p.Name, false); in != nil {
					if err := remove(in, p.Key); err != nil {
						return err
					}
				}
			}
			if err := tx.Bucket(openBucket).Delete(k); err != nil {
				return err
			}
		}
		return tx.Bucket(epochBucket).Delete(at)
	})
}

// advance notes that everything up to an epoch is final.
func (b *books) advance(e types.Epoch) error {
	return b.update("advance", func(tx *bbolt.Tx) error {
		return tx.Bucket(cursorBucket).Put([]byte("final"), u64(uint64(e)))
	})
}
