package gateway

import (
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// hears hands the gateway an ask as the bus would: under the subject of whoever publishes it.
func hears(m *market, by types.Key, a receipt.Ask, device types.PrivateKey) {
	m.hear(m.asks[a.Category], 1)(bus.Message{Subject: bus.AskOf(&receipt.Ask{Device: by, Category: a.Category, Class: a.Class}), Data: a.Sign(device).Encode()})
}

// TestAckOfNoEpoch: the verifier whose ack makes it enough says an epoch that never comes, or none. The order
// is watched and settled all the same.
func TestAckOfNoEpoch(t *testing.T) {
	for _, wrong := range []types.Epoch{0, 1 << 40} {
		r := newRegion(t)
		r.tally(ledger.Accepted)
		liar := r.voters[3]
		for _, v := range r.voters[2:] {
			v.set(func(v *voter) { v.deaf = true }) // two of four acknowledge, as they should
		}
		o := r.ordering(1, 1000, 1)
		hash := types.Sum(r.sign(o).Encode())
		if err := r.hand(o); err != nil {
			t.Fatal(err)
		}
		r.until("it is sent again", func() bool { return r.voters[0].times(hash) > 1 })
		lie := &bus.Ack{Chain: chain, Epoch: wrong, Accepted: []types.Hash{hash}}
		if err := liar.link.Publish(t.Context(), bus.AckSubject(liar.key.Public(), r.market.agent.Key()), bus.Seal(liar.key, lie)); err != nil {
			t.Fatal(err)
		}
		r.voters[2].set(func(v *voter) { v.deaf = false })
		r.until("enough keep it", func() bool {
			rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
			return err == nil && rec.Kept == r.epoch()
		})
		r.voters[3].set(func(v *voter) { v.deaf = false })
		r.tally(ledger.Accepted)
		r.until("the gateway knows that it counts", func() bool {
			rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
			return err == nil && rec.Counted
		})
	}
}

// TestQualityByOne: what one verifier alone says of a device's quality moves no offer; what more than two
// thirds of power say does.
func TestQualityByOne(t *testing.T) {
	r := newRegion(t)
	r.tally(ledger.Accepted)
	device, m := key(60).Public(), r.market
	r.until("the gateway knows the tally", func() bool { return m.Notice().Tallied == 1 })
	a := receipt.Ask{Chain: chain, Device: device, Category: types.Energy, Class: 1, Until: 99}
	hears(m, device, a, key(60))
	quality := func() types.Bp {
		m.askQuality(t.Context())
		m.mu.RLock()
		defer m.mu.RUnlock()
		return m.quality[serving{device, types.Energy}]
	}
	says := func(v *voter, bp types.Bp) {
		v.set(func(v *voter) {
			v.answer = func(what string, honest []byte) []byte {
				if what != bus.QueryRefusals {
					return honest
				}
				return bus.Seal(v.key, &bus.Refusals{Chain: chain, Author: device, Epoch: 1, Quality: []bus.Quality{{Category: types.Energy, Bp: bp}}})
			}
		})
	}
	says(r.voters[0], 9999)
	for _, v := range r.voters[1:] {
		v.set(func(v *voter) {
			v.answer = func(string, []byte) []byte { time.Sleep(20 * time.Millisecond); return nil }
		}) // a liar is fast
	}
	if got := quality(); got != 0 {
		t.Fatalf("one verifier makes the quality %d", got)
	}
	for _, v := range r.voters[1:] {
		says(v, 5000)
	}
	if got := quality(); got != 5000 {
		t.Fatalf("quality %d, three of four say 5000", got)
	}
}
