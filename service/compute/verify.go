package compute

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Verifier judges the category's evidence. It keeps nothing.
type Verifier struct{}

// New returns the category's verifier.
func New() Verifier { return Verifier{} }

// Spec returns what the category declares. Callers do not change it.
func (Verifier) Spec() *tally.Spec { return &spec }

// Subject returns the device that a witness's report is about.
func (Verifier) Subject(e *evidence.Envelope) (types.Key, error) {
	switch e.Kind {
	case KindSighting:
		s, err := DecodeSighting(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return s.Device, nil
	case KindAudit:
		a, err := DecodeAudit(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return a.Device, nil
	case KindFault:
		f, err := DecodeFault(e.Body)
		if err != nil {
			return types.Key{}, err
		}
		return f.Device, nil
	}
	return types.Key{}, types.Refuse(types.UnknownKind, "compute: a report of kind %d", e.Kind)
}
