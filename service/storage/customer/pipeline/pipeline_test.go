package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

var secret = Secret{1, 2, 3}

// devices keeps masked shards in memory, by segment and slot, and can lose or spoil them.
type devices struct {
	mu     sync.Mutex
	shards map[SegmentID]map[int][]byte

	order  []int
	down   map[int]bool  // slots that answer with an error
	hang   map[int]bool  // slots that answer only when asked to stop
	lie    map[int]bool  // slots that answer with other bytes
	late   map[int]bool  // slots that answer a little after they were asked to stop
	pace   time.Duration // that the others take
	asked  atomic.Int64  // Shard and Slice calls
	served atomic.Uint64 // bytes
}

func newDevices() *devices {
	return &devices{shards: map[SegmentID]map[int][]byte{}, down: map[int]bool{}, hang: map[int]bool{}, lie: map[int]bool{}, late: map[int]bool{}}
}

func (d *devices) emit(ctx context.Context, index int, seg Segment, shards [][]byte) error {
	kept := map[int][]byte{}
	for i, s := range shards {
		kept[i] = slices.Clone(s)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards[seg.ID] = kept
	return nil
}

func (d *devices) Order(int, Segment) []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order
}

var errDown = errors.New("connection refused")

// set says which slots do not answer, and in what order they are asked.
func (d *devices) set(order []int, down ...int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.order, d.down = order, map[int]bool{}
	for _, slot := range down {
		d.down[slot] = true
	}
}

func (d *devices) get(ctx context.Context, seg Segment, slot int) ([]byte, error) {
	d.asked.Add(1)
	d.mu.Lock()
	shard, hang, down, lie, late := d.shards[seg.ID][slot], d.hang[slot], d.down[slot], d.lie[slot], d.late[slot]
	d.mu.Unlock()
	time.Sleep(d.pace)
	switch {
	case late:
		<-ctx.Done()
		time.Sleep(d.pace / 2)
	case hang:
		<-ctx.Done()
		return nil, ctx.Err()
	case down:
		return nil, errDown
	}
	if lie {
		shard = slices.Clone(shard)
		shard[len(shard)/2] ^= 1
	}
	return shard, nil
}

func (d *devices) Shard(ctx context.Context, index int, seg Segment, slot int, into *Incoming) error {
	shard, err := d.get(ctx, seg, slot)
	n, short := into.Write(shard)
	d.served.Add(uint64(n))
	return errors.Join(err, short)
}

func (d *devices) Slice(ctx context.Context, index int, seg Segment, slot, offset, length int) ([]byte, error) {
	shard, err := d.get(ctx, seg, slot)
	if err != nil {
		return nil, err
	}
	slice, err := storage.ExtractSlice(shard, offset, length)
	d.served.Add(uint64(len(slice)))
	return slice, err
}

// content returns n reproducible bytes.
func content(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(p)
	return p
}

func store(t testing.TB, c *Coder, p Profile, data []byte) (*Manifest, *devices) {
	t.Helper()
	d := newDevices()
	m, err := c.Encode(t.Context(), bytes.NewReader(data), p, secret.Bucket("b"), d.emit)
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

func TestRoundTrip(t *testing.T) {
	for _, p := range Profiles() {
		seg := p.SegmentLength()
		lengths := []int{0, 1, 1000, 65535, 65536, 65537, pieceSize - 64, pieceSize - 63, pieceSize, seg - 32*(seg>>16) - 100, seg, seg + 1, 2*seg + 12345}
		if p.Name == "deep" {
			lengths = lengths[:3]
		}
		for _, n := range lengths {
			c := New(Config{}, secret.Mask())
			data := content(n)
			m, d := store(t, c, p, data)
			raw := m.Encode()
			m, err := DecodeManifest(raw)
			if err != nil {
				t.Fatalf("%s %d: %v", p.Name, n, err)
			}
			var out bytes.Buffer
			if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil {
				t.Fatalf("%s %d: %v", p.Name, n, err)
			}
			if !bytes.Equal(out.Bytes(), data) {
				t.Fatalf("%s %d: other bytes came back", p.Name, n)
			}
			if diff := cmp.Diff(p, m.Profile()); diff != "" {
				t.Error(diff)
			}
			for _, s := range m.Segments {
				each := s.ShardLength(p.K)
				if each%1024 != 0 || each*p.K < int(s.Length) || (each-1024)*p.K >= int(s.Length) {
					t.Errorf("%s %d: shards of %d bytes for %d", p.Name, n, each, s.Length)
				}
			}
		}
	}
}

// TestAnyFourOfEight reads an object under all 70 ways to lose 4 of 8 devices, and rebuilds what was lost.
func TestAnyFourOfEight(t *testing.T) {
	c := New(Config{}, secret.Mask())
	data := content(150_000)
	m, d := store(t, c, Lab, data)
	for lost := range 1 << 8 {
		var missing []int
		for slot := range 8 {
			if lost>>slot&1 == 1 {
				missing = append(missing, slot)
			}
		}
		if len(missing) != 4 {
			continue
		}
		d.set(nil, missing...)
		var out bytes.Buffer
		if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil {
			t.Fatalf("without %v: %v", missing, err)
		}
		if !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("without %v: other bytes", missing)
		}
		err := c.Rebuild(t.Context(), m, 0, missing, d, func(slot int, shard []byte) error {
			if !bytes.Equal(shard, d.shards[m.Segments[0].ID][slot]) {
				t.Errorf("without %v: slot %d was rebuilt differently", missing, slot)
			}
			missing = missing[1:]
			return nil
		})
		if err != nil || len(missing) != 0 {
			t.Fatalf("rebuild: %v, left %v", err, missing)
		}
	}
}

// TestRandomSubsets does the same for std, 10 of 20.
func TestRandomSubsets(t *testing.T) {
	c := New(Config{}, secret.Mask())
	data := content(30_000)
	m, d := store(t, c, Std, data)
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		d.set(r.Perm(20), r.Perm(20)[:10]...)
		var out bytes.Buffer
		if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil {
			t.Fatalf("without %v: %v", d.down, err)
		}
		if !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("without %v: other bytes", d.down)
		}
	}
}

func TestTooManyLost(t *testing.T) {
	c := New(Config{}, secret.Mask())
	m, d := store(t, c, Lab, content(9<<20))
	d.set([]int{1, 0, 2, 3, 4, 5, 6}, 0, 2, 3, 5) // nobody knows who holds slot 7
	var out bytes.Buffer
	err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d)
	var lost *LostError
	if !errors.As(err, &lost) || types.ReasonOf(err) != storage.ShardsLost {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]int{0, 2, 3, 5, 7}, lost.Slots); diff != "" || lost.Index != 0 || lost.ID != m.Segments[0].ID {
		t.Errorf("%v: %s", err, diff)
	}
	if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "4 shards are needed, and 5 cannot be read") || !strings.Contains(err.Error(), "slot 5: connection refused") {
		t.Errorf("the cause is missing: %v", err)
	}
	err = c.Rebuild(t.Context(), m, 1, []int{6}, d, func(int, []byte) error { t.Error("stored"); return nil })
	if !errors.As(err, &lost) || !slices.Contains(lost.Slots, 6) || lost.Index != 1 {
		t.Errorf("rebuild: %v", err)
	}
}

// TestLiars: a device that answers with other bytes counts as one that does not answer, and no more.
func TestLiars(t *testing.T) {
	c := New(Config{}, secret.Mask())
	data := content(5 << 20)
	m, d := store(t, c, Lab, data)
	d.lie = map[int]bool{0: true, 1: true, 6: true, 7: true}
	var out bytes.Buffer
	if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("4 liars of 8: %v", err)
	}
	out.Reset()
	if err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), 100, 5000, &out, d); err != nil || !bytes.Equal(out.Bytes(), data[100:5100]) {
		t.Fatalf("range with 4 liars of 8: %v", err)
	}
	d.mu.Lock()
	d.lie[2] = true
	d.mu.Unlock()
	for _, length := range []uint64{5000, 5 << 20} {
		out.Reset()
		err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), 0, length, &out, d)
		if !errors.Is(err, storage.ShardsLost) || !errors.Is(err, storage.ShardMismatch) {
			t.Fatalf("5 liars of 8: %v", err)
		}
	}
}

// TestHangingDevices: devices that neither answer nor fail cost a stall each, and never the read.
func TestHangingDevices(t *testing.T) {
	c := New(Config{Stall: 20 * time.Millisecond, Spare: -1}, secret.Mask())
	data := content(6 << 20)
	m, d := store(t, c, Lab, data)
	d.hang = map[int]bool{0: true, 1: true, 2: true, 3: true}
	var out bytes.Buffer
	if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Fatal(err)
	}
	out.Reset()
	if err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), 70_000, 100, &out, d); err != nil || !bytes.Equal(out.Bytes(), data[70_000:70_100]) {
		t.Fatal(err)
	}
	// With too few left the caller's deadline ends it, and all memory comes back.
	d.set(nil, 4)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Decode(ctx, m, secret.Bucket("b"), &out, d); err == nil {
		t.Fatal("read from 3 devices")
	}
	idle(t, c)
}

// TestHedge: a read asks k devices and no more, as long as they answer; where some take longer than others, it
// asks the spare ones, long before it gives anybody up.
func TestHedge(t *testing.T) {
	c := New(Config{Hedge: time.Millisecond, Stall: time.Hour}, secret.Mask())
	data := content(8<<20 - 100_000)
	m, d := store(t, c, Lab, data)
	read := func() uint64 {
		t.Helper()
		d.asked.Store(0)
		var out bytes.Buffer
		if err := c.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Fatal(err)
		}
		return uint64(d.asked.Load())
	}
	d.hang = map[int]bool{1: true, 2: true}
	if asked := read(); asked != 12 {
		t.Errorf("2 of 8 devices are silent: %d of two segments' shards were asked for, want 6 each", asked)
	}
	d.hang = nil
	c = New(Config{Hedge: time.Hour, Stall: time.Hour}, secret.Mask())
	if asked := read(); asked != 8 {
		t.Errorf("all answer: %d of two segments' shards were asked for, want 4 each", asked)
	}
}

// TestIncoming: what a device sends after its memory was taken back is still checked, and written elsewhere.
func TestIncoming(t *testing.T) {
	shard := content(3000)
	buf := make([]byte, len(shard))
	in := NewIncoming(storage.ShardID(shard), buf)
	mismatch := func(what string) {
		t.Helper()
		if err := in.Check(); types.ReasonOf(err) != storage.ShardMismatch {
			t.Errorf("%s: %v", what, err)
		}
	}
	mismatch("nothing came")
	if _, err := in.Write(shard[:1000]); err != nil {
		t.Fatal(err)
	}
	mismatch("a part came")
	in.TakeBack()
	clear(buf)
	if n, err := in.ReadFrom(bytes.NewReader(append(slices.Clone(shard[1000:]), 1))); n != 2000 || err != nil {
		t.Fatal(n, err)
	}
	if err := in.Check(); err != nil || !bytes.Equal(buf, make([]byte, len(buf))) {
		t.Errorf("%v, and memory that was taken back holds %x", err, buf[:8])
	}
	if n, err := in.Write([]byte{1}); n != 0 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("more than a shard: %d, %v", n, err)
	}
	in.Reset()
	mismatch("it is asked once more")
	shard[5]++
	in.Write(shard)
	mismatch("another one came")
	if _, err := NewIncoming(storage.ShardID(shard), buf).ReadFrom(bytes.NewReader(shard[:2999])); !errors.Is(err, io.EOF) {
		t.Errorf("cut short: %v", err)
	}
}

// idle waits until nobody holds memory of c.
func idle(t *testing.T, c *Coder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.memory.Acquire(ctx, c.slabsMost); err != nil {
		t.Fatal("memory was not given back")
	}
	c.memory.Release(c.slabsMost)
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if c.room.memory != 0 || c.room.disk != 0 || c.share.memory != 0 || c.share.disk != 0 {
		t.Fatalf("parcels were not given back: %d and %d bytes", c.room.memory, c.room.disk)
	}
}

func TestRanges(t *testing.T) {
	c := New(Config{}, secret.Mask())
	data := content(9<<20 + 777)
	m, d := store(t, c, Lab, data)
	rapid.Check(t, func(t *rapid.T) {
		d.set(rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(t, "order"),
			rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 0, 4, rapid.ID[int]).Draw(t, "down")...)
		offset := rapid.IntRange(0, len(data)).Draw(t, "offset")
		most := min(len(data)-offset, rapid.SampledFrom([]int{100, 70_000, 3 << 20, 10 << 20}).Draw(t, "most"))
		length := rapid.IntRange(0, most).Draw(t, "length")
		var out bytes.Buffer
		if err := c.DecodeRange(context.Background(), m, secret.Bucket("b"), uint64(offset), uint64(length), &out, d); err != nil {
			t.Fatalf("%d+%d without %v: %v", offset, length, d.down, err)
		}
		if !bytes.Equal(out.Bytes(), data[offset:offset+length]) {
			t.Fatalf("%d+%d without %v: other bytes", offset, length, d.down)
		}
	})
	idle(t, c)
	for _, r := range [][2]uint64{{m.Size + 1, 0}, {0, m.Size + 1}, {m.Size, 1}, {1 << 63, 1 << 63}} {
		if err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), r[0], r[1], io.Discard, d); err == nil {
			t.Errorf("read %v", r)
		}
	}
}

// TestLateAnswers: what comes after it was needed does not disturb what is read next into the same memory.
func TestLateAnswers(t *testing.T) {
	c := New(Config{Stall: time.Second}, secret.Mask())
	data := content(4 << 20)
	m, d := store(t, c, Lab, data)
	d.set([]int{2, 3, 4, 5, 6, 7, 0, 1}, 0, 1)
	d.late, d.pace = map[int]bool{4: true, 6: true}, 2*time.Millisecond
	for range 20 {
		var out bytes.Buffer
		if err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), 100, 1_900_000, &out, d); err != nil || !bytes.Equal(out.Bytes(), data[100:1_900_100]) {
			t.Fatalf("other bytes: %v", err)
		}
	}
}

// TestRangeTraffic: a small range asks one device for little.
func TestRangeTraffic(t *testing.T) {
	c := New(Config{}, secret.Mask())
	m, d := store(t, c, Std, content(12<<20))
	if err := c.DecodeRange(t.Context(), m, secret.Bucket("b"), 1_000_000, 1000, io.Discard, d); err != nil {
		t.Fatal(err)
	}
	if asked, served := d.asked.Load(), d.served.Load(); asked > 2 || served > 120_000 {
		t.Errorf("1000 bytes took %d requests and %d bytes", asked, served)
	}
}

// TestKeys: each key opens its own thing only.
func TestKeys(t *testing.T) {
	c := New(Config{}, secret.Mask())
	data := content(100_000)
	m, d := store(t, c, Lab, data)
	err := c.Decode(t.Context(), m, secret.Bucket("other"), io.Discard, d)
	if !errors.Is(err, ErrKey) {
		t.Errorf("another bucket's key: %v", err)
	}
	other := New(Config{}, Secret{9}.Mask())
	err = other.Decode(t.Context(), m, secret.Bucket("b"), io.Discard, d)
	if !errors.Is(err, ErrObject) {
		t.Errorf("another mask key: %v", err)
	}
	keys := [][32]byte{secret.Bucket("b"), secret.Bucket("c"), secret.Bucket(""), [32]byte(secret.Journal()), [32]byte(secret.Mask()), secret}
	for i := range keys {
		for j := range i {
			if keys[i] == keys[j] {
				t.Errorf("keys %d and %d are the same", i, j)
			}
		}
	}
	if s := fmt.Sprintf("%v %s %v %v", secret, secret.Bucket("b"), secret.Mask(), secret.Journal()); s != "account secret bucket key mask key journal key" {
		t.Errorf("keys print themselves: %s", s)
	}
}

// TestFor: Coders of several accounts share one bound.
func TestFor(t *testing.T) {
	c := New(Config{Memory: 8 << 20}, secret.Mask())
	other := c.For(Secret{9}.Mask(), c.NewShare())
	busy, stop := make(chan bool, 1), make(chan bool)
	done := make(chan error)
	go func() {
		_, err := c.Encode(t.Context(), bytes.NewReader(content(4<<20)), Lab, secret.Bucket("b"), func(context.Context, int, Segment, [][]byte) error {
			busy <- true
			<-stop
			return nil
		})
		done <- err
	}()
	<-busy
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := other.Encode(ctx, bytes.NewReader(content(1000)), Lab, secret.Bucket("b"), newDevices().emit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("worked beyond the bound: %v", err)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	data := content(1000)
	m, d := store(t, other, Lab, data)
	var out bytes.Buffer
	if err := other.Decode(t.Context(), m, secret.Bucket("b"), &out, d); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Error(err)
	}
}

// TestMaskHidesCode: without the mask any k shards make the others; with it they do not.
func TestMaskHidesCode(t *testing.T) {
	c := New(Config{}, secret.Mask())
	m, d := store(t, c, Lab, make([]byte, 3<<20))
	code, _ := c.code(4, 8)
	shards := make([][]byte, 8)
	for slot, s := range d.shards[m.Segments[0].ID] {
		shards[slot] = slices.Clone(s)
	}
	shards[7] = nil
	if err := code.Reconstruct(shards); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(shards[7], d.shards[m.Segments[0].ID][7]) {
		t.Error("a device can compute a shard from others")
	}
}

// TestSwappedObjects: an object does not open under the manifest of another one of the same bucket and length.
func TestSwappedObjects(t *testing.T) {
	c := New(Config{}, secret.Mask())
	a, d := store(t, c, Lab, content(200_000))
	b, e := store(t, c, Lab, content(200_001))
	for id, s := range e.shards {
		d.shards[id] = s
	}
	mixed := *a
	mixed.Segments = b.Segments
	mixed.Size = b.Size
	if err := c.Decode(t.Context(), &mixed, secret.Bucket("b"), io.Discard, d); !errors.Is(err, ErrObject) {
		t.Errorf("got %v", err)
	}
}

type failingReader struct {
	data []byte
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// TestTruncatedBody: an HTTP body that was cut off says io.ErrUnexpectedEOF; it must never become a shorter object.
func TestTruncatedBody(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 65536, 200_000, 4 << 20, 5 << 20} {
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("reset"), fmt.Errorf("body: %w", io.ErrUnexpectedEOF)} {
			c := New(Config{}, secret.Mask())
			m, err := c.Encode(t.Context(), &failingReader{content(n), cause}, Lab, secret.Bucket("b"), newDevices().emit)
			if err == nil || m != nil {
				t.Errorf("a body cut off after %d bytes by %v was stored", n, cause)
			}
			idle(t, c)
		}
	}
}

func TestEmitFails(t *testing.T) {
	c := New(Config{Memory: 24 << 20}, secret.Mask())
	refused := types.Refuse(storage.TooFewDevices, "6 of 7")
	_, err := c.Encode(t.Context(), bytes.NewReader(content(40<<20)), Lab, secret.Bucket("b"),
		func(ctx context.Context, index int, seg Segment, shards [][]byte) error {
			if index == 2 {
				return refused
			}
			return nil
		})
	if !errors.Is(err, storage.TooFewDevices) || !strings.Contains(err.Error(), "segment 2") {
		t.Errorf("got %v", err)
	}
	idle(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Encode(ctx, bytes.NewReader(content(40<<20)), Lab, secret.Bucket("b"),
		func(ctx context.Context, index int, seg Segment, shards [][]byte) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	idle(t, c)
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errDown
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	c := New(Config{}, secret.Mask())
	m, d := store(t, c, Lab, content(20<<20))
	if err := c.Decode(t.Context(), m, secret.Bucket("b"), &failingWriter{6 << 20}, d); !errors.Is(err, errDown) {
		t.Errorf("got %v", err)
	}
	idle(t, c)
}

// at is the byte at a place of a test object larger than memory.
func at(place int64) byte { return byte(place ^ place>>7 ^ place>>15 ^ place>>23) }

// counting is an object of n bytes that takes no memory.
type counting struct{ place, n int64 }

func (c *counting) Read(p []byte) (int, error) {
	if c.place == c.n {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.n-c.place)]
	for i := range p {
		p[i] = at(c.place + int64(i))
	}
	c.place += int64(len(p))
	return len(p), nil
}

// disk is a Fetcher over one file per slot, so that an object larger than memory passes through.
type disk struct {
	files [8]*os.File
	down  [8]bool
}

func (d *disk) emit(_ context.Context, index int, _ Segment, shards [][]byte) error {
	for slot, s := range shards {
		if _, err := d.files[slot].WriteAt(s, int64(index)*MaxShard); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) Order(int, Segment) []int { return nil }

func (d *disk) Shard(_ context.Context, index int, _ Segment, slot int, into *Incoming) error {
	if d.down[slot] {
		return errDown
	}
	_, err := into.ReadFrom(io.NewSectionReader(d.files[slot], int64(index)*MaxShard, int64(into.Len())))
	return err
}

func (d *disk) Slice(context.Context, int, Segment, int, int, int) ([]byte, error) {
	return nil, errDown
}

// TestMemory passes an object of 1 GiB through and watches the memory obtained from the system.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 1 GiB")
	}
	size := int64(1 << 30)
	var d disk
	for i := range d.files {
		f, err := os.Create(fmt.Sprintf("%s/%d", t.TempDir(), i))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d.files[i] = f
	}
	peak := watchHeap(t)
	c := New(Config{}, secret.Mask())
	m, err := c.Encode(t.Context(), &counting{n: size}, Lab, secret.Bucket("b"), d.emit)
	if err != nil {
		t.Fatal(err)
	}
	d.down = [8]bool{0: true, 2: true, 5: true}
	check := &checker{}
	if err := c.Decode(t.Context(), m, secret.Bucket("b"), check, &d); err != nil {
		t.Fatal(err)
	}
	if check.place != size || check.wrong {
		t.Fatalf("%d bytes came back, wrong: %v", check.place, check.wrong)
	}
	if most := peak(); most > 200<<20 {
		t.Errorf("the heap grew by %d MiB", most>>20)
	} else {
		t.Logf("the heap grew by %d MiB", most>>20)
	}
}

// watchHeap samples the heap until the function it returns is called, which says by how much it grew at most.
func watchHeap(t *testing.T) (peak func() int64) {
	read := func() int64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return int64(s[0].Value.Uint64())
	}
	runtime.GC()
	before, done, most := read(), make(chan struct{}), make(chan int64)
	go func() {
		top := before
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				top = max(top, read())
			case <-done:
				most <- top - before
				return
			}
		}
	}()
	return func() int64 { close(done); return <-most }
}

// checker compares what is written with the object that counting reads.
type checker struct {
	place int64
	wrong bool
}

func (c *checker) Write(p []byte) (int, error) {
	for i, b := range p {
		c.wrong = c.wrong || b != at(c.place+int64(i))
	}
	c.place += int64(len(p))
	return len(p), nil
}
