package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// Bounds of a Spool. At them, Evidence, Receipt and SubmitAsk refuse with over_quota, and nothing that is kept goes.
const (
	maxPending      = 8192
	maxPendingBytes = 64 << 20
	maxNamed        = 4096 // asks that receipts can name; beyond it the oldest go
)

// KeepEpochs is how long an item is resent that verifiers neither take nor refuse.
const KeepEpochs = 48

var (
	metaBucket     = []byte("meta")     // seq, prev, and what the node remembers besides
	evidenceBucket = []byte("evidence") // u64 seq (big endian) → envelope
	receiptBucket  = []byte("receipt")  // payer, session → receipt.Signed
	askBucket      = []byte("ask")      // hash → u64 until, receipt.SignedAsk
	askedBucket    = []byte("asked")    // hash of what follows → receipt.SignedAsk that is handed in by itself

	seqKey  = []byte("seq")  // of the newest envelope, u64 big endian
	prevKey = []byte("prev") // its hash
)

// Spool keeps on disk, synced, what a key has signed and verifiers have not acknowledged yet. An envelope is
// stored in one transaction with the number that it uses up, before anything can send it: so whatever happens
// to the process, no two envelopes ever leave with one number. All methods are safe for concurrent use.
type Spool struct {
	Bucket  // what its owner remembers besides
	db      *bbolt.DB
	key     types.PrivateKey
	chain   string
	waiting *Outbox[place]
	most    int // bytes that wait

	mu   sync.Mutex // held while what waits and what is on disk change together
	seq  uint64
	prev types.Hash
	open map[string]*spooled // pending receipts, by their keys
	asks map[types.Hash][]byte
}

// place is where an item is on disk.
type place struct {
	bucket []byte
	key    []byte
}

// spooled is something to be acknowledged. Evidence leaves by its number, all else after it.
type spooled = Item[place]

// GivenUp is an item that a Spool gave up, and why.
type GivenUp = Refused[place]

// OpenSpool opens the file of a key, or makes it. It is home_busy while another process has it.
func OpenSpool(path string, key types.PrivateKey, chain string) (*Spool, error) {
	db, err := bolt.Open(path, metaBucket, evidenceBucket, receiptBucket, askBucket, askedBucket, onceBucket)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	o := &Spool{Bucket: Bucket{db, metaBucket}, db: db, key: key, chain: chain, waiting: NewOutbox[place](), most: maxPendingBytes,
		open: map[string]*spooled{}, asks: map[types.Hash][]byte{}}
	if err := o.load(); err != nil {
		db.Close()
		return nil, fmt.Errorf("agent: load %s: %w", path, err)
	}
	return o, nil
}

func (o *Spool) load() error {
	return o.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if v := meta.Get(seqKey); len(v) == 8 {
			o.seq = binary.BigEndian.Uint64(v)
		}
		copy(o.prev[:], meta.Get(prevKey))
		err := tx.Bucket(askBucket).ForEach(func(k, v []byte) error {
			if len(k) == len(types.Hash{}) && len(v) > 8 {
				o.asks[types.Hash(k)] = bytes.Clone(v[8:])
			}
			return nil
		})
		err = errors.Join(err, tx.Bucket(evidenceBucket).ForEach(func(_, v []byte) error {
			e, err := evidence.Decode(bytes.Clone(v), o.chain)
			if err == nil {
				o.add(evidenceItem(e))
			}
			return err
		}))
		err = errors.Join(err, tx.Bucket(askedBucket).ForEach(func(_, v []byte) error {
			a, err := receipt.DecodeAsk(v, o.chain)
			if err == nil {
				o.add(askedItem(a))
			}
			return err
		}))
		return errors.Join(err, tx.Bucket(receiptBucket).ForEach(func(_, v []byte) error {
			r, err := receipt.Decode(v, o.chain)
			if err == nil {
				o.add(o.receiptItem(r))
			}
			return err
		}))
	})
}

// Close closes the file. Run must have returned.
func (o *Spool) Close() error { return o.db.Close() }

func evidenceItem(e *evidence.Envelope) *spooled {
	return &spooled{Item: bus.Item{Type: bus.Evidence, Raw: e.Raw}, Order: e.Seq, Expiry: e.Epoch + KeepEpochs,
		Own: place{evidenceBucket, binary.BigEndian.AppendUint64(nil, e.Seq)}}
}

// receiptItem is a receipt with the ask that it names.
func (o *Spool) receiptItem(s *receipt.Signed) *spooled {
	return &spooled{Item: bus.Item{Type: bus.Receipt, Raw: s.Encode()}, With: o.asks[s.Receipt.Terms], Order: ^uint64(0),
		Expiry: s.Receipt.Session.Expiry() + 2, Own: place{receiptBucket, slices.Concat(s.Receipt.Payer[:], s.Receipt.Session[:])}}
}

func askedItem(s *receipt.SignedAsk) *spooled {
	i := &spooled{Item: bus.Item{Type: bus.Ask, Raw: s.Encode()}, Order: ^uint64(0), Expiry: s.Ask.Until}
	hash := i.Item.Hash()
	i.Own = place{askedBucket, hash[:]}
	return i
}

// add has an item that is on disk handed in. The caller holds mu.
func (o *Spool) add(i *spooled) {
	o.waiting.Add(i)
	if i.Type == bus.Receipt {
		o.open[string(i.Own.key)] = i
	}
}

// room refuses n bytes more than may wait.
func (o *Spool) room(n int) error {
	if items, bytes := o.waiting.Size(); items >= maxPending || bytes+n > o.most {
		return types.Refuse(types.OverQuota, "agent: %d items of %d bytes wait to be acknowledged", items, bytes)
	}
	return nil
}

// Evidence numbers, signs and stores an envelope. p lacks its number and its predecessor.
func (o *Spool) Evidence(p evidence.Payload) (types.Hash, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store(p, func(*bbolt.Tx) error { return nil })
}

// store is Evidence with what else is to be on disk with the envelope. The caller holds mu.
func (o *Spool) store(p evidence.Payload, also func(*bbolt.Tx) error) (types.Hash, error) {
	if len(p.Body) > evidence.MaxBody {
		return types.Hash{}, types.Refuse(types.Oversize, "agent: a body of %d bytes, at most %d are taken", len(p.Body), evidence.MaxBody)
	}
	if err := o.room(len(p.Body)); err != nil {
		return types.Hash{}, err
	}
	p.Chain, p.Seq, p.Prev = o.chain, o.seq+1, o.prev
	e := evidence.Sign(o.key, p)
	i := evidenceItem(e)
	err := o.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		return errors.Join(meta.Put(seqKey, i.Own.key), meta.Put(prevKey, e.Hash[:]), tx.Bucket(evidenceBucket).Put(i.Own.key, e.Raw), also(tx))
	})
	if err != nil {
		return types.Hash{}, fmt.Errorf("agent: store evidence %d: %w", p.Seq, diskError(err))
	}
	o.seq, o.prev = p.Seq, e.Hash
	o.add(i)
	return e.Hash, nil
}

// Raise makes numbers go on after seq, if they lag behind: the home was restored from a backup, and what this
// key signed since then is in the tally.
func (o *Spool) Raise(seq uint64, last types.Hash) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq <= o.seq {
		return false, nil
	}
	err := o.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		return errors.Join(meta.Put(seqKey, binary.BigEndian.AppendUint64(nil, seq)), meta.Put(prevKey, last[:]))
	})
	if err != nil {
		return false, fmt.Errorf("agent: raise sequence to %d: %w", seq, diskError(err))
	}
	o.seq, o.prev = seq, last
	return true, nil
}

// Receipt stores a countersigned receipt in place of the session's earlier one. Its ask must be known.
func (o *Spool) Receipt(s *receipt.Signed) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.receiptItem(s)
	if o.waiting.Has(i.Item.Hash()) {
		return nil
	}
	if i.With == nil {
		return types.Refuse(types.UnknownAsk, "agent: receipt of session %s names ask %s", s.Receipt.Session, s.Receipt.Terms)
	}
	before, err := o.receiptBefore(i, &s.Receipt)
	if err != nil {
		return err
	}
	if before == nil {
		if err := o.room(len(i.Raw)); err != nil {
			return err
		}
	}
	err = o.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(receiptBucket).Put(i.Own.key, i.Raw) })
	if err != nil {
		return fmt.Errorf("agent: store receipt of session %s: %w", s.Receipt.Session, diskError(err))
	}
	if before != nil {
		o.waiting.Remove(before.Hash)
	}
	o.add(i)
	return nil
}

// receiptBefore returns the pending receipt that i replaces, and refuses totals that fall.
func (o *Spool) receiptBefore(i *spooled, r *receipt.Receipt) (*spooled, error) {
	before := o.open[string(i.Own.key)]
	if before == nil {
		return nil, nil
	}
	s, err := receipt.Decode(before.Raw, o.chain)
	if err != nil {
		return nil, err
	}
	if r.Amount < s.Receipt.Amount || r.Units.Cmp(s.Receipt.Units) < 0 || r.Seq < s.Receipt.Seq {
		return nil, types.Refuse(types.FallingTotals, "agent: receipt %d of session %s after %d", r.Seq, r.Session, s.Receipt.Seq)
	}
	return before, nil
}

// SubmitAsk stores an ask until it was acknowledged.
func (o *Spool) SubmitAsk(s *receipt.SignedAsk) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := askedItem(s)
	if o.waiting.Has(i.Item.Hash()) {
		return nil
	}
	if err := o.room(len(i.Raw)); err != nil {
		return err
	}
	err := o.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(askedBucket).Put(i.Own.key, i.Raw) })
	if err != nil {
		return fmt.Errorf("agent: store ask: %w", diskError(err))
	}
	o.add(i)
	return nil
}

// KeepAsk stores an ask, so that receipts can name it.
func (o *Spool) KeepAsk(s *receipt.SignedAsk) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	hash, raw := s.Ask.Hash(), s.Encode()
	if o.asks[hash] != nil {
		return nil
	}
	var gone []types.Hash
	err := o.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(askBucket)
		if len(o.asks) >= maxNamed {
			var err error
			if gone, err = oldestAsks(b, maxNamed/8); err != nil {
				return err
			}
		}
		for _, h := range gone {
			if err := b.Delete(h[:]); err != nil {
				return err
			}
		}
		return b.Put(hash[:], append(binary.BigEndian.AppendUint64(nil, uint64(s.Ask.Until)), raw...))
	})
	if err != nil {
		return fmt.Errorf("agent: store ask: %w", diskError(err))
	}
	for _, h := range gone {
		delete(o.asks, h)
	}
	o.asks[hash] = raw
	return nil
}

// oldestAsks returns the n asks that lapsed or lapse first.
func oldestAsks(b *bbolt.Bucket, n int) ([]types.Hash, error) {
	type line struct {
		until uint64
		hash  types.Hash
	}
	var lines []line
	err := b.ForEach(func(k, v []byte) error {
		lines = append(lines, line{binary.BigEndian.Uint64(v), types.Hash(k)})
		return nil
	})
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.until, b.until) })
	var out []types.Hash
	for _, l := range lines[:min(n, len(lines))] {
		out = append(out, l.hash)
	}
	return out, err
}

func diskError(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: %w", err, types.DiskFull)
	}
	return err
}

// Acked takes a verifier's answer in. It forgets what more than two thirds of power acknowledged, and gives up
// what too many refuse for good, which it returns.
func (o *Spool) Acked(a *bus.Ack, verifier types.Key, set bus.Set) (settled int, given []GivenUp, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	done, given, err := o.waiting.Acked(a, verifier, set)
	settled = len(done)
	for _, g := range given {
		done = append(done, g.Item)
	}
	return settled, given, errors.Join(err, o.forget(done))
}

// Expire gives up what can no longer count in epoch e.
func (o *Spool) Expire(e types.Epoch) (given []GivenUp, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := o.waiting.Expire(e)
	for _, i := range done {
		reason := types.WrongEpoch
		if i.Type == bus.Receipt {
			reason = types.SessionExpired
		}
		given = append(given, GivenUp{Item: i, Reason: reason})
	}
	return given, errors.Join(o.forget(done), o.forgetNames(e-min(e, onceEpochs)))
}

// forget takes items that are done off the disk. One that is still there after a crash is sent once more, which
// does no harm. The caller holds mu.
func (o *Spool) forget(done []*spooled) error {
	if len(done) == 0 {
		return nil
	}
	for _, i := range done {
		if o.open[string(i.Own.key)] == i {
			delete(o.open, string(i.Own.key))
		}
	}
	err := o.db.Update(func(tx *bbolt.Tx) error {
		var err error
		for _, i := range done {
			err = errors.Join(err, tx.Bucket(i.Own.bucket).Delete(i.Own.key))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("agent: forget %d items: %w", len(done), err)
	}
	return nil
}

// Run hands in what is due, until ctx ends.
func (o *Spool) Run(ctx context.Context, a *Agent, wait time.Duration) { o.waiting.Run(ctx, a, wait) }

// Size returns how many items wait, and their bytes.
func (o *Spool) Size() (items, bytes int) { return o.waiting.Size() }

// Seq is the number of the newest envelope.
func (o *Spool) Seq() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seq
}
