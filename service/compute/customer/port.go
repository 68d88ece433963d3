package customer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/role"
)

// Bounds of what customers reach in their containers.
const (
	maxPorts    = 4    // that a job may declare
	maxReached  = 4096 // connections of all accounts; beyond it gateway.busy
	accountOpen = 256  // of one; beyond it port_busy
	openTime    = 12 * time.Second
	leaveTime   = 10 * time.Second // what the end of a job leaves on its way may take so long
	spareConns  = 2                // to each port that wait for the next request
	spareTime   = 30 * time.Second
	roomTime    = 100 * time.Millisecond // one more than a job may have waits so long
)

// reach is the connections to ports of one job.
type reach struct {
	http  *http.Transport // whose hosts are numbers of ports
	freed chan struct{}   // holds one when a connection was closed

	mu    sync.Mutex              // guards what follows
	asked map[uint64]chan reached // of the device, by number
	open  map[*link.Conn]bool
}

func (c *Customer) newReach(j *job) *reach {
	r := &reach{asked: map[uint64]chan reached{}, open: map[*link.Conn]bool{}, freed: make(chan struct{}, 1)}
	r.http = &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, text, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return nil, err
			}
			conn, err := c.dial(ctx, j, uint16(port))
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		MaxIdleConnsPerHost: spareConns, IdleConnTimeout: spareTime, ResponseHeaderTimeout: link.IdleTime,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
	}
	return r
}

// begin takes a place for a connection that is asked for. Those that only wait for a next request make room.
func (r *reach) begin(ctx context.Context, number uint64, asked chan reached) bool {
	late := time.NewTimer(roomTime)
	defer late.Stop()
	for first := true; ; first = false {
		r.mu.Lock()
		room := len(r.asked)+len(r.open) < link.MaxConns
		if room {
			r.asked[number] = asked
		}
		r.mu.Unlock()
		if room {
			return true
		}
		if first {
			r.http.CloseIdleConnections()
		}
		select {
		case <-r.freed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// end gives a place back.
func (r *reach) end(number uint64, conn *link.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, number)
	delete(r.open, conn)
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// reached is what becomes of a connection that was asked for.
type reached struct {
	conn *link.Conn
	err  error
}

// take answers who asked for a number; false if nobody does.
func (r *reach) take(number uint64, what reached) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked[number]
	if asked == nil {
		return false
	}
	delete(r.asked, number)
	if what.conn != nil {
		r.open[what.conn] = true
	}
	asked <- what // has room
	return true
}

// lose ends all connections, and refuses those that are being made.
func (r *reach) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, asked := range r.asked {
		delete(r.asked, n)
		asked <- reached{err: err}
	}
	for c := range r.open {
		_ = c.Close() // never fails
	}
	r.http.CloseIdleConnections()
}

// Port implements link.Jobs: the device has made a connection that it was asked for.
func (c *Customer) Port(device types.Key, order types.Hash, number uint64) (func(*link.Conn), error) {
	j, err := c.expected(order, device)
	if err != nil {
		return nil, err
	}
	j.reach.mu.Lock()
	defer j.reach.mu.Unlock()
	if j.reach.asked[number] == nil {
		return nil, types.Refuse(compute.NoJob, "compute: nobody waits for connection %d", number)
	}
	return func(conn *link.Conn) {
		if !j.reach.take(number, reached{conn: conn}) {
			_ = conn.Close() // never fails
		}
	}, nil
}

// shut takes in that a connection can't be made.
func (r *reach) shut(f link.Frame, device types.Key) {
	reason, text, _ := strings.Cut(string(f.Data), "\n")
	why := types.Reason(reason)
	switch why {
	case compute.PortClosed, compute.PortBusy, compute.NotRunning:
	default:
		why = compute.PortSilent
	}
	r.take(f.Offset, reached{err: types.Refuse(why, "compute: device %v: %.512s", device, text)})
}

// dial connects to a port of a job's container, by way of its device.
func (c *Customer) dial(ctx context.Context, j *job, port uint16) (*link.Conn, error) {
	j.mu.Lock()
	stream, state, device := j.stream, j.rec.State, types.Key{}
	if n := len(j.rec.Tries); n > 0 {
		device = j.rec.Tries[n-1].Device
	}
	j.mu.Unlock()
	if stream == nil || state.Ended() {
		return nil, types.Refuse(compute.NotRunning, "compute: job %v is %s, and its device is not there", j.rec.ID, state)
	}
	account := j.rec.Account
	c.mu.Lock()
	all, own := c.reachedAll, c.reached[account]
	if all < maxReached && own < accountOpen {
		c.reachedAll++
		c.reached[account]++
	}
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reachedAll--
		if c.reached[account]--; c.reached[account] == 0 {
			delete(c.reached, account)
		}
	}
	switch {
	case own >= accountOpen:
		return nil, types.Refuse(compute.PortBusy, "compute: %d connections to containers of the account are open", own)
	case all >= maxReached:
		return nil, types.Refuse(role.Busy, "compute: %d connections to containers are open", all)
	}
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	number, asked := binary.BigEndian.Uint64(raw[:]), make(chan reached, 1)
	r := j.reach
	if !r.begin(ctx, number, asked) {
		leave()
		return nil, types.Refuse(compute.PortBusy, "compute: %d connections to ports of the job are open", link.MaxConns)
	}
	go func() { // a device that takes nothing at present keeps nobody waiting for longer than openTime
		// One that is broken does not answer.
		_ = stream.Write(link.Frame{Kind: link.Open, Offset: number, Data: link.OpenPort(port)})
	}()
	var got reached
	late := time.NewTimer(openTime)
	defer late.Stop()
	select {
	case got = <-asked:
	case <-ctx.Done():
		got.err = ctx.Err()
	case <-stream.Closed():
		got.err = types.Refuse(compute.NotRunning, "compute: the connection to device %v broke", device)
	case <-late.C:
		got.err = types.Refuse(compute.PortSilent, "compute: device %v did not answer within %v", device, openTime)
	}
	if got.err != nil {
		r.end(number, nil)
		select { // it may have come a moment ago
		case late := <-asked:
			if late.conn != nil {
				_ = late.conn.Close() // never fails
				r.end(number, late.conn)
			}
		default:
		}
		leave()
		return nil, got.err
	}
	go func() {
		<-got.conn.Closed()
		r.end(number, got.conn)
		leave()
	}()
	return got.conn, nil
}

// ported returns the running job that a request's path names, with the port of it.
func (c *Customer) ported(r *http.Request, wallet role.Wallet) (*job, uint16, error) {
	rec, err := c.named(r, wallet)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil || !slices.Contains(rec.Want.Ports, uint16(n)) {
		return nil, 0, types.Refuse(compute.PortUndeclared, "compute: job %v has no port %.20q: it has %v", rec.ID,
			r.PathValue("port"), rec.Want.Ports)
	}
	j := c.find(rec.Account, rec.ID)
	if j == nil {
		return nil, 0, types.Refuse(compute.NotRunning, "compute: job %v is %s", rec.ID, rec.State)
	}
	return j, uint16(n), nil
}

// portsOf checks the ports that a job declares.
func portsOf(a *Submit, class types.Class) ([]uint16, error) {
	switch {
	case len(a.Ports) > 0 && class != compute.OCI:
		return nil, types.Refuse(compute.FeatureDenied, "compute: ports of a job that is no container")
	case len(a.Ports) > maxPorts:
		return nil, types.Refuse(role.BadRequest, "compute: %d ports, at most %d", len(a.Ports), maxPorts)
	case slices.Contains(a.Ports, 0):
		return nil, types.Refuse(role.BadRequest, "compute: port 0: want 1 to 65535")
	}
	return a.Ports, nil
}

func (c *Customer) portRoutes() []role.Route {
	list := []role.Route{{Method: "GET", Path: "/jobs/{id}/port/{port}", Status: http.StatusSwitchingProtocols, Serve: c.servePort,
		Summary: "A connection to a port of a container as it is: with the headers `Connection: Upgrade` and `Upgrade: tcp`; " +
			"without them a redirect to the path below"}}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		list = append(list, role.Route{Method: method, Path: "/jobs/{id}/port/{port}/{path...}", In: []byte(nil), Out: []byte(nil),
			Summary: "Passed on to the server on that port of the job's container, which answers with what it likes; WebSockets too. " +
				"It sees neither the API key nor who asks", Serve: c.serveHTTP})
	}
	return list
}

// raw is the protocol (Upgrade) under which a connection to a port is given as it is.
const raw = "tcp"

// servePort gives a connection to a port as it is, to who asks for that.
func (c *Customer) servePort(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	j, port, err := c.ported(r, wallet)
	if err != nil {
		return err
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), raw) {
		w.Header().Set("Location", fmt.Sprintf("%d/", port)) // relative: the path is not whole here
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	conn, err := c.dial(r.Context(), j, port)
	if err != nil {
		return err
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		err = types.Refuse(role.BadRequest, "compute: the connection can't be given as it is: use HTTP/1.1: %v", err)
		return errors.Join(err, conn.Close())
	}
	// A break shows below.
	_, _ = io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+raw+"\r\n\r\n")
	link.Relay(&hijacked{client, buffered}, conn)
	return nil
}

// hijacked is a client's connection, of which something may have been read.
type hijacked struct {
	net.Conn
	from io.Reader
}

func (h *hijacked) Read(p []byte) (int, error) { return h.from.Read(p) }

func (h *hijacked) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// unsafe are headers by which a container could change what a browser does with the gateway's other paths.
var unsafe = []string{"Strict-Transport-Security", "Alt-Svc", "Clear-Site-Data", "Service-Worker-Allowed", "Public-Key-Pins",
	"Access-Control-Allow-Credentials"}

// serveHTTP passes a request on to a server in a container. It gets nothing of the account: not its key, and not
// where the customer is.
func (c *Customer) serveHTTP(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	j, port, err := c.ported(r, wallet)
	if err != nil {
		return err
	}
	at := fmt.Sprintf("/jobs/%s/port/%d", j.rec.ID, port)
	prefix := base + at
	escaped := r.URL.EscapedPath()
	if _, escaped, _ = strings.Cut(escaped, "/port/"); strings.Contains(escaped, "/") {
		_, escaped, _ = strings.Cut(escaped, "/")
	}
	path, err := url.PathUnescape("/" + escaped)
	if err != nil {
		return types.Refuse(role.BadRequest, "compute: %v", err)
	}
	var failed error
	proxy := httputil.ReverseProxy{
		Transport: j.reach.http,
		Rewrite: func(p *httputil.ProxyRequest) {
			u := p.Out.URL
			u.Scheme, u.Host = "http", net.JoinHostPort("localhost", strconv.Itoa(int(port)))
			u.Path, u.RawPath, u.RawQuery = path, "/"+escaped, p.In.URL.RawQuery
			p.Out.Host = u.Host
			p.Out.Header.Del("Authorization")
			p.Out.Header.Set("X-Forwarded-Prefix", prefix)
		},
		ModifyResponse: func(res *http.Response) error {
			for _, name := range unsafe {
				res.Header.Del(name)
			}
			if to := res.Header.Get("Location"); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") {
				res.Header.Set("Location", prefix+to)
			}
			// A stranger's page may not act as one of the gateway's.
			res.Header.Set("Content-Security-Policy", "sandbox allow-scripts allow-forms")
			res.Header.Set("X-Content-Type-Options", "nosniff")
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ErrorLog:     c.quiet,
	}
	proxy.ServeHTTP(w, r)
	if failed != nil && types.ReasonOf(failed) == "" {
		failed = types.Refuse(compute.PortSilent, "compute: port %d of job %v: %v", port, j.rec.ID, failed)
	}
	return failed
}
