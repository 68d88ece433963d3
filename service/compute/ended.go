package compute

import (
	"fmt"
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// Ended is how a job ended, as its device tells the gateway (link.End). Either it ran: then Result and Leaf say
// how, or Leaf alone where the customer cancelled it (its mode is Cut). Or it could not be run at all, which
// costs nothing: then Reason says why, and Leaf, if the device had begun it, is a Cut one for no units, so that
// its number in the session is not a gap.
type Ended struct {
	_       struct{} `cbor:",toarray"`
	Reason  types.Reason
	Message string // for people, at most MaxMessage bytes
	Result  *Result
	Leaf    *SignedLeaf
}

// Bounds of an Ended.
const (
	MaxMessage = 512
	maxEnded   = 64 << 10 // bytes: one frame
)

// Encode returns the encoding of e.
func (e *Ended) Encode() []byte { return types.Encode(e) }

// DecodeEnded reads how a job ended, and checks that its parts belong together: not the leaf's signature, nor
// its order.
func DecodeEnded(raw []byte) (*Ended, error) {
	e := new(Ended)
	if err := types.DecodeLimit(raw, e, maxEnded); err != nil {
		return nil, fmt.Errorf("compute: end: %w", err)
	}
	if len(e.Message) > MaxMessage || len(e.Reason) > MaxName || !utf8.ValidString(e.Message) {
		return nil, types.Refuse(types.BadEncoding, "compute: end: a message of %d bytes", len(e.Message))
	}
	if e.Leaf != nil {
		if err := e.Leaf.Leaf.check(); err != nil {
			return nil, err
		}
	}
	cut := e.Leaf != nil && e.Leaf.Leaf.Mode == Cut
	switch {
	case e.Reason != "" && (e.Result != nil || e.Leaf != nil && (!cut || e.Leaf.Leaf.Fuel != 0)),
		e.Reason == "" && (e.Leaf == nil || cut != (e.Result == nil)):
		return nil, types.Refuse(types.BadEncoding, "compute: end: reason %.40q with a result or leaf that does not fit", e.Reason)
	}
	if e.Result != nil {
		if _, err := DecodeResult(e.Result.Encode()); err != nil {
			return nil, err
		}
	}
	return e, nil
}
