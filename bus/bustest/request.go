package bustest

import (
	"errors"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// requests: whoever is logged on asks one device, and has its answers; it is known at once that nobody listens.
func requests(f *fixture) {
	device, other := f.join(bus.RoleDevice), f.join(bus.RoleDevice)
	for _, role := range []bus.Role{bus.RolePayer, bus.RoleGateway, bus.RoleVerifier, bus.RoleDevice} {
		asker := f.join(role)
		_, err := asker.Request(f.ctx, bus.RequestSubject(asker.Key(), device.Key()), []byte("?"))
		if !errors.Is(err, bus.ErrNobody) {
			f.Fatalf("a device that does not listen: %v", err)
		}
	}
	f.ok(device.Subscribe(f.ctx, bus.RequestSubject(types.Key{}, device.Key()), func(m bus.Message) {
		if !bus.Expects(m) {
			f.Errorf("%s expects an answer at %s", m.Subject, m.Reply)
		}
		for _, part := range []string{"one", "two", "re: " + string(m.Data)} {
			f.ok(device.Respond(f.ctx, m, []byte(part)))
		}
		// Who was not asked has no say, even if it knows where the answer is expected.
		_ = other.Respond(f.ctx, m, []byte("a lie"))
	}))
	for _, role := range []bus.Role{bus.RolePayer, bus.RoleGateway, bus.RoleVerifier, bus.RoleDevice} {
		asker := f.join(role)
		subject := bus.RequestSubject(asker.Key(), device.Key())
		first, err := asker.Request(f.ctx, subject, []byte("?"))
		f.ok(err)
		if string(first) != "one" {
			f.Fatalf("%v: the first answer is %q", role, first)
		}
		var all []string
		f.ok(asker.Gather(f.ctx, subject, []byte("?"), func(data []byte) bool {
			all = append(all, string(data))
			return len(all) < 3
		}))
		if all[0] != "one" || all[1] != "two" || all[2] != "re: ?" {
			f.Fatalf("%v: the answers are %q", role, all)
		}
	}
}

// requestsOfOthers: nobody asks in another's name, hears what another is asked or told, or answers in its place.
func requestsOfOthers(f *fixture) {
	device, liar, payer, verifier := f.join(bus.RoleDevice), f.join(bus.RoleDevice), f.join(bus.RolePayer), f.join(bus.RoleVerifier)
	asked := f.listen(device, bus.RequestSubject(types.Key{}, device.Key()))
	told := f.listen(payer, "answer."+bus.Word(device.Key())+"."+bus.Word(payer.Key())+".*")
	nothing := func(bus.Message) {}
	for _, b := range []bus.Bus{liar, payer, verifier} {
		for _, pattern := range []string{"request.>", "answer.>", bus.RequestSubject(types.Key{}, device.Key()), "answer." + bus.Word(device.Key()) + ".>"} {
			f.refused(b.Subscribe(f.ctx, pattern, nothing), types.NotPermitted)
		}
	}
	f.refused(payer.Subscribe(f.ctx, bus.RequestSubject(types.Key{}, payer.Key()), nothing), types.NotPermitted) // only devices are asked
	f.refused(liar.Publish(f.ctx, bus.RequestSubject(payer.Key(), device.Key()), nil), types.NotPermitted)
	word := bus.Word(payer.Key())
	f.refused(liar.Publish(f.ctx, "answer."+bus.Word(device.Key())+"."+word+".x", nil), types.NotPermitted)
	_ = payer.Publish(f.ctx, "answer."+word+"."+word+".x", nil) // a server refuses these later than they return
	_ = verifier.Publish(f.ctx, "answer."+bus.Word(verifier.Key())+"."+word+".x", nil)
	_ = liar.Respond(f.ctx, bus.Message{Subject: bus.RequestSubject(payer.Key(), device.Key()), Reply: "answer." + bus.Word(device.Key()) + "." + word + ".x"}, nil)
	f.silent(asked)
	f.silent(told)
	reply := "answer." + bus.Word(device.Key()) + "." + word + ".x"
	f.ok(device.Respond(f.ctx, bus.Message{Subject: bus.RequestSubject(payer.Key(), device.Key()), Reply: reply}, []byte("yes")))
	f.next(told)
	// A request that would have its answer go to somebody else is none.
	for _, m := range []bus.Message{
		{Subject: bus.RequestSubject(liar.Key(), device.Key()), Reply: reply},
		{Subject: bus.RequestSubject(payer.Key(), device.Key()), Reply: "_INBOX." + word + ".x"},
		{Subject: bus.RequestSubject(payer.Key(), device.Key())},
		{Subject: "submit." + word + ".0", Reply: reply},
	} {
		if bus.Expects(m) {
			f.Errorf("%s expects an answer at %q", m.Subject, m.Reply)
		}
	}
}
