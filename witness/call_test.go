package witness

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/servicetest"
)

const chain = "test"

// TestCalls: what a verifier calls comes to the category's witnesses; not what somebody else signed, in another's
// place, for another category or at another time, and of one verifier only a few in a second.
func TestCalls(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	me, other, stranger := types.NewPrivateKey([32]byte{1}), types.NewPrivateKey([32]byte{2}), types.NewPrivateKey([32]byte{3})
	meter := servicetest.Meter()
	set := bus.Set{{Key: me.Public(), Power: 1}, {Key: other.Public(), Power: 1}}
	slices.SortFunc(set, func(a, b bus.Member) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	e, err := New(Config{Dir: t.TempDir(), Key: me, Pin: bus.Pin{Chain: chain, Set: set}},
		[]tally.Verifier{meter}, []role.Witness{servicetest.MeterWitness{}.Role()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.spool.Close()
	r := e.runners[0]
	calls := r.Calls(ctx)
	hear := func(under, by types.PrivateKey, change func(*bus.Call)) {
		c := &bus.Call{Chain: chain, Category: meter.Spec.Category, Time: uint64(time.Now().UnixMilli()), Body: []byte("now")}
		change(c)
		r.hear(bus.Message{Subject: bus.CallSubject(under.Public(), meter.Spec.Category), Data: bus.Seal(by, c)})
	}
	heard := func() (n int) {
		for {
			select {
			case c := <-calls:
				if n++; c.By != other.Public() || string(c.Body) != "now" {
					t.Errorf("%+v", c)
				}
			default:
				return n
			}
		}
	}
	same := func(*bus.Call) {}
	hear(other, other, same)
	if n := heard(); n != 1 {
		t.Fatalf("a call is heard %d times", n)
	}
	hear(stranger, stranger, same)
	hear(other, me, same)
	hear(other, other, func(c *bus.Call) { c.Chain = "other" })
	hear(other, other, func(c *bus.Call) { c.Category++ })
	hear(other, other, func(c *bus.Call) { c.Time -= 31_000 })
	hear(other, other, func(c *bus.Call) { c.Time += 7_000 })
	if n := heard(); n != 0 {
		t.Errorf("%d wrong calls are heard", n)
	}
	for range 100 {
		hear(other, other, same)
	}
	if n := heard(); n > 3*8 { // they may come in two seconds
		t.Errorf("%d of 100 calls at once are heard", n)
	}
	cancel()
	if _, more := <-calls; more {
		t.Error("calls go on behind the end")
	}
}
