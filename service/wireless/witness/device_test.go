package witness

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless/line"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// TestDevice: a device joins only what it can see is its test: nobody can have it download what it did not claim, from
// where no challenger is, or again and again.
func TestDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 12)
		d := w.device("a", addr(9, 9, 9, 1), 1_000_000)
		w.hour()
		w.Await()
		w.Tell()
		n := w.Notice()
		registry, panel, err := w.seats[0].Registry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		drawn := panel.Draw(registry.Device(d.Key()), pob.ForTest)
		r := rules(nil)
		good := line.Summons{Start: pob.Start{Epoch: n.Epoch, Prefix: pob.Prefix{4, 9, 9, 9}, Proof: make([]byte, 80)}, Test: pob.ID{1},
			Address: "8.8.8.8:7000", Packets: r.Packets(1_000_000, len(drawn))}
		ask := func(from types.Key, change func(*line.Summons)) types.Reason {
			s := good
			change(&s)
			for _, v := range w.seats {
				if v.Key() == from {
					ctx := t.Context()
					_, err := v.Ask(ctx, role.Question{Device: d.Key(), Kind: line.KindTest, Body: s.Encode()})
					return types.ReasonOf(err)
				}
			}
			return ""
		}
		var stranger types.Key
		for _, v := range w.seats {
			in := false
			for _, k := range drawn {
				in = in || k == v.Key()
			}
			if !in {
				stranger = v.Key()
			}
		}
		same := func(*line.Summons) {}
		for name, c := range map[string]struct {
			from   types.Key
			change func(*line.Summons)
			want   types.Reason
		}{
			"a stranger":            {stranger, same, pob.NotDrawn},
			"another epoch":         {drawn[0], func(s *line.Summons) { s.Start.Epoch++ }, pob.NotDrawn},
			"a third half":          {drawn[0], func(s *line.Summons) { s.Start.Half = 2 }, pob.NotDrawn},
			"no prefix":             {drawn[0], func(s *line.Summons) { s.Start.Prefix = pob.Prefix{} }, types.BadEncoding},
			"more than it claims":   {drawn[0], func(s *line.Summons) { s.Packets++ }, pob.BadStart},
			"no packets":            {drawn[0], func(s *line.Summons) { s.Packets = 0 }, types.BadEncoding},
			"this machine":          {drawn[0], func(s *line.Summons) { s.Address = "127.0.0.1:53" }, role.PrivateAddress},
			"the network at home":   {drawn[0], func(s *line.Summons) { s.Address = "[::ffff:192.168.1.1]:53" }, role.PrivateAddress},
			"no address":            {drawn[0], func(s *line.Summons) { s.Address = "verifier.example.org:53" }, types.BadEncoding},
			"an address with zones": {drawn[0], func(s *line.Summons) { s.Address = "[fe80::1%eth0]:53" }, types.BadEncoding},
		} {
			if got := ask(c.from, c.change); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		// Nobody is at the good one's address: the device says hello until the asker's patience ends.
		if got := ask(drawn[0], same); got != types.DeviceLate {
			t.Errorf("a good one: %q", got)
		}
		time.Sleep(20 * time.Second)
		if got := ask(drawn[0], same); got != pob.Duplicate {
			t.Errorf("the same half once more: %q", got)
		}
		if got := ask(drawn[0], func(s *line.Summons) { s.Start.Half = 1 }); got != types.DeviceLate {
			t.Errorf("the other half: %q", got)
		}
	})
}
