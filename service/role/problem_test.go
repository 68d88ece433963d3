package role

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// problem reads what was answered.
func problem(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%q is no problem: %v", w.Body, err)
	}
	return p
}

// TestCoherent: what a mux has no path or no method for is a problem like any other, and so is a URL that can't
// be read.
func TestCoherent(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /a", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("PUT /a", func(w http.ResponseWriter, r *http.Request) {})
	for _, c := range []struct {
		method, target string
		status         int
		reason         types.Reason
		allow          string
	}{
		{"GET", "/a?x=1", http.StatusNoContent, "", ""},
		{"GET", "/a?x=%zz", http.StatusBadRequest, BadRequest, ""},
		{"GET", "/a?x=1;y=2", http.StatusBadRequest, BadRequest, ""},
		{"GET", "/b", http.StatusNotFound, NotFound, ""},
		{"POST", "/a", http.StatusMethodNotAllowed, BadMethod, "GET, HEAD, PUT"},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.URL.Path, r.URL.RawQuery = c.target[:2], c.target[min(3, len(c.target)):]
		w := httptest.NewRecorder()
		Coherent(mux).ServeHTTP(w, r)
		if w.Code != c.status || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, %v", c.method, c.target, w.Code, w.Header())
		}
		if c.reason != "" && problem(t, w).Reason != c.reason {
			t.Errorf("%s %s: %s", c.method, c.target, w.Body)
		}
	}
}

// TestFail: an error without a reason is internal, and a busy server says when to come back.
func TestFail(t *testing.T) {
	for _, c := range []struct {
		err    error
		given  string // Retry-After that a handler set
		reason types.Reason
		after  string
	}{
		{errors.New("whatever"), "", Internal, ""},
		{types.Refuse(Busy, "x"), "", Busy, "10"},
		{types.Refuse(Busy, "x"), "3", Busy, "3"},
		{types.Refuse(NotFound, "x"), "", NotFound, ""},
		{Later(types.Refuse(Busy, "x"), 1500*time.Millisecond), "", Busy, "2"},
		{Later(types.Refuse(Busy, "x"), 2*time.Second), "", Busy, "2"},
		{Later(types.Refuse(NotFound, "x"), time.Millisecond), "", NotFound, "1"},
	} {
		w := httptest.NewRecorder()
		if c.given != "" {
			w.Header().Set("Retry-After", c.given)
		}
		Fail(w, c.err)
		if p := problem(t, w); p.Reason != c.reason || w.Header().Get("Retry-After") != c.after || w.Code != Info(c.reason).Status {
			t.Errorf("%v: %d %+v, Retry-After %q", c.err, w.Code, p, w.Header().Get("Retry-After"))
		}
	}
}
