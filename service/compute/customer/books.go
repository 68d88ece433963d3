package customer

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// ID names a job.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return types.Refuse(compute.NoJob, "%.80q is no job's id", text)
	}
	*id = ID(b)
	return nil
}

// State says where a job is.
type State string

// States of a job.
const (
	Placing   State = "placing" // looks for a device
	Placed    State = "placed"  // a device has accepted it
	Running   State = "running"
	Paused    State = "paused" // the device waits to be paid
	Done      State = "done"   // it ran to its end, whatever its exit code
	Failed    State = "failed" // it was stopped, or could not be run
	Cancelled State = "cancelled"
)

// Ended reports whether nothing more happens to a job.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// record is a job on disk.
type record struct {
	ID      ID             `json:"id"`
	Account types.Account  `json:"account"`
	Payer   types.Key      `json:"payer"`
	Key     string         `json:"key,omitempty"` // Idempotency-Key
	Name    string         `json:"name,omitempty"`
	Created int64          `json:"created"` // Unix milliseconds
	Want    want           `json:"want"`
	Job     compute.Job    `json:"job"`
	Files   compute.Files  `json:"files,omitempty"`
	Sizes   []size         `json:"sizes"` // of the inputs
	State   State          `json:"state"`
	Tries   []try          `json:"tries,omitempty"`
	Passed  map[string]int `json:"passed,omitempty"`
	// How it ended.
	Ended   int64           `json:"ended,omitempty"` // Unix milliseconds
	Bytes   uint64          `json:"bytes,omitempty"` // of its outputs
	Result  *compute.Result `json:"result,omitempty"`
	Leaf    []byte          `json:"leaf,omitempty"`   // the device's, signed
	Unkept  bool            `json:"unkept,omitempty"` // there was no room for the files that it left
	Reason  types.Reason    `json:"reason,omitempty"`
	Message string          `json:"message,omitempty"`
	Fuel    uint64          `json:"fuel"`
	Paid    types.Credit    `json:"paid"` // of all tries
}

// want is what a job's device has to be like.
type want struct {
	Slots   uint32       `json:"slots"`
	Price   uint64       `json:"price"` // the most per scale
	Quality types.Bp     `json:"quality,omitempty"`
	Near    []types.Cell `json:"near,omitempty"`
	Mode    compute.Mode `json:"mode"`
	Ports   []uint16     `json:"ports,omitempty"`  // of a container, that the customer reaches
	Egress  []string     `json:"egress,omitempty"` // what it has to be able to reach
}

// size is how long an input is.
type size struct {
	Hash types.Hash `json:"hash"`
	Size uint64     `json:"size"`
}

// try is one device that accepted the job.
type try struct {
	Device  types.Key       `json:"device"`
	Session types.SessionID `json:"session"`
	Index   uint64          `json:"index"`
	Order   types.Hash      `json:"order"`
	Price   uint64          `json:"price"`
	At      int64           `json:"at"` // Unix milliseconds
	// Units and Amount are what the session's receipts said before: what they say more is for this try.
	Units  types.U128   `json:"units"`
	Amount types.Credit `json:"amount"`
	Paid   types.Credit `json:"paid"`
	Reason types.Reason `json:"reason,omitempty"` // why it did not end there
}

// session is what one wallet signs to one device for one class, one job at a time. Its totals are what the
// newest receipt says, and never fall.
type session struct {
	ID    types.SessionID `json:"id"`
	Ask   []byte          `json:"ask"`   // the device's, signed (receipt.SignedAsk); its price is the ceiling
	First types.Epoch     `json:"first"` // when it began
	Index uint64          `json:"index"` // of its next job
	Units types.U128      `json:"units"`
	// Cost is Σ units·price of all jobs: the amount is that over the scale.
	Cost   types.U128   `json:"cost"`
	Amount types.Credit `json:"amount"`
	Seq    uint64       `json:"seq"`
	Over   bool         `json:"over,omitempty"` // a job of it has no leaf, so no later one of it can be committed to
}

var (
	jobsBucket     = []byte("jobs")     // account ‖ id → record
	sessionsBucket = []byte("sessions") // payer ‖ device ‖ class ‖ session → session
	keysBucket     = []byte("keys")     // account ‖ SHA-256 of the Idempotency-Key → id
	claimsBucket   = []byte("claims")   // device ‖ session ‖ u64 index → what it signed of that job
	metaBucket     = []byte("meta")
)

// books is what the gateway keeps of jobs.
type books struct{ db *bbolt.DB }

func openBooks(path string) (*books, error) {
	db, err := bolt.Open(path, jobsBucket, sessionsBucket, keysBucket, claimsBucket, metaBucket)
	if err != nil {
		return nil, fmt.Errorf("compute: %w", err)
	}
	db.MaxBatchDelay = 200 * time.Microsecond // somebody waits for each job
	return &books{db}, nil
}

func (b *books) close() error { return b.db.Close() }

func jobKey(account types.Account, id ID) []byte { return append(account[:], id[:]...) }

func idempotency(account types.Account, key string) []byte {
	h := types.Sum([]byte(key))
	return append(account[:], h[:]...)
}

func newID() (id ID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// put keeps a job. In batches: many jobs at once share one write to the disk.
func (b *books) put(r *record) error {
	return b.putAnd(r, func(*bbolt.Tx) error { return nil })
}

// putBoth keeps a job with the session that it is done in.
func (b *books) putBoth(r *record, of sessionOf, s *session) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	return b.putAnd(r, func(tx *bbolt.Tx) error {
		return tx.Bucket(sessionsBucket).Put(sessionKey(of.payer, of.device, of.class, s.ID), raw)
	})
}

func (b *books) putAnd(r *record, also func(*bbolt.Tx) error) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	return b.write(func(tx *bbolt.Tx) error {
		if err := also(tx); err != nil {
			return err
		}
		if r.Key != "" {
			if err := tx.Bucket(keysBucket).Put(idempotency(r.Account, r.Key), r.ID[:]); err != nil {
				return err
			}
		}
		return tx.Bucket(jobsBucket).Put(jobKey(r.Account, r.ID), raw)
	})
}

func (b *books) write(f func(*bbolt.Tx) error) error {
	if err := b.db.Batch(f); err != nil {
		return types.Refuse(types.HomeUnwritable, "compute: %v", err)
	}
	return nil
}

// get returns a job, no_job if the account has none of this id.
func (b *books) get(account types.Account, id ID) (*record, error) {
	r := new(record)
	err := b.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(jobsBucket).Get(jobKey(account, id))
		if raw == nil {
			return types.Refuse(compute.NoJob, "compute: job %v", id)
		}
		return json.Unmarshal(raw, r)
	})
	return r, err
}

// named returns the job that was submitted with an Idempotency-Key, and false for none.
func (b *books) named(account types.Account, key string) (id ID, ok bool) {
	_ = b.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		if raw := tx.Bucket(keysBucket).Get(idempotency(account, key)); len(raw) == len(id) {
			id, ok = ID(raw), true
		}
		return nil
	})
	return id, ok
}

// each calls f for every job of an account, or of all where account is zero. A record that can't be read is
// passed over.
func (b *books) each(account types.Account, f func(*record)) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		prefix := account[:]
		if account.IsZero() {
			prefix = nil
		}
		c := tx.Bucket(jobsBucket).Cursor()
		for k, v := c.Seek(prefix); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix); k, v = c.Next() {
			r := new(record)
			if json.Unmarshal(v, r) == nil {
				f(r)
			}
		}
		return nil
	})
}

// forget removes a job.
func (b *books) forget(r *record) error {
	return b.write(func(tx *bbolt.Tx) error {
		if r.Key != "" {
			if err := tx.Bucket(keysBucket).Delete(idempotency(r.Account, r.Key)); err != nil {
				return err
			}
		}
		return tx.Bucket(jobsBucket).Delete(jobKey(r.Account, r.ID))
	})
}

func sessionKey(payer, device types.Key, class types.Class, id types.SessionID) []byte {
	k := append(append(append([]byte(nil), payer[:]...), device[:]...), byte(class>>8), byte(class))
	return append(k, id[:]...)
}

func (b *books) putSession(payer, device types.Key, class types.Class, s *session) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	return b.write(func(tx *bbolt.Tx) error {
		return tx.Bucket(sessionsBucket).Put(sessionKey(payer, device, class, s.ID), raw)
	})
}

// sessions returns those of a wallet at a device for a class, and removes what ended before an epoch.
func (b *books) sessions(payer, device types.Key, class types.Class, before types.Epoch) (list []*session, err error) {
	var old [][]byte
	err = b.db.View(func(tx *bbolt.Tx) error {
		prefix := sessionKey(payer, device, class, types.SessionID{})[:66]
		c := tx.Bucket(sessionsBucket).Cursor()
		for k, v := c.Seek(prefix); k != nil && string(k[:66]) == string(prefix); k, v = c.Next() {
			s := new(session)
			if json.Unmarshal(v, s) != nil || s.ID.Expiry() < before {
				old = append(old, append([]byte(nil), k...))
				continue
			}
			list = append(list, s)
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return list, err
	}
	return list, b.write(func(tx *bbolt.Tx) error {
		for _, k := range old {
			if err := tx.Bucket(sessionsBucket).Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// buysFrom returns the devices that a wallet has sessions with.
func (b *books) buysFrom(payer types.Key) (list []types.Key, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(sessionsBucket).Cursor()
		for k, _ := c.Seek(payer[:]); k != nil && string(k[:32]) == string(payer[:]); k, _ = c.Next() {
			if d := types.Key(k[32:64]); len(list) == 0 || list[len(list)-1] != d {
				list = append(list, d)
			}
		}
		return nil
	})
	return list, err
}
