package bustest

import (
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// tells: gateways and payers tell a verifier something, as themselves; that verifier alone hears it, and nobody keeps
// it. Verifiers' calls are heard by gateways too.
func tells(f *fixture) {
	gateway, payer, device := f.join(bus.RoleGateway), f.join(bus.RolePayer), f.join(bus.RoleDevice)
	verifier, other := f.join(bus.RoleVerifier), f.join(bus.RoleVerifier)
	heard := f.listen(verifier, bus.TellSubject(types.Key{}, verifier.Key()))
	f.ok(gateway.Publish(f.ctx, bus.TellSubject(gateway.Key(), other.Key()), nil))
	f.refused(gateway.Publish(f.ctx, bus.TellSubject(payer.Key(), verifier.Key()), nil), types.NotPermitted)
	_ = device.Publish(f.ctx, bus.TellSubject(device.Key(), verifier.Key()), nil) // a server refuses it later than this returns
	f.silent(heard)
	for _, b := range []bus.Bus{gateway, payer} {
		f.ok(b.Publish(f.ctx, bus.TellSubject(b.Key(), verifier.Key()), []byte("see")))
		if m := f.next(heard); string(m.Data) != "see" || m.Subject != bus.TellSubject(b.Key(), verifier.Key()) {
			f.Fatalf("heard %s %q", m.Subject, m.Data)
		}
	}
	for _, b := range []bus.Bus{gateway, payer, device, other} {
		f.refused(b.Subscribe(f.ctx, bus.TellSubject(types.Key{}, verifier.Key()), func(bus.Message) {}), types.NotPermitted)
		f.refused(b.Subscribe(f.ctx, "tell.>", func(bus.Message) {}), types.NotPermitted)
	}
	f.refused(gateway.PublishLast(f.ctx, bus.TellSubject(gateway.Key(), verifier.Key()), nil), types.BadEncoding)
	calls := f.listen(gateway, bus.CallSubject(types.Key{}, 3))
	f.ok(verifier.Publish(f.ctx, bus.CallSubject(verifier.Key(), 3), []byte("who has it?")))
	if m := f.next(calls); string(m.Data) != "who has it?" {
		f.Fatalf("heard %s %q", m.Subject, m.Data)
	}
	for _, b := range []bus.Bus{payer, device} {
		f.refused(b.Subscribe(f.ctx, bus.CallSubject(types.Key{}, 3), func(bus.Message) {}), types.NotPermitted)
	}
}
