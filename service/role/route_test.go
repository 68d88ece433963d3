package role

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// keyed is a market that knows whoever sends a key.
type keyed struct{ Market }

func (keyed) Wallet(r *http.Request) (Wallet, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, types.Refuse(NoKey, "no key")
	}
	return purse{}, nil
}

type purse struct{ Wallet }

// TestHandler: who is let in, how much is read of a body, and what an error becomes.
func TestHandler(t *testing.T) {
	const full types.Reason = "test.full"
	whose := func(w http.ResponseWriter, _ *http.Request, wallet Wallet) error {
		return Reply(w, http.StatusAccepted, map[string]bool{"wallet": wallet != nil})
	}
	size := func(w http.ResponseWriter, r *http.Request, _ Wallet) error {
		raw, err := io.ReadAll(r.Body)
		if over := new(http.MaxBytesError); errors.As(err, &over) {
			return types.Refuse(types.Oversize, "%d", over.Limit)
		}
		return Reply(w, http.StatusOK, len(raw))
	}
	h := Handler(keyed{}, []Route{
		{Method: "GET", Path: "/open", Open: true, Serve: whose},
		{Method: "GET", Path: "/own", Serve: whose},
		{Method: "POST", Path: "/json", In: Problem{}, Serve: size},
		{Method: "PUT", Path: "/bytes", In: []byte(nil), Serve: size},
		{Method: "GET", Path: "/full", Serve: func(http.ResponseWriter, *http.Request, Wallet) error { return full }},
		{Method: "GET", Path: "/broken", Serve: func(http.ResponseWriter, *http.Request, Wallet) error { return errors.New("broken") }},
	}, []types.ReasonInfo{{Reason: full, Status: 507, Try: "less"}})
	for _, c := range []struct {
		method, path, key string
		body              int
		status            int
		answer            string // how it begins
	}{
		{"GET", "/open", "", 0, 202, `{"wallet":false}`},
		{"GET", "/open", "k", 0, 202, `{"wallet":false}`},
		{"GET", "/own", "", 0, 401, `{"reason":"gateway.no_key"`},
		{"GET", "/own", "k", 0, 202, `{"wallet":true}`},
		{"POST", "/json", "k", MaxBody, 200, "65536\n"},
		{"POST", "/json", "k", MaxBody + 1, 413, `{"reason":"oversize"`},
		{"PUT", "/bytes", "k", MaxBody + 1, 200, "65537\n"},
		{"GET", "/full", "k", 0, 507, `{"reason":"test.full","message":"test.full","try":"less"}`},
		{"GET", "/broken", "k", 0, 500, `{"reason":"gateway.internal"`},
		{"GET", "/none", "k", 0, 404, `{"reason":"gateway.not_found"`},
		{"PUT", "/own", "k", 0, 405, `{"reason":"gateway.bad_method"`},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(strings.Repeat("x", c.body)))
		r.Header.Set("Authorization", c.key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || !strings.HasPrefix(w.Body.String(), c.answer) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s with %d bytes: %d %.80s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
}

// TestNumber: a parameter that is no number, or too large, is refused.
func TestNumber(t *testing.T) {
	for query, want := range map[string]uint64{"": 7, "n=": 7, "n=0": 0, "n=9": 9, "n=10": 99, "n=-1": 99, "n=x": 99} {
		got, err := Number(httptest.NewRequest("GET", "/?"+query, nil), "n", 7, 9)
		if want == 99 && types.ReasonOf(err) != BadRequest || want != 99 && (err != nil || got != want) {
			t.Errorf("%q: %d, %v", query, got, err)
		}
	}
}
