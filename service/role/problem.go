package role

import (
	"encoding/json"
	"net/http"

	"github.com/cairn-network/cairn/core/types"
)

// Problem is the body of every refusal over HTTP.
type Problem struct {
	Reason  types.Reason `json:"reason"` // from docs/spec/reasons.md; "" if none fits
	Message string       `json:"message"`
	Try     string       `json:"try,omitempty"`
}

// tries holds what to do about each of the protocol's own reasons.
var tries = func() map[types.Reason]string {
	m := map[types.Reason]string{}
	for _, r := range types.Reasons() {
		m[r.Reason] = r.Try
	}
	return m
}()

// WriteError answers a request with err as a Problem. The extra table is searched before the protocol's own.
func WriteError(w http.ResponseWriter, err error, status int, extra ...types.ReasonInfo) {
	p := Problem{Reason: types.ReasonOf(err), Message: err.Error()}
	p.Try = tries[p.Reason]
	for _, r := range extra {
		if r.Reason == p.Reason {
			p.Try = r.Try
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p)
}
