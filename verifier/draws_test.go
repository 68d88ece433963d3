package verifier

import (
	"encoding/binary"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/servicetest"
)

// TestDraws: witnesses are told page by page whom they were drawn for, once each, and of another epoch, draw or
// category nothing.
func TestDraws(t *testing.T) {
	const devices = 1500
	key := types.NewPrivateKey([32]byte{1})
	me := &self{cfg: Config{Key: key}, key: key.Public(), chain: testChain}
	c := &clock{self: me}
	d := &draws{self: me, clock: c, rules: newRuleBook([]tally.Verifier{work, servicetest.Meter()})}
	ask := func(change func(*bus.DrawnQuery)) *bus.Drawn {
		t.Helper()
		q := &bus.DrawnQuery{Chain: testChain, Epoch: 7, Category: servicetest.MeterCategory, Purpose: servicetest.MeterSight, Witness: types.Key{1}}
		change(q)
		raw := d.answer(t.Context(), bus.Encode(q))
		if raw == nil {
			return nil
		}
		out, by, err := bus.Open[bus.Drawn](raw, testChain)
		if err != nil || by != key.Public() || out.Query != *q {
			t.Fatalf("%+v by %v: %v", out, by, err)
		}
		return out
	}
	if ask(func(*bus.DrawnQuery) {}) != nil {
		t.Error("it answers before it knows what time it is")
	}
	var changes []tally.Change
	for i := range byte(5) {
		changes = append(changes, tally.Change{Attester: &tally.Attester{Key: types.Key{i + 1}, Owner: types.Account{i + 1}, Power: 10}})
	}
	for i := range uint32(devices) {
		k := types.Key{9}
		binary.BigEndian.PutUint32(k[1:], i)
		changes = append(changes, tally.Change{Device: &tally.Device{Key: k, Owner: types.Account{100}, Categories: []types.Category{servicetest.MeterCategory}}})
	}
	at := func(e types.Epoch, seed types.Hash) {
		c.views.Set(&headView{epoch: &ledger.Epoch{Epoch: e, Seed: seed}, registry: newRegistry(tally.NewState(testChain, 0), changes)})
	}
	at(7, types.Hash{})
	if ask(func(*bus.DrawnQuery) {}) != nil {
		t.Error("it answers before the seed is known")
	}
	at(7, types.Hash{3})
	all := map[types.Key]int{}
	for i := range byte(5) {
		var last types.Key
		pages, more := 0, true
		for from := 0; more; pages++ {
			page := ask(func(q *bus.DrawnQuery) { q.Witness, q.From = types.Key{i + 1}, uint32(from) })
			from += len(page.Devices)
			more = page.More
			for _, d := range page.Devices {
				if string(d.Key[:]) <= string(last[:]) {
					t.Fatalf("%v after %v", d.Key, last)
				}
				last = d.Key
				all[d.Key]++
			}
		}
		if pages < devices*servicetest.MeterSeats/5/bus.MaxDrawn {
			t.Errorf("witness %d has %d pages", i, pages)
		}
	}
	if len(all) != devices {
		t.Errorf("%d devices have witnesses", len(all))
	}
	for k, n := range all {
		if n != servicetest.MeterSeats {
			t.Errorf("%v has %d witnesses", k, n)
		}
	}
	if beyond := ask(func(q *bus.DrawnQuery) { q.From = 1 << 31 }); len(beyond.Devices) != 0 || beyond.More {
		t.Errorf("behind the last: %+v", beyond)
	}
	if nobody := ask(func(q *bus.DrawnQuery) { q.Witness = types.Key{77} }); len(nobody.Devices) != 0 || nobody.More {
		t.Errorf("of somebody who was not drawn: %+v", nobody)
	}
	for what, change := range map[string]func(*bus.DrawnQuery){
		"another epoch":                func(q *bus.DrawnQuery) { q.Epoch = 6 },
		"another region":               func(q *bus.DrawnQuery) { q.Region = 1 },
		"a draw that nobody makes":     func(q *bus.DrawnQuery) { q.Purpose = "other" },
		"a category without":           func(q *bus.DrawnQuery) { q.Category = work.Spec.Category },
		"a category that is not there": func(q *bus.DrawnQuery) { q.Category = 999 },
	} {
		if ask(change) != nil {
			t.Errorf("%s is answered", what)
		}
	}
	// A device is told who was drawn for it, as those are told.
	panel := func(change func(*bus.PanelQuery)) *bus.Panel {
		t.Helper()
		q := &bus.PanelQuery{Chain: testChain, Epoch: 7, Category: servicetest.MeterCategory, Purpose: servicetest.MeterSight, Device: types.Key{9}}
		change(q)
		raw := d.answerPanel(t.Context(), bus.Encode(q))
		if raw == nil {
			return nil
		}
		out, by, err := bus.Open[bus.Panel](raw, testChain)
		if err != nil || by != key.Public() || out.Query != *q {
			t.Fatalf("%+v by %v: %v", out, by, err)
		}
		return out
	}
	drawn := panel(func(*bus.PanelQuery) {}).Drawn
	if len(drawn) != servicetest.MeterSeats {
		t.Errorf("%d witnesses of the first device", len(drawn))
	}
	for _, w := range drawn {
		if first := ask(func(q *bus.DrawnQuery) { q.Witness = w }).Devices[0]; first.Key != (types.Key{9}) {
			t.Errorf("%v does not look at the device for which it was drawn", w)
		}
	}
	if strange := panel(func(q *bus.PanelQuery) { q.Device = types.Key{8} }); len(strange.Drawn) != 0 {
		t.Errorf("of a device that is not registered: %+v", strange)
	}
	for what, change := range map[string]func(*bus.PanelQuery){
		"another epoch":            func(q *bus.PanelQuery) { q.Epoch = 6 },
		"another region":           func(q *bus.PanelQuery) { q.Region = 1 },
		"a draw that nobody makes": func(q *bus.PanelQuery) { q.Purpose = "other" },
		"a category without":       func(q *bus.PanelQuery) { q.Category = work.Spec.Category },
	} {
		if panel(change) != nil {
			t.Errorf("a panel of %s is answered", what)
		}
	}
	before := ask(func(*bus.DrawnQuery) {}).Devices
	at(7, types.Hash{4})
	if after := ask(func(*bus.DrawnQuery) {}).Devices; len(after) == len(before) && after[0].Key == before[0].Key && after[1].Key == before[1].Key && after[2].Key == before[2].Key {
		t.Error("another seed draws the same")
	}
}
