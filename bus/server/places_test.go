package server

import (
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// crowdOf is places whose connections end when their number is in the set.
type crowdOf struct {
	*places
	ended map[uint64]bool
	clock time.Time
	next  uint64
}

func newCrowd(clients, perKey, perAccount int) *crowdOf {
	c := &crowdOf{ended: map[uint64]bool{}, clock: time.Unix(1e9, 0)}
	c.places = newPlaces(&Config{MaxClients: clients, PerKey: perKey, PerAccount: perAccount}, func(id uint64) bool { return !c.ended[id] })
	c.now = func() time.Time { return c.clock }
	return c
}

// in logs so many keys on with one connection each, and returns how many are in.
func (c *crowdOf) in(times int, pass bus.Pass) (in int) {
	for range times {
		c.next++
		if c.take(c.next, types.Key{1, byte(c.next >> 8), byte(c.next)}, pass) == "" {
			in++
		}
	}
	return in
}

// TestPlaces: who has how many places beside whom.
func TestPlaces(t *testing.T) {
	device, payer := bus.Full(bus.RoleDevice), bus.Full(bus.RolePayer)
	of := func(role bus.Role) bus.Pass { return bus.Pass{Role: role, Account: types.Account{1}} }
	for _, c := range []struct {
		what    string
		clients int
		before  int // devices
		pass    bus.Pass
		want    int
	}{
		{"devices with a bond", 100, 0, device, 100},
		{"devices of one account", 100, 0, of(bus.RoleDevice), 16 * 2},
		{"payers of one account", 100, 0, of(bus.RolePayer), 2},
		{"payers", 100, 0, payer, 50},
		{"payers among devices", 100, 80, payer, 20},
		{"one payer on a bus for one", 1, 0, payer, 1},
		{"verifiers on a full bus", 100, 100, bus.Full(bus.RoleVerifier), 200},
		{"gateways on a full bus", 100, 100, bus.Full(bus.RoleGateway), 200},
	} {
		p := newCrowd(c.clients, 1, 2)
		p.in(c.before, device)
		if got := p.in(200, c.pass); got != c.want {
			t.Errorf("%s: %d are in, want %d", c.what, got, c.want)
		}
	}
}

// TestPlacesEnd: what an ended connection had is free for its key, its account and, after a moment, everybody.
func TestPlacesEnd(t *testing.T) {
	one := bus.Pass{Role: bus.RolePayer, Account: types.Account{1}}
	p := newCrowd(100, 1, 2)
	if p.in(3, one) != 2 {
		t.Fatal("an account has two connections")
	}
	p.ended[1], p.ended[2] = true, true
	if p.in(3, one) != 2 || len(p.seats) != 2 || len(p.byAccount) != 1 || len(p.byKey) != 2 {
		t.Fatalf("the places of ended connections are not the account's again: %d", len(p.seats))
	}

	device := bus.Full(bus.RoleDevice)
	p = newCrowd(3, 1, 1)
	p.in(3, device)
	p.ended[1] = true
	if p.in(1, device) != 1 {
		t.Fatal("the place of an ended connection is nobody's")
	}
	p.ended[2] = true
	if p.in(1, device) != 0 {
		t.Fatal("all places are looked through at each log-on")
	}
	p.clock = p.clock.Add(sweepPlaces)
	if p.in(1, device) != 1 {
		t.Fatal("places are not looked through again")
	}
	p.ended[3] = true
	if all := p.all(); len(all) != 2 || all[3] != (seat{}) {
		t.Fatalf("logged on are %v", all)
	}
}
