package provider

import (
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Bounds of what is staged, which nobody pays for. Beyond them a shard is refused with storage.full. In bytes,
// a quarter of what the device holds or has room for may be staged, and a quarter of that by one account, but
// never less than the least.
const (
	maxStaged        = 1 << 18 // shards in all
	maxStagedAccount = 1 << 16 // shards of one account
	stagedShare      = 4
	leastStaged      = 128 << 20 // bytes in all
)

// shelf knows which stored shards no session refers to yet, and lets nobody remove a shard that somebody is
// about to refer to. It forgets at a crash; sweep finds again what it knew.
type shelf struct {
	store *shardlog.Store
	books *books

	// mu guards what follows. It is held while a shard is removed.
	mu       sync.Mutex
	staged   map[shardlog.Key]staged
	accounts map[types.SessionID]*load // by tag
	all      load
	pins     map[shardlog.Key]int
}

// staged is a shard that is kept until the end of an epoch.
type staged struct {
	until types.Epoch
	bytes uint64
}

// load is how much is staged.
type load struct {
	shards int
	bytes  uint64
}

func newShelf(store *shardlog.Store, b *books) *shelf {
	return &shelf{store: store, books: b, staged: map[shardlog.Key]staged{}, accounts: map[types.SessionID]*load{}, pins: map[shardlog.Key]int{}}
}

// of returns how many bytes an account has staged.
func (s *shelf) of(account types.SessionID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[account]; a != nil {
		return a.bytes
	}
	return 0
}

// pin keeps shards from being removed until unpin.
func (s *shelf) pin(keys ...shardlog.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		s.pins[k]++
	}
}

func (s *shelf) unpin(keys ...shardlog.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if s.pins[k]--; s.pins[k] <= 0 {
			delete(s.pins, k)
		}
	}
}

// add stages a shard of so many bytes until the end of an epoch, and reports whether it was not staged before.
// capacity is how many bytes the device can hold.
func (s *shelf) add(key shardlog.Key, bytes, capacity uint64, until types.Epoch) (fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.staged[key]; ok {
		s.staged[key] = staged{until, old.bytes}
		return false, nil
	}
	most := max(leastStaged, capacity/stagedShare)
	var mine load
	if a := s.accounts[key.Session]; a != nil {
		mine = *a
	}
	if s.all.shards >= maxStaged || mine.shards >= maxStagedAccount || s.all.bytes+bytes > most || mine.bytes+bytes > most/stagedShare {
		return false, types.Refuse(storage.Full, "storage: %d bytes in %d shards are staged, %d in %d of this account; at most %d, and %d of one",
			s.all.bytes, s.all.shards, mine.bytes, mine.shards, most, most/stagedShare)
	}
	s.enter(key, bytes, until)
	return true, nil
}

// enter counts a staged shard. mu is held.
func (s *shelf) enter(key shardlog.Key, bytes uint64, until types.Epoch) {
	a := s.accounts[key.Session]
	if a == nil {
		a = new(load)
		s.accounts[key.Session] = a
	}
	s.staged[key] = staged{until, bytes}
	for _, l := range []*load{a, &s.all} {
		l.shards++
		l.bytes += bytes
	}
}

// take ends the staging of shards: sessions refer to them now.
func (s *shelf) take(keys ...shardlog.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		s.forget(k)
	}
}

// forget drops a staged shard from the count. mu is held.
func (s *shelf) forget(key shardlog.Key) {
	old, ok := s.staged[key]
	if !ok {
		return
	}
	delete(s.staged, key)
	a := s.accounts[key.Session]
	for _, l := range []*load{a, &s.all} {
		l.shards--
		l.bytes -= old.bytes
	}
	if a.shards == 0 {
		delete(s.accounts, key.Session)
	}
}

// drop removes shards that nothing refers to, that are not staged, and that nobody is about to refer to.
func (s *shelf) drop(keys ...shardlog.Key) error {
	for _, key := range keys {
		if err := s.dropOne(key); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) dropOne(key shardlog.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.staged[key]; ok || s.pins[key] > 0 {
		return nil
	}
	held := false
	err := s.books.db.View(func(tx *bbolt.Tx) error {
		held = referred(tx, key)
		return nil
	})
	if err != nil || held {
		return err
	}
	return s.store.Delete(key)
}

// expire removes what was staged until before epoch now and is referred to by nothing.
func (s *shelf) expire(now types.Epoch) error {
	var old []shardlog.Key
	s.mu.Lock()
	for key, at := range s.staged {
		if at.until < now && s.pins[key] == 0 {
			old = append(old, key)
			s.forget(key)
		}
	}
	s.mu.Unlock()
	return s.drop(old...)
}

// adopt stages a stored shard that nothing refers to: it was left by a crash.
func (s *shelf) adopt(key shardlog.Key, bytes uint64, until types.Epoch) error {
	held := false
	err := s.books.db.View(func(tx *bbolt.Tx) error {
		held = referred(tx, key)
		return nil
	})
	if err != nil || held {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.staged[key]; !ok {
		s.enter(key, bytes, until) // beyond the bounds if need be: it takes no further room
	}
	return nil
}
