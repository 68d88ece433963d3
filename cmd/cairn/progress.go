package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress shows how far a transfer is: a line that moves on a terminal, nothing in a pipe.
type progress struct {
	w     io.Writer
	what  string
	total int64
	seen  int64
	shown time.Time
	on    bool
}

func newProgress(w io.Writer, what string, total int64) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, what: what, total: total, on: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) reader(r io.Reader) io.Reader { return io.TeeReader(r, p) }

// Write counts what passes.
func (p *progress) Write(b []byte) (int, error) {
	p.seen += int64(len(b))
	if p.on && time.Since(p.shown) > 100*time.Millisecond {
		p.shown = time.Now()
		if p.total > 0 {
			fmt.Fprintf(p.w, "\r\x1b[K%s %3d %% of %s", p.what, p.seen*100/p.total, bytesOf(uint64(p.total)))
		} else {
			fmt.Fprintf(p.w, "\r\x1b[K%s %s", p.what, bytesOf(uint64(p.seen)))
		}
	}
	return len(b), nil
}

func (p *progress) done() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// decode reads JSON from an answer.
func decode(r io.Reader, v any) error {
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
