package spool

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// Inputs keeps bytes by their SHA-256 below one directory.
type Inputs struct {
	dir  string
	most uint64

	mu      sync.Mutex
	have    map[types.Hash]*input
	bytes   uint64 // of what is whole, and what was promised to what is being written
	writing map[types.Hash]bool
}

type input struct {
	size   uint64
	used   time.Time
	pins   int
	owners []types.Account // who brought it, at most mostOwners; none: nobody in particular
}

const (
	mostInputs = 1 << 16 // there may be, however small
	mostOwners = 8       // of one that are remembered
)

const (
	partial = ".part" // what is not whole yet, and has a name
	fresh   = ".new"  // what has none yet
)

// partTime is how long what is not whole is kept for somebody who goes on with it.
const partTime = 24 * time.Hour

// OpenInputs opens or makes a store of at most so many bytes. What was left half-way by somebody who gave no
// hash is removed.
func OpenInputs(dir string, most uint64) (*Inputs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Inputs{dir: dir, most: most, have: map[types.Hash]*input{}, writing: map[types.Hash]bool{}}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		name := e.Name()
		old := strings.HasSuffix(name, partial) && time.Since(info.ModTime()) > partTime
		if strings.HasSuffix(name, fresh) || old {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("spool: %w", err)
			}
			continue
		}
		h, err := hex.DecodeString(name)
		if err != nil || len(h) != len(types.Hash{}) {
			continue
		}
		s.have[types.Hash(h)] = &input{size: uint64(info.Size()), used: info.ModTime()}
		s.bytes += uint64(info.Size())
	}
	return s, nil
}

func (s *Inputs) path(h types.Hash) string { return filepath.Join(s.dir, hex.EncodeToString(h[:])) }

// Size returns the length of what has a hash, and false if it is not here.
func (s *Inputs) Size(h types.Hash) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.have[h]; in != nil {
		return in.size, true
	}
	return 0, false
}

// Bytes returns how much there is in all.
func (s *Inputs) Bytes() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Pin keeps what has a hash until Unpin was called as often. It reports false if that is not here.
func (s *Inputs) Pin(h types.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.have[h]
	if in != nil {
		in.pins++
		in.used = time.Now()
	}
	return in != nil
}

// Unpin takes a Pin back.
func (s *Inputs) Unpin(h types.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.have[h]; in != nil && in.pins > 0 {
		in.pins--
	}
}

// Open opens what has a hash for reading.
func (s *Inputs) Open(h types.Hash) (*os.File, error) {
	s.mu.Lock()
	in := s.have[h]
	if in != nil {
		in.used = time.Now()
	}
	s.mu.Unlock()
	if in == nil {
		return nil, fmt.Errorf("spool: %v: %w", h, os.ErrNotExist)
	}
	f, err := os.Open(s.path(h))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return f, nil
}

// reserve makes room for n more bytes, by removing what nobody has pinned: of who has most of that, what was
// not used for longest. So who brings much pushes out what is its own; what others brought too stays theirs. It
// is disk_full if there is too little.
func (s *Inputs) reserve(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := func() bool { return s.bytes+n > s.most || len(s.have) >= mostInputs }
	if !full() {
		s.bytes += n
		return nil
	}
	shares := s.shares()
	for full() {
		most := -1
		for i := range shares {
			if len(shares[i].list) > 0 && (most < 0 || shares[i].bytes > shares[most].bytes) {
				most = i
			}
		}
		if most < 0 {
			return types.Refuse(types.DiskFull, "spool: %d bytes of inputs are in use, %d more do not fit", s.bytes, n)
		}
		share := &shares[most]
		oldest := share.list[0]
		least := s.have[oldest]
		share.list = share.list[1:]
		share.bytes -= s.counts(least)
		if least.owners = slices.DeleteFunc(least.owners, func(a types.Account) bool { return a == share.owner }); len(least.owners) > 0 {
			continue
		}
		delete(s.have, oldest)
		s.bytes -= least.size
		if err := os.Remove(s.path(oldest)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("spool: %w", err)
		}
	}
	s.bytes += n
	return nil
}

// share is what one account has brought, or nobody in particular, and nobody has pinned: what was not used for
// longest first.
type share struct {
	owner types.Account
	list  []types.Hash
	bytes uint64
}

// counts is what an input counts as: many small ones are much, too.
func (s *Inputs) counts(in *input) uint64 { return max(in.size, s.most/mostInputs) }

// shares returns those of all accounts. s.mu is held.
func (s *Inputs) shares() (list []share) {
	at := map[types.Account]int{}
	add := func(owner types.Account, h types.Hash, in *input) {
		i, ok := at[owner]
		if !ok {
			i = len(list)
			at[owner] = i
			list = append(list, share{owner: owner})
		}
		list[i].list = append(list[i].list, h)
		list[i].bytes += s.counts(in)
	}
	for h, in := range s.have {
		switch {
		case in.pins > 0:
		case len(in.owners) == 0:
			add(types.Account{}, h, in)
		default:
			for _, a := range in.owners {
				add(a, h, in)
			}
		}
	}
	for _, one := range list {
		slices.SortFunc(one.list, func(a, b types.Hash) int { return s.have[a].used.Compare(s.have[b].used) })
	}
	return list
}

func (s *Inputs) release(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= n
}

// step is for how many bytes room is made at a time: a stream says its length only at its end.
const step = 1 << 20

// small is up to how many bytes are looked at before they are written: what is here already costs the disk
// nothing then.
const small = 256 << 10

// Add is AddFor nobody in particular.
func (s *Inputs) Add(r io.Reader, limit uint64) (types.Hash, uint64, error) {
	return s.AddFor(types.Account{}, r, limit)
}

// AddFor keeps what r gives, up to limit bytes: beyond them it is oversize. It returns the hash by which that
// is known from now on, pinned once. It counts as the owner's, who may be one of several.
func (s *Inputs) AddFor(owner types.Account, r io.Reader, limit uint64) (types.Hash, uint64, error) {
	head := make([]byte, min(limit, small)+1)
	n, err := io.ReadFull(r, head)
	head = head[:n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && uint64(n) <= limit {
		if h := types.Sum(head); s.again(h, owner) {
			return h, uint64(n), nil
		}
	} else if err != nil {
		return types.Hash{}, 0, fmt.Errorf("spool: read: %w", err)
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	f, err := os.CreateTemp(s.dir, "*"+fresh)
	if err != nil {
		return types.Hash{}, 0, fmt.Errorf("spool: %w", err)
	}
	defer os.Remove(f.Name()) // it has another name by then, if all went well
	sum := sha256.New()
	size, room, err := s.copy(f, sum, r, limit)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		s.release(room)
		return types.Hash{}, 0, err
	}
	h := types.Hash(sum.Sum(nil))
	s.release(room - size)
	return h, size, s.name(f.Name(), h, size, owner)
}

// again pins what somebody brings who may not be the first.
func (s *Inputs) again(h types.Hash, owner types.Account) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.have[h]
	if in != nil {
		s.own(in, owner)
	}
	return in != nil
}

// own pins an input that is here, which is its owner's too from now on. s.mu is held.
func (s *Inputs) own(in *input, owner types.Account) {
	in.pins++
	in.used = time.Now()
	if !owner.IsZero() && !slices.Contains(in.owners, owner) && len(in.owners) < mostOwners {
		in.owners = append(in.owners, owner)
	}
}

// copy writes what r gives to f and sum, at most limit bytes, and makes room for it first: room is for how much.
func (s *Inputs) copy(f io.Writer, sum hash.Hash, r io.Reader, limit uint64) (size, room uint64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if size+uint64(n) > limit {
				return size, room, types.Refuse(types.Oversize, "more than %d bytes", limit)
			}
			if size+uint64(n) > room {
				if err := s.reserve(step); err != nil {
					return size, room, err
				}
				room += step
			}
			_, _ = sum.Write(buf[:n]) // never fails
			if _, err := f.Write(buf[:n]); err != nil {
				return size, room, fmt.Errorf("spool: %w", err)
			}
			size += uint64(n)
		}
		if errors.Is(err, io.EOF) {
			return size, room, nil
		}
		if err != nil {
			return size, room, fmt.Errorf("spool: read: %w", err)
		}
	}
}

// name gives a whole file its name. Room of its size has been made.
func (s *Inputs) name(path string, h types.Hash, size uint64, owner types.Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.have[h]; in != nil {
		s.bytes -= size
		s.own(in, owner)
		return errors.Join(os.Remove(path), nil)
	}
	if err := os.Rename(path, s.path(h)); err != nil {
		s.bytes -= size
		return fmt.Errorf("spool: %w", err)
	}
	s.have[h] = &input{size: size}
	s.own(s.have[h], owner)
	return files.SyncDir(s.dir)
}

// Fetch has what has a hash, and so many bytes, here: pinned once. Get is asked for what is missing, from an
// offset on; after it failed, the next Fetch goes on where it stopped, also after a restart. What comes and has
// another hash is thrown away: ErrDigest.
func (s *Inputs) Fetch(ctx context.Context, h types.Hash, size uint64, get func(ctx context.Context, offset uint64) (io.ReadCloser, error)) error {
	if s.Pin(h) {
		if have, _ := s.Size(h); have != size {
			s.Unpin(h)
			return fmt.Errorf("spool: %v has %d bytes, not %d: %w", h, have, size, ErrDigest)
		}
		return nil
	}
	for first := true; !s.begin(h); first = false { // somebody else fetches it
		if !first {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		if s.Pin(h) {
			return nil
		}
	}
	defer s.end(h)
	if s.Pin(h) {
		return nil
	}
	if err := s.reserve(size); err != nil {
		return err
	}
	kept, err := s.fetch(ctx, h, size, get)
	if !kept {
		s.release(size)
	}
	return err
}

func (s *Inputs) begin(h types.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing[h] {
		return false
	}
	s.writing[h] = true
	return true
}

func (s *Inputs) end(h types.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writing, h)
}

// ErrDigest says that bytes are not those that their hash names.
var ErrDigest = errors.New("spool: the bytes have another hash")

func (s *Inputs) fetch(ctx context.Context, h types.Hash, size uint64, get func(context.Context, uint64) (io.ReadCloser, error)) (kept bool, err error) {
	path := s.path(h) + partial
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	defer f.Close() // closed below where it matters
	sum := sha256.New()
	at, err := io.Copy(sum, io.LimitReader(f, int64(size)))
	if err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	if err := f.Truncate(at); err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	if uint64(at) < size {
		body, err := get(ctx, uint64(at))
		if err != nil {
			return false, err
		}
		n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(body, int64(size)-at))
		if err = errors.Join(err, body.Close()); err != nil {
			return false, fmt.Errorf("spool: fetch %v: %w", h, err)
		}
		if uint64(at+n) < size {
			return false, fmt.Errorf("spool: fetch %v: %w after %d of %d bytes", h, io.ErrUnexpectedEOF, at+n, size)
		}
	}
	if types.Hash(sum.Sum(nil)) != h {
		return false, errors.Join(fmt.Errorf("spool: %v: %w", h, ErrDigest), os.Remove(path))
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("spool: %w", err)
	}
	if err := s.name(path, h, size, types.Account{}); err != nil {
		return true, err // name has given the room back
	}
	return true, nil
}

// List returns what is here, in the order of hashes.
func (s *Inputs) List() []types.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]types.Hash, 0, len(s.have))
	for h := range s.have {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b types.Hash) int { return slices.Compare(a[:], b[:]) })
	return list
}
