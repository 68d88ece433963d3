package door_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless/radius/eap"
	"github.com/cairn-network/cairn/service/wireless/radius/eap/eaptest"
	"github.com/cairn-network/cairn/service/wireless/radius/home"
)

// withEAP is a home with users in a file, who log in by EAP-TTLS, and users with certificates of an authority.
func withEAP(t *testing.T) (*eaptest.Authority, func(*home.Config)) {
	a := eaptest.NewAuthority(t)
	a.Issue(t, "user", &x509.Certificate{EmailAddresses: []string{"bob@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	users := userFile(t)
	return a, func(c *home.Config) {
		users(c)
		s, err := eap.NewServer(eap.Config{Certificate: a.Server(t), Clients: a.Pool(), Password: c.Users.Check})
		if err != nil {
			t.Fatal(err)
		}
		c.EAP = s
	}
}

func networkFile(t *testing.T, a *eaptest.Authority, method, keys string) string {
	t.Helper()
	network := "eap=TLS\nidentity=\"anonymous@example.org\"\nclient_cert=\"" + a.Path("user.pem") + "\"\nprivate_key=\"" + a.Path("user.key") + "\""
	if method == "TTLS" {
		network = "eap=TTLS\nanonymous_identity=\"anonymous@example.org\"\nidentity=\"ada@example.org\"\npassword=\"engine\"\nphase2=\"auth=PAP\""
	}
	path := filepath.Join(t.TempDir(), "network.conf")
	text := "ap_scan=0\nnetwork={\nkey_mgmt=" + keys + "\neapol_flags=0\nca_cert=\"" + a.Path("ca.pem") + "\"\n" + network + "\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEAP: EAP goes through the device and ends at the gateway; the keys come back to the access point, sealed anew at
// each hop, and are the ones that the user's machine has.
func TestEAP(t *testing.T) {
	a, config := withEAP(t)
	w := newWorld(t, config)
	_, port, _ := net.SplitHostPort(w.lan)
	for _, method := range []string{"TLS", "TTLS"} {
		c := exec.Command(testutil.Program(t, "eapol_test"), "-c", networkFile(t, a, method, "WPA-EAP"), "-a", "127.0.0.1", "-p", port, "-s", lan, "-t", "10")
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "MPPE keys OK: 1  mismatch: 0") {
			t.Errorf("%s: %v\n%s", method, err, out[max(0, len(out)-3000):])
		}
	}
	if out, ok := w.radclient("auth", `User-Name = "eve@elsewhere.example"`, "EAP-Message = 0x0207000501", "Message-Authenticator = 0x00"); ok ||
		!strings.Contains(out, "EAP-Message = 0x04070004") {
		t.Errorf("another realm: %s", out)
	}
}

// TestWired: hostapd as an access point and wpa_supplicant as a user's machine speak 802.1X over a pair of veth: the
// user is let in, hostapd accounts for the session, and a Disconnect-Request ends it.
func TestWired(t *testing.T) {
	ip := testutil.Program(t, "ip")
	if os.Getuid() != 0 {
		testutil.Missing(t, "root, who may make network interfaces,")
	}
	near, far := fmt.Sprintf("cap%d", os.Getpid()%100000), fmt.Sprintf("cst%d", os.Getpid()%100000)
	if out, err := exec.Command(ip, "link", "add", near, "type", "veth", "peer", "name", far).CombinedOutput(); err != nil {
		testutil.Missing(t, fmt.Sprintf("a kernel with veth (%v: %s)", err, out))
	}
	t.Cleanup(func() { _ = exec.Command(ip, "link", "del", near).Run() })
	for _, name := range []string{near, far} {
		if out, err := exec.Command(ip, "link", "set", name, "up").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	a, config := withEAP(t)
	w := newWorld(t, config)
	w.port = testutil.Port(t, "udp")
	w.startDevice()
	_, port, _ := net.SplitHostPort(w.lan)
	conf := filepath.Join(t.TempDir(), "hostapd.conf")
	text := fmt.Sprintf(`interface=%s
driver=wired
ieee8021x=1
eap_server=0
use_pae_group_addr=0
nas_identifier=ap
auth_server_addr=127.0.0.1
auth_server_port=%[2]s
auth_server_shared_secret=%[3]s
acct_server_addr=127.0.0.1
acct_server_port=%[2]s
acct_server_shared_secret=%[3]s
radius_das_port=%[4]d
radius_das_client=127.0.0.1 %[3]s
radius_das_require_event_timestamp=1
radius_das_require_message_authenticator=1
`, near, port, lan, w.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	point := start(t, testutil.File(t, "/usr/sbin/hostapd", "hostapd"), conf)
	point.until(t, "AP-ENABLED")
	user := start(t, testutil.File(t, "/usr/sbin/wpa_supplicant", "wpasupplicant"), "-D", "wired", "-i", far, "-c", networkFile(t, a, "TTLS", "IEEE8021X"))
	user.until(t, "CTRL-EVENT-EAP-SUCCESS")
	point.until(t, "CTRL-EVENT-EAP-SUCCESS2")
	// hostapd begins a session of accounting by itself.
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if l := w.door.Lines(); len(l) == 1 && l[0].Sessions == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no accounting: %s", point.output())
		}
	}
	// The payer owes more than W: another access point says so, and hostapd's user goes too.
	w.stop()
	w.account("Start", "other", "0x00", 0, 17*mib)
	point.until(t, "AP-STA-DISCONNECTED")
}

// program is one that others wrote, and what it says.
type program struct {
	mu   sync.Mutex
	said strings.Builder
	done chan struct{}
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func (p *program) until(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(p.output(), what); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("it ended without %q: %s", what, p.output())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("it never says %q: %s", what, p.output())
		}
	}
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{done: make(chan struct{})}
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = p, p
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.done); _ = c.Wait() }()
	t.Cleanup(func() { _ = c.Process.Kill(); <-p.done })
	return p
}
