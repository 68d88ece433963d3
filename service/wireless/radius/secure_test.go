package radius

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless"
)

func key(b byte) types.PrivateKey { return types.NewPrivateKey([32]byte{b}) }

// secure runs a server over TLS, at an address or a free one, and returns its address and what ends it.
func secure(t *testing.T, at string, handle Handler) (s *Secure, address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s = &Secure{Key: key(1), Handle: handle, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

func client(t *testing.T, address string, peer byte) *Client {
	c := &Client{Key: key(2), Peer: key(peer).Public(), Address: address, Dial: new(net.Dialer).DialContext}
	t.Cleanup(c.Close)
	return c
}

func login(user, pass string) *Packet {
	p := radius.New(radius.CodeAccessRequest, SecureSecret())
	_ = rfc2865.UserName_SetString(p, user)
	_ = rfc2865.UserPassword_SetString(p, pass)
	return p
}

// TestSecure: requests go over TLS to the gateway with the right key and to nobody else, many at once; a gateway
// that is gone is idp_unreachable, and reached again when it is back.
func TestSecure(t *testing.T) {
	var mu sync.Mutex
	peers := map[types.Key]bool{}
	handle := func(ctx context.Context, r *Request) *Packet {
		mu.Lock()
		peers[r.Peer] = true
		mu.Unlock()
		return password(ctx, r)
	}
	s, at, stop := secure(t, "127.0.0.1:0", handle)
	c := client(t, at, 1)
	var all sync.WaitGroup
	for range 600 { // more than there are identifiers
		all.Go(func() {
			if p, err := c.Exchange(t.Context(), login("ada", "engine")); err != nil || p.Code != radius.CodeAccessAccept {
				t.Errorf("login: %v %v", p, err)
			}
		})
	}
	all.Wait()
	if p, err := c.Exchange(t.Context(), login("ada", "wrong")); err != nil || p.Code != radius.CodeAccessReject || Reason(p) != wireless.IdPRefused {
		t.Errorf("wrong password: %v %v", p, err)
	}
	if got := s.Counts(); got.Answered != 601 || len(peers) != 1 || !peers[key(2).Public()] {
		t.Errorf("%+v of %v", got, peers)
	}
	if _, err := client(t, at, 3).Exchange(t.Context(), login("ada", "engine")); types.ReasonOf(err) != wireless.IdPUnreachable {
		t.Errorf("another's key: %v", err)
	}
	stop()
	if _, err := c.Exchange(t.Context(), login("ada", "engine")); types.ReasonOf(err) != wireless.IdPUnreachable {
		t.Errorf("gone: %v", err)
	}
	secure(t, at, handle)
	if p, err := c.Exchange(t.Context(), login("ada", "engine")); err != nil || p.Code != radius.CodeAccessAccept {
		t.Errorf("back: %v %v", p, err)
	}
}

// TestSecureStrangers: who says over TLS what is no RADIUS, or is not signed, is cut off and counted.
func TestSecureStrangers(t *testing.T) {
	s, at, _ := secure(t, "127.0.0.1:0", password)
	unsigned, _ := login("ada", "engine").Encode()
	for _, raw := range [][]byte{{1, 2, 0, 19}, {1, 2, 255, 255}, make([]byte, 20), unsigned} {
		config, err := role.ClientTLS(key(2), key(1).Public())
		if err != nil {
			t.Fatal(err)
		}
		config.NextProtos = []string{alpn}
		conn, err := tls.Dial("tcp", at, config)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(raw)
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%x: %d bytes of answer", raw, n)
		}
		conn.Close()
	}
	if got := s.Counts(); got.Answered != 0 || got.Unsigned != 1 {
		t.Errorf("%+v", got)
	}
}

// TestSilent: a gateway that takes everything and says nothing costs a request its time and no more.
func TestSilent(t *testing.T) {
	_, at, _ := secure(t, "127.0.0.1:0", func(context.Context, *Request) *Packet { return nil })
	c := client(t, at, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Exchange(ctx, login("ada", "engine")); types.ReasonOf(err) != wireless.IdPUnreachable {
		t.Errorf("over TLS: %v", err)
	}
	_, at = serve(t, func(context.Context, *Request) *Packet { return nil })
	p := login("ada", "engine")
	p.Secret = []byte(lan)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Exchange(ctx, at, p); types.ReasonOf(err) != wireless.IdPUnreachable {
		t.Errorf("over UDP: %v", err)
	}
}

// TestExchange: over UDP an answer is found, also when the first request is lost; with another secret there is none.
func TestExchange(t *testing.T) {
	var lost atomic.Bool
	_, at := serve(t, func(ctx context.Context, r *Request) *Packet { return password(ctx, r) })
	relay, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := relay.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if !lost.Swap(true) {
				relay.WriteToUDPAddrPort([]byte("no packet at all"), from)
				continue
			}
			c, err := net.Dial("udp", at)
			if err != nil {
				return
			}
			c.Write(buf[:n])
			n, _ = c.Read(buf)
			c.Close()
			relay.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	p := radius.New(radius.CodeAccessRequest, []byte(lan))
	_ = rfc2865.UserName_SetString(p, "ada")
	_ = rfc2865.UserPassword_SetString(p, "engine")
	reply, err := Exchange(t.Context(), relay.LocalAddr().String(), p)
	if err != nil || reply.Code != radius.CodeAccessAccept || !lost.Load() {
		t.Errorf("%v %v", reply, err)
	}
}
