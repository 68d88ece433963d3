package role

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// TestClock: who is waited for has the idle time for the next byte, and the idle time altogether beyond what
// its bytes take at the rate.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		waited time.Duration
		bytes  int64
		left   time.Duration
	}{
		{0, 0, 10 * time.Second}, {4 * time.Second, 0, 6 * time.Second}, {4 * time.Second, 99, 6 * time.Second}, {4 * time.Second, 100, 7 * time.Second},
		{4 * time.Second, 1000, 10 * time.Second}, {25 * time.Second, 1000, -5 * time.Second},
	} {
		k := clock{pace: Pace{Idle: 10 * time.Second, Rate: 100}, waited: c.waited, bytes: c.bytes}
		if got := k.left(); got != c.left {
			t.Errorf("after %d bytes in %v: %v, want %v", c.bytes, c.waited, got, c.left)
		}
	}
}

// wire is a connection that takes its time, and notes for how long each read and write may wait; -1 is for ever.
type wire struct {
	*httptest.ResponseRecorder
	takes       time.Duration // for each read and write
	read, write []time.Duration
	fails       error
	pieces      []int
}

func till(t time.Time) time.Duration {
	if t.IsZero() {
		return -1
	}
	return time.Until(t)
}

func (w *wire) SetReadDeadline(t time.Time) error  { w.read = append(w.read, till(t)); return nil }
func (w *wire) SetWriteDeadline(t time.Time) error { w.write = append(w.write, till(t)); return nil }
func (w *wire) Write(p []byte) (int, error) {
	time.Sleep(w.takes)
	w.pieces = append(w.pieces, len(p))
	return len(p), nil
}

// slowly is a body that comes in pieces of a hundred bytes.
type slowly struct {
	*wire
	left int
}

func (s *slowly) Close() error { return nil }
func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.takes)
	if s.left == 0 {
		return 0, cmp.Or(s.fails, io.EOF)
	}
	s.left--
	return min(len(p), 100), nil
}

// TestPacedBody: how long each piece of a body is waited for, and what is said when none comes.
func TestPacedBody(t *testing.T) {
	pace := Pace{Idle: 10 * time.Second, Rate: 100}
	serve := func(w *wire, pieces int, handle http.HandlerFunc) {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Body = &slowly{w, pieces}
		pace.Serve(handle).ServeHTTP(w, r)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &wire{ResponseRecorder: httptest.NewRecorder(), takes: 3 * time.Second}
		serve(w, 3, func(_ http.ResponseWriter, r *http.Request) {
			if raw, err := io.ReadAll(r.Body); len(raw) != 300 || err != nil {
				t.Errorf("%d bytes, %v", len(raw), err)
			}
		})
		// Before anything is read, then for each piece: each takes 3 s and earns 1 s; when all is there, no
		// time at all is set.
		if want := []time.Duration{10e9, 10e9, 8e9, 6e9, 4e9, -1}; !slices.Equal(w.read, want) {
			t.Errorf("read deadlines %v, want %v", w.read, want)
		}
		if want := []time.Duration{-1, 10e9}; !slices.Equal(w.write, want) { // nothing of before, and so long for the last bytes
			t.Errorf("write deadlines %v, want %v", w.write, want)
		}
		w = &wire{ResponseRecorder: httptest.NewRecorder(), takes: time.Second, fails: os.ErrDeadlineExceeded}
		serve(w, 1, func(out http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); types.ReasonOf(err) != TooSlow || !strings.Contains(err.Error(), "100 bytes came in 2s") {
				t.Errorf("%v", err)
			}
			if out.Header().Get("Connection") != "close" {
				t.Error("the connection stays")
			}
		})
		w = &wire{ResponseRecorder: httptest.NewRecorder(), fails: errors.New("reset")}
		serve(w, 0, func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil || types.ReasonOf(err) == TooSlow {
				t.Errorf("%v", err)
			}
		})
	})
}

// TestPacedWriter: how long each piece of an answer is waited for.
func TestPacedWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{ResponseRecorder: httptest.NewRecorder(), takes: 4 * time.Second}
		pace := Pace{Idle: 10 * time.Second, Rate: pacePiece}
		pace.Serve(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			if n, err := out.Write(make([]byte, 2*pacePiece+1)); n != 2*pacePiece+1 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if want := []int{pacePiece, pacePiece, 1}; !slices.Equal(w.pieces, want) {
			t.Errorf("pieces of %v bytes, want %v", w.pieces, want)
		}
		if want := []time.Duration{-1, 10e9, 7e9, 4e9, 10e9}; !slices.Equal(w.write, want) {
			t.Errorf("write deadlines %v, want %v", w.write, want)
		}
		if len(w.read) != 0 { // there is no body to wait for
			t.Errorf("read deadlines %v", w.read)
		}
	})
}

// TestPaceDefaults: the zero value stands for 30 seconds and 8 KiB a second.
func TestPaceDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{ResponseRecorder: httptest.NewRecorder(), takes: time.Second}
		Pace{}.Serve(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			out.Write(make([]byte, paceRate/2))
			out.Write(nil)
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if want := []time.Duration{-1, 30e9, 29e9, 30e9}; !slices.Equal(w.write, want) {
			t.Errorf("write deadlines %v, want %v", w.write, want)
		}
	})
}
