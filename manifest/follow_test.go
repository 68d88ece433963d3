package manifest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// said keeps what was logged.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), text)
}

// TestFollow: a newer manifest of the same signer that is published takes the place of the home's, and is told;
// one of another signer, an older one, and what is no manifest do not, and the log says once what is wrong.
func TestFollow(t *testing.T) {
	home, mine := t.TempDir(), example()
	if err := Keep(home, sign(t, mine, key(1)), types.Key{}); err != nil {
		t.Fatal(err)
	}
	var served atomic.Pointer[[]byte]
	var asked atomic.Int64
	publish := func(raw []byte) { served.Store(&raw) }
	publish(sign(t, mine, key(1)).Encode())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.Write(*served.Load()) }))
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	log, told, done := new(said), make(chan *Manifest, 8), make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, home, server.URL, slog.New(slog.NewTextHandler(log, nil)), func(m *Manifest) { told <- m }, time.Millisecond, time.Millisecond)
	}()
	turns := func(n int64) { // it has asked, and judged what it got
		for from := asked.Load(); asked.Load() < from+n+1; time.Sleep(time.Millisecond) {
			if t.Context().Err() != nil {
				t.Fatal("it asks no more")
			}
		}
	}
	turns(2)
	newer := mine
	newer.Published++
	newer.Buses = []string{"nats://192.0.2.8:4222"}
	publish(sign(t, newer, key(1)).Encode())
	if got := <-told; !slices.Equal(got.Buses, newer.Buses) {
		t.Errorf("told %v", got.Buses)
	}
	other := newer
	other.Published++
	for what, raw := range map[string][]byte{"an older one": sign(t, mine, key(1)).Encode(), "another signer's": sign(t, other, key(9)).Encode(), "none": []byte("{")} {
		publish(raw)
		turns(3)
		if kept, err := Load(home); err != nil || kept.Manifest.Published != newer.Published || kept.Signer != key(1).Public() {
			t.Errorf("%s is kept: %+v, %v", what, kept, err)
		}
	}
	for _, reason := range []types.Reason{types.OtherSigner, types.BadManifest} {
		if n := log.count(string(reason)); n != 1 {
			t.Errorf("%s is said %d times:\n%s", reason, n, log.text.String())
		}
	}
	if n := log.count(string(types.StaleManifest)); n != 0 {
		t.Errorf("%d complaints of an older one", n)
	}
	// What somebody else kept in the home is told as well.
	if err := Keep(home, sign(t, other, key(1)), types.Key{}); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got.Published != other.Published {
		t.Errorf("told %v", got.Published)
	}
	stop()
	<-done
	if len(told) != 0 {
		t.Errorf("%d more were told", len(told))
	}
}
