package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/internal/testutil"
)

// soakCrew is a crew under test.
type soakCrew struct {
	*crew
	t     *testing.T
	rng   *rand.Rand
	api   []string // of the gateways
	files []stored // that were acknowledged
}

// need ends the test where something went wrong.
func (c *soakCrew) need(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// do runs a command line that must succeed.
func (c *soakCrew) do(line ...string) []byte {
	c.t.Helper()
	out, err := c.run(c.t.Context(), line...)
	c.need(err)
	return out
}

func (c *soakCrew) port() string {
	c.t.Helper()
	at, err := testutil.FreeAddress()
	c.need(err)
	return at
}

// header is one that the chain took.
type header struct {
	Epoch  uint64 `json:",string"`
	Status string
	Signed uint64 `json:",string"`
	Total  uint64 `json:",string"`
	Bitmap []byte
}

// query asks a node that runs.
func (c *soakCrew) query(v any, line ...string) bool {
	c.t.Helper()
	for i, rpc := range c.rpc {
		if !c.alive(fmt.Sprintf("validator-%d", i)) {
			continue
		}
		raw, err := c.run(c.t.Context(), append(append([]string{"cairn", "query"}, line...), "--node", "tcp://"+rpc, "--output", "json")...)
		if err != nil {
			continue
		}
		if err := json.Unmarshal(raw, v); err != nil {
			c.t.Fatalf("%v in %s", err, raw)
		}
		return true
	}
	return false
}

// next waits for a header of a later epoch than after that the chain took, as whoever runs tells it, and
// returns it; signed by all, if that is demanded.
func (c *soakCrew) next(after uint64, all bool) header {
	c.t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		for _, h := range c.headers() {
			if h.Epoch > after && (!all || h.Total > 0 && h.Signed == h.Total) {
				return h
			}
		}
	}
	c.t.Fatalf("no header after epoch %d is taken (by all: %v)", after, all)
	return header{}
}

// headers are the newest headers that the chain took.
func (c *soakCrew) headers() (list []header) {
	c.t.Helper()
	var out struct{ Headers []header }
	c.query(&out, "tally", "headers", "0")
	for _, h := range out.Headers {
		if h.Status == "STATUS_ACCEPTED" || h.Status == "STATUS_FINAL" {
			list = append(list, h)
		}
	}
	return list
}

// random writes a file of random bytes, and returns its name.
func (c *soakCrew) random(size int) (name string, content []byte) {
	c.t.Helper()
	content = make([]byte, size)
	for i := range content {
		content[i] = byte(c.rng.Uint32())
	}
	name = fmt.Sprintf("file-%d", c.rng.Uint64())
	c.need(os.WriteFile(c.path(name), content, 0o600))
	return name, content
}

// put stores a file through the first gateway, and remembers it where that is acknowledged.
func (c *soakCrew) put(name string, content []byte) error {
	o, err := decoded[struct{ ID string }](c.t.Context(), c.crew, "cairn", "store", "put", name, "--home", people, "--account", "alice", "--api", c.api[0], "--json")
	if err == nil {
		c.files = append(c.files, stored{o.ID, content})
	}
	return err
}

// same reads a file through a gateway, and compares.
func (c *soakCrew) same(f stored, api string) {
	c.t.Helper()
	out, err := c.until(c.t.Context(), "cairn", "store", "get", f.id, "back", "--force", "--home", people, "--account", "alice", "--api", api)
	if err != nil {
		c.t.Fatalf("%s: %v", out, err)
	}
	if back, err := os.ReadFile(c.path("back")); err != nil || !bytes.Equal(back, f.content) {
		c.t.Fatalf("file %s of %d bytes came back changed through %s: %v", f.id, len(f.content), api, err)
	}
}

// whole checks that all that was acknowledged is there, and nothing else, and that the books balance.
func (c *soakCrew) whole() {
	c.t.Helper()
	for _, f := range c.files {
		c.same(f, c.api[0])
	}
	c.same(c.files[0], c.api[1]) // that was taken along
	list := parse[[]struct{ ID string }](c.t, c.do("cairn", "store", "list", "--home", people, "--account", "alice", "--api", c.api[0], "--json"))
	if len(list) != len(c.files) {
		c.t.Fatalf("%d files are listed, %d were acknowledged", len(list), len(c.files))
	}
	if out := c.do("cairn", "supply", "--home", people, "--api", c.api[0], "--json"); !parse[Supply](c.t, out).Balanced {
		c.t.Fatalf("%s", out)
	}
}

// What the network of TestProcessesKilled has.
const validators, servers, gateways, devices = 4, 3, 2, 8

// begin starts validators, bus and verifiers, and waits for a header that all sign.
func (c *soakCrew) begin() header {
	t := c.t
	var made []struct{ Home, RPC string }
	raw := c.do("cairn", "testnet", "init-files", "--validators", fmt.Sprint(validators), "--output-dir", "chain", "--id", "cairn-soak", "--block-time", "500ms",
		"--epoch-blocks", "20")
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	for i, v := range made {
		c.rpc = append(c.rpc, v.RPC)
		c.need(c.add(fmt.Sprintf("validator-%d", i), "cairn", "start", "--home", v.Home, "--log_level", "error", "--disk-warn", "0", "--disk-stop", "0",
			"--state-sync.snapshot-interval", "20"))
	}
	nodes := func(first int) string { // each member has a node of its own before the others
		list := make([]string, validators)
		for i := range list {
			list[i] = "http://" + c.rpc[(first+i)%validators]
		}
		return strings.Join(list, ",")
	}
	key := func(role, home string) string {
		return parse[struct{ Key string }](t, c.do("cairn", role, "key", "--home", home, "--json")).Key
	}
	var keys, routes, buses, doors []string
	for i := range servers {
		keys, routes, buses = append(keys, key("bus", fmt.Sprintf("bus-%d", i))), append(routes, c.port()), append(buses, c.port())
	}
	for i := range gateways {
		doors, c.api = append(doors, "--gateway", key("gateway", fmt.Sprintf("gateway-%d", i))), append(c.api, "http://"+c.port())
	}
	for i := range servers {
		name := fmt.Sprintf("bus-%d", i)
		args := append([]string{"cairn", "bus", "init", "--home", name, "--chain", "cairn-soak", "--rpc", nodes(i), "--listen", buses[i], "--listen-servers", routes[i],
			"--listen-status", "127.0.0.1:0"}, doors...)
		for j := range servers {
			if j != i {
				args = append(args, "--server", keys[j]+"@"+routes[j])
			}
		}
		c.do(args...)
		c.need(c.add(name, "cairn", "bus", "run", "--home", name))
	}
	bus := "nats://" + strings.Join(buses, ",nats://")
	for i, v := range made {
		name := fmt.Sprintf("verifier-%d", i)
		c.do("cairn", "verifier", "init", "--home", name, "--chain", "cairn-soak", "--rpc", nodes(i), "--bus", bus, "--keyring", c.path(v.Home), "--listen-status", "127.0.0.1:0")
		_, err := c.until(t.Context(), "cairn", "verifier", "register", "--home", name)
		c.need(err)
		c.need(c.add(name, "cairn", "verifier", "run", "--home", name))
	}
	last := c.next(0, true)
	c.do("cairn", "network", "publish", "--home", "publisher", "--rpc", nodes(0), "--bus", bus, "--gateway", strings.Join(c.api, ","), "--out", "manifest.json")
	shown := decodedOrEnd[struct{ Manifest struct{ Seeds []string } }](c, "cairn", "network", "show", "manifest.json", "--json")
	if len(shown.Manifest.Seeds) != validators {
		t.Errorf("the manifest names %d of %d seeds", len(shown.Manifest.Seeds), validators)
	}
	return last
}

// serve starts the gateways and devices, with a customer and owners, and stores a file through one gateway that
// is read through the other.
func (c *soakCrew) serve() {
	for i, api := range c.api {
		name := fmt.Sprintf("gateway-%d", i)
		c.do("cairn", "gateway", "init", "--home", name, "--network", "manifest.json", "--listen", strings.TrimPrefix(api, "http://"), "--private", "127.0.0.0/8",
			"--listen-status", "127.0.0.1:0")
		c.need(c.add(name, "cairn", "gateway", "run", "--home", name))
	}
	names := []string{"alice"}
	for i := range devices {
		names = append(names, fmt.Sprintf("owner-%d", i))
	}
	accounts, err := c.accounts(c.t.Context(), names...)
	c.need(err)
	c.need(c.customer(c.t.Context(), "alice", c.api...))
	var owners []string
	for _, name := range names[1:] {
		owners = append(owners, accounts[name])
	}
	c.need(c.devices(c.t.Context(), owners...))
	name, content := c.random(200_000)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) { // devices count from the next epoch on
		err := c.put(name, content)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			c.t.Fatal(err)
		}
	}
	c.do("cairn", "store", "recovery", "save", "alice.recovery", "--home", people, "--account", "alice", "--api", c.api[0])
	c.do("cairn", "store", "recovery", "restore", "alice.recovery", "--home", people, "--account", "alice", "--api", c.api[1])
	c.whole()
}

// upload begins to store something of which one half has come, kills the gateway, and checks that nothing was
// acknowledged.
func (c *soakCrew) upload(gateway string) {
	c.t.Helper()
	half := make([]byte, 3<<20)
	cmd := c.command(c.t.Context(), "cairn", "store", "put", "-", "--name", "half", "--home", people, "--account", "alice", "--api", c.api[0])
	in, err := cmd.StdinPipe()
	c.need(err)
	c.need(cmd.Start())
	_, err = in.Write(half)
	c.need(err)
	c.kill(gateway)
	in.Write(half) // nobody takes it any more
	in.Close()
	if err := cmd.Wait(); err == nil {
		c.t.Fatal("a gateway that was killed in the middle of an upload acknowledged it")
	}
}

// killed kills one member, waits for the next epochs, starts it again, and waits until all sign and all is there.
func (c *soakCrew) killed(kind string, last header) header {
	c.t.Helper()
	name := "gateway-0" // through which files are stored
	if n := map[string]int{"validator": validators, "bus": servers, "verifier": validators, "device": devices}[kind]; n > 0 {
		name = fmt.Sprintf("%s-%d", kind, c.rng.IntN(n))
	}
	time.Sleep(time.Duration(c.rng.IntN(10_000)) * time.Millisecond) // somewhere in an epoch
	c.t.Logf("kill %s (%s) after epoch %d", name, kind, last.Epoch)
	switch kind {
	case "gateway in an upload":
		c.upload(name)
	case "gateway after an upload":
		file, content := c.random(1_500_000)
		c.need(c.put(file, content))
		c.kill(name)
	default:
		c.kill(name)
	}
	if kind == "device" { // any four of eight are enough
		c.whole()
	}
	last = c.next(last.Epoch+1, false) // the one that was on its way does not show much
	c.need(c.start(name))
	last = c.next(last.Epoch, true)
	c.whole()
	return last
}

// fifth has a node join by a snapshot, makes it a validator with a verifier, and checks that it signs within
// two epochs of its activation.
func (c *soakCrew) fifth() {
	t := c.t
	node := decodedOrEnd[struct{ RPC string }](c, "cairn", "join", "manifest.json", "--home", "validator-4", "--listen-p2p", "", "--listen-rpc", "", "--listen-grpc", "",
		"--listen-rest", "", "--block-time", "500ms", "--json")
	c.need(c.add("validator-4", "cairn", "start", "--home", "validator-4", "--log_level", "error", "--disk-warn", "0", "--disk-stop", "0"))
	key := decodedOrEnd[struct{ Address string }](c, "cairn", "keys", "add", "validator", "--keyring-backend", "test", "--home", "validator-4", "--output", "json")
	c.need(c.send(t.Context(), "cairn", "tx", "bank", "send", "validator", key.Address, "600000000000ustone"))
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		status, err := decoded[struct {
			Sync struct {
				Behind   bool   `json:"catching_up"`
				Earliest uint64 `json:"earliest_block_height,string"`
			} `json:"sync_info"`
		}](t.Context(), c.crew, "cairn", "status", "--home", "validator-4")
		if err == nil && !status.Sync.Behind {
			if status.Sync.Earliest < 2 {
				t.Errorf("it has all blocks from %d on, and no snapshot", status.Sync.Earliest)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the fifth node does not follow the chain: %+v %v", status, err)
		}
	}
	public := strings.TrimSpace(string(c.do("cairn", "comet", "show-validator", "--home", "validator-4")))
	c.need(os.WriteFile(c.path("validator.json"), fmt.Appendf(nil, `{"pubkey": %s, "amount": "500000000000ustone", "moniker": "fifth", "commission-rate": "0.1",
  "commission-max-rate": "0.2", "commission-max-change-rate": "0.01", "min-self-delegation": "1"}`, public), 0o600))
	c.need(c.sendFrom(t.Context(), "validator-4", "cairn", "tx", "staking", "create-validator", "validator.json", "--from", "validator"))
	c.rpc = append(c.rpc, node.RPC)
	c.do("cairn", "verifier", "init", "--home", "verifier-4", "--network", "manifest.json", "--rpc", "http://"+node.RPC+",http://"+c.rpc[0], "--keyring", c.path("validator-4"),
		"--listen-status", "127.0.0.1:0")
	seat := parse[struct{ Key string }](t, c.do("cairn", "verifier", "register", "--home", "verifier-4", "--json")).Key
	c.need(c.add("verifier-4", "cairn", "verifier", "run", "--home", "verifier-4"))

	position := func(epoch uint64) (uint64, int) { // of its key among an epoch's verifiers
		var out struct {
			Epoch struct {
				Epoch     uint64 `json:",string"`
				Verifiers []struct{ Key string }
			}
		}
		if !c.query(&out, "tally", "epoch", fmt.Sprint(epoch)) {
			return 0, -1
		}
		for i, v := range out.Epoch.Verifiers {
			if v.Key == seat {
				return out.Epoch.Epoch, i
			}
		}
		return out.Epoch.Epoch, -1
	}
	activated := uint64(0)
	for end := time.Now().Add(5 * time.Minute); activated == 0; time.Sleep(500 * time.Millisecond) {
		if epoch, i := position(0); i >= 0 {
			activated = epoch
		}
		if time.Now().After(end) {
			t.Fatal("its key never counts")
		}
	}
	t.Logf("the fifth counts from epoch %d on", activated)
	last := c.next(activated+1, false)
	signed := false
	for _, h := range c.headers() {
		if h.Epoch != activated && h.Epoch != activated+1 {
			continue
		}
		_, i := position(h.Epoch)
		has := i >= 0 && i/8 < len(h.Bitmap) && h.Bitmap[i/8]>>(i%8)&1 == 1
		t.Logf("epoch %d: %d of %d signed, bitmap %x, the fifth at %d: %v", h.Epoch, h.Signed, h.Total, h.Bitmap, i, has)
		signed = signed || has
	}
	if !signed {
		t.Errorf("the fifth has signed neither epoch %d nor the next", activated)
	}
	if last = c.next(last.Epoch, true); last.Total != 4_500_000 {
		t.Errorf("%+v is not signed by five", last)
	}
}

// decodedOrEnd runs a command line that must succeed and prints JSON.
func decodedOrEnd[T any](c *soakCrew, line ...string) T {
	c.t.Helper()
	v, err := decoded[T](c.t.Context(), c.crew, line...)
	c.need(err)
	return v
}

// TestProcessesKilled: four validators, each with a verifier, three servers of one bus, two gateways and eight
// devices, all of them processes. Epochs are accepted with all four signatures; what was stored through one
// gateway is read through the other; any one process can be killed at any moment, the next epochs are accepted
// all the same, nothing that was acknowledged is lost, and once it is back all four sign again. A fifth
// validator joins by a snapshot, and its verifier signs.
func TestProcessesKilled(t *testing.T) {
	if !soak {
		t.Skip("it takes minutes: `make soak` runs it, and TestProcesses is short")
	}
	members, end := newCrew(t.TempDir())
	t.Cleanup(end)
	c := &soakCrew{crew: members, t: t, rng: rand.New(rand.NewPCG(7, 8))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.logs())
		}
	})
	begun := time.Now()
	stage := func(what string) { t.Logf("%s after %v", what, time.Since(begun).Round(time.Second)) }
	last := c.begin()
	stage("all four sign")
	c.serve()
	stage("a file is stored through one gateway and read through the other")
	for _, kind := range []string{"validator", "bus", "verifier", "gateway in an upload", "gateway after an upload", "device", "bus", "validator", "device", "verifier"} {
		last = c.killed(kind, last) // in order, so that the seed says all
		stage(kind + " was killed")
	}
	c.fifth()
	stage("the fifth signs")
	c.whole()
	c.stop()
}

// stop tells all to stop: they do in order.
func (c *soakCrew) stop() {
	for name, cmd := range c.running {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	}
	for name, cmd := range c.running {
		if err := cmd.Wait(); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	}
	clear(c.running)
}
