package door_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless"
	"github.com/cairn-network/cairn/service/wireless/radius"
	"github.com/cairn-network/cairn/service/wireless/radius/door"
	"github.com/cairn-network/cairn/service/wireless/radius/home"
)

const (
	lan   = "lan-secret"
	chain = "test"
	price = 100_000
	mib   = 1 << 20
)

// wallet is a payer with a key and credits.
type wallet struct {
	types.PrivateKey
	balance types.Credit
}

func (w *wallet) Payer() types.Key { return w.Public() }
func (w *wallet) Sign(kind string, payload []byte) types.Signature {
	return w.PrivateKey.Sign(kind, chain, payload)
}
func (w *wallet) Balance() types.Credit { return w.balance }

// world is a device and a gateway, which speak over sockets.
type world struct {
	t      testing.TB
	device types.PrivateKey
	wallet *wallet
	ask    types.Hash
	dirs   [2]string
	speed  uint64
	config func(*home.Config)

	door   *door.Door
	lan    string // the door's address
	radsec string // the gateway's
	port   int    // of the access point, for Disconnect-Requests

	home *home.Home
	stop func() // the gateway

	mu       sync.Mutex
	receipts []*receipt.Signed
}

func newWorld(t testing.TB, config func(*home.Config)) *world {
	w := &world{t: t, device: types.NewPrivateKey([32]byte{1}), wallet: &wallet{types.NewPrivateKey([32]byte{2}), 1 << 40},
		ask: types.Hash{7}, dirs: [2]string{t.TempDir(), t.TempDir()}, config: config, port: 1}
	w.startGateway("127.0.0.1:0")
	w.startDevice()
	return w
}

func (w *world) startGateway(at string) {
	w.t.Helper()
	c := home.Config{
		Chain: chain, Realm: "example.org", Wallet: w.wallet, Dir: w.dirs[1], ClassKey: []byte("class key"), Log: slog.New(slog.DiscardHandler),
		Epoch: func() types.Epoch { return 10 },
		Terms: func(_ context.Context, device types.Key, ask types.Hash) (home.Terms, error) {
			if device != w.device.Public() || ask != w.ask {
				return home.Terms{}, types.Refuse(wireless.AskExpired, "ask %v", ask)
			}
			return home.Terms{Price: price, Speed: w.speed, Category: types.Wireless}, nil
		},
	}
	w.config(&c)
	h, err := home.Open(c)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &radius.Secure{Key: w.wallet.PrivateKey, Handle: h.Handle, Log: c.Log}
	ctx, cancel := context.WithCancel(w.t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ctx, l) })
	var once sync.Once
	w.home = h
	if w.radsec == "" { // a gateway that is back is where it was
		w.radsec = l.Addr().String()
	}
	w.stop = func() { once.Do(func() { cancel(); done.Wait(); h.Close() }) }
	w.t.Cleanup(w.stop)
}

func (w *world) startDevice() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	secret := func(netip.Addr) []byte { return []byte(lan) }
	d, err := door.Open(door.Config{
		Key: w.device, Chain: chain, Category: types.Wireless, Secret: secret, Dir: w.dirs[0], Log: log, Port: w.port,
		Route: func(realm string) (door.Route, error) {
			if realm != "example.org" {
				return door.Route{}, types.Refuse(wireless.RealmUnknown, "nobody pays for %.64q", realm)
			}
			return door.Route{Payer: w.wallet.Public(), Gateway: w.radsec}, nil
		},
		Ask:   func() (types.Hash, error) { return w.ask, nil },
		Price: func(ask types.Hash) (uint64, bool) { return price, ask == w.ask },
		Epoch: func() types.Epoch { return 10 },
		Dial:  new(net.Dialer).DialContext,
		Receipt: func(_ context.Context, s *receipt.Signed) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.receipts = append(w.receipts, s)
			return nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.door, w.lan = d, socket.LocalAddr().String()
	udp := &radius.Server{Secret: secret, Handle: d.Handle, Log: log}
	ctx, cancel := context.WithCancel(w.t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = udp.Serve(ctx, socket) })
	w.t.Cleanup(func() { cancel(); done.Wait() })
}

// radclient sends one request and returns what it says, and whether it was content.
func (w *world) radclient(kind string, attributes ...string) (string, bool) {
	w.t.Helper()
	c := exec.Command(testutil.Program(w.t, "radclient"), "-x", "-r", "1", "-t", "8", w.lan, kind, lan)
	c.Stdin = strings.NewReader(strings.Join(attributes, "\n") + "\n")
	out, err := c.CombinedOutput()
	return string(out), err == nil
}

var classOf = regexp.MustCompile(`Class = (0x[0-9a-f]+)`)

// login logs ada in and returns her Class.
func (w *world) login() (class, out string) {
	w.t.Helper()
	out, ok := w.radclient("auth", `User-Name = "ada@example.org"`, `User-Password = "engine"`, "NAS-Identifier = ap", "Message-Authenticator = 0x00")
	m := classOf.FindStringSubmatch(out[strings.Index(out, "Received"):])
	if !ok || m == nil {
		w.t.Fatalf("login: %s", out)
	}
	return m[1], out
}

// account accounts for a session.
func (w *world) account(status, session, class string, in, out uint64, more ...string) string {
	w.t.Helper()
	said, ok := w.radclient("acct", append([]string{
		"Acct-Status-Type = " + status, "Acct-Session-Id = " + session, "Class = " + class, "NAS-Identifier = ap", `User-Name = "ada@example.org"`,
		fmt.Sprintf("Acct-Input-Octets = %d", uint32(in)), fmt.Sprintf("Acct-Input-Gigawords = %d", in>>32),
		fmt.Sprintf("Acct-Output-Octets = %d", uint32(out)), fmt.Sprintf("Acct-Output-Gigawords = %d", out>>32),
	}, more...)...)
	if !ok || !strings.Contains(said, "Received Accounting-Response") {
		w.t.Fatalf("accounting: %s", said)
	}
	return said
}

// counts returns what the device counted, and what was receipted.
func (w *world) counts() (count, units uint64) {
	for _, l := range w.door.Lines() {
		count, units = count+l.Count, units+l.Units
	}
	return count, units
}

func (w *world) want(count, units uint64) {
	w.t.Helper()
	if c, u := w.counts(); c != count || u != units {
		w.t.Errorf("%d bytes counted and %d receipted, want %d and %d", c, u, count, units)
	}
}

func (w *world) reason(want types.Reason) {
	w.t.Helper()
	if err, _ := w.door.Last(); types.ReasonOf(err) != want {
		w.t.Errorf("the device says %v, want %s", err, want)
	}
}

// freeradius is Debian's server, with a configuration of its own and in this machine alone.
type freeradius struct {
	login, account, coa int // ports

	mu   sync.Mutex
	said bytes.Buffer
}

func startFreeradius(t testing.TB, args ...string) *freeradius {
	t.Helper()
	if len(args) == 0 {
		args = []string{"-X"} // it says all that it hears
	}
	f := &freeradius{login: testutil.Port(t, "udp"), account: testutil.Port(t, "udp"), coa: testutil.Port(t, "udp")}
	dir := t.TempDir()
	conf := fmt.Sprintf(`
prefix = /usr
libdir = /usr/lib/freeradius
logdir = %[1]s
run_dir = %[1]s
security { reject_delay = 0
	status_server = yes }
client here { ipaddr = 127.0.0.1
	secret = %[2]s
	require_message_authenticator = yes }
modules {
	pap { }
	files { filename = %[1]s/users }
	always ok { rcode = ok }
}
server default {
	listen { type = auth
		ipaddr = 127.0.0.1
		port = %[3]d }
	listen { type = acct
		ipaddr = 127.0.0.1
		port = %[4]d }
	listen { type = coa
		ipaddr = 127.0.0.1
		port = %[5]d }
	authorize {
		files
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
	}
	post-auth {
		update reply { Message-Authenticator := 0x00 }
		Post-Auth-Type REJECT {
			update reply { Message-Authenticator := 0x00 }
		}
	}
	accounting {
		ok
	}
	recv-coa {
		ok
	}
	send-coa {
		ok
	}
}
`, dir, lan, f.login, f.account, f.coa)
	for name, text := range map[string]string{"radiusd.conf": conf, "users": "ada@example.org Cleartext-Password := \"engine\"\n\tService-Type := Administrative-User, Tunnel-Private-Group-Id := \"1\", Reply-Message := \"hello\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(testutil.File(t, "/usr/sbin/freeradius", "freeradius"), append(args, "-d", dir)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(out)
		for open := true; lines.Scan(); {
			f.mu.Lock()
			f.said.Write(append(lines.Bytes(), '\n'))
			f.mu.Unlock()
			if open && strings.Contains(lines.Text(), "Ready to process requests") {
				close(ready)
				open = false
			}
		}
	}()
	t.Cleanup(func() { _ = c.Process.Kill(); <-ended; _ = c.Wait() })
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("freeradius: %s", f.output())
	case <-time.After(time.Minute):
		t.Fatalf("freeradius does not begin: %s", f.output())
	}
	return f
}

func (f *freeradius) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said.String()
}

// until waits for something that FreeRADIUS says.
func (f *freeradius) until(t *testing.T, what string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := f.output(); strings.Contains(s, what) {
			return s
		}
	}
	t.Fatalf("freeradius never says %q: %s", what, f.output())
	return ""
}

func upstream(f *freeradius) func(*home.Config) {
	return func(c *home.Config) {
		c.Upstream = &home.Upstream{Login: fmt.Sprintf("127.0.0.1:%d", f.login), Account: fmt.Sprintf("127.0.0.1:%d", f.account), Secret: []byte(lan)}
	}
}

// userFile is a home with users in a file.
func userFile(t testing.TB) func(*home.Config) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("# users\nada@example.org\tCleartext-Password := \"engine\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := home.ReadUsers(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *home.Config) { c.Users = users }
}
