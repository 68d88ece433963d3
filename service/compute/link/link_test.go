package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

// jobs is a gateway of one order, for one device.
type jobs struct {
	device types.Key
	order  types.Hash
	input  string // a file
	hash   types.Hash
	join   func(context.Context, *Stream) error
	port   func(*Conn)
}

var errNone = types.Refuse(types.UnknownBlob, "no such job")

func (j *jobs) Input(device types.Key, order, input types.Hash) (io.ReadSeekCloser, uint64, error) {
	if device != j.device || order != j.order || input != j.hash {
		return nil, 0, errNone
	}
	f, err := os.Open(j.input)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	return f, uint64(info.Size()), err
}

func (j *jobs) Join(ctx context.Context, device types.Key, order types.Hash, s *Stream) error {
	if device != j.device || order != j.order {
		return errNone
	}
	return j.join(ctx, s)
}

func (j *jobs) Port(device types.Key, order types.Hash, number uint64) (func(*Conn), error) {
	if device != j.device || order != j.order || number != 7 {
		return nil, errNone
	}
	return j.port, nil
}

// world is a gateway and a device that reaches it.
func world(t *testing.T, j *jobs) (*Client, Gateway) {
	t.Helper()
	if j.device.IsZero() {
		j.device = key(2).Public()
	}
	j.order = types.Hash{7}
	s, err := NewServer(key(1), j, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c := NewClient(key(2), new(net.Dialer).DialContext)
	t.Cleanup(c.Close)
	return c, Gateway{l.Addr().String(), key(1).Public()}
}

// TestJob: output goes up and receipts come down at once, and the end is told when the gateway has it.
func TestJob(t *testing.T) {
	var got bytes.Buffer
	c, g := world(t, &jobs{join: func(_ context.Context, s *Stream) error {
		if err := s.Write(Frame{Kind: From, Data: Offsets([Outputs]uint64{3})}); err != nil {
			return err
		}
		for {
			f, err := s.Read()
			if err != nil {
				return err
			}
			switch f.Kind {
			case Output:
				if f.Offset != uint64(got.Len())+3 {
					t.Errorf("output at %d", f.Offset)
				}
				got.Write(f.Data)
				if err := s.Write(Frame{Kind: Receipt, Offset: f.Offset}); err != nil {
					return err
				}
			case End:
				return s.Write(Frame{Kind: Kept})
			}
		}
	}})
	s, err := c.Join(t.Context(), g, types.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Read()
	if err != nil || f.Kind != From {
		t.Fatal(f, err)
	}
	have, err := ParseOffsets(f.Data)
	if err != nil {
		t.Fatal(err)
	}
	at := have[0]
	want := bytes.Repeat([]byte("0123456789"), 40_000)
	go func() {
		for p := want; len(p) > 0; {
			n := min(len(p), 50_000)
			if err := s.Write(Frame{Kind: Output, Stream: 1, Offset: at, Data: p[:n]}); err != nil {
				t.Error(err)
				return
			}
			at, p = at+uint64(n), p[n:]
		}
		_ = s.Write(Frame{Kind: End})
	}()
	receipts := 0
	for {
		f, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == Kept {
			break
		}
		receipts++
	}
	if !bytes.Equal(got.Bytes(), want) || receipts != 8 {
		t.Errorf("%d bytes arrived, %d receipts", got.Len(), receipts)
	}
	s.Close()
	if err := s.Write(Frame{Kind: Cancel}); err == nil {
		t.Error("a closed stream takes frames")
	}
}

// TestRefused: a refusal reaches the device with its reason, also for who is a stranger, and a break does not
// look like an end.
func TestRefused(t *testing.T) {
	broken := errors.New("the gateway fails")
	c, g := world(t, &jobs{join: func(_ context.Context, s *Stream) error {
		_ = s.Write(Frame{Kind: From, Data: Offsets([Outputs]uint64{})})
		return broken
	}})
	if _, err := c.Join(t.Context(), g, types.Hash{8}); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("another order: %v", err)
	}
	stranger := NewClient(key(3), new(net.Dialer).DialContext)
	defer stranger.Close()
	if _, err := stranger.Join(t.Context(), g, types.Hash{7}); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := c.Join(t.Context(), Gateway{g.Address, key(9).Public()}, types.Hash{7}); err == nil {
		t.Error("another gateway's key was taken")
	}
	s, err := c.Join(t.Context(), g, types.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Read(); err != nil || f.Kind != From {
		t.Fatal(f, err)
	}
	if _, err := s.Read(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a gateway that failed: %v", err)
	}
}

// TestBreak: each side learns that the other is gone.
func TestBreak(t *testing.T) {
	ended := make(chan error, 1)
	c, g := world(t, &jobs{join: func(_ context.Context, s *Stream) error {
		_ = s.Write(Frame{Kind: From, Data: Offsets([Outputs]uint64{})})
		_, err := s.Read()
		ended <- err
		return err
	}})
	s, err := c.Join(t.Context(), g, types.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the gateway took a break for a frame")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the gateway does not learn that the device left")
	}
	ctx, cancel := context.WithCancel(t.Context())
	if s, err = c.Join(ctx, g, types.Hash{7}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Read(); err != nil { // From may have been on its way
		return
	}
	if _, err := s.Read(); err == nil {
		t.Error("a stream lives on after its context")
	}
}

// TestSilence: who says nothing is left, who has nothing to say is not.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := func() (a, b *Stream) {
			left, right := net.Pipe()
			end := func(c net.Conn) *Stream {
				return newStream(c, c, func() error { return nil }, func() { _ = c.Close() })
			}
			return end(left), end(right)
		}
		a, b := pair()
		go func() {
			time.Sleep(10 * Silence)
			_ = b.Write(Frame{Kind: Kept})
		}()
		go func() { _, _ = b.Read() }()
		if f, err := a.Read(); err != nil || f.Kind != Kept {
			t.Errorf("who has nothing to say for long: %v", err)
		}
		a.Close()
		b.Close()

		left, right := net.Pipe()
		defer right.Close()
		dead := newStream(left, left, func() error { return nil }, func() { _ = left.Close() })
		go func() { _, _ = io.Copy(io.Discard, right) }() // takes everything, and says nothing
		start := time.Now()
		if _, err := dead.Read(); !errors.Is(err, ErrSilent) || time.Since(start) != Silence {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
	})
}

// TestGarbage: a frame longer than it may be is not read into memory.
func TestGarbage(t *testing.T) {
	for _, raw := range [][]byte{
		{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1},
		{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1},
		{1, 0, 0},
	} {
		s := newStream(bytes.NewReader(raw), io.Discard, func() error { return nil }, func() {})
		if f, err := s.Read(); err == nil {
			t.Errorf("%x is frame %v", raw, f)
		}
		<-s.Closed()
	}
	if _, err := ParseOffsets(make([]byte, 31)); err == nil {
		t.Error("half an offset")
	}
}

// TestInput: an input comes from any offset on, to who was ordered to use it.
func TestInput(t *testing.T) {
	want := bytes.Repeat([]byte("abcdefgh"), 100_000)
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := types.Hash(sha256.Sum256(want))
	c, g := world(t, &jobs{input: path, hash: hash})
	for _, at := range []uint64{0, 1, 799_999} {
		body, size, err := c.Input(t.Context(), g, types.Hash{7}, hash, at)
		if err != nil || size != 800_000 {
			t.Fatal(size, err)
		}
		got, err := io.ReadAll(body)
		_ = body.Close()
		if err != nil || !bytes.Equal(got, want[at:]) {
			t.Errorf("from %d: %d bytes, %v", at, len(got), err)
		}
	}
	if _, _, err := c.Input(t.Context(), g, types.Hash{7}, hash, 800_000); err == nil {
		t.Error("what begins behind the end")
	}
	if _, _, err := c.Input(t.Context(), g, types.Hash{7}, types.Hash{1}, 0); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("an input of another job: %v", err)
	}
}

// TestManyGateways: connections are bounded however many gateways order.
func TestManyGateways(t *testing.T) {
	c := NewClient(key(2), func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("away") })
	for i := range MaxGateways + 50 {
		_, _ = c.Join(t.Context(), Gateway{"192.0.2.1:1", types.Key{byte(i), byte(i >> 8)}}, types.Hash{})
	}
	if n := len(c.known); n > MaxGateways {
		t.Errorf("%d connections", n)
	}
}

// BenchmarkFrame is how long a frame takes to the gateway and its answer back, beside a plain TCP echo.
func BenchmarkFrame(b *testing.B) {
	b.Run("link", func(b *testing.B) {
		j := &jobs{device: key(2).Public(), order: types.Hash{7}, join: func(_ context.Context, s *Stream) error {
			_ = s.Write(Frame{Kind: From, Data: Offsets([Outputs]uint64{})})
			for {
				f, err := s.Read()
				if err != nil {
					return err
				}
				if err := s.Write(f); err != nil {
					return err
				}
			}
		}}
		srv, err := NewServer(key(1), j, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.Serve(ctx, l) })
		c := NewClient(key(2), new(net.Dialer).DialContext)
		s, err := c.Join(ctx, Gateway{l.Addr().String(), key(1).Public()}, types.Hash{7})
		if err != nil {
			b.Fatal(err)
		}
		_, _ = s.Read()
		for b.Loop() {
			if err := s.Write(Frame{Kind: Output, Data: []byte("hello")}); err != nil {
				b.Fatal(err)
			}
			if _, err := s.Read(); err != nil {
				b.Fatal(err)
			}
		}
		s.Close()
		cancel()
		wg.Wait()
	})
	b.Run("tcp", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, _ = io.Copy(c, c)
			}
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		p := make([]byte, 5)
		for b.Loop() {
			_, _ = c.Write(p)
			if _, err := io.ReadFull(c, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
