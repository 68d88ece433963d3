package radius

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless"
)

const lan = "lan-secret"

// serve runs a server on a port of this machine and returns it with its address.
func serve(t *testing.T, handle Handler) (*Server, string) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handle: handle, Log: slog.New(slog.DiscardHandler), Secret: func(a netip.Addr) []byte {
		if a == netip.MustParseAddr("127.0.0.1") {
			return []byte(lan)
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, socket); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return s, socket.LocalAddr().String()
}

// radclient sends one request with Debian's client and returns what it says, and whether it was content.
func radclient(t *testing.T, address, kind, secret string, attributes ...string) (string, bool) {
	t.Helper()
	c := exec.Command(testutil.Program(t, "radclient"), "-x", "-r", "1", "-t", "1", address, kind, secret)
	c.Stdin = strings.NewReader(strings.Join(attributes, "\n") + "\n")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err == nil
}

// password takes one user.
func password(_ context.Context, r *Request) *Packet {
	if r.Code == radius.CodeAccountingRequest {
		p := r.Response(radius.CodeAccountingResponse)
		_ = SetReceipt(p, bytes.Repeat([]byte{7}, 512))
		return p
	}
	if rfc2865.UserName_GetString(r.Packet) == "ada" && rfc2865.UserPassword_GetString(r.Packet) == "engine" {
		p := r.Response(radius.CodeAccessAccept)
		ReturnState(p, r.Packet)
		return p
	}
	p := r.Response(radius.CodeAccessReject)
	SetReason(p, wireless.IdPRefused)
	return p
}

// TestRadclient: Debian's radclient logs in, is refused, is told nothing without a Message-Authenticator, with a
// wrong secret or from an address that has none, and takes the answers as signed.
func TestRadclient(t *testing.T) {
	s, at := serve(t, password)
	login := []string{"User-Name = ada", "User-Password = engine"}
	signed := append(login, "Message-Authenticator = 0x00")
	if out, ok := radclient(t, at, "auth", lan, append(signed, "Proxy-State = 0x0102")...); !ok ||
		!strings.Contains(out, "Access-Accept") || !strings.Contains(out, "Proxy-State = 0x0102") ||
		!strings.Contains(out, "Message-Authenticator") {
		t.Errorf("login: %s", out)
	}
	if out, ok := radclient(t, at, "auth", lan, "User-Name = ada", "User-Password = wrong", "Message-Authenticator = 0x00"); ok ||
		!strings.Contains(out, "Access-Reject") {
		t.Errorf("wrong password: %s", out)
	}
	if out, ok := radclient(t, at, "acct", lan, "Acct-Status-Type = Start", "Acct-Session-Id = 1"); !ok ||
		!strings.Contains(out, "Accounting-Response") {
		t.Errorf("accounting: %s", out)
	}
	if out, ok := radclient(t, at, "status", lan, "Message-Authenticator = 0x00"); !ok {
		t.Errorf("status: %s", out)
	}
	if got := s.Counts(); got.Requests != 4 || got.Answered != 4 {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		what, kind, secret string
		attributes         []string
		want               types.Reason
		count              func(Counts) uint64
	}{
		{"unsigned", "auth", lan, login, wireless.RadiusUnsigned, func(c Counts) uint64 { return c.Unsigned }},
		{"wrong secret", "auth", "other", signed, wireless.RadiusSecret, func(c Counts) uint64 { return c.Secret }},
		{"wrong secret", "acct", "other", []string{"Acct-Status-Type = Start"}, wireless.RadiusSecret, func(c Counts) uint64 { return c.Secret }},
	} {
		before := c.count(s.Counts())
		if out, ok := radclient(t, at, c.kind, c.secret, c.attributes...); ok {
			t.Errorf("%s: answered: %s", c.what, out)
		}
		if err, _ := s.Refused(); types.ReasonOf(err) != c.want || c.count(s.Counts()) == before {
			t.Errorf("%s: %v, %+v", c.what, err, s.Counts())
		}
	}
	if got := s.Counts(); got.Answered != 4 {
		t.Errorf("somebody was answered: %+v", got)
	}
}

// TestDuplicates: a request that comes again is answered as before, without being worked on, also while the first is
// worked on; another request of the same identifier is another.
func TestDuplicates(t *testing.T) {
	var worked atomic.Int64
	hold := make(chan struct{})
	s, at := serve(t, func(ctx context.Context, r *Request) *Packet {
		n := worked.Add(1)
		<-hold
		p := r.Response(radius.CodeAccessReject)
		_ = rfc2865.ReplyMessage_SetString(p, fmt.Sprint(n))
		return p
	})
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := radius.New(radius.CodeAccessRequest, []byte(lan))
	raw, err := Encode(request)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn.Write(raw)
	}
	for s.Counts().Duplicates < 2 {
		runtime.Gosched()
	}
	close(hold)
	buf := make([]byte, 4096)
	read := func() string {
		t.Helper()
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	first := read()
	for range 100 {
		conn.Write(raw)
		if again := read(); again != first {
			t.Fatal("a copy was answered in another way")
		}
	}
	other := radius.New(radius.CodeAccessRequest, []byte(lan))
	other.Identifier = request.Identifier
	raw, _ = Encode(other)
	conn.Write(raw)
	p, err := ParseReply([]byte(read()), other)
	if err != nil || rfc2865.ReplyMessage_GetString(p) != "2" {
		t.Errorf("another request: %v %v", p, err)
	}
	if n := worked.Load(); n != 2 {
		t.Errorf("%d requests were worked on, want 2", n)
	}
}
