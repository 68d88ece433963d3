package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

func noise(n int, seed uint64) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(p)
	return p
}

func sum(p []byte) types.Hash { return sha256.Sum256(p) }

// TestFollow: readers at any offset see each byte once, while a writer sends some of it twice.
func TestFollow(t *testing.T) {
	o, err := OpenOutputs(t.TempDir(), 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	want := noise(300_000, 1)
	var wg sync.WaitGroup
	for _, from := range []uint64{0, 1, 150_000, 300_000} {
		wg.Go(func() {
			var got []byte
			buf := make([]byte, 7000)
			for at := from; ; {
				n, err := o.ReadAt(t.Context(), Stdout, buf, at)
				got = append(got, buf[:n]...)
				at += uint64(n)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			if !bytes.Equal(got, want[from:]) {
				t.Errorf("from %d: %d bytes, want %d", from, len(got), len(want[from:]))
			}
		})
	}
	for at := 0; at < len(want); at += 9_000 {
		again := max(at-5_000, 0)
		if err := o.Write(Stdout, uint64(again), want[again:min(at+9_000, len(want))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Write(Stdout, 300_001, []byte("x")); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	o.End()
	wg.Wait()
	if err := o.Write(Stdout, 300_000, []byte("x")); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if n, _ := o.Size(Stdout); n != 300_000 {
		t.Errorf("%d bytes after the end", n)
	}
}

func TestOutputsLimit(t *testing.T) {
	dir := t.TempDir()
	o, err := OpenOutputs(dir, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Write(Stderr, 0, []byte("0123456789abc")); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := o.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if o, err = OpenOutputs(dir, 10, true); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 20)
	if n, err := o.ReadAt(t.Context(), Stderr, p, 3); n != 7 || err != nil {
		t.Errorf("%d, %v after a restart", n, err)
	}
	if _, err := o.ReadAt(t.Context(), Stderr, p, 10); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := o.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.ReadAt(t.Context(), Stderr, p, 0); !errors.Is(err, ErrGone) {
		t.Errorf("removed: %v", err)
	}
}

// TestRestart: who reads on while a job begins anew gets what is new, once.
func TestRestart(t *testing.T) {
	o, err := OpenOutputs(t.TempDir(), 100, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = o.Write(Stdout, 0, []byte("hello"))
	if err := o.Restart(); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		p := make([]byte, 100)
		n, err := o.ReadAt(t.Context(), Stdout, p, 5)
		if err != nil {
			t.Error(err)
		}
		got <- string(p[:n])
	}()
	_ = o.Write(Stdout, 0, []byte("hello"))
	_ = o.Write(Stdout, 5, []byte(" world"))
	if s := <-got; s != " world" {
		t.Errorf("%q", s)
	}
}

func TestAdd(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenInputs(dir, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := noise(3<<20, 1), noise(3<<20, 2), noise(3<<20, 3)
	for _, p := range [][]byte{a, b} {
		h, n, err := s.Add(bytes.NewReader(p), 4<<20)
		if err != nil || h != sum(p) || n != uint64(len(p)) {
			t.Fatal(h, n, err)
		}
	}
	// Both are pinned: nothing can make room for a third.
	if _, _, err := s.Add(bytes.NewReader(c), 4<<20); types.ReasonOf(err) != types.DiskFull {
		t.Errorf("more than fits: %v", err)
	}
	s.Unpin(sum(a))
	if _, _, err := s.Add(bytes.NewReader(c), 4<<20); err != nil {
		t.Error(err)
	}
	if _, ok := s.Size(sum(a)); ok {
		t.Error("what nobody uses did not make room")
	}
	if _, _, err := s.Add(bytes.NewReader(c), 1<<20); types.ReasonOf(err) != types.Oversize {
		t.Errorf("too large: %v", err)
	}
	s.Unpin(sum(b))
	if _, _, err := s.Add(bytes.NewReader(c), 3<<20); err != nil { // it is here already, which shows only at its end
		t.Error(err)
	}
	if s.Bytes() != 3<<20 {
		t.Errorf("%d bytes are counted, there are %d", s.Bytes(), 3<<20)
	}
	if left, _ := filepath.Glob(dir + "/*" + fresh); len(left) > 0 {
		t.Errorf("%v left behind", left)
	}
	if s, err = OpenInputs(dir, 8<<20); err != nil || s.Bytes() != 3<<20 || len(s.List()) != 1 {
		t.Errorf("after a restart %d bytes, %v", s.Bytes(), err)
	}
}

// TestFetch: what breaks off is gone on with, what is wrong is thrown away, and who wants the same waits for
// one fetch.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenInputs(dir, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	p := noise(1<<20, 1)
	h := sum(p)
	var asked []uint64
	get := func(breaks int, p []byte) func(context.Context, uint64) (io.ReadCloser, error) {
		return func(_ context.Context, offset uint64) (io.ReadCloser, error) {
			asked = append(asked, offset)
			r := io.Reader(bytes.NewReader(p[offset:]))
			if breaks > 0 {
				r = io.MultiReader(io.LimitReader(r, int64(breaks)), errReader{})
			}
			return io.NopCloser(r), nil
		}
	}
	if err := s.Fetch(t.Context(), h, 1<<20, get(400_000, p)); err == nil || s.Bytes() != 0 {
		t.Fatalf("%v, %d bytes", err, s.Bytes())
	}
	if s, err = OpenInputs(dir, 4<<20); err != nil { // a restart
		t.Fatal(err)
	}
	if err := s.Fetch(t.Context(), h, 1<<20, get(0, p)); err != nil || s.Bytes() != 1<<20 {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked[1] != 400_000 {
		t.Errorf("asked for %v", asked)
	}
	if err := s.Fetch(t.Context(), h, 1<<20, nil); err != nil {
		t.Errorf("what is here: %v", err)
	}
	if err := s.Fetch(t.Context(), h, 5, nil); !errors.Is(err, ErrDigest) {
		t.Errorf("of another size: %v", err)
	}

	q := noise(1<<20, 2)
	wrong := bytes.Clone(q)
	wrong[77]++
	if err := s.Fetch(t.Context(), sum(q), 1<<20, get(0, wrong)); !errors.Is(err, ErrDigest) {
		t.Errorf("wrong bytes: %v", err)
	}
	if err := s.Fetch(t.Context(), sum(q), 1<<20, get(0, q[:1000])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too short: %v", err)
	}
	var fetched atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := s.Fetch(t.Context(), sum(q), 1<<20, func(_ context.Context, offset uint64) (io.ReadCloser, error) {
				fetched.Add(1)
				return io.NopCloser(bytes.NewReader(q[offset:])), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if fetched.Load() != 1 {
		t.Errorf("fetched %d times", fetched.Load())
	}
	f, err := s.Open(sum(q))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, q) {
		t.Error("other bytes", err)
	}
	if err := s.Fetch(t.Context(), sum([]byte("x")), 1<<40, get(0, p)); types.ReasonOf(err) != types.DiskFull {
		t.Errorf("larger than the store: %v", err)
	}
	if s.Bytes() != 2<<20 {
		t.Errorf("%d bytes are counted", s.Bytes())
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("the line broke") }

func TestNames(t *testing.T) {
	for _, s := range []Stream{Stdout, Stderr} {
		if got, ok := ParseStream(s.String()); !ok || got != s {
			t.Errorf("%v", s)
		}
	}
	if _, ok := ParseStream("../stdout"); ok {
		t.Error("a path is a stream's name")
	}
	dir := t.TempDir()
	_ = os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 31)), nil, 0o600)
	_ = os.WriteFile(filepath.Join(dir, "readme"), nil, 0o600)
	if s, err := OpenInputs(dir, 1); err != nil || len(s.List()) != 0 {
		t.Error("foreign files are inputs", err)
	}
}

// TestShares: who brings much pushes out what is its own, and nobody else's; also what others have brought as
// well, and by number.
func TestShares(t *testing.T) {
	s, err := OpenInputs(t.TempDir(), 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	flood, other := types.Account{1}, types.Account{2}
	add := func(who types.Account, i, size int) types.Hash {
		p := make([]byte, size)
		binary.BigEndian.PutUint64(p, uint64(i))
		h, _, err := s.AddFor(who, bytes.NewReader(p), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s.Unpin(h)
		return h
	}
	both := add(flood, -2, 50<<10) // known to be the other's too
	mine := []types.Hash{add(other, -1, 100<<10), add(other, -2, 50<<10)}
	if mine[1] != both {
		t.Fatal("not the same")
	}
	for i := range 40 {
		add(flood, i, 100<<10)
	}
	for _, h := range mine {
		if _, ok := s.Size(h); !ok {
			t.Errorf("%v was pushed out", h)
		}
	}
	if s.Bytes() > 4<<20 {
		t.Errorf("%d bytes", s.Bytes())
	}
}
