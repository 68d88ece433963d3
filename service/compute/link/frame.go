// Package link joins a device that runs a job with the gateway that ordered it. The device dials, since a
// gateway can be reached and a machine at home often can't: it fetches the job's inputs, and holds one Stream
// for each job, on which it sends what the job writes and how far it is, and gets receipts, until the gateway
// has the result.
//
//	Server  at the gateway      asks its Jobs which device may have which input and which job's stream
//	Client  at the device       keeps one connection to each gateway, so that a job need not wait for a handshake
//	Stream  of both ends        frames, in order, both ways
//	Conn    of both ends        one connection to a port of a container
//
// It is HTTP/2 over TLS 1.3 with the keys of both sides pinned. A stream that breaks is opened again: the
// gateway's first Frame says from where on it lacks output, so nothing is lost or counted twice. A side that
// says nothing for Silence is taken to be gone; each says something every few seconds.
package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Kind says what a Frame is.
type Kind uint8

// Kinds of frames.
const (
	Beat Kind = 0 // nothing but that the sender is there; no Read returns it

	// from the device
	Output Kind = 1 // Stream, Offset, Data: what the job wrote
	State  Kind = 2 // Offset: units used so far; Data: why the job does not run at present, "" if it does
	End    Kind = 3 // Data: how the job ended
	Answer Kind = 4 // Offset: which request of a job of class model; Stream: Head, Body or Done; Data: a part of the answer

	Shut Kind = 5 // Offset: the number of an Open that comes to nothing; Data: a reason, a line feed and a sentence for people

	// from the gateway
	From    Kind = 16 // the first one. Data: for each output, up to where the gateway has it, 8 bytes each, big endian
	Receipt Kind = 17 // Data: a signed receipt
	Cancel  Kind = 18 // the job is to end now
	Kept    Kind = 19 // how the job ended is on the gateway's disk: the device may forget it
	Request Kind = 20 // Offset: which request of a job of class model, from 1 on; Stream: Part or Whole; Data: a part of it
	Stop    Kind = 21 // Offset: the request whose answer nobody waits for any more; 0: no request follows, the job is to end
	Open    Kind = 22 // Offset: the number of a connection; Data: the port of the container to which the device is to make it (Client.Port)
)

// What a frame of kind Answer or Request has (Frame.Stream).
const (
	Head uint8 = 1 // 2 bytes of HTTP status, big endian, and the content type
	Body uint8 = 2
	Done uint8 = 3 // the answer is over. Data: "", or a reason, a line feed and a sentence for people

	Part  uint8 = 1
	Whole uint8 = 2 // with this part the request is whole: a path, a line feed and the body
)

// Bounds of a stream.
const (
	MaxData = 64 << 10 // bytes of a frame's data
	Silence = 10 * time.Second
	beat    = Silence / 4
	head    = 1 + 1 + 8 + 4
)

// Frame is what travels on a Stream.
type Frame struct {
	Kind   Kind
	Stream uint8 // of Output; what there is in an Answer or Request
	Offset uint64
	Data   []byte
}

// ErrSilent says that the other side said nothing for Silence.
var ErrSilent = errors.New("link: the other side is silent")

// Stream is one end of a job's stream. Read is for one goroutine, Write for any.
type Stream struct {
	in     *bufio.Reader
	close  func() // breaks both directions
	flush  func() error
	silent *time.Timer

	mu     sync.Mutex // guards out and began
	out    io.Writer
	began  bool // something was written
	once   sync.Once
	closed chan struct{}
	quiet  bool // the timer closed it; read after closed
}

func newStream(in io.Reader, out io.Writer, flush func() error, closer func()) *Stream {
	s := &Stream{in: bufio.NewReaderSize(in, MaxData+head), out: out, flush: flush, close: closer, closed: make(chan struct{})}
	s.silent = time.AfterFunc(Silence, func() { s.end(true) })
	go s.beat()
	return s
}

func (s *Stream) beat() {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-t.C:
			if s.Write(Frame{Kind: Beat}) != nil {
				return
			}
		}
	}
}

// Close breaks the stream: the other side's Read fails, and so does this side's.
func (s *Stream) Close() { s.end(false) }

// Closed is closed once the stream is broken.
func (s *Stream) Closed() <-chan struct{} { return s.closed }

func (s *Stream) end(quiet bool) {
	s.once.Do(func() {
		s.quiet = quiet
		s.silent.Stop()
		close(s.closed)
		s.close()
	})
}

// err returns why the stream is broken, given what broke it.
func (s *Stream) err(err error) error {
	s.Close()
	if s.quiet {
		return ErrSilent
	}
	return err
}

// Write sends a frame. It waits while the other side does not take it, for as long as the other side is not silent.
func (s *Stream) Write(f Frame) error {
	if len(f.Data) > MaxData {
		return types.Refuse(types.Oversize, "link: a frame of %d bytes, at most %d", len(f.Data), MaxData)
	}
	b := make([]byte, head, head+len(f.Data))
	b[0], b[1] = byte(f.Kind), f.Stream
	binary.BigEndian.PutUint64(b[2:], f.Offset)
	binary.BigEndian.PutUint32(b[10:], uint32(len(f.Data)))
	b = append(b, f.Data...)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return s.err(io.ErrClosedPipe)
	default:
	}
	s.began = true
	if _, err := s.out.Write(b); err != nil {
		return s.err(fmt.Errorf("link: %w", err))
	}
	if err := s.flush(); err != nil {
		return s.err(fmt.Errorf("link: %w", err))
	}
	return nil
}

// abandon ends a stream. If nothing was written on it, which it reports, what is below stays usable.
func (s *Stream) abandon() (untouched bool) {
	s.mu.Lock()
	if untouched = !s.began; untouched {
		s.once.Do(func() {
			s.silent.Stop()
			close(s.closed)
		})
	}
	s.mu.Unlock()
	s.Close()
	s.mu.Lock() // who writes at this moment fails, and is waited for
	defer s.mu.Unlock()
	return untouched
}

// Read returns the next frame. Its Data is the caller's.
func (s *Stream) Read() (Frame, error) {
	for {
		f, err := s.read()
		if err != nil || f.Kind != Beat {
			return f, err
		}
	}
}

func (s *Stream) read() (Frame, error) {
	var h [head]byte
	if _, err := io.ReadFull(s.in, h[:]); err != nil {
		return Frame{}, s.err(err)
	}
	s.silent.Reset(Silence)
	f := Frame{Kind: Kind(h[0]), Stream: h[1], Offset: binary.BigEndian.Uint64(h[2:])}
	n := binary.BigEndian.Uint32(h[10:])
	if n > MaxData {
		return Frame{}, s.err(types.Refuse(types.Oversize, "link: a frame of %d bytes, at most %d", n, MaxData))
	}
	f.Data = make([]byte, n)
	if _, err := io.ReadFull(s.in, f.Data); err != nil {
		return Frame{}, s.err(fmt.Errorf("link: half a frame: %w", err))
	}
	return f, nil
}

// Outputs is how many outputs a job has: what it writes as standard output and standard error, the list of the
// files that it left, and their bytes. They are numbered from 1 on (Frame.Stream).
const Outputs = 4

// Offsets is the data of a From frame.
func Offsets(at [Outputs]uint64) (data []byte) {
	for _, n := range at {
		data = binary.BigEndian.AppendUint64(data, n)
	}
	return data
}

// ParseOffsets reads the data of a From frame.
func ParseOffsets(data []byte) (at [Outputs]uint64, err error) {
	if len(data) != 8*Outputs {
		return at, types.Refuse(types.BadEncoding, "link: offsets of %d bytes", len(data))
	}
	for i := range at {
		at[i] = binary.BigEndian.Uint64(data[8*i:])
	}
	return at, nil
}
