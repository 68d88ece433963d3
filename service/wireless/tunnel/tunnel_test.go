package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless"
)

type world struct {
	payer  *Payer
	bill   *Bill
	client *Client
	disk   *disk
	proxy  string
	origin *httptest.Server
}

const size = 5 << 20

func newWorld(t *testing.T, signs uint64) *world {
	t.Helper()
	w := &world{disk: new(disk)}
	w.origin = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			h := sha256.New()
			_, _ = io.Copy(h, r.Body)
			fmt.Fprintf(out, "%x", h.Sum(nil))
			return
		}
		_, _ = out.Write(bytes.Repeat([]byte("cairn-16-bytes!\n"), size/16))
	}))
	t.Cleanup(w.origin.Close)
	w.payer = NewPayer(Balance{}, w.disk.keep)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	server := &Server{
		Key: deviceKey, Policy: &Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, Log: slog.New(slog.DiscardHandler),
		Epoch: func() types.Epoch { return 1 }, Waits: 50 * time.Millisecond,
		Open: func(_ context.Context, payer types.Key, o Open) (*Session, error) {
			if payer != payerKey.Public() {
				return nil, types.Refuse(types.UnknownKey, "%s", payer)
			}
			if o.Ask != terms(1).Ask {
				return nil, types.Refuse(wireless.TermsUnknown, "%s", o.Ask)
			}
			return w.payer.NewSession(terms(1), nil), nil
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	l := listen()
	running.Go(func() { _ = server.Serve(ctx, l) })

	dial := new(net.Dialer).DialContext
	bad := terms(1)
	bad.Ask = types.Hash{9}
	if _, err := Dial(t.Context(), payerKey, bad, l.Addr().String(), NewBill(bad, 0, 1, sign), dial); types.ReasonOf(err) != wireless.TermsUnknown {
		t.Fatalf("other terms: %v", err)
	}
	if _, err := Dial(t.Context(), deviceKey, terms(1), l.Addr().String(), NewBill(bad, 0, 1, sign), dial); types.ReasonOf(err) != types.UnknownKey {
		t.Fatalf("a stranger: %v", err)
	}
	w.bill = NewBill(terms(1), signs, 1<<60, sign)
	var err error
	if w.client, err = Dial(t.Context(), payerKey, terms(1), l.Addr().String(), w.bill, dial); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.end(net.ErrClosed) })
	p := listen()
	w.proxy = p.Addr().String()
	running.Go(func() { _ = w.client.Serve(ctx, p) })
	return w
}

// settle closes the tunnel, and holds both counts against each other.
func (w *world) settle(t *testing.T, least uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w.client.Close(ctx)
	count, units := w.bill.Counted()
	b := w.payer.Balance()
	t.Logf("device counted %d, customer %d, signed %d, on disk %d", b.Count, count, b.Units, w.disk.balance.Units)
	if count < least || count > least*1005/1000 || b.Count < count || b.Count-count > count*5/1000 || b.Units != count || units != count || w.disk.balance.Units != count {
		t.Errorf("the payload was %d bytes", least)
	}
}

// TestClients: curl and proxychains4 move data both ways, and both sides count the same.
func TestClients(t *testing.T) {
	file := filepath.Join(t.TempDir(), "up")
	if err := os.WriteFile(file, bytes.Repeat([]byte("up"), size/2), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(bytes.Repeat([]byte("up"), size/2)))
	for _, how := range []string{"socks5h", "http"} {
		t.Run("curl "+how, func(t *testing.T) {
			curl := testutil.Program(t, "curl")
			w := newWorld(t, 0)
			run := func(args ...string) ([]byte, error) {
				c := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--fail", "--max-time", "60", "--proxytunnel", "-x", how + "://" + w.proxy}, args...)...)
				c.Env = []string{"NO_PROXY="}
				return c.CombinedOutput()
			}
			if got, err := run(w.origin.URL); err != nil || len(got) != size {
				t.Fatalf("%d bytes, %v: %.200s", len(got), err, got)
			}
			if got, err := run("-T", file, w.origin.URL+"/up"); err != nil || string(got) != sum {
				t.Fatalf("%v: %.200s", err, got)
			}
			for _, bad := range []string{"http://169.254.169.254/", "http://127.0.0.2:80/", "http://[::1]:80/"} {
				if got, err := run(bad); err == nil {
					t.Errorf("%s: %.100s", bad, got)
				}
			}
			w.settle(t, 2*size)
		})
	}
	t.Run("proxychains4", func(t *testing.T) {
		program, curl := testutil.Program(t, "proxychains4"), testutil.Program(t, "curl")
		w := newWorld(t, 0)
		config := filepath.Join(t.TempDir(), "proxychains.conf")
		text := "strict_chain\nproxy_dns\n[ProxyList]\nsocks5 " + strings.ReplaceAll(w.proxy, ":", " ") + "\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), program, "-q", "-f", config, curl, "-sS", "--fail", "--max-time", "60", w.origin.URL)
		got, err := c.Output()
		if err != nil || len(got) != size {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		w.settle(t, size)
	})
}

// TestUnpaid: a customer that does not sign gets W, then its connections break, and it sees both counts. What another of
// its sessions asks for is refused as well.
func TestUnpaid(t *testing.T) {
	curl := testutil.Program(t, "curl")
	w := newWorld(t, credit.Most) // signs for 32 MiB at a time, which is no customer's W at first
	get := func() ([]byte, error) {
		return exec.CommandContext(t.Context(), curl, "-sS", "--max-time", "60", "-x", "socks5h://"+w.proxy, w.origin.URL).Output()
	}
	got, err := get()
	b := w.payer.Balance()
	if err == nil || uint64(len(got)) > credit.First*100/98 || b.Count*98/100 > credit.First {
		t.Errorf("%v: %d bytes came, %d counted", err, len(got), b.Count)
	}
	var s State
	for range 500 {
		if s, err = w.client.State(); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if types.ReasonOf(err) != wireless.UnpaidLimit || s.Count != b.Count || s.Units != 0 || !strings.Contains(s.Text, fmt.Sprint(b.Count)) {
		t.Errorf("%v, %+v", err, s)
	}
	if got, err := get(); err == nil || len(got) > 64<<10 {
		t.Errorf("again: %d bytes, %v", len(got), err)
	}
	t.Logf("%d bytes came, %d counted, W %d: %v", len(got), b.Count, b.Limit, s.Text)

	// It signs at last, and goes on.
	w.client.sign()
	for range 500 {
		if s, err = w.client.State(); err == nil && s.Units > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if count, units := w.bill.Counted(); err != nil || units != count || w.payer.Balance().Units != count {
		t.Errorf("%v: signed for %d of %d", err, units, count)
	}
	// The payer is killed: the device has what was signed for on disk, and lost less than W.
	_, _ = get()
	w.client.end(net.ErrClosed)
	if b, kept := w.payer.Balance(), w.disk.balance; b.Units != kept.Units || b.Count*98/100-b.Units > b.Limit {
		t.Errorf("%+v, on disk %+v", b, kept)
	}
}

// FuzzGreet: whatever a program says first, it gets a destination or an error, in bounded memory.
func FuzzGreet(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"))
	f.Add([]byte("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nbehind"))
	f.Fuzz(func(t *testing.T, b []byte) {
		to, answer, err := greet(bufio.NewReader(bytes.NewReader(b)), io.Discard)
		if (err == nil) != (answer != nil) || len(to) > 4<<10 {
			t.Errorf("%q: %q, %v", b, to, err)
		}
	})
}

// FuzzFrame: a frame is one of the bounded ones, or an error.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, raw); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
			t.Errorf("%x: %x", b, raw)
		}
		var o Open
		var s State
		_, _ = types.Decode(raw, &o), types.Decode(raw, &s)
	})
}
