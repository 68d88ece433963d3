package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

func nkeyOf(t *testing.T, key types.Key) string {
	t.Helper()
	nkey, err := nkeys.Encode(nkeys.PrefixByteUser, key[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(nkey)
}

// raw connects without the courtesies of our client, and collects what the server refuses.
func raw(t *testing.T, url string, key types.PrivateKey, options ...nats.Option) (*nats.Conn, chan error) {
	t.Helper()
	refusals := make(chan error, 64)
	options = append(options,
		nats.Nkey(nkeyOf(t, key.Public()), func(nonce []byte) ([]byte, error) { return bus.SignNonce(key, nonce) }),
		nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, refusals
}

func wantViolation(t *testing.T, refusals chan error, what string) {
	t.Helper()
	select {
	case err := <-refusals:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: not refused", what)
	}
}

// TestForgery shows that the server itself refuses what our client would not even send.
func TestForgery(t *testing.T) {
	roles := new(bustest.Roles)
	n := newNetwork(t, roles)
	attacker, victim, verifier := bustest.Key(1), bustest.Key(2), bustest.Key(3)
	roles.Set(attacker.Public(), bus.RoleDevice)
	roles.Set(victim.Public(), bus.RoleDevice)
	roles.Set(verifier.Public(), bus.RoleVerifier)
	v, err := n.Dial(t.Context(), verifier)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	heard := make(chan bus.Message, 64)
	for _, pattern := range []string{"submit.>", "last.>", "ack.>", "query.>"} {
		if err := v.Subscribe(t.Context(), pattern, func(m bus.Message) { heard <- m }); err != nil {
			t.Fatal(err)
		}
	}
	nc, refusals := raw(t, n.url, attacker)
	for _, subject := range []string{
		bus.SubmitSubject(victim.Public(), 0),
		bus.AskOf(&receipt.Ask{Device: victim.Public(), Category: 3, Class: 1}),
		bus.NoticeSubject(attacker.Public(), 0),
		bus.NoticeSubject(verifier.Public(), 0),
		bus.AckSubject(verifier.Public(), attacker.Public()),
		bus.AckSubject(attacker.Public(), victim.Public()),
		bus.QuerySubject(victim.Public(), 0, bus.QueryProof),
		bus.KeepSubject(victim.Public()),
		"_INBOX." + bus.Word(victim.Public()) + ".x",
		"$JS.API.STREAM.CREATE.x", "$SYS.REQ.SERVER.PING", "anything",
	} {
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		wantViolation(t, refusals, subject)
	}
	for _, pattern := range []string{">", "*.>", "submit.>", "_INBOX.>", "_INBOX." + bus.Word(victim.Public()) + ".>", "ack.>", "keep.*", "query.>", "$SYS.>"} {
		if _, err := nc.SubscribeSync(pattern); err != nil {
			t.Fatal(err)
		}
		wantViolation(t, refusals, pattern)
	}
	select {
	case m := <-heard:
		t.Fatalf("a forgery arrived: %s", m.Subject)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestLogOn shows that a key is believed only with its signature over this connection's nonce.
func TestLogOn(t *testing.T) {
	roles := new(bustest.Roles)
	n := newNetwork(t, roles)
	victim, attacker := bustest.Key(1), bustest.Key(2)
	roles.Set(victim.Public(), bus.RoleDevice)
	var seen []byte
	connect := func(options ...nats.Option) error {
		nc, err := nats.Connect(n.url, append(options, nats.NoReconnect())...)
		if nc != nil {
			nc.Close()
		}
		return err
	}
	nkey := nkeyOf(t, victim.Public())
	honest := func(nonce []byte) ([]byte, error) {
		sig, err := bus.SignNonce(victim, nonce)
		seen = sig
		return sig, err
	}
	if err := connect(nats.Nkey(nkey, honest)); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]nats.Option{
		"nobody":      nil,
		"a password":  {nats.UserInfo("keeper", "keeper")},
		"a token":     {nats.Token("x")},
		"a replay":    {nats.Nkey(nkey, func([]byte) ([]byte, error) { return seen, nil })},
		"another key": {nats.Nkey(nkey, func(nonce []byte) ([]byte, error) { return bus.SignNonce(attacker, nonce) })},
		"no bytes":    {nats.Nkey(nkey, func([]byte) ([]byte, error) { return nil, nil })},
		"a stranger":  {nats.Nkey(nkeyOf(t, attacker.Public()), func(nonce []byte) ([]byte, error) { return bus.SignNonce(attacker, nonce) })},
	} {
		if err := connect(options...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want an authorization violation", name, err)
		}
	}
}

// TestSignNonce shows that a server cannot obtain a signature of anything but a nonce.
func TestSignNonce(t *testing.T) {
	key := bustest.Key(1)
	for _, bad := range []string{"", "short", strings.Repeat("a", 16), "cairn/ask\x00chain", "AAAAAAAAAAAAAA=", "AAAAAAAAAAAAAA/", "\x84jSignature1AAA"} {
		if _, err := bus.SignNonce(key, []byte(bad)); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%q was signed (%v)", bad, err)
		}
	}
	nonce := []byte("AZaz09-_AAAAAAA")
	sig, err := bus.SignNonce(key, nonce)
	if err != nil || !key.Public().VerifyMessage(nonce, types.Signature(sig)) {
		t.Errorf("a nonce was not signed: %v", err)
	}
}

// TestRevocation shows that whoever loses its registration is logged off, stays off, and comes back by itself
// with it.
func TestRevocation(t *testing.T) {
	roles := new(bustest.Roles)
	n := &network{t: t, auth: roles, config: server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Recheck: 20 * time.Millisecond}}
	n.Start()
	t.Cleanup(n.Stop)
	key := bustest.Key(1)
	roles.Set(key.Public(), bus.RoleDevice)
	b, err := n.Dial(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.Sleep(100 * time.Millisecond)
	if !b.Connected() {
		t.Fatal("logged off for no reason")
	}
	await := func(connected bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); b.Connected() != connected; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never connected = %v", connected)
			}
		}
	}
	roles.Set(key.Public(), bus.Nobody)
	await(false)
	time.Sleep(300 * time.Millisecond)
	if b.Connected() {
		t.Fatal("logged on without registration")
	}
	roles.Set(key.Public(), bus.RoleDevice)
	await(true)
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = server.Serve(server.Config{Listen: l.Addr().String(), Dir: t.TempDir()}, new(bustest.Roles), quiet)
	if types.ReasonOf(err) != types.PortInUse {
		t.Fatalf("got %v, want port_in_use", err)
	}
	for _, listen := range []string{"", "nowhere", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := server.Serve(server.Config{Listen: listen, Dir: t.TempDir()}, new(bustest.Roles), quiet); err == nil {
			t.Errorf("listens on %q", listen)
		}
	}
}

// TestBrokenFile shows that a torn file of kept messages does not keep the bus down, and that a second bus does
// not take it.
func TestBrokenFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kept.db"), []byte(strings.Repeat("torn ", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: dir}, new(bustest.Roles), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: dir}, new(bustest.Roles), quiet)
	if types.ReasonOf(err) != types.HomeBusy {
		t.Fatalf("got %v, want home_busy", err)
	}
}

// TestTLS shows that the bus can be served with TLS, and that a client with other roots does not talk to it.
func TestTLS(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roles := new(bustest.Roles)
	roles.Set(bustest.Key(1).Public(), bus.RoleDevice)
	s, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), TLS: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS13,
	}}, roles, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	b, err := bus.Dial(t.Context(), bus.Config{URLs: []string{s.URL()}, TLS: &tls.Config{RootCAs: roots}}, bustest.Key(1), quiet)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := bus.Dial(t.Context(), bus.Config{URLs: []string{s.URL()}, TLS: &tls.Config{RootCAs: x509.NewCertPool()}}, bustest.Key(1), quiet); err == nil {
		t.Fatal("a client without the root logged on")
	}
}

func TestDialGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.Dial(ctx, bus.Config{URLs: []string{"nats://127.0.0.1:1"}}, bustest.Key(1), quiet); err == nil {
		t.Fatal("dialled nobody")
	}
	_, err := bus.Dial(t.Context(), bus.Config{URLs: []string{"nats://127.0.0.1:1"}, Timeout: 200 * time.Millisecond}, bustest.Key(1), quiet)
	if types.ReasonOf(err) != types.BusUnavailable {
		t.Fatalf("got %v, want bus_unavailable", err)
	}
}
