package eap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless/radius"
)

// authority makes certificates and the files that clients read.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes a certificate, and name.pem and name.key.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.path(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// server makes a certificate of more than three fragments.
func (a *authority) server() tls.Certificate {
	names := []string{"radius.example.org"}
	for i := range 120 {
		names = append(names, fmt.Sprintf("a-long-name-of-a-server-%d.example.org", i))
	}
	cert, key := a.issue("server", &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func passwords(_ context.Context, user, password string) error {
	if user == "ada@example.org" && password == "engine" {
		return nil
	}
	return errors.New("wrong name or password")
}

// world is a server behind RADIUS, on a port of this machine.
type world struct {
	*authority
	server *Server
	port   string

	mu   sync.Mutex
	last *Step // the newest one that ended a conversation
}

const secret = "lan-secret"

func newWorld(t *testing.T, methods ...Method) *world {
	w := &world{authority: newAuthority(t)}
	w.issue("user", &x509.Certificate{EmailAddresses: []string{"bob@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	s, err := NewServer(Config{Certificate: w.authority.server(), Clients: w.pool(), Password: passwords, Methods: methods})
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
	text := "network={\n\tkey_mgmt=WPA-EAP\n\tca_cert=\"" + w.path("ca.pem") + "\"\n" + network + "\n}\n"
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
	stranger := newAuthority(t)
	stranger.issue("user", &x509.Certificate{EmailAddresses: []string{"bob@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
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
		{"TLS 1.2", byCert(w.dir, v12), "bob@example.org", true},
		{"TLS 1.3", byCert(w.dir, v13), "bob@example.org", true},
		{"TLS 1.2 in fragments", byCert(w.dir, v12, "fragment_size=150"), "bob@example.org", true},
		{"TLS 1.3 in fragments", byCert(w.dir, v13, "fragment_size=150"), "bob@example.org", true},
		{"TTLS 1.2", byPassword("engine", v12), "ada@example.org", true},
		{"TTLS 1.3", byPassword("engine", v13), "ada@example.org", true},
		{"TTLS in fragments", byPassword("engine", "fragment_size=100"), "ada@example.org", true},
		{"wrong password", byPassword("wrong"), "", false},
		{"wrong password 1.3", byPassword("wrong", v13), "", false},
		{"another's certificate 1.2", byCert(stranger.dir, v12), "", false},
		{"another's certificate 1.3", byCert(stranger.dir, v13), "", false},
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
	conf := w.path("openssl.cnf")
	text := "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ok, last := w.login(t, "eap=TTLS\nidentity=\"ada@example.org\"\npassword=\"engine\"\nphase2=\"auth=PAP\"", "OPENSSL_CONF="+conf)
	if ok || last == nil || last.Err == nil || !strings.Contains(last.Err.Error(), "extended master secret") {
		t.Errorf("success %v, %+v\n%s", ok, last, out[max(0, len(out)-2000):])
	}
}
