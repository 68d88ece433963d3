package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// fakeNode says which chain it is of, and else that it is itself, unless how says something else.
func fakeNode(t *testing.T, name, chain string, how *atomic.Pointer[http.HandlerFunc]) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := how.Load(); h != nil {
			(*h)(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"status"`) {
			fmt.Fprintf(w, `{"result":{"node_info":{"network":%q}}}`, chain)
			return
		}
		fmt.Fprintf(w, "%s: %s", name, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestNodes: a node that does not answer, or not in time, or has too much to do, is left for the next, with the
// same request; one of another chain is never used.
func TestNodes(t *testing.T) {
	var down, never [3]atomic.Pointer[http.HandlerFunc]
	hang := make(chan struct{})
	defer close(hang)
	reply := func(h http.HandlerFunc) *http.HandlerFunc { return &h }
	n, err := newNodes([]string{fakeNode(t, "a", "home", &down[0]), fakeNode(t, "b", "elsewhere", &never[1]), fakeNode(t, "c", "home", &down[2])}, "", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: n}
	post := func(wait time.Duration) string {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", n.urls[0].String(), strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	want := func(what, want string, wait time.Duration) {
		t.Helper()
		if got := post(wait); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	want("all are well", "a: hello", time.Minute)
	down[0].Store(reply(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	want("the first is down, the second another's", "c: hello", time.Minute)
	want("it stays with the third", "c: hello", time.Minute)
	down[0].Store(nil)
	down[2].Store(reply(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-hang }))
	want("the third hangs", "deadline", 50*time.Millisecond)
	want("it is not waited for again", "a: hello", time.Minute)
	down[0].Store(reply(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	down[2].Store(reply(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }))
	if got := post(time.Minute); !strings.Contains(got, "503") || !strings.Contains(got, "429") || !strings.Contains(got, string(types.WrongChain)) {
		t.Errorf("none is well: %s", got)
	}
	down[2].Store(nil)
	for n.current() != 2 { // a node that stands still is left, whatever it answers
		n.stuck()
	}
	want("the others were left", "c: hello", time.Minute)
	if _, err := newNodes([]string{"127.0.0.1:26657"}, "", nil, slog.New(slog.DiscardHandler)); types.ReasonOf(err) != types.BadArgument {
		t.Errorf("an address without a scheme: %v", err)
	}
}

// TestNodesPin: a node that has another block in the place of the one that is believed is passed over; one that
// has forgotten it is not.
func TestNodesPin(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"the same":  {fmt.Sprintf(`{"result":{"signed_header":{"commit":{"block_id":{"hash":%q}}}}}`, strings.ToUpper(types.Hash{7}.String())), "a"},
		"another":   {fmt.Sprintf(`{"result":{"signed_header":{"commit":{"block_id":{"hash":%q}}}}}`, strings.ToUpper(types.Hash{8}.String())), "b"},
		"forgotten": {`{"error":{"message":"height 5 is not available"}}`, "a"},
	} {
		node := func(name, commit string) string {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				switch {
				case strings.Contains(string(body), `"status"`):
					fmt.Fprint(w, `{"result":{"node_info":{"network":"home"}}}`)
				case strings.Contains(string(body), `"commit"`):
					fmt.Fprint(w, commit)
				default:
					fmt.Fprint(w, name)
				}
			}))
			t.Cleanup(s.Close)
			return s.URL
		}
		var said strings.Builder
		n, err := newNodes([]string{node("a", c.answer), node("b", `{"error":{}}`)}, "home", &Pin{5, types.Hash{7}}, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: n}).Post("http://any", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != c.want {
			t.Errorf("%s: %s was asked, want %s\n%s", name, got, c.want, &said)
		}
		res.Body.Close()
	}
}
