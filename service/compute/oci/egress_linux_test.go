package oci

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
)

func rules(t testing.TB, list ...string) []compute.Reach {
	t.Helper()
	r, err := compute.ParseEgress(list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shared is a buffer of several goroutines.
type shared struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// outside is a server on this machine, and its port.
func outside(t testing.TB) (hits *atomic.Int32, port string) {
	t.Helper()
	hits = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		fmt.Fprintln(w, "outside", r.Host)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return hits, u.Port()
}

// proxies lists the users of proxies that run for a container's keeper.
func proxies(t testing.TB, dir string) (users []string) {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		line, _ := os.ReadFile(p + "/cmdline") // those that have ended meanwhile have none
		if string(line) != proxyName+"\x00" {
			continue
		}
		status, _ := os.ReadFile(p + "/status")
		var parent, uid string
		for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
			if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == "PPid:" {
				parent = f[1]
			} else if len(f) > 4 && f[0] == "Uid:" {
				uid = strings.Join(f[1:], " ")
			}
		}
		if line, _ := os.ReadFile("/proc/" + parent + "/cmdline"); strings.Contains(string(line), dir) {
			users = append(users, uid)
		}
	}
	return users
}

// TestEgress: a container reaches what the owner lets be reached, by the proxy that its programs are told of, and
// nothing else: neither this machine nor its network nor what a name leads to there.
func TestEgress(t *testing.T) {
	curl, nsenter := testutil.Program(t, "curl"), testutil.Program(t, "nsenter")
	_, a := outside(t)
	hits, b := outside(t)
	w := newWorld(t, rules(t, "localhost:"+a, "127.0.0.1:"+a, "localhost:"+b, "*.example.org:443")...)
	j := w.job(fmt.Sprintf("wget -q -O - http://localhost:%s/x; wget -q -O - http://localhost:%s/ 2>&1 | head -1;"+
		"busybox nc -w 2 127.0.0.1 %s </dev/null || echo no other way; echo begun; sleep 60", a, b, a))
	j.Limit = 60_000
	var out shared
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := w.e.Run(ctx, j, &out, io.Discard, unmetered{})
		gone <- err
	}()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "begun"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not begin: %q", out.String())
		}
	}
	if got := out.String(); !strings.HasPrefix(got, "outside localhost:"+a+"\n") || !strings.Contains(got, "403 Forbidden") ||
		strings.Count(got, "outside") != 1 || !strings.Contains(got, "no other way\n") {
		t.Errorf("busybox's wget: %q", got)
	}
	pid, err := os.ReadFile(filepath.Join(w.e.run, name(j.Order), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(to string, more ...string) string {
		args := append([]string{"-t", string(pid), "-n", curl, "-sS", "-i", "-m", "10", "--noproxy", "", "-x", "http://" + proxyAt}, more...)
		got, _ := exec.Command(nsenter, append(args, to)...).CombinedOutput() // what is refused fails
		return string(got)
	}
	for _, how := range [][]string{nil, {"-p"}} { // passed on, and by a tunnel
		for to, want := range map[string]string{
			"http://127.0.0.1:" + a + "/": "outside", "http://localhost:" + a + "/": "outside",
			"http://localhost:" + b + "/": "compute.egress_denied", "http://127.0.0.1:" + b + "/": "compute.egress_denied",
			"http://169.254.169.254/": "compute.egress_denied", "http://[::1]:" + a + "/": "compute.egress_denied", "http://[::ffff:127.0.0.1]:" + b + "/": "compute.egress_denied",
			"http://pypi.org:443/": "compute.egress_denied", "http://0.0.0.0:" + b + "/": "compute.egress_denied", "http://2130706433:" + b + "/": "compute.egress_denied",
		} {
			if got := ask(to, how...); !strings.Contains(got, want) {
				t.Errorf("%v %s: %s, want %s", how, to, got, want)
			}
		}
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("%d requests came to what may not be reached", n)
	}
	if users := proxies(t, w.e.job(j.Order)); len(users) != 1 || users[0] != strings.TrimSpace(strings.Repeat(fmt.Sprint(proxyUser, " "), 4)) {
		t.Errorf("the proxy runs as %v", users)
	}
	cancel(types.Refuse(compute.TrapCut, "enough"))
	if err := <-gone; types.ReasonOf(err) != compute.TrapCut {
		t.Error(err)
	}
	if err := w.e.Release(j.Order); err != nil {
		t.Error(err)
	}
	if users := proxies(t, w.e.job(j.Order)); len(users) > 0 {
		t.Errorf("proxies are left: %v", users)
	}
}

// TestJudge: what a rule means that names no network, a public one, or all addresses.
func TestJudge(t *testing.T) {
	own := func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(8, 8, 4, 4)}, &net.IPNet{IP: net.IPv4(10, 9, 9, 9)}}, nil
	}
	for _, c := range []struct {
		rules string
		named bool
		addr  string
		ok    bool
	}{
		{"a.org:443", true, "8.8.8.8", true}, {"a.org:443", false, "8.8.8.8", false},
		{"a.org:443", true, "10.0.0.1", false}, {"a.org:443", true, "127.0.0.1", false},
		{"a.org:443", true, "8.8.4.4", false}, {"a.org:443", true, "168.63.129.16", false},
		{"a.org:443", true, "fd00:ec2::254", false}, {"a.org:443", true, "64:ff9b::a00:1", false},
		{"0.0.0.0/0:443", false, "8.8.8.8", true}, {"0.0.0.0/0:443", false, "10.0.0.1", false},
		{"0.0.0.0/0:443", false, "169.254.169.254", false}, {"0.0.0.0/0:443", false, "8.8.4.4", false},
		{"0.0.0.0/0:443", false, "168.63.129.16", false}, {"0.0.0.0/0:80", false, "8.8.8.8", false},
		{"[::/0]:443", false, "::ffff:10.0.0.1", false}, {"[::/0]:443", false, "2606:4700::1", true},
		{"8.0.0.0/4:443", false, "10.0.0.1", false}, {"10.0.0.0/8:443", false, "10.0.0.1", true},
		{"10.0.0.0/8:443", false, "10.9.9.9", false}, {"10.9.9.9:443", false, "10.9.9.9", true},
		{"10.0.0.0/8:443", false, "11.0.0.1", false}, {"169.254.169.254:443", false, "169.254.169.254", true},
		{"8.8.4.4:443", false, "8.8.4.4", true},
	} {
		g := newGate(rules(t, c.rules), own)
		err := g.judge(c.named, netip.MustParseAddr(c.addr), 443)
		if (err == nil) != c.ok || err != nil && types.ReasonOf(err) != compute.EgressDenied {
			t.Errorf("%s, named %v: %s: %v", c.rules, c.named, c.addr, err)
		}
	}
}

// names is a server of names that says one address, whatever it is asked, the next time another one.
func names(t *testing.T, addrs ...netip.Addr) (*net.Resolver, *atomic.Int32) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	asked := new(atomic.Int32)
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 + bytes.IndexByte(buf[12:n], 0) + 5
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if buf[end-3] == 1 { // an address of IPv4
				ip := addrs[min(int(asked.Add(1)), len(addrs))-1].As4()
				reply[7] = 1
				reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
			}
			_, _ = c.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}, asked
}

// TestRebinding: the address that is connected to is the one that is judged, and a name that no rule has is not
// asked for.
func TestRebinding(t *testing.T) {
	hits, port := outside(t)
	g := newGate(rules(t, "*.evil.org:"+port, "127.0.0.2:"+port), net.InterfaceAddrs)
	var asked *atomic.Int32
	g.resolver, asked = names(t, netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1"))
	if _, err := g.dial(t.Context(), "a.evil.org:"+port); types.ReasonOf(err) != compute.EgressFailed { // it may be reached: nobody listens
		t.Errorf("what may be reached: %v", err)
	}
	if _, err := g.dial(t.Context(), "a.evil.org:"+port); types.ReasonOf(err) != compute.EgressDenied {
		t.Errorf("the name leads elsewhere: %v", err)
	}
	before := asked.Load()
	g = newGate(rules(t, "*.evil.org:"+port, "10.0.0.1:1"), net.InterfaceAddrs)
	g.resolver, asked = names(t, netip.MustParseAddr("127.0.0.1"))
	if _, err := g.dial(t.Context(), "secret.elsewhere.org:"+port); types.ReasonOf(err) != compute.EgressDenied || asked.Load() > 0 {
		t.Errorf("%v, %d questions", err, asked.Load())
	}
	if before < 2 || hits.Load() > 0 {
		t.Errorf("%d questions, %d hits", before, hits.Load())
	}
}

// TestEgressBusy: a container has no more connections out than it may, and gets places back.
func TestEgressBusy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	g := newGate(rules(t, "127.0.0.1:"+port), net.InterfaceAddrs)
	p, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	go func() { _ = g.serve(p) }()
	connect := func() (net.Conn, *bufio.Reader, int, string) {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", l.Addr(), l.Addr())
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
		if err != nil {
			t.Fatal(err)
		}
		return c, r, res.StatusCode, res.Header.Get("X-Cairn-Reason")
	}
	var held []net.Conn
	for range maxEgress {
		c, r, status, reason := connect()
		if status != 200 {
			t.Fatal(status, reason)
		}
		fmt.Fprint(c, "hello")
		if got := make([]byte, 5); true {
			if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
				t.Fatalf("%q %v", got, err)
			}
		}
		held = append(held, c)
	}
	if _, _, status, reason := connect(); status != 503 || reason != string(compute.EgressBusy) {
		t.Errorf("one more: %d %s", status, reason)
	}
	// Whoever ends its direction gets the rest of the other one.
	fmt.Fprint(held[0], "bye")
	if err := held[0].(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(held[0]); err != nil || string(got) != "bye" {
		t.Errorf("%q %v", got, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, _, status, reason := connect(); status == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatal("no place comes back: ", reason)
		}
	}
}
