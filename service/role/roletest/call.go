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
		other.deliver(&other.calls, role.Called{By: v.Key(), Body: body})
	}
	v.w.mu.Lock()
	markets := append([]*Market(nil), v.w.markets...)
	v.w.mu.Unlock()
	for _, m := range markets {
		m.mu.Lock()
		called := m.called
		m.mu.Unlock()
		if called != nil {
			called(role.Called{By: v.Key(), Body: body})
		}
	}
	return nil
}

// Hear has f told what verifiers call, as a gateway tells a role.Customer; nil for nobody.
func (m *Market) Hear(f func(role.Called)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.called = f
}

// Tell tells a verifier of the world.
func (m *Market) Tell(_ context.Context, verifier types.Key, body []byte) error {
	if len(body) > role.MaxTell {
		return types.Refuse(types.Oversize, "roletest: %d bytes are told", len(body))
	}
	m.w.mu.Lock()
	seats := append([]*Verifier(nil), m.w.seats...)
	m.w.mu.Unlock()
	for _, v := range seats {
		if v.Key() == verifier {
			v.deliver(&v.tells, role.Called{By: m.Payer(), Body: body})
		}
	}
	return nil
}

// deliver gives what was said to whoever listens.
func (v *Verifier) deliver(to *map[chan role.Called]bool, said role.Called) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range *to {
		select {
		case c <- said:
		default: // it is slow
		}
	}
}

// Calls delivers what verifiers call.
func (v *Verifier) Calls(ctx context.Context) <-chan role.Called { return v.listen(ctx, &v.calls) }

// Told delivers what markets tell the verifier.
func (v *Verifier) Told(ctx context.Context) <-chan role.Called { return v.listen(ctx, &v.tells) }

func (v *Verifier) listen(ctx context.Context, to *map[chan role.Called]bool) <-chan role.Called {
	out := make(chan role.Called, callsWait)
	v.mu.Lock()
	defer v.mu.Unlock()
	if *to == nil {
		*to = map[chan role.Called]bool{}
	}
	(*to)[out] = true
	context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(*to, out)
		close(out)
	})
	return out
}

// Await sleeps until the first block of the present epoch: for worlds whose categories look at the clock, in a bubble
// of testing/synctest.
func (w *World) Await() { time.Sleep(time.Until(time.Unix(int64(epochTime(w.Epoch())), 0))) }
