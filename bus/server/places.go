package server

import (
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// sweepPlaces is how often at most all places are looked through for connections that have ended.
const sweepPlaces = 100 * time.Millisecond

// seat is one connection that is logged on.
type seat struct {
	key     types.Key
	account types.Account // zero: the key answers for itself
	role    bus.Role
}

// places counts who is logged on, and says at a log-on whether there is room. Each key, and each account over
// all keys that it answers for, has a bounded number; payers may have half of all; what verifiers and gateways
// have is beside the others' places, which can't use it up. The server does not say when a connection ends:
// those that have are found when their place is wanted.
type places struct {
	alive      func(id uint64) bool
	now        func() time.Time
	perKey     int
	perAccount int
	clients    int // devices and payers

	mu        sync.Mutex // guards what follows
	seats     map[uint64]seat
	byKey     map[types.Key][]uint64
	byAccount map[types.Account][]uint64
	byRole    map[bus.Role]int
	swept     time.Time
}

func newPlaces(c *Config, alive func(uint64) bool) *places {
	return &places{alive: alive, now: time.Now, perKey: c.PerKey, perAccount: c.PerAccount, clients: c.MaxClients, seats: map[uint64]seat{},
		byKey: map[types.Key][]uint64{}, byAccount: map[types.Account][]uint64{}, byRole: map[bus.Role]int{}}
}

// take gives a connection a place, or says what there are too many of.
func (p *places) take(id uint64, key types.Key, pass bus.Pass) (full string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	account := pass.Account
	p.clear(p.byKey[key])
	p.clear(p.byAccount[account])
	switch {
	case len(p.byKey[key]) >= p.perKey:
		return "connections with one key"
	case len(p.byAccount[account]) >= p.most(pass.Role): // the zero account has none
		return "connections of one account"
	}
	if p.crowded(pass.Role) && p.now().Sub(p.swept) >= sweepPlaces {
		p.swept = p.now()
		p.clearAll()
	}
	if p.crowded(pass.Role) {
		return "connections"
	}
	p.seats[id] = seat{key, account, pass.Role}
	p.byKey[key] = append(p.byKey[key], id)
	if account != (types.Account{}) {
		p.byAccount[account] = append(p.byAccount[account], id)
	}
	p.byRole[pass.Role]++
	return ""
}

// has reports whether a connection has a place.
func (p *places) has(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.seats[id]
	return ok
}

// most is how many connections the keys of one account have together. Devices cost at least a registration each.
func (p *places) most(role bus.Role) int {
	if role == bus.RoleDevice {
		return 16 * p.perAccount
	}
	return p.perAccount
}

// crowded reports whether there is no place for one more of a role. mu is held.
func (p *places) crowded(role bus.Role) bool {
	payers, devices := p.byRole[bus.RolePayer], p.byRole[bus.RoleDevice]
	switch role {
	case bus.RolePayer:
		return payers+devices >= p.clients || payers >= max(p.clients/2, 1)
	case bus.RoleDevice:
		return payers+devices >= p.clients
	}
	return false // their keys are few, and each is bounded
}

// clear frees the places of those of some connections that have ended. mu is held.
func (p *places) clear(ids []uint64) {
	for _, id := range slices.Clone(ids) {
		if !p.alive(id) {
			p.free(id)
		}
	}
}

// clearAll frees the places of all connections that have ended. mu is held.
func (p *places) clearAll() {
	for id := range p.seats {
		if !p.alive(id) {
			p.free(id)
		}
	}
}

// free frees a place. mu is held.
func (p *places) free(id uint64) {
	s := p.seats[id]
	delete(p.seats, id)
	p.byRole[s.role]--
	without(p.byKey, s.key, id)
	if s.account != (types.Account{}) {
		without(p.byAccount, s.account, id)
	}
}

func without[K comparable](m map[K][]uint64, k K, id uint64) {
	if m[k] = slices.DeleteFunc(m[k], func(other uint64) bool { return other == id }); len(m[k]) == 0 {
		delete(m, k)
	}
}

// all lists who is logged on.
func (p *places) all() map[uint64]seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearAll()
	out := make(map[uint64]seat, len(p.seats))
	for id, s := range p.seats {
		out[id] = s
	}
	return out
}

// here reports whether a key is logged on.
func (p *places) here(key types.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byKey[key]) > 0
}
