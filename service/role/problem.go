package role

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Problem is the body of every refusal over HTTP.
type Problem struct {
	Reason  types.Reason `json:"reason"` // from docs/spec/reasons.md; "" if none fits
	Message string       `json:"message"`
	Try     string       `json:"try,omitempty"` // what to do about it
}

// WriteError answers a request with err as a Problem, with a status of the caller's. own is the table of the
// category that answers.
func WriteError(w http.ResponseWriter, err error, status int, own ...types.ReasonInfo) {
	p := Problem{Reason: types.ReasonOf(err), Message: err.Error()}
	p.Try = Info(p.Reason, own...).Try
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p)
}

// Fail answers a request to a gateway with err: with the status of its reason, and as Internal where it carries
// none. own is the table of the category that answers.
func Fail(w http.ResponseWriter, err error, own ...types.ReasonInfo) {
	if types.ReasonOf(err) == "" {
		err = fmt.Errorf("%w: %w", err, Internal)
	}
	var later *later
	switch h := w.Header(); {
	case errors.As(err, &later):
		h.Set("Retry-After", strconv.FormatInt(int64((later.wait+time.Second-1)/time.Second), 10))
	case types.ReasonOf(err) == Busy && h.Get("Retry-After") == "":
		h.Set("Retry-After", "10")
	}
	WriteError(w, err, Info(types.ReasonOf(err), own...).Status, own...)
}

// Query returns a parameter of the request's URL, "" where it has none. The parser of forms (r.FormValue and
// its like) is used nowhere: with it a body of a form's type, which curl claims for whatever it sends, is read
// and gone before its handler sees it.
func Query(r *http.Request, name string) string { return r.URL.Query().Get(name) }

// later is a refusal that may be none after a while.
type later struct {
	error
	wait time.Duration
}

func (l *later) Unwrap() error { return l.error }

// Later has Fail say after what time to try again what err refuses.
func Later(err error, wait time.Duration) error { return &later{err, wait} }

// Coherent serves mux, and refuses what mux has no path or no method for with a Problem like any other, and a
// URL whose parameters cannot be read: one that is left out unseen means something else.
func Coherent(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			Fail(w, types.Refuse(BadRequest, "%s %.200s: %v", r.Method, r.URL.Path, err))
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := answer{header: http.Header{}}
		h.ServeHTTP(&said, r)
		if said.status != http.StatusMethodNotAllowed {
			Fail(w, types.Refuse(NotFound, "%s %.200s", r.Method, r.URL.Path))
			return
		}
		maps.Copy(w.Header(), http.Header{"Allow": said.header["Allow"]})
		Fail(w, types.Refuse(BadMethod, "%s %.200s", r.Method, r.URL.Path))
	})
}

// answer keeps what a handler says and drops the body.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }

// ReadJSON decodes the JSON body of a request, which the caller bounds (http.MaxBytesReader). A body that does
// not say that it is JSON is refused with bad_media, unknown fields and a second value with bad_request, a
// longer body with oversize.
func ReadJSON(r *http.Request, v any) error {
	if !jsonBody(r) {
		return types.Refuse(BadMedia, "body: Content-Type %.100q", r.Header.Get("Content-Type"))
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return types.Refuse(types.Oversize, "body: %v", err)
		}
		return types.Refuse(BadRequest, "body: %v", err)
	}
	if d.More() {
		return types.Refuse(BadRequest, "body: more than one JSON value")
	}
	return nil
}
