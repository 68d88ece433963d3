package bustest

import (
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// beats: gateways hear what devices beat, device by device and category by category; nobody keeps it, and
// nobody beats for another.
func beats(f *fixture) {
	device, other, gateway := f.join(bus.RoleDevice), f.join(bus.RoleDevice), f.join(bus.RoleGateway)
	of := func(b bus.Bus, c types.Category) string {
		return bus.BeatOf(&receipt.Ask{Device: b.Key(), Category: c, Class: 1, Cell: 0x8a1fb46622dffff})
	}
	f.ok(device.Publish(f.ctx, of(device, 3), []byte("before anybody listens")))
	f.listen(device, bus.AckSubject(types.Key{}, device.Key())) // returns when the server has all that the device sent before
	heard := f.listen(gateway, bus.BeatsOf(device.Key(), 3))
	f.refused(other.Publish(f.ctx, of(device, 3), nil), types.NotPermitted)
	f.ok(other.Publish(f.ctx, of(other, 3), nil))
	f.ok(device.Publish(f.ctx, of(device, 4), nil))
	f.silent(heard)
	f.ok(device.Publish(f.ctx, of(device, 3), []byte("beat")))
	if m := f.next(heard); string(m.Data) != "beat" || m.Subject != of(device, 3) {
		f.Fatalf("heard %s %q", m.Subject, m.Data)
	}
	for _, b := range []bus.Bus{device, f.join(bus.RolePayer), f.join(bus.RoleVerifier)} {
		f.refused(b.Subscribe(f.ctx, bus.BeatsOf(other.Key(), 3), func(bus.Message) {}), types.NotPermitted)
		f.refused(b.Subscribe(f.ctx, "beat.>", func(bus.Message) {}), types.NotPermitted)
	}
	_ = gateway.Publish(f.ctx, of(gateway, 3), nil) // a server refuses it later than this returns
	f.refused(device.PublishLast(f.ctx, of(device, 3), nil), types.BadEncoding)
}
