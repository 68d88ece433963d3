package provider_test

import (
	"bytes"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// counting counts what a wallet signs.
type counting struct {
	*roletest.Market
	rungs, holdings atomic.Int64
}

func (c *counting) Wallet(*http.Request) (role.Wallet, error) { return c, nil }
func (c *counting) Wallets() []role.Wallet                    { return []role.Wallet{c} }

func (c *counting) Sign(kind string, payload []byte) types.Signature {
	switch kind {
	case "receipt":
		c.rungs.Add(1)
	case storage.DomainHolding:
		c.holdings.Add(1)
	}
	return c.Market.Sign(kind, payload)
}

// TestFewLadders: many small objects take few ladders, and every device has far more rungs than it asks for,
// all the time.
func TestFewLadders(t *testing.T) {
	n := newNet(t, 8)
	m := &counting{Market: n.market}
	var err error
	if n.http, err = customer.New(customer.Config{}).Mount(m); err != nil {
		t.Fatal(err)
	}
	n.Next()
	const objects, size = 96, 10 << 10
	ids := make([]string, objects)
	for i := range 16 {
		ids[i] = n.put(random(uint64(200+i), size))
	}
	n.Next()
	var group sync.WaitGroup
	for i := 16; i < objects; i++ {
		group.Go(func() { ids[i] = n.put(random(uint64(200+i), size)) })
	}
	group.Wait()
	// One at first, one each time that the bytes have doubled, and one more in a new epoch at most.
	if got, most := m.rungs.Load(), int64(9*8*storage.Rungs); got > most {
		t.Errorf("%d rungs were signed for %d objects, want at most %d", got, objects, most)
	}
	if got, most := m.holdings.Load(), int64(objects*8); got > most {
		t.Errorf("%d holdings were signed for %d objects on 8 devices", got, objects)
	}
	t.Logf("%d rungs and %d holdings for %d objects", m.rungs.Load(), m.holdings.Load(), objects)
	for range 6 {
		n.Next()
	}
	n.clean()
	for i := range n.devices {
		s := n.state(i)
		if len(s.Sessions) != 1 || s.Streak != 0 || n.paid(i) == 0 {
			t.Fatalf("device %d: %d sessions, streak %d, paid %d", i, len(s.Sessions), s.Streak, n.paid(i))
		}
		line := s.Sessions[0]
		behind, err := line.Payable(s.Passes).Sub(line.Units)
		if err == nil && behind.Cmp(types.Mul64(2, line.Bytes)) > 0 {
			t.Errorf("device %d: %s units are payable and %s were paid, of %d bytes", i, line.Payable(s.Passes), line.Units, line.Bytes)
		}
	}
	for i, id := range ids {
		n.get(id, random(uint64(200+i), size))
	}
}

// TestPennies: an account whose files are worth no credit for weeks can store on when its first ladders are
// used up, since the next ones begin where it stands, not where it last was paid.
func TestPennies(t *testing.T) {
	t.Parallel()
	n := newNet(t, 0)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		c := config()
		c.Price = 1
		d := n.Device(name)
		d.Start(provider.New(c))
		n.devices = append(n.devices, d)
	}
	n.Next()
	n.put(random(300, 400_000))
	for range storage.Rungs * 8 / 7 {
		n.Next()
	}
	if s := n.state(0); !s.Sessions[0].Units.IsZero() {
		t.Fatalf("%s units were paid: they are worth nothing", s.Sessions[0].Units)
	}
	for i := range uint64(3) {
		w := n.do("PUT", "/objects", bytes.NewReader(random(301+i, 10)))
		if w.Code != http.StatusCreated {
			t.Fatalf("put %d: %d %s", i, w.Code, w.Body)
		}
		for range 4 {
			n.Next()
		}
	}
	n.clean()
}
