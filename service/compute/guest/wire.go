package guest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// What goes over the two pipes between a pool and its child: frames of a kind, a length and as many bytes. The
// pool believes a child no more than it must: a guest that got out of its cage could say anything.
type kind byte

const (
	kindOrder   kind = iota + 1 // to the child: JSON of an order
	kindData                    // bytes: of the module, stdin or a file
	kindEnd                     // of such bytes
	kindReady                   // from the child: it is closed, and waits; JSON of what it lacks
	kindFuel                    // fuel used, 8 bytes
	kindStdout                  // bytes
	kindStderr                  // bytes
	kindFile                    // JSON of a file that was left; data and end follow unless it is unchanged
	kindResult                  // JSON of a report; the last
	kindRefusal                 // JSON of a refusal; the last
	kindFailure                 // text of what went wrong in the child; the last
)

const (
	maxFrame = 64 << 10
	maxOrder = 8 << 20 // JSON of an order: arguments and paths
)

// order is what a child is to do.
type order struct {
	Task  string // run, compile or probe
	Dir   string // where the module is kept
	Args  []string
	Env   []string
	Stdin int64
	Files []leftFile
	Fuel  uint64
	Pages uint32
	Open  bool // of a probe: do not close the process first
}

// leftFile is a file that goes in or comes out.
type leftFile struct {
	Path string
	Size int64
	Same bool // out: as it was
}

// report is how a run ended.
type report struct {
	Exit    uint32
	Trapped bool
	Text    string // of the trap
	Left    int64
	Refused bool // memory was
	Output  bool // a stream became too long
	Memory  bool // the module begins with more memory than the job has
}

// refusal is a module that is refused, or an attempt that a probe reports.
type refusal struct {
	Reason string
	Text   string
}

// writer sends frames; several goroutines may.
type writer struct {
	mu sync.Mutex
	w  io.Writer
	b  []byte
}

func (w *writer) send(k kind, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(binary.LittleEndian.AppendUint32(append(w.b[:0], byte(k)), uint32(len(p))), p...)
	if _, err := w.w.Write(w.b); err != nil {
		return fmt.Errorf("%w: %v", ErrChild, err) // seen from the other end, the parent
	}
	return nil
}

func (w *writer) json(k kind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(k, b)
}

// data sends bytes in as many frames as they need, and their end.
func (w *writer) data(r io.Reader, size int64) error {
	buf := make([]byte, maxFrame)
	for left := size; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, maxFrame)])
		if err != nil {
			return fmt.Errorf("guest: %d of %d bytes are missing: %w", left-int64(n), size, err)
		}
		if err := w.send(kindData, buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return w.send(kindEnd, nil)
}

// reader reads frames.
type reader struct {
	r *bufio.Reader
	b []byte
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, maxFrame)} }

// next reads a frame. Its bytes hold until the next call.
func (r *reader) next() (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	k, n := kind(head[0]), int(binary.LittleEndian.Uint32(head[1:]))
	if limit := map[bool]int{true: maxOrder, false: maxFrame}[k == kindOrder]; n > limit {
		return 0, nil, fmt.Errorf("guest: a message of %d bytes, at most %d", n, limit)
	}
	if cap(r.b) < n {
		r.b = make([]byte, n)
	}
	r.b = r.b[:n]
	_, err := io.ReadFull(r.r, r.b)
	return k, r.b, err
}

// content reads data until its end.
func (r *reader) content(with func(p []byte) error) error {
	for {
		k, b, err := r.next()
		switch {
		case err != nil:
			return err
		case k == kindEnd:
			return nil
		case k != kindData:
			return fmt.Errorf("guest: message %d among data", k)
		}
		if err := with(b); err != nil {
			return err
		}
	}
}
