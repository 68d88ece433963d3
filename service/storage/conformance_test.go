package storage

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/servicetest"
)

// TestConformance draws devices with a few sessions and a past, and an epoch in which some things are right and
// some are not.
func TestConformance(t *testing.T) {
	servicetest.Run(t, New(), func(r *rapid.T) *service.Input {
		w := newWorld(t)
		d, c := w.device(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "device")), w.customer("customer")
		var deals []*deal
		for i := range rapid.IntRange(0, 3).Draw(r, "sessions") {
			x := c.deal(d, string(rune('0'+i)))
			x.put(rapid.IntRange(1, 3).Draw(r, "shards"), rapid.IntRange(16, 2500).Draw(r, "size"))
			deals = append(deals, x)
		}
		for range rapid.IntRange(1, 5).Draw(r, "past") {
			d.silent = rapid.IntRange(0, 3).Draw(r, "silent") == 0
			w.run(d)
		}
		if answer := d.prove(); len(answer) > 0 && rapid.Bool().Draw(r, "answers") {
			if rapid.Bool().Draw(r, "bent") {
				p := &answer[rapid.IntRange(0, len(answer)-1).Draw(r, "proof")]
				p.Chunk[0] ^= rapid.Byte().Draw(r, "flip")
			}
			d.submit(KindAnswer, answer.Encode())
		}
		for _, x := range deals {
			switch rapid.IntRange(0, 4).Draw(r, "change") {
			case 0:
				x.put(1, 100)
			case 1:
				x.drop(1)
			case 2:
				if l, err := NewLoss(x.holding.Session, d.shards[x.holding.Session], []int{0}); err == nil {
					d.submit(KindLoss, l.Encode())
				}
			case 3:
				d.submit(KindRelease, (&Release{Session: x.holding.Session}).Encode())
			}
			x.pay(types.U64(rapid.Uint64Max(30000).Draw(r, "units")))
		}
		in := d.input()
		in.Params = New().Spec.Defaults()
		in.Challenged = rapid.IntRange(0, 3).Draw(r, "challenged") > 0
		return in
	})
}
