package customer

import (
	"testing"

	"github.com/cairn-network/cairn/service/compute"
)

// denying ends a job as one whose image can't be run.
func denying() play {
	return ending(func(r *run, e *compute.Ended) {
		l := e.Leaf.Leaf
		l.Mode, l.Fuel = compute.Cut, 0
		clear(l.Result[:])
		e.Leaf, e.Result, e.Reason = r.leaf(l), nil, compute.BadImage
	})
}

// TestDenied: one device that says that an image can't be run is not believed, two are; the job ends with that
// reason.
func TestDenied(t *testing.T) {
	for name, c := range map[string]struct {
		second play
		state  State
		tries  int
	}{
		"one":  {honest, Done, 2},
		"two":  {denying(), Failed, 2},
		"none": {nil, Failed, 1}, // else to ask
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newWorld(t)
			newDevice(t, w, "first", 1, denying())
			n := 1
			if c.second != nil {
				newDevice(t, w, "second", 5, c.second)
				if n++; c.state == Failed {
					newDevice(t, w, "third", 9, honest)
					n++
				}
			}
			g := newGateway(t, m)
			g.sees(n)
			r := g.result(g.submit(""))
			if r.State != c.state || r.Tries != c.tries || (r.Reason == compute.BadImage) != (c.state == Failed) {
				t.Errorf("%+v", r)
			}
		})
	}
}
