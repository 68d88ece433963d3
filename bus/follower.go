package bus

import (
	"errors"
	"sync"

	"github.com/cairn-network/cairn/core/types"
)

// candidates is how many notices of one verifier wait for others to say the same: verifiers publish at the same
// heights, but not at the same moment.
const candidates = 4

// Pin is whom a follower starts from: learnt at onboarding, and afterwards from the last notice that it believed.
type Pin struct {
	Chain  string       `json:"chain"`
	Region types.Region `json:"region"`
	Epoch  types.Epoch  `json:"epoch"` // whose set it is
	Set    Set          `json:"verifiers"`
}

// Follower follows the notices of a region. It believes a notice that more than two thirds of the power of the
// set it trusts have signed, and trusts from then on the set that the notice names. So whoever controls a third
// or less of the power can neither invent a notice nor hold one back for long. A follower that was away while
// more than a third of the power changed hands cannot go on by itself: it must be pinned anew.
//
// It remembers at most a few notices of each member of the trusted set. All methods are safe for concurrent use.
type Follower struct {
	mu      sync.Mutex
	pin     Pin
	newest  *Notice
	waiting map[types.Key][]waiting // of members of the trusted set, oldest first
}

type waiting struct {
	hash   types.Hash // of the encoding
	notice *Notice
}

// NewFollower starts from pin.
func NewFollower(pin Pin) *Follower {
	return &Follower{pin: pin, waiting: map[types.Key][]waiting{}}
}

// Pin returns the set that is trusted now, to be kept.
func (f *Follower) Pin() Pin {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pin
}

// Newest returns the newest notice that is believed, nil if there is none yet.
func (f *Follower) Newest() *Notice {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

// Take takes a sealed notice in. It returns the notice that is believed because of it, nil if there is none; an
// error says why the message was thrown away.
func (f *Follower) Take(raw []byte) (*Notice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, signer, err := Open[Notice](raw, f.pin.Chain)
	if err != nil {
		return nil, err
	}
	if n.Region != f.pin.Region {
		return nil, types.Refuse(types.WrongRegion, "bus: notice of region %d, want %d", n.Region, f.pin.Region)
	}
	if f.pin.Set.Power(signer) == 0 {
		return nil, types.Refuse(types.UnknownAuthor, "bus: notice of %v, which is no verifier", signer)
	}
	if !f.newer(n) {
		return nil, nil // an honest latecomer, or one notice seen twice
	}
	list := f.waiting[signer]
	if len(list) == candidates {
		list = append(list[:0], list[1:]...)
	}
	hash := types.Sum(types.Encode(n))
	f.waiting[signer] = append(list, waiting{hash, n})
	var power uint64
	for _, m := range f.pin.Set {
		for _, w := range f.waiting[m.Key] {
			if w.hash == hash {
				power += m.Power
				break
			}
		}
	}
	if !f.pin.Set.Enough(power) {
		return nil, nil
	}
	if n.Set.Total() == 0 {
		return nil, types.Refuse(types.BadEncoding, "bus: a notice whose set has no power")
	}
	f.believe(n)
	return n, nil
}

// newer reports whether n says more than the newest notice.
func (f *Follower) newer(n *Notice) bool {
	if n.Epoch < f.pin.Epoch {
		return false
	}
	return f.newest == nil || n.Epoch >= f.newest.Epoch && n.Height > f.newest.Height
}

func (f *Follower) believe(n *Notice) {
	f.newest, f.pin.Epoch, f.pin.Set = n, n.Epoch, n.Set
	for key, list := range f.waiting {
		kept := list[:0]
		for _, w := range list {
			if f.newer(w.notice) && n.Set.Power(key) > 0 {
				kept = append(kept, w)
			}
		}
		if f.waiting[key] = kept; len(kept) == 0 {
			delete(f.waiting, key)
		}
	}
}

// Check refuses a pin that nothing can be believed from.
func (p Pin) Check() error {
	if p.Chain == "" || p.Set.Total() == 0 {
		return errors.New("bus: pin: it names no chain or no verifiers")
	}
	return p.Set.Check()
}
