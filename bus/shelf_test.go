package bus_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// ask is the n-th subject of a key, always of the same length.
func ask(key byte, n int) string {
	return fmt.Sprintf("last.ask.%s.3.%04d", bus.Word(types.Key{key}), n)
}

// fill is how many bytes of data make one message of so many bytes with its subject.
func fill(size int) int { return size - len(ask(1, 0)) }

// shelve puts a message of so many bytes, its subject counted, and wants so many others to go for it, or a refusal.
func shelve(t *testing.T, s *bus.Shelves, subject string, size int, p bus.Pass, want types.Reason, gone ...string) {
	t.Helper()
	got, refused := s.Put(subject, fill(size), p)
	if refused != want || !slices.Equal(got, gone) {
		t.Errorf("%s: %q, gone %v; want %q, %v", subject, refused, got, want, gone)
	}
}

func used(t *testing.T, s *bus.Shelves, role bus.Role, want int64) {
	t.Helper()
	if got := s.Used(role); got != want {
		t.Errorf("%vs keep %d bytes, want %d", role, got, want)
	}
}

// TestShelves reaches each bound to the byte.
func TestShelves(t *testing.T) {
	device := bus.Pass{Role: bus.RoleDevice, Own: 1000}
	payer := bus.Pass{Role: bus.RolePayer, Account: types.Account{1}, Own: 1000, Keep: 1500}

	t.Run("one message", func(t *testing.T) {
		s := bus.NewShelves(nil)
		shelve(t, s, ask(1, 0), 1000, device, "")
		shelve(t, s, ask(1, 0), 1001, device, types.OverQuota)
		shelve(t, s, ask(2, 0), 1001, payer, types.OverBudget)
		poor := payer
		poor.Keep = 900 // less than the key's own
		shelve(t, s, ask(2, 0), 901, poor, types.OverBudget)
		shelve(t, s, ask(2, 0), 900, poor, "")
		used(t, s, bus.RoleDevice, 1000)
		used(t, s, bus.RolePayer, 900)
	})
	t.Run("a shelf", func(t *testing.T) {
		s := bus.NewShelves(nil)
		shelve(t, s, ask(1, 0), 500, device, "")
		shelve(t, s, ask(1, 1), 500, device, "")
		shelve(t, s, ask(1, 1), 500, device, "") // in place of the one before
		shelve(t, s, ask(1, 2), 400, device, "", ask(1, 0))
		shelve(t, s, ask(1, 3), 101, device, "", ask(1, 1))
		used(t, s, bus.RoleDevice, 501)
	})
	t.Run("an account", func(t *testing.T) {
		s := bus.NewShelves(nil)
		shelve(t, s, ask(1, 0), 800, payer, "")
		shelve(t, s, ask(2, 0), 700, payer, "")
		shelve(t, s, ask(2, 1), 300, payer, "", ask(1, 0))
		shelve(t, s, ask(4, 0), 1000, bus.Pass{Role: bus.RolePayer, Account: types.Account{2}, Own: 1000, Keep: 1000}, "")
		used(t, s, bus.RolePayer, 2000)
		s.Drop(ask(4, 0))
		shelve(t, s, ask(5, 0), 1000, bus.Pass{Role: bus.RolePayer, Account: types.Account{2}, Own: 1000, Keep: 1000}, "")
	})
	t.Run("many messages", func(t *testing.T) {
		s := bus.NewShelves(nil)
		for i := range bus.MaxKept {
			shelve(t, s, ask(1, i), 100, bus.Full(bus.RoleGateway), "")
		}
		shelve(t, s, ask(1, bus.MaxKept), 100, bus.Full(bus.RoleGateway), "", ask(1, 0))
	})
	t.Run("a role's part", func(t *testing.T) {
		s := bus.NewShelves(map[bus.Role]int64{bus.RoleDevice: 1500, bus.RolePayer: 1500})
		shelve(t, s, ask(1, 0), 800, device, "")
		shelve(t, s, ask(2, 0), 701, device, types.DiskFull)
		shelve(t, s, ask(2, 0), 700, device, "")
		shelve(t, s, ask(3, 0), 100, device, types.DiskFull)
		shelve(t, s, ask(2, 1), 300, device, "", ask(2, 0)) // what is one's own can go
		shelve(t, s, ask(2, 1), 701, device, types.DiskFull)
		used(t, s, bus.RoleDevice, 1100)

		shelve(t, s, ask(4, 0), 800, payer, "") // and what is the account's
		shelve(t, s, ask(5, 0), 600, payer, "")
		shelve(t, s, ask(6, 0), 700, payer, "", ask(4, 0))
		shelve(t, s, ask(7, 0), 300, bus.Pass{Role: bus.RolePayer, Account: types.Account{2}, Own: 1000, Keep: 1000}, types.DiskFull)
		richer := payer
		richer.Keep = 1 << 20
		shelve(t, s, ask(8, 0), 201, richer, "", ask(5, 0)) // the account has room, the part has not
		used(t, s, bus.RolePayer, 901)
		shelve(t, s, ask(9, 0), 4000, bus.Full(bus.RoleGateway), "") // which has no part here
	})
	t.Run("loaded", func(t *testing.T) {
		s := bus.NewShelves(map[bus.Role]int64{bus.RolePayer: 2000})
		s.Load(ask(1, 0), fill(700), bus.RolePayer, payer.Account)
		s.Load(ask(2, 0), fill(800), bus.RolePayer, payer.Account)
		s.Load(ask(3, 0), fill(300), bus.RoleVerifier, types.Account{})
		used(t, s, bus.RolePayer, 1500)
		shelve(t, s, ask(4, 0), 501, bus.Pass{Role: bus.RolePayer, Account: types.Account{2}, Own: 1000, Keep: 1000}, types.DiskFull)
		shelve(t, s, ask(5, 0), 700, payer, "", ask(1, 0))
		if got := s.Of(bus.RoleVerifier); !slices.Equal(got, []string{bus.Word(types.Key{3})}) {
			t.Errorf("verifiers that keep something: %v", got)
		}
		if got := s.Clear(bus.Word(types.Key{2})); !slices.Equal(got, []string{ask(2, 0)}) {
			t.Errorf("cleared: %v", got)
		}
		used(t, s, bus.RolePayer, 700)
	})
}
