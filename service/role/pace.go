package role

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Pace is how slow whoever is at the other end of a connection may be: it gets Idle for the next byte, and Idle
// altogether beyond what its bytes take at Rate, for a body that it sends and for an answer that it takes. Only
// the time counts that a server waits for it. Who is slower loses the connection, so that nobody keeps a
// server's memory by doing nothing. The zero value stands for 30 seconds and 8 KiB a second.
type Pace struct {
	Idle time.Duration
	Rate int64 // bytes a second
}

const (
	paceIdle  = 30 * time.Second
	paceRate  = 8 << 10
	pacePiece = 64 << 10 // how much is written under one deadline
)

// Serve serves next to whoever keeps up. An upload that does not is refused with TooSlow, if that can still be said.
func (p Pace) Serve(next http.Handler) http.Handler {
	if p.Idle <= 0 {
		p.Idle = paceIdle
	}
	if p.Rate <= 0 {
		p.Rate = paceRate
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		out := &pacedWriter{ResponseWriter: w, control: control, clock: clock{pace: p}}
		if r.Body != nil && r.Body != http.NoBody {
			// Where next reads nothing, the server reads on for a while after the answer: not for ever.
			if control.SetReadDeadline(time.Now().Add(p.Idle)) == nil {
				out.body = &pacedBody{ReadCloser: r.Body, w: w, control: control, clock: clock{pace: p}}
				r = r.WithContext(r.Context()) // the server's own keeps its body, of which it knows how to let go
				r.Body = out.body
			}
		}
		// What an earlier request on the connection left must not end this one, nor what this one leaves its
		// last bytes.
		_ = control.SetWriteDeadline(time.Time{})
		defer func() { _ = control.SetWriteDeadline(time.Now().Add(p.Idle)) }()
		next.ServeHTTP(out, r)
	})
}

// clock counts how long somebody was waited for, and for how many bytes.
type clock struct {
	pace   Pace
	waited time.Duration
	bytes  int64
}

// left is how long it may be waited for the next ones.
func (c *clock) left() time.Duration {
	return min(c.pace.Idle, c.pace.Idle+time.Duration(c.bytes/c.pace.Rate)*time.Second-c.waited)
}

// pacedBody is a request's body.
type pacedBody struct {
	io.ReadCloser
	w       http.ResponseWriter
	control *http.ResponseController
	clock   clock
	ended   bool
}

func (b *pacedBody) Read(p []byte) (int, error) {
	start := time.Now()
	if err := b.control.SetReadDeadline(start.Add(b.clock.left())); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.clock.waited += time.Since(start)
	b.clock.bytes += int64(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.w.Header().Set("Connection", "close")
		return n, types.Refuse(TooSlow, "%d bytes came in %v", b.clock.bytes, b.clock.waited.Round(time.Millisecond))
	case err != nil:
		b.ended = true // from here on the server listens whether the client is still there: for as long as the answer takes
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// pacedWriter is the answer to a request.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	body    *pacedBody // of the request; nil for none
	clock   clock
}

// Unwrap serves http.ResponseController.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *pacedWriter) Write(b []byte) (n int, err error) {
	for first := true; err == nil && (first || len(b) > 0); first = false {
		piece := b[:min(len(b), pacePiece)]
		start := time.Now()
		if w.body != nil && !w.body.ended { // the server wants the rest before it sends an answer: while there is time for that
			_ = w.control.SetReadDeadline(start.Add(w.clock.left() / 2))
		}
		if err := w.control.SetWriteDeadline(start.Add(w.clock.left())); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return n, err
		}
		var m int
		m, err = w.ResponseWriter.Write(piece)
		w.clock.waited += time.Since(start)
		w.clock.bytes += int64(m)
		n += m
		b = b[len(piece):]
	}
	return n, err
}
