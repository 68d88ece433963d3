package provider

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// bench is a home on a bench: meters that show what a test says, in a world whose time is the bubble's.
type bench struct {
	*roletest.World
	t        *testing.T
	device   *roletest.Device
	provider *Provider
	begin    time.Time
	ahead    atomic.Int64 // nanoseconds, of the machine's clock
	cfg      Config

	mu     sync.Mutex
	meters map[source.Role]*dial
}

// dial is one meter.
type dial struct {
	b      *bench
	name   source.Meter
	counts map[energy.Register]int64
	bits   uint8
	exp    int8
	sent   []string
	err    error
}

func (d *dial) Read(context.Context) (*source.Reading, error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	r := &source.Reading{At: time.Now(), Meter: d.name, Sent: d.sent}
	for reg, v := range d.counts {
		r.Counters[reg] = []source.Counter{{Path: reg.String(), Value: Number{Mantissa: v, Exp: d.exp}, Scale: Number{Mantissa: 1}, Bits: d.bits}}
	}
	return r, nil
}

func (d *dial) Close() error { return nil }

// newBench sets a home with panels and two meters up, and starts it. It is called in a bubble.
func newBench(t *testing.T) *bench {
	b := &bench{World: roletest.New(t, energy.New()), t: t, begin: time.Now()}
	b.meters = map[source.Role]*dial{
		source.Grid: {b: b, name: source.Meter{Manufacturer: "Cairn", Model: "M", Serial: "G1"}, counts: map[energy.Register]int64{energy.Export: 1000, energy.Import: 9000}},
		source.PV:   {b: b, name: source.Meter{Manufacturer: "Cairn", Model: "I", Serial: "P1"}, counts: map[energy.Register]int64{energy.PV: 5000}},
	}
	b.cfg = Config{
		Site:      energy.Site{Technology: energy.Solar, PDC: 5000, PAC: 4000},
		Sources:   []source.Config{{Role: source.Grid, Map: "sunspec", Address: "g", Rating: 40_000}, {Role: source.PV, Map: "sunspec", Address: "p", Rating: 4_000}},
		Community: 120, Certificate: 30,
		Now: func() time.Time {
			return time.Unix(roletest.Genesis+(roletest.Blocks+1)*roletest.BlockTime, 0).Add(time.Since(b.begin) + time.Duration(b.ahead.Load()))
		},
		open: func(c source.Config) (source.Source, error) { return b.meters[c.Role], nil },
	}
	b.Cell = home
	b.Next() // a world begins an epoch three minutes in, but for its first
	b.device = b.Device("home")
	b.start()
	return b
}

var home = func() (c types.Cell) {
	if err := c.UnmarshalText([]byte("831f8dfffffffff")); err != nil {
		panic(err)
	}
	return c
}()

func (b *bench) start() {
	b.provider = New(b.cfg)
	b.device.Start(b.provider)
}

// change changes a meter.
func (b *bench) change(role source.Role, f func(*dial)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.meters[role])
}

// flow lets energy flow for some quarter hours: pv is produced and half of it exported, imp is imported, in
// each of them.
func (b *bench) flow(quarters int, pv, imp int64) { b.minutes(quarters*15, pv, imp) }

func (b *bench) minutes(n int, pv, imp int64) {
	for range n {
		time.Sleep(time.Minute)
		b.change(source.PV, func(d *dial) { d.counts[energy.PV] += pv / 15 })
		b.change(source.Grid, func(d *dial) {
			d.counts[energy.Export] += pv / 30
			d.counts[energy.Import] += imp / 15
		})
	}
}

// epochs lets epochs pass, each of four quarter hours.
func (b *bench) epochs(n int) {
	for range n {
		b.flow(4, 300, 60)
		b.Next()
	}
}

// line is what the tally has of the home.
func (b *bench) line() *energy.State {
	b.t.Helper()
	s, err := energy.DecodeState(b.State().CategoryLine(b.device.Key(), types.Energy))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// now is the interval that runs.
func (b *bench) now() uint64 { return uint64(b.cfg.Now().Unix()) / lot.Interval }

// refusals are the reasons for which something of the home did not count.
func (b *bench) refusals() (list []types.Reason) {
	for _, r := range b.Refused() {
		list = append(list, r.Reason)
	}
	return list
}

// inBubble runs a test whose time is its own.
func inBubble(t *testing.T, f func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		f(t, b)
		if err := b.device.Stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
