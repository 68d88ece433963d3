package eap

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless/radius"
	"github.com/cairn-network/cairn/service/wireless/radius/eap/eaptest"
)

func passwords(_ context.Context, user, password string) error {
	if user == "ada@example.org" && password == "engine" {
		return nil
	}
	return errors.New("wrong name or password")
}

// world is a server behind RADIUS, on a port of this machine.
type world struct {
	*eaptest.Authority
	server *Server
	port   string

	mu   sync.Mutex
	last *Step // the newest one that ended a conversation
}

const secret = "lan-secret"

func newWorld(t *testing.T, methods ...Method) *world {
	w := &world{Authority: eaptest.NewAuthority(t)}
	w.Issue(t, "user", &x509.Certificate{EmailAddresses: []string{"bob@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	s, err := NewServer(Config{Certificate: w.Server(t), Clients: w.Pool(), Password: passwords, Methods: methods})
	if err != nil {
		t.Fatal(err)
	}
	w.server = s
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	w.port = strconv.Itoa(socket.LocalAddr().(*net.UDPAddr).Port)
	udp := &radius.Server{
		Log:    slog.New(slog.DiscardHandler),
		Secret: func(netip.Addr) []byte { return []byte(secret) },
		Handle: func(ctx context.Context, r *radius.Request) *radius.Packet {
			p, step, err := s.Answer(ctx, "ap", r)
			if err != nil {
				t.Log(err)
				return nil
			}
			if step.State == nil {
				w.mu.Lock()
				w.last = step
				w.mu.Unlock()
			}
			return p
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = udp.Serve(ctx, socket) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return w
}

// login has Debian's eapol_test log in, which also compares the keys that both ends made.
func (w *world) login(t *testing.T, network string, env ...string) (out string, ok bool, last *Step) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "network.conf")
	text := "network={\n\tkey_mgmt=WPA-EAP\n\tca_cert=\"" + w.Path("ca.pem") + "\"\n" + network + "\n}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(testutil.Program(t, "eapol_test"), "-c", conf, "-a", "127.0.0.1", "-p", w.port, "-s", secret, "-t", "10")
	c.Env = append(os.Environ(), env...)
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	w.mu.Lock()
	defer w.mu.Unlock()
	last, w.last = w.last, nil
	return b.String(), err == nil && strings.Contains(b.String(), "MPPE keys OK: 1  mismatch: 0"), last
}

// TestEapol: eapol_test logs in with a certificate and with a password, over TLS 1.2 and 1.3, in small and in large
// fragments, and when it wants another method than what is offered first; both ends have the same keys. A wrong
// password, a stranger's certificate and a method that is not there are refused.
func TestEapol(t *testing.T) {
	stranger := eaptest.NewAuthority(t)
	stranger.Issue(t, "user", &x509.Certificate{EmailAddresses: []string{"bob@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	w := newWorld(t)
	byCert := func(dir string, more ...string) string {
		return strings.Join(append([]string{"eap=TLS", `identity="anonymous@example.org"`,
			`client_cert="` + dir + `/user.pem"`, `private_key="` + dir + `/user.key"`}, more...), "\n")
	}
	byPassword := func(password string, more ...string) string {
		return strings.Join(append([]string{"eap=TTLS", `anonymous_identity="anonymous@example.org"`, `identity="ada@example.org"`,
			`password="` + password + `"`, `phase2="auth=PAP"`}, more...), "\n")
	}
	const v12, v13 = `phase1="tls_disable_tlsv1_3=1"`, `phase1="tls_disable_tlsv1_3=0"`
	for _, c := range []struct {
		name, network, user string
		ok                  bool
	}{
		{"TLS 1.2", byCert(w.Dir, v12), "bob@example.org", true},
		{"TLS 1.3", byCert(w.Dir, v13), "bob@example.org", true},
		{"TLS 1.2 in fragments", byCert(w.Dir, v12, "fragment_size=150"), "bob@example.org", true},
		{"TLS 1.3 in fragments", byCert(w.Dir, v13, "fragment_size=150"), "bob@example.org", true},
		{"TTLS 1.2", byPassword("engine", v12), "ada@example.org", true},
		{"TTLS 1.3", byPassword("engine", v13), "ada@example.org", true},
		{"TTLS in fragments", byPassword("engine", "fragment_size=100"), "ada@example.org", true},
		{"wrong password", byPassword("wrong"), "", false},
		{"wrong password 1.3", byPassword("wrong", v13), "", false},
		{"another's certificate 1.2", byCert(stranger.Dir, v12), "", false},
		{"another's certificate 1.3", byCert(stranger.Dir, v13), "", false},
		{"CHAP", strings.Replace(byPassword("engine"), "PAP", "CHAP", 1), "", false},
		{"PEAP", strings.Replace(byPassword("engine"), "TTLS", "PEAP", 1), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, ok, last := w.login(t, c.network)
			if ok != c.ok || last == nil || last.Accepted != c.ok || c.ok && last.User != c.user {
				t.Errorf("success %v, want %v; %+v\n%s", ok, c.ok, last, out[max(0, len(out)-3000):])
			}
			if _, version, said := strings.Cut(c.name, "1."); said && c.ok && !strings.Contains(out, "Using TLS version TLSv1."+version[:1]) {
				t.Errorf("not over TLS 1.%s", version[:1])
			}
			if !c.ok && last != nil && last.Err == nil {
				t.Error("nothing says why")
			}
		})
	}
	if n := w.server.Talks(); n != 0 {
		t.Errorf("%d conversations are left", n)
	}
}

// TestNoMasterSecret: keys of TLS 1.2 without extended master secret (RFC 7627) are not made.
func TestNoMasterSecret(t *testing.T) {
	w := newWorld(t)
	conf := w.Path("openssl.cnf")
	text := "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ok, last := w.login(t, "eap=TTLS\nidentity=\"ada@example.org\"\npassword=\"engine\"\nphase2=\"auth=PAP\"", "OPENSSL_CONF="+conf)
	if ok || last == nil || last.Err == nil || !strings.Contains(last.Err.Error(), "extended master secret") {
		t.Errorf("success %v, %+v\n%s", ok, last, out[max(0, len(out)-2000):])
	}
}
