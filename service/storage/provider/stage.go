package provider

import (
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Bounds of what is staged. Beyond them a shard is refused with storage.full.
const (
	maxStaged        = 1 << 18 // shards in all
	maxStagedAccount = 1 << 16 // shards of one account
)

// shelf knows which stored shards no session refers to yet, and lets nobody remove a shard that somebody is about to refer to. It
// forgets at a crash; sweep finds again what it knew.
type shelf struct {
	store *shardlog.Store
	books *books

	// mu guards what follows. It is held while a shard is removed.
	mu       sync.Mutex
	staged   map[shardlog.Key]types.Epoch // until
	accounts map[types.SessionID]int      // staged shards by tag
	pins     map[shardlog.Key]int
}

func newShelf(store *shardlog.Store, b *books) *shelf {
	return &shelf{store: store, books: b, staged: map[shardlog.Key]types.Epoch{}, accounts: map[types.SessionID]int{}, pins: map[shardlog.Key]int{}}
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

// add stages a shard until the end of an epoch.
func (s *shelf) add(key shardlog.Key, until types.Epoch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.staged[key]; !ok {
		if len(s.staged) >= maxStaged || s.accounts[key.Session] >= maxStagedAccount {
			return types.Refuse(storage.Full, "storage: %d shards are staged, %d of this account", len(s.staged), s.accounts[key.Session])
		}
		s.accounts[key.Session]++
	}
	s.staged[key] = until
	return nil
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
	if _, ok := s.staged[key]; !ok {
		return
	}
	delete(s.staged, key)
	if s.accounts[key.Session]--; s.accounts[key.Session] == 0 {
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
	for key, until := range s.staged {
		if until < now && s.pins[key] == 0 {
			old = append(old, key)
			s.forget(key)
		}
	}
	s.mu.Unlock()
	return s.drop(old...)
}

// adopt stages a stored shard that nothing refers to: it was left by a crash.
func (s *shelf) adopt(key shardlog.Key, until types.Epoch) error {
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
		s.staged[key] = until // beyond the bounds if need be: it takes no further room
		s.accounts[key.Session]++
	}
	return nil
}
