package compute

import (
	"slices"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// maxRounds is how many steps of one chain a Watch takes: rounds of half a millisecond, which no model has.
const maxRounds = 4096

// Watch is what a witness keeps of one check: it takes steps as they arrive within Window, and draws into which
// it looks. It has no clock: whoever keeps it stops adding in time.
type Watch struct {
	chain    string
	device   types.Key
	epoch    types.Epoch
	slot     uint64
	hardware Hardware
	seed     types.Hash
	steps    map[uint32][]SignedStep // by chain
	fault    *Fault
}

// NewWatch begins to watch a device's check of a slot: nonces are those of its seed₀.
func NewWatch(chain string, device types.Key, e types.Epoch, slot uint64, h Hardware, nonces []SignedNonce) *Watch {
	return &Watch{chain: chain, device: device, epoch: e, slot: slot, hardware: h, seed: Seed(device, slot, nonces), steps: map[uint32][]SignedStep{}}
}

// Add takes the next step of a chain. Steps of one chain come in order. What does not follow is refused, and
// the check is then not in order; where that proves a fault, Fault has it.
func (w *Watch) Add(s *SignedStep) error {
	chains := uint32(1)
	if w.hardware.Round == CPU {
		chains = uint32(w.hardware.Slots)
	}
	at := &s.Step
	have := w.steps[at.Chain]
	switch {
	case at.Epoch != w.epoch || at.Slot != w.slot || at.Chain >= chains || len(have) >= maxRounds:
		return types.Refuse(StepBroken, "compute: step %d of chain %d, slot %d", at.T, at.Chain, at.Slot)
	case !s.Verify(w.chain, w.device):
		return types.Refuse(types.BadSignature, "compute: step %d of chain %d is not signed by %s", at.T, at.Chain, w.device)
	case uint64(at.T) < uint64(len(have)):
		if have[at.T].Step != *at {
			w.prove(&StepFault{First: &have[at.T], Second: *s})
			return types.Refuse(StepBroken, "compute: two steps %d of chain %d", at.T, at.Chain)
		}
		return nil // the same once more
	case uint64(at.T) > uint64(len(have)):
		return types.Refuse(StepBroken, "compute: step %d of chain %d after %d", at.T, at.Chain, len(have))
	}
	want := ChainSeed(w.seed, at.Chain)
	if len(have) > 0 {
		last := &have[len(have)-1]
		if want = last.Step.Next(); want != at.Seed {
			w.prove(&StepFault{First: last, Second: *s})
		}
	}
	if want != at.Seed {
		return types.Refuse(StepBroken, "compute: step %d of chain %d does not follow", at.T, at.Chain)
	}
	w.steps[at.Chain] = append(have, *s)
	return nil
}

func (w *Watch) prove(s *StepFault) {
	if w.fault == nil {
		w.fault = &Fault{Device: w.device, Step: s}
	}
}

// Fault returns what the device signed and cannot be true, nil for nothing.
func (w *Watch) Fault() *Fault { return w.fault }

// counted lists the chains that count, ascending.
func (w *Watch) counted() (chains []uint32) {
	for c, steps := range w.steps {
		if w.hardware.Round != CPU || len(steps) >= MinRounds {
			chains = append(chains, c)
		}
	}
	slices.Sort(chains)
	return chains
}

// Count returns how many rounds count: of CPU chains those with MinRounds or more.
func (w *Watch) Count() uint32 {
	n := 0
	for _, c := range w.counted() {
		n += len(w.steps[c])
	}
	return uint32(n)
}

// Draw draws into which of the counted rounds the witness looks: Draws different ones, or all where there are
// fewer, and of a product Rows rows. The stream's seed is the witness's own, made after the last step came.
func (w *Watch) Draw(s *beacon.Stream) Openings {
	chains, count := w.counted(), uint64(w.Count())
	var places []uint64
	for uint64(len(places)) < min(Draws, count) {
		if p := s.Below(count); !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	var out Openings
	for _, p := range places {
		o := Opening{Rows: []uint32{}}
		for _, c := range chains {
			if n := uint64(len(w.steps[c])); p >= n {
				p -= n
				continue
			}
			o.Chain, o.T = c, uint32(p)
			break
		}
		if w.hardware.Round == MAC {
			for len(o.Rows) < Rows {
				if r := uint32(s.Below(uint64(w.hardware.N))); !slices.Contains(o.Rows, r) {
					o.Rows = append(o.Rows, r)
				}
			}
		}
		out = append(out, o)
	}
	return out
}

// Step returns a counted step.
func (w *Watch) Step(o Opening) *SignedStep { return &w.steps[o.Chain][o.T] }

// ShownRow is a row as a device shows it.
type ShownRow struct {
	_    struct{} `cbor:",toarray"`
	Row  []byte
	Path merkle.Proof
}

// Rows reports whether a device shows the rows of an opening, and they are right. A wrong one that it committed
// to is a fault. The secret is the witness's own, of this one call.
func (w *Watch) Rows(o Opening, shown []ShownRow, secret [32]byte) (ok bool, fault *Fault) {
	if len(shown) != len(o.Rows) {
		return false, nil
	}
	step, n := w.Step(o), int(w.hardware.N)
	c := mac.NewChecker(step.Step.Seed, n, secret)
	for i := range shown {
		s := &shown[i]
		if s.Path.Index != uint64(o.Rows[i]) || !mac.Shown(step.Step.Root, n, s.Row, s.Path) {
			return false, nil
		}
		if !c.Row(int(o.Rows[i]), s.Row) {
			return false, &Fault{Device: w.device, Row: &RowFault{Step: *step, N: w.hardware.N, Row: s.Row, Path: s.Path}}
		}
	}
	return true, nil
}
