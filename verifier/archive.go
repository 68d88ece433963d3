package verifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// archive is what a verifier keeps of tallies, for itself and for who asks: states in pages, what it signed and
// what it computed, and blobs. Everything that it says is kept is on disk when it returns. In memory are the
// states that further tallies build on.
type archive struct {
	db    *bolt.DB
	blobs *blobs

	mu     sync.Mutex
	states map[types.Hash]*tally.State // by header; the zero hash is the state before the first
}

var (
	pagesBucket  = []byte("pages")  // page hash → page
	statesBucket = []byte("states") // header hash → u64 epoch, then the hashes of the state's pages
	signedBucket = []byte("signed") // u64 epoch, u16 region, u8 round → Signed header, encoded
	tallyBucket  = []byte("tally")  // header hash → tallied, encoded
)

// tallied is what was computed of one header, by the names of its blobs.
type tallied struct {
	_       struct{} `cbor:",toarray"`
	Header  []byte
	Frame   types.Hash
	Changes types.Hash
	Batch   types.Hash
	Result  types.Hash // zero until the chain took the header
	Outputs types.Hash // as Result
}

// openArchive opens the folder. Only one process can have it open: home_busy.
func openArchive(dir, chain string, region types.Region) (*archive, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, types.Refuse(types.HomeUnwritable, "verifier: %v", err)
	}
	db, err := bolt.Open(filepath.Join(dir, "verifier.db"), 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolt.ErrTimeout) {
		return nil, types.Refuse(types.HomeBusy, "verifier: %s", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("verifier: open %s: %w", dir, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{pagesBucket, statesBucket, signedBucket, tallyBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("verifier: prepare %s: %w", dir, err)
	}
	b, err := openBlobs(filepath.Join(dir, "blobs"))
	if err != nil {
		db.Close()
		return nil, err
	}
	return &archive{db: db, blobs: b, states: map[types.Hash]*tally.State{{}: tally.NewState(chain, region)}}, nil
}

func (a *archive) close() error { return a.db.Close() }

// held returns the state after a header if it is in memory, nil otherwise; the zero hash asks for the state
// before the first.
func (a *archive) held(header types.Hash) *tally.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.states[header]
}

// state returns the state after a header, and keeps it in memory; nil if it is not there. A nil header asks for
// the state before the first.
func (a *archive) state(h *ledger.Header) *tally.State {
	if h == nil {
		return a.held(types.Hash{})
	}
	st := a.held(h.Hash)
	if st == nil {
		var err error
		if st, err = a.read(h); err != nil {
			return nil
		}
		a.hold(h.Hash, st)
	}
	return st
}

func (a *archive) hold(header types.Hash, st *tally.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[header] = st
}

// newest returns the newest state in memory that is on the region's path, nil if there is none.
func (a *archive) newest(p *path) *tally.State {
	for _, h := range p.headers {
		if st := a.held(h.Hash); st != nil {
			return st
		}
	}
	if p.complete {
		return a.held(types.Hash{})
	}
	return nil
}

// save keeps what a header was made from, and the names of its report and its outputs, which are zero until the
// chain took it.
func (a *archive) save(c *computed, result, outputs types.Hash) error {
	t := &tallied{Header: c.header.Encode(), Result: result, Outputs: outputs}
	for _, part := range []struct {
		to  *types.Hash
		raw []byte
	}{
		{&t.Frame, c.frame.Encode()},
		{&t.Changes, tally.EncodeChanges(c.changes)},
		{&t.Batch, c.raw},
	} {
		name, err := a.blobs.put(c.header.Epoch, part.raw)
		if err != nil {
			return err
		}
		*part.to = name.Hash
	}
	return a.putTally(c.hash, t)
}

// adopt keeps all of a header that the chain took, and its state in memory.
func (a *archive) adopt(c *computed) error {
	result, err := a.blobs.put(c.header.Epoch, types.Encode(newReport(c)))
	if err != nil {
		return err
	}
	outputs, err := a.blobs.put(c.header.Epoch, encodeOutputs(c.result.Outputs))
	if err != nil {
		return err
	}
	if err := a.save(c, result.Hash, outputs.Hash); err != nil {
		return err
	}
	return a.putState(c.hash, c.state)
}

// putState keeps the state after a header, in memory too: the pages that are not kept yet, and the list of all.
func (a *archive) putState(header types.Hash, st *tally.State) error {
	err := a.db.Update(func(tx *bolt.Tx) error {
		pages := tx.Bucket(pagesBucket)
		list := binary.BigEndian.AppendUint64(nil, uint64(st.Epoch()))
		for p := range st.Pages() {
			list = append(list, p.Hash[:]...)
			if pages.Get(p.Hash[:]) == nil {
				if err := pages.Put(p.Hash[:], p.Raw); err != nil {
					return err
				}
			}
		}
		return tx.Bucket(statesBucket).Put(header[:], list)
	})
	if err != nil {
		return fmt.Errorf("verifier: keep the state after epoch %d: %w", st.Epoch(), err)
	}
	a.hold(header, st)
	return nil
}

// read reads the state after a header from the disk.
func (a *archive) read(h *ledger.Header) (*tally.State, error) {
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	var pages [][]byte
	err = a.db.View(func(tx *bolt.Tx) error {
		list := tx.Bucket(statesBucket).Get(h.Hash[:])
		if list == nil {
			return types.Refuse(types.UnknownBlob, "no state after epoch %d", h.Epoch)
		}
		for list = list[8:]; len(list) > 0; list = list[len(types.Hash{}):] {
			raw := tx.Bucket(pagesBucket).Get(list[:len(types.Hash{})])
			if raw == nil {
				return types.Refuse(types.UnknownBlob, "a page of the state after epoch %d", h.Epoch)
			}
			pages = append(pages, append([]byte(nil), raw...))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verifier: read a state: %w", err)
	}
	return tally.DecodeState(header.State, pages)
}

// pageList returns the hashes of the pages of the state after a header, nil if it is not kept.
func (a *archive) pageList(header types.Hash) []byte {
	var out []byte
	_ = a.db.View(func(tx *bolt.Tx) error { // reading memory cannot fail
		if list := tx.Bucket(statesBucket).Get(header[:]); list != nil {
			out = append(out, list[8:]...)
		}
		return nil
	})
	return out
}

// page returns a page, nil if it is not kept.
func (a *archive) page(hash types.Hash) []byte {
	var out []byte
	_ = a.db.View(func(tx *bolt.Tx) error {
		out = append(out, tx.Bucket(pagesBucket).Get(hash[:])...)
		return nil
	})
	return out
}

func signedKey(e types.Epoch, r types.Region, round uint8) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(e))
	return append(binary.BigEndian.AppendUint16(k, uint16(r)), round)
}

// sign notes that a header is about to be signed. It returns the header that was signed before in that round,
// if it is another one: a second signature would cost the stake.
func (a *archive) sign(h *tally.Header) (before *tally.Header, err error) {
	raw := h.Encode()
	err = a.db.Update(func(tx *bolt.Tx) error {
		b, key := tx.Bucket(signedBucket), signedKey(h.Epoch, h.Region, h.Round)
		if old := b.Get(key); old != nil {
			if string(old) != string(raw) {
				before, err = tally.DecodeHeader(append([]byte(nil), old...))
			}
			return err
		}
		return b.Put(key, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("verifier: note the signature of epoch %d: %w", h.Epoch, err)
	}
	return before, nil
}

// signed returns the header that was signed in a round, nil if none was.
func (a *archive) signed(e types.Epoch, r types.Region, round uint8) *tally.Header {
	var h *tally.Header
	_ = a.db.View(func(tx *bolt.Tx) error {
		if raw := tx.Bucket(signedBucket).Get(signedKey(e, r, round)); raw != nil {
			h, _ = tally.DecodeHeader(append([]byte(nil), raw...))
		}
		return nil
	})
	return h
}

// putTally keeps what was computed of a header.
func (a *archive) putTally(header types.Hash, t *tallied) error {
	err := a.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(tallyBucket).Put(header[:], types.Encode(t)) })
	if err != nil {
		return fmt.Errorf("verifier: keep the tally of header %s: %w", header, err)
	}
	return nil
}

// tally returns what was computed of a header, nil if nothing was.
func (a *archive) tally(header types.Hash) *tallied {
	var t *tallied
	_ = a.db.View(func(tx *bolt.Tx) error {
		if raw := tx.Bucket(tallyBucket).Get(header[:]); raw != nil {
			t = new(tallied)
			return types.Decode(raw, t)
		}
		return nil
	})
	return t
}

// prune drops from memory all states but those in keep, and from the disk whatever else belongs to epochs before e.
func (a *archive) prune(e types.Epoch, keep map[types.Hash]bool) error {
	a.mu.Lock()
	maps.DeleteFunc(a.states, func(h types.Hash, _ *tally.State) bool { return !keep[h] })
	a.mu.Unlock()
	if e == 0 {
		return nil
	}
	err := a.db.Update(func(tx *bolt.Tx) error {
		used := map[types.Hash]bool{}
		err := sweep(tx.Bucket(statesBucket), func(k, v []byte) bool {
			if types.Epoch(binary.BigEndian.Uint64(v)) < e && !keep[types.Hash(k)] {
				return true
			}
			for list := v[8:]; len(list) > 0; list = list[len(types.Hash{}):] {
				used[types.Hash(list)] = true
			}
			return false
		})
		if err != nil {
			return err
		}
		if err := sweep(tx.Bucket(pagesBucket), func(k, _ []byte) bool { return !used[types.Hash(k)] }); err != nil {
			return err
		}
		err = sweep(tx.Bucket(signedBucket), func(k, _ []byte) bool { return types.Epoch(binary.BigEndian.Uint64(k)) < e })
		if err != nil {
			return err
		}
		return sweep(tx.Bucket(tallyBucket), func(_, v []byte) bool {
			var t tallied
			if types.Decode(v, &t) != nil {
				return true
			}
			h, err := tally.DecodeHeader(t.Header)
			return err != nil || h.Epoch < e
		})
	})
	if err != nil {
		return fmt.Errorf("verifier: drop what is older than epoch %d: %w", e, err)
	}
	return a.blobs.prune(e)
}

// sweep deletes what gone says.
func sweep(b *bolt.Bucket, gone func(k, v []byte) bool) error {
	var keys [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if gone(k, v) {
			keys = append(keys, append([]byte(nil), k...))
		}
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
