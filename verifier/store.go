package verifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// store is what a verifier keeps between runs besides the intake logs: states in pages, what it signed, and blobs. Everything that it
// says is kept is on disk when it returns.
type store struct {
	dir   string
	db    *bolt.DB
	blobs *blobs
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

// openStore opens the folder. Only one process can have it open: home_busy.
func openStore(dir string) (*store, error) {
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
	return &store{dir: dir, db: db, blobs: b}, nil
}

func (s *store) close() error { return s.db.Close() }

// putState keeps the state after a header: the pages that are not kept yet, and the list of all.
func (s *store) putState(header types.Hash, st *tally.State) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
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
	return nil
}

// state reads the state after a header, which has that hash.
func (s *store) state(header, hash types.Hash) (*tally.State, error) {
	var pages [][]byte
	err := s.db.View(func(tx *bolt.Tx) error {
		list := tx.Bucket(statesBucket).Get(header[:])
		if list == nil {
			return types.Refuse(types.UnknownBlob, "no state after header %s", header)
		}
		for list = list[8:]; len(list) > 0; list = list[len(types.Hash{}):] {
			raw := tx.Bucket(pagesBucket).Get(list[:len(types.Hash{})])
			if raw == nil {
				return types.Refuse(types.UnknownBlob, "a page of the state after header %s", header)
			}
			pages = append(pages, append([]byte(nil), raw...))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verifier: read a state: %w", err)
	}
	return tally.DecodeState(hash, pages)
}

// pageList returns the hashes of the pages of the state after a header, nil if it is not kept.
func (s *store) pageList(header types.Hash) []byte {
	var out []byte
	_ = s.db.View(func(tx *bolt.Tx) error { // reading memory cannot fail
		if list := tx.Bucket(statesBucket).Get(header[:]); list != nil {
			out = append(out, list[8:]...)
		}
		return nil
	})
	return out
}

// page returns a page, nil if it is not kept.
func (s *store) page(hash types.Hash) []byte {
	var out []byte
	_ = s.db.View(func(tx *bolt.Tx) error {
		out = append(out, tx.Bucket(pagesBucket).Get(hash[:])...)
		return nil
	})
	return out
}

func signedKey(e types.Epoch, r types.Region, round uint8) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(e))
	return append(binary.BigEndian.AppendUint16(k, uint16(r)), round)
}

// sign notes that a header is about to be signed. It returns the header that was signed before in that round, if it is another
// one: a second signature would cost the stake.
func (s *store) sign(h *tally.Header) (before *tally.Header, err error) {
	raw := h.Encode()
	err = s.db.Update(func(tx *bolt.Tx) error {
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
func (s *store) signed(e types.Epoch, r types.Region, round uint8) *tally.Header {
	var h *tally.Header
	_ = s.db.View(func(tx *bolt.Tx) error {
		if raw := tx.Bucket(signedBucket).Get(signedKey(e, r, round)); raw != nil {
			h, _ = tally.DecodeHeader(append([]byte(nil), raw...))
		}
		return nil
	})
	return h
}

// putTally keeps what was computed of a header.
func (s *store) putTally(header types.Hash, t *tallied) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(tallyBucket).Put(header[:], types.Encode(t)) })
	if err != nil {
		return fmt.Errorf("verifier: keep the tally of header %s: %w", header, err)
	}
	return nil
}

// tally returns what was computed of a header, nil if nothing was.
func (s *store) tally(header types.Hash) *tallied {
	var t *tallied
	_ = s.db.View(func(tx *bolt.Tx) error {
		if raw := tx.Bucket(tallyBucket).Get(header[:]); raw != nil {
			t = new(tallied)
			return types.Decode(raw, t)
		}
		return nil
	})
	return t
}

// prune drops what belongs to epochs before e, except the states in keep.
func (s *store) prune(e types.Epoch, keep map[types.Hash]bool) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
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
	return s.blobs.prune(e)
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
