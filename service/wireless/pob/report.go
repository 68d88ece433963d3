package pob

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Report is what a challenger says of one device's test: evidence of the kind pob.report.
type Report struct {
	_       struct{} `cbor:",toarray"`
	Device  types.Key
	Start   Start
	Secret  types.Hash   // from which its tags follow
	Prefix  Prefix       // from which the device dialled; zero if it did not
	Arrival uint32       // milliseconds from the start, by the challenger's clock, until the reply was complete; 0 without one
	Reply   *SignedReply // nil if none came
}

// MaxReport bounds an encoded report, in bytes.
const MaxReport = MaxReply + 512

// Encode returns the encoding of r.
func (r *Report) Encode() []byte { return types.Encode(r) }

// DecodeReport reads a report, and checks its form.
func DecodeReport(raw []byte) (*Report, error) {
	r := new(Report)
	if err := types.DecodeLimit(raw, r, MaxReport); err != nil {
		return nil, fmt.Errorf("wireless: report: %w", err)
	}
	if err := r.Start.check(); err != nil {
		return nil, err
	}
	if !r.Prefix.IsZero() && !r.Prefix.Valid() || r.Reply == nil && r.Arrival != 0 {
		return nil, types.Refuse(types.BadEncoding, "wireless: report of prefix %v, arrival %d", r.Prefix, r.Arrival)
	}
	if r.Reply != nil {
		return r, r.Reply.check()
	}
	return r, nil
}
