package roletest

import (
	"context"
	"time"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

var _ role.VerifierHost = (*Verifier)(nil)

// callsWait is how many calls wait for a slow reader.
const callsWait = 64

// Prove proves with the verifier's other key.
func (v *Verifier) Prove(purpose string, seed types.Hash, n uint64) []byte {
	return beacon.ProveAt(v.vrf, Chain, purpose, seed, n)
}

// Call tells all verifiers of the world.
func (v *Verifier) Call(_ context.Context, body []byte) error {
	v.w.mu.Lock()
	seats := append([]*Verifier(nil), v.w.seats...)
	v.w.mu.Unlock()
	for _, other := range seats {
		other.mu.Lock()
		for c := range other.calls {
			select {
			case c <- role.Called{By: v.Key(), Body: body}:
			default: // it is slow
			}
		}
		other.mu.Unlock()
	}
	return nil
}

// Calls delivers what verifiers call.
func (v *Verifier) Calls(ctx context.Context) <-chan role.Called {
	out := make(chan role.Called, callsWait)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls == nil {
		v.calls = map[chan role.Called]bool{}
	}
	v.calls[out] = true
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.calls, out)
		close(out)
	})
	return out
}

// Await sleeps until the first block of the present epoch: for worlds whose categories look at the clock, in a bubble
// of testing/synctest.
func (w *World) Await() { time.Sleep(time.Until(time.Unix(int64(epochTime(w.Epoch())), 0))) }
