package node

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// holder serves one blob.
type holder struct {
	provider
	data   []byte
	from   role.Askers
	each   int64
	opened atomic.Int64
	slow   time.Duration
}

func newHolder(n int) *holder {
	h := &holder{provider: *newProvider(), data: make([]byte, n), from: role.Anybody, each: 1 << 40}
	for i := range h.data {
		h.data[i] = byte(i>>18 + i>>9 + i)
	}
	return h
}

func (h *holder) role() role.Provider {
	p := h.provider.role()
	p.Blobs = &role.Blobs{From: h.from, Each: h.each, Open: func(_ context.Context, _ role.Host, _ types.Key, hash types.Hash) (*role.Blob, error) {
		if hash != types.Sum(h.data) {
			return nil, types.Refuse(types.UnknownBlob, "no such blob")
		}
		h.opened.Add(1)
		time.Sleep(h.slow)
		return &role.Blob{ReaderAt: bytes.NewReader(h.data), Size: int64(len(h.data))}, nil
	}}
	return p
}

func (w *world) holding(h *holder) *device {
	w.t.Helper()
	d := w.start(w.home(), h.role())
	<-h.hosts
	w.until("the device has logged on and heard a notice", func() bool { return d.agent.Bus() != nil && d.agent.Notice() != nil })
	return d
}

func fetch(a *agent.Agent, key types.PrivateKey, f role.Fetch) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	return a.Fetch(ctx, key, types.Storage, f)
}

// TestFetch: what a device holds arrives whole, goes on where it was, and goes to whom it may.
func TestFetch(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	h := newHolder(5*bus.PieceSize + 77)
	d := w.holding(h)
	key := bustest.Key(1)
	a := w.asker(key, bus.RoleGateway)
	f := role.Fetch{Device: d.Key(), Hash: types.Sum(h.data), Most: int64(len(h.data)), Path: filepath.Join(t.TempDir(), "blob")}
	whole := func(what string, pieces int64) {
		t.Helper()
		before := h.opened.Load()
		n, err := fetch(a, key, f)
		ok(t, err)
		got, err := os.ReadFile(f.Path)
		ok(t, err)
		if n != int64(len(h.data)) || !bytes.Equal(got, h.data) {
			t.Fatalf("%s: %d bytes", what, n)
		}
		if n := h.opened.Load() - before; n != pieces {
			t.Errorf("%s: %d pieces were fetched, want %d", what, n, pieces)
		}
	}
	whole("at first", 6)
	whole("again", 0)
	for what, c := range map[string]struct {
		part   []byte
		pieces int64
	}{
		"half of it": {h.data[:3*bus.PieceSize], 3}, "all but a byte": {h.data[:len(h.data)-1], 1}, "all of it": {h.data, 1},
		"more than is taken": {make([]byte, len(h.data)+1), 6},
	} {
		ok(t, os.Remove(f.Path))
		ok(t, os.WriteFile(f.Path+".part", c.part, 0o600))
		whole(what, c.pieces)
	}
	f.Path += "2"
	f.Most--
	before := h.opened.Load()
	_, err := fetch(a, key, f)
	wantReason(t, err, types.Oversize)
	if n := h.opened.Load() - before; n != 1 {
		t.Errorf("of a blob that is too large %d pieces were fetched", n)
	}
	f.Most = 1 << 40
	ok(t, os.WriteFile(f.Path+".part", make([]byte, len(h.data)+1), 0o600)) // of another blob
	whole("after another", 7)
	f.Hash, f.Path = types.Hash{1}, f.Path+"3"
	_, err = fetch(a, key, f)
	wantReason(t, err, types.UnknownBlob)
}

// TestFetchLimits: strangers get nothing, and nobody more than the category gives.
func TestFetchLimits(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	h := newHolder(4 * bus.PieceSize)
	h.from, h.each = role.Payers, 6*bus.PieceSize
	d := w.holding(h)
	payer, stranger := bustest.Key(2), bustest.Key(3)
	w.fund(payer.Public(), 50)
	a := w.asker(bustest.Key(1), bus.RoleGateway)
	f := role.Fetch{Device: d.Key(), Hash: types.Sum(h.data), Most: 1 << 40, Path: filepath.Join(t.TempDir(), "blob")}
	_, err := fetch(a, stranger, f)
	wantReason(t, err, types.UnknownKey)
	if h.opened.Load() != 0 {
		t.Error("the blob was opened for a stranger")
	}
	_, err = fetch(a, payer, f)
	ok(t, err)
	f.Path += "2"
	_, err = fetch(a, payer, f)
	wantReason(t, err, types.OverQuota)
	w.announce(6, 120, nil)
	w.until("another epoch", func() bool { return d.epoch() == 6 })
	_, err = fetch(a, payer, f)
	ok(t, err)
}

// TestFetchLiars: what is not the blob is not taken, and a device that does not go on is given up in time.
func TestFetchLiars(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	device, key := bustest.Key(1), bustest.Key(2)
	a := w.asker(key, bus.RoleGateway)
	w.roles.Set(device.Public(), bus.RoleDevice)
	link, err := w.memory.Dial(w.ctx, device)
	ok(t, err)
	t.Cleanup(link.Close)
	data := newHolder(3 * bus.PieceSize).data
	var bend atomic.Pointer[func(q *bus.PieceQuery, p *bus.Piece) bool] // a late request may meet the next one's
	ok(t, link.Subscribe(w.ctx, bus.RequestSubject(types.Key{}, device.Public()), func(m bus.Message) {
		r, err := bus.ReadRequest(m.Data, chain)
		var q bus.PieceQuery
		if err != nil || types.Decode(r.Body, &q) != nil {
			t.Error("a strange request")
			return
		}
		p := &bus.Piece{Size: uint64(len(data)), Data: bytes.Clone(data[q.Offset:min(q.Offset+bus.PieceSize, uint64(len(data)))])}
		if (*bend.Load())(&q, p) {
			link.Respond(w.ctx, m, bus.Seal(device, &bus.Answer{Chain: chain, Request: r.Hash, Last: true, Body: types.Encode(p)}))
		}
	}))
	dir := t.TempDir()
	for what, c := range map[string]struct {
		bend   func(q *bus.PieceQuery, p *bus.Piece) bool
		reason types.Reason
		stays  bool
	}{
		"a wrong byte":   {func(_ *bus.PieceQuery, p *bus.Piece) bool { p.Data[9]++; return true }, types.BadAnswer, false},
		"short pieces":   {func(_ *bus.PieceQuery, p *bus.Piece) bool { p.Data = p.Data[:9]; return true }, types.BadAnswer, true},
		"empty pieces":   {func(_ *bus.PieceQuery, p *bus.Piece) bool { p.Data = nil; return true }, types.BadAnswer, true},
		"it grows":       {func(q *bus.PieceQuery, p *bus.Piece) bool { p.Size += q.Offset; return true }, types.BadAnswer, true},
		"it is enormous": {func(_ *bus.PieceQuery, p *bus.Piece) bool { p.Size = 1 << 63; return true }, types.Oversize, true},
		"it stalls":      {func(q *bus.PieceQuery, _ *bus.Piece) bool { return q.Offset == 0 }, types.DeviceLate, true},
	} {
		bend.Store(&c.bend)
		f := role.Fetch{Device: device.Public(), Hash: types.Sum(data), Most: 1 << 40, Path: filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))}
		ctx, cancel := context.WithTimeout(context.Background(), long)
		if c.reason == types.DeviceLate {
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
		}
		_, err := a.Fetch(ctx, key, types.Storage, f)
		cancel()
		if types.ReasonOf(err) != c.reason {
			t.Errorf("%s: %v, want %s", what, err, c.reason)
		}
		if _, err := os.Stat(f.Path); err == nil {
			t.Errorf("%s: it is taken", what)
		}
		if _, err := os.Stat(f.Path + ".part"); (err == nil) != c.stays {
			t.Errorf("%s: what had come: %v", what, err)
		}
	}
}

// TestFetchKilled: who fetches, and who serves, is killed again and again; what had come stays, and what is
// there in the end is whole.
func TestFetchKilled(t *testing.T) {
	t.Parallel()
	const size, kills = 24 * bus.PieceSize, 4
	url, home, path := os.Getenv("CAIRN_TEST_BUS"), os.Getenv("CAIRN_TEST_HOME"), os.Getenv("CAIRN_TEST_PATH")
	dial := func(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
		return bus.Dial(ctx, bus.Config{URLs: []string{url}, Slowest: 200 * time.Millisecond}, key, quiet)
	}
	pin := bus.Pin{Chain: chain, Epoch: 1, Set: bus.Set{{Key: bustest.Key(100).Public(), Power: 1}}}
	h := newHolder(size)
	h.slow = 15 * time.Millisecond
	switch {
	case path != "":
		a, err := agent.New(agent.Config{Key: bustest.Key(1), Pin: pin, Dial: dial, Store: new(memo), Log: quiet})
		ok(t, err)
		go a.Run(context.Background(), func(context.Context, bus.Bus) error { return nil })
		for a.Bus() == nil {
			time.Sleep(time.Millisecond)
		}
		key, err := LoadKey(home)
		ok(t, err)
		fmt.Println("fetching")
		_, err = a.Fetch(context.Background(), bustest.Key(1), types.Storage, role.Fetch{Device: key.Public(), Hash: types.Sum(h.data), Most: size, Path: path})
		fmt.Println("fetched", err)
		return
	case home != "":
		n, err := New(Config{Home: home, Pin: pin, Dial: dial, Backoff: 10 * time.Millisecond}, []role.Provider{h.role()}, quiet)
		ok(t, err)
		go func() {
			<-h.hosts
			fmt.Println("serving")
		}()
		ok(t, n.Run(context.Background()))
		return
	}
	roles := new(bustest.Roles)
	s, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, roles, slog.New(slog.DiscardHandler))
	ok(t, err)
	t.Cleanup(s.Close)
	home, path = t.TempDir(), filepath.Join(t.TempDir(), "blob")
	key, err := CreateKey(home)
	ok(t, err)
	roles.Set(key.Public(), bus.RoleDevice)
	roles.Set(bustest.Key(1).Public(), bus.RoleGateway)
	start := func(env ...string) (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		c := exec.Command(os.Args[0], "-test.run=^TestFetchKilled$")
		c.Env = append(append(os.Environ(), "CAIRN_TEST_BUS="+s.URL(), "CAIRN_TEST_HOME="+home), env...)
		out, err := c.StdoutPipe()
		ok(t, err)
		ok(t, c.Start())
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("it said nothing")
		}
		return c, lines
	}
	kill := func(c *exec.Cmd) {
		t.Helper()
		ok(t, c.Process.Kill())
		c.Wait() // it was killed
	}
	parts := func() int64 {
		info, err := os.Stat(path + ".part")
		if err != nil {
			return 0
		}
		return info.Size()
	}
	device, _ := start()
	fetcher, lines := start("CAIRN_TEST_PATH=" + path)
	for i := range kills {
		had := parts()
		for end := time.Now().Add(20 * time.Second); parts() <= had && time.Now().Before(end); {
			time.Sleep(2 * time.Millisecond)
		}
		if parts() < had {
			t.Fatalf("of %d bytes %d are left", had, parts())
		}
		if i == kills-1 { // the one that fetches goes on by itself
			kill(device)
			device, _ = start()
			continue
		}
		kill(fetcher)
		fetcher, lines = start("CAIRN_TEST_PATH=" + path)
	}
	if !lines.Scan() || lines.Text() != "fetched <nil>" {
		t.Fatalf("it ended with %q", lines.Text())
	}
	got, err := os.ReadFile(path)
	ok(t, err)
	if !bytes.Equal(got, h.data) {
		t.Fatal("it is not whole")
	}
}
