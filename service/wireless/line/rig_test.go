//go:build linux

package line

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/internal/testutil"
)

// namespaces are three network namespaces of this machine: challengers, a router, and devices. The kernel's token bucket
// (tbf) shapes the line between router and devices, each way.
type namespaces struct{ far, router, near string }

var made atomic.Uint64

// newNamespaces makes them. It needs root, iproute2, and a kernel with tbf: without these a test is skipped, and in CI it
// fails.
func newNamespaces(t testing.TB, rate uint64) *namespaces {
	t.Helper()
	ip, tc := testutil.Program(t, "ip"), testutil.Program(t, "tc")
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root, who may make network namespaces,")
	}
	number := made.Add(1)
	name := func(what string) string { return fmt.Sprintf("cairn-%d-%d-%s", os.Getpid(), number, what) }
	n := &namespaces{far: name("far"), router: name("rtr"), near: name("near")}
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			testutil.Missing(t, fmt.Sprintf("a kernel with network namespaces, veth and tbf (%s %s: %v: %s)", program, strings.Join(args, " "), err, out))
		}
	}
	t.Cleanup(func() {
		for _, ns := range []string{n.far, n.router, n.near} {
			_ = exec.Command(ip, "netns", "del", ns).Run()
		}
	})
	for _, ns := range []string{n.far, n.router, n.near} {
		run(ip, "netns", "add", ns)
		run(ip, "-n", ns, "link", "set", "lo", "up")
	}
	run(ip, "-n", n.router, "link", "add", "far", "type", "veth", "peer", "name", "line", "netns", n.far)
	run(ip, "-n", n.router, "link", "add", "near", "type", "veth", "peer", "name", "line", "netns", n.near)
	for _, link := range [][3]string{{n.far, "line", "10.0.0.2/24"}, {n.router, "far", "10.0.0.1/24"}, {n.router, "near", "192.168.7.1/24"}, {n.near, "line", "192.168.7.2/24"}} {
		run(ip, "-n", link[0], "addr", "add", link[2], "dev", link[1])
		run(ip, "-n", link[0], "link", "set", link[1], "up")
	}
	for i := range 8 {
		at := challengerAt(i).Addr().String()
		run(ip, "-n", n.far, "addr", "add", at+"/32", "dev", "lo")
		run(ip, "-n", n.router, "route", "add", at+"/32", "via", "10.0.0.2")
	}
	for i := range 4 {
		run(ip, "-n", n.near, "addr", "add", deviceAt(i).Addr().String()+"/24", "dev", "line")
	}
	run(ip, "-n", n.far, "route", "add", "192.168.7.0/24", "via", "10.0.0.1")
	run(ip, "-n", n.near, "route", "add", "default", "via", "192.168.7.1")
	run(ip, "netns", "exec", n.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	bits := fmt.Sprintf("%dbit", rate)
	run(tc, "-n", n.router, "qdisc", "add", "dev", "near", "root", "tbf", "rate", bits, "burst", "32kb", "latency", "100ms")
	run(tc, "-n", n.near, "qdisc", "add", "dev", "line", "root", "tbf", "rate", bits, "burst", "32kb", "latency", "100ms")
	return n
}

func (n *namespaces) device(t testing.TB, i int) Conn {
	return inside(t, n.near, net.UDPAddrFromAddrPort(deviceAt(i)))
}

func (n *namespaces) challenger(t testing.TB, i int) Conn {
	return inside(t, n.far, net.UDPAddrFromAddrPort(challengerAt(i)))
}

// inside opens a socket in a namespace. Its thread goes there, and ends.
func inside(t testing.TB, ns string, at *net.UDPAddr) Conn {
	t.Helper()
	type opened struct {
		conn *net.UDPConn
		err  error
	}
	out := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with the goroutine
		f, err := os.Open("/var/run/netns/" + ns)
		if err != nil {
			out <- opened{nil, err}
			return
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			out <- opened{nil, err}
			return
		}
		conn, err := net.ListenUDP("udp4", at)
		out <- opened{conn, err}
	}()
	o := <-out
	if o.err != nil {
		t.Fatal(o.err)
	}
	Buffer(o.conn)
	return o.conn
}

// reads runs a scenario on the sockets of a kernel. A machine that does something else makes a line read less, so that
// what reads too little is tried again; nothing makes it read more.
func reads(t *testing.T, s scenario, rate uint64) (got reading) {
	t.Helper()
	for try := range 3 {
		got = s.run(t, newNamespaces(t, rate), rate)
		t.Logf("%s: %+v", s.name, got)
		if got.proven > s.most {
			t.Fatalf("%s: %+v, at most %v", s.name, got, s.most)
		}
		if got.proven >= s.least {
			return got
		}
		t.Logf("%s: try %d is below %v", s.name, try, s.least)
	}
	t.Errorf("%s: %+v, want %v to %v", s.name, got, s.least, s.most)
	return got
}

// TestNamespaces is the check on the sockets of a kernel, which shapes a line of 10 Mbit/s.
func TestNamespaces(t *testing.T) {
	for _, c := range []scenario{honest(0), honest(2), attacks[2], attacks[12]} { // starving, and four devices
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reads(t, c, 10_000_000)
		})
	}
}
