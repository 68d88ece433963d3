package oci

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// What a container reaches beyond itself it reaches by a proxy for HTTP, at an address of loopback in its own
// network. The proxy is this program started again, outside: nobody's user, with the listener and the rules, and
// nothing else of the machine's. It looks up names itself, and judges each address that it is about to connect
// to, so what a name stands for the next time does not matter.
const (
	proxyName = "cairn: egress"
	proxyAt   = "127.0.0.9:3128" // no server in a container listens there by chance
	proxyUser = shift - 1        // has nothing, and is in no container

	maxEgress   = 64 // connections of a container at once; one more is refused with compute.egress_busy
	egressDial  = 10 * time.Second
	egressIdle  = 5 * time.Minute // for which nothing may come or go on one
	egressPiece = 32 << 10
)

// proxyEnv is what programs in a container are told.
var proxyEnv = []string{
	"HTTP_PROXY=http://" + proxyAt, "HTTPS_PROXY=http://" + proxyAt, "ALL_PROXY=http://" + proxyAt,
	"http_proxy=http://" + proxyAt, "https_proxy=http://" + proxyAt, "all_proxy=http://" + proxyAt,
	"NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1",
}

// metadata are addresses at which clouds tell a machine its secrets, and which are not special by any registry.
var metadata = []netip.Addr{netip.MustParseAddr("168.63.129.16")}

// A proxy is this program started again. It must not get as far as main.
func init() {
	if len(os.Args) != 1 || os.Args[0] != proxyName {
		return
	}
	go func() {
		if err := proxy(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

// egress starts the proxy of a container that has been made, by its first process.
func (k *keeper) egress(init int) (shut func(), err error) {
	ns, err := namespace(init)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return k.openEgress(ns)
}

// openEgress starts a container's proxy. It ends with the returned function, or with the keeper.
func (k *keeper) openEgress(ns *os.File) (shut func(), err error) {
	var l net.Listener
	if err := within(ns, func() (err error) {
		l, err = net.Listen("tcp", proxyAt)
		return err
	}); err != nil {
		return nil, fmt.Errorf("oci: egress: %w", err)
	}
	f, err := l.(*net.TCPListener).File()
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, fmt.Errorf("oci: egress: %w", err)
	}
	defer f.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("oci: egress: %w", err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{proxyName}, Dir: "/", ExtraFiles: []*os.File{f}}
	cmd.Env = []string{"GOMEMLIMIT=64MiB", "GOMAXPROCS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("oci: egress: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("oci: egress: %w", err)
	}
	shut = func() { // it ends when it has nobody to listen to
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	var word [6]byte
	if err = json.NewEncoder(in).Encode(k.Egress); err == nil {
		_, err = io.ReadFull(out, word[:])
	}
	if err != nil {
		shut()
		return nil, fmt.Errorf("oci: egress: the proxy does not begin: %w", err)
	}
	return shut, nil
}

// proxy is the proxy's program.
func proxy() error {
	// Before anything of a container is read.
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(proxyUser, proxyUser, proxyUser),
		syscall.Setresuid(proxyUser, proxyUser, proxyUser), unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024})); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal(line, &list); err != nil {
		return err
	}
	rules, err := compute.ParseEgress(list)
	if err != nil {
		return err
	}
	f := os.NewFile(3, "listener")
	l, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	g := newGate(rules, net.InterfaceAddrs)
	fmt.Println("ready")
	go func() { _ = g.serve(l) }()
	_, _ = io.Copy(io.Discard, in) // until the keeper is gone
	return nil
}

// gate lets a container reach what its rules say.
type gate struct {
	rules    []compute.Reach
	own      func() ([]net.Addr, error) // this machine's addresses, as they are now
	resolver *net.Resolver
	open     atomic.Int32
	http     *http.Transport
}

func newGate(rules []compute.Reach, own func() ([]net.Addr, error)) *gate {
	g := &gate{rules: rules, own: own, resolver: &net.Resolver{}}
	g.http = &http.Transport{
		DialContext:           func(ctx context.Context, _, address string) (net.Conn, error) { return g.dial(ctx, address) },
		ResponseHeaderTimeout: egressIdle, MaxResponseHeaderBytes: 64 << 10,
		DisableCompression: true, DisableKeepAlives: true,
	}
	return g
}

// dial connects to HOST:PORT, if that may be reached.
func (g *gate) dial(ctx context.Context, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, types.Refuse(role.BadRequest, "%.150q: want HOST:PORT", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return nil, types.Refuse(role.BadRequest, "%.150q: port %.10q", address, text)
	}
	port := uint16(n)
	named := false
	if _, err := netip.ParseAddr(host); err != nil {
		named = slices.ContainsFunc(g.rules, func(r compute.Reach) bool { return r.Named(host, port) })
		// A name that nothing can allow is not looked up: a question is a message, too.
		if !named && !slices.ContainsFunc(g.rules, func(r compute.Reach) bool { return r.Network(port).IsValid() }) {
			return nil, types.Refuse(compute.EgressDenied, "%.150s is not what this device lets containers reach", address)
		}
	}
	d := net.Dialer{Timeout: egressDial, Resolver: g.resolver, Control: func(_, at string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		return g.judge(named, to.Addr(), port)
	}}
	c, err := d.DialContext(ctx, "tcp", address)
	switch {
	case err == nil:
		return c, nil
	case types.ReasonOf(err) != "":
		return nil, types.Refuse(types.ReasonOf(err), "%.150s: %v", address, err)
	}
	return nil, types.Refuse(compute.EgressFailed, "%.150s: %v", address, err)
}

// judge says what keeps an address from being connected to. named: a rule has the name under which it was found.
func (g *gate) judge(named bool, addr netip.Addr, port uint16) error {
	addr = addr.Unmap().WithZone("")
	own, err := g.own()
	if err != nil {
		return fmt.Errorf("this machine's addresses: %w", err)
	}
	mine := slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(addr.AsSlice())
	})
	special := mine || !role.Reachable(addr, nil) || slices.Contains(metadata, addr)
	for _, r := range g.rules {
		p := r.Network(port)
		// What is not of the public internet has to be named as such: a network of all addresses does not mean it.
		if p.IsValid() && p.Contains(addr) && (!special || p.IsSingleIP() || !mine && role.Private(p)) {
			return nil
		}
	}
	switch {
	case special:
		return types.Refuse(compute.EgressDenied, "%v is an address of this machine or inside a private network", addr)
	case named:
		return nil
	}
	return types.Refuse(compute.EgressDenied, "%v is not among what this device lets containers reach", addr)
}

// serve serves a container until the listener is closed.
func (g *gate) serve(l net.Listener) error {
	quiet := slog.New(slog.DiscardHandler)
	s := &http.Server{Handler: g, ReadHeaderTimeout: egressDial, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(quiet.Handler(), slog.LevelDebug)}
	// All addresses of a container are near: they may have half of all.
	return s.Serve(conns.Limit(l, conns.Limits{Total: 8 * maxEgress, PerAddress: 4 * maxEgress}, quiet))
}

// fail answers with a refusal. Its reason is a header too, since programs show little of a proxy's answer.
func fail(w http.ResponseWriter, err error) {
	if types.ReasonOf(err) == "" {
		err = types.Refuse(compute.EgressFailed, "%v", err)
	}
	w.Header().Set("X-Cairn-Reason", string(types.ReasonOf(err)))
	role.Fail(w, err, compute.New().Spec.Reasons...)
}

// ServeHTTP passes on what it may: tunnels (CONNECT), and requests of plain HTTP.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.open.Add(1) > maxEgress {
		g.open.Add(-1)
		fail(w, types.Refuse(compute.EgressBusy, "%d connections are open", maxEgress))
		return
	}
	defer g.open.Add(-1)
	switch {
	case r.Method == http.MethodConnect:
		g.tunnel(w, r)
	case r.URL.IsAbs() && r.URL.Scheme == "http":
		var failed error
		p := httputil.ReverseProxy{Transport: g.http, Rewrite: func(p *httputil.ProxyRequest) { p.Out.Host = p.In.Host },
			ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
			ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
		if p.ServeHTTP(w, r); failed != nil {
			fail(w, failed)
		}
	default:
		fail(w, types.Refuse(role.BadRequest, "%s %.100s: this is a proxy for HTTP", r.Method, r.URL))
	}
}

// tunnel connects, and passes bytes both ways.
func (g *gate) tunnel(w http.ResponseWriter, r *http.Request) {
	to, err := g.dial(r.Context(), r.Host)
	if err != nil {
		fail(w, err)
		return
	}
	defer to.Close()
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // it is gone
	}
	defer from.Close()
	if _, err := io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	broken := func() { _, _ = to.Close(), from.Close() }
	idle := time.AfterFunc(egressIdle, broken)
	defer idle.Stop()
	var both sync.WaitGroup
	pass := func(to net.Conn, from io.Reader) {
		for buf := make([]byte, egressPiece); ; {
			n, err := from.Read(buf)
			if n > 0 {
				idle.Reset(egressIdle)
				if _, err := to.Write(buf[:n]); err != nil {
					break
				}
			}
			if half, ok := to.(interface{ CloseWrite() error }); errors.Is(err, io.EOF) && ok && half.CloseWrite() == nil {
				return // the other direction goes on
			} else if err != nil {
				break
			}
		}
		broken()
	}
	both.Go(func() { pass(to, buffered) })
	both.Go(func() { pass(from, to) })
	both.Wait()
}
