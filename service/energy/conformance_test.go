package energy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/servicetest"
)

// TestConformance draws devices with some hours behind them, and an hour in which some things are right and
// some are not.
func TestConformance(t *testing.T) {
	servicetest.Run(t, New(), func(r *rapid.T) *service.Input {
		w := newWorld(t)
		w.time = start + 3600*rapid.Uint64Range(0, 23).Draw(r, "hour")
		site := solar("d")
		if rapid.Bool().Draw(r, "battery") {
			site.Battery, site.Storage, site.Efficiency = meterOf("d", "battery"), 10000, 9000
		}
		d := w.device(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "device"), site)
		for range rapid.IntRange(0, 3).Draw(r, "past") {
			d.hour(func(k uint64) flows { return d.sunny(k, 100) })
			w.step()
		}
		if rapid.Bool().Draw(r, "asks") {
			d.ask(rapid.SampledFrom([]types.Class{Community, Certificate}).Draw(r, "class"), rapid.Uint64Max(70000).Draw(r, "price"))
		}
		d.hour(func(k uint64) flows {
			f := d.sunny(k, rapid.Uint64Max(2000).Draw(r, "load"))
			f.exp += rapid.Uint64Max(300).Draw(r, "more")
			f.out = rapid.Uint64Max(100).Draw(r, "out")
			return f
		})
		switch rapid.IntRange(0, 4).Draw(r, "bent") {
		case 0:
			d.hand(d.record(w.done() + 2)) // once more
		case 1:
			d.wh[Export] -= 1
			d.hand(d.record(w.done() + 5))
		case 2:
			d.submit(KindReset, (&Reset{Register: PV, Last: d.wh[PV], First: 7, Cause: Zeroed}).Encode())
		case 3:
			d.site.PDC++
			d.submit(KindSite, d.site.Encode())
		}
		in := d.input()
		in.Params = New().Spec.Defaults()
		return in
	})
}
