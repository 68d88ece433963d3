package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crew is a network in which each role is a process of its own, started by what docs/operate.md shows.
type crew struct {
	t       *testing.T
	dir     string
	rpc     []string            // of the validators, host:port
	members map[string][]string // what runs each member, by name
	running map[string]*exec.Cmd
}

// start starts a member, and writes what it says to NAME.log.
func (c *crew) start(name string) {
	c.t.Helper()
	cmd := program(context.Background(), c.dir, c.members[name]...)
	log, err := os.OpenFile(filepath.Join(c.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.running[name] = cmd
}

// kill ends a member without warning.
func (c *crew) kill(name string) {
	if cmd := c.running[name]; cmd != nil {
		cmd.Process.Kill()
		cmd.Wait()
		delete(c.running, name)
	}
}

// do runs a command until it succeeds.
func (c *crew) do(args ...string) []byte {
	c.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		out, err := try(c.t, c.dir, args...)
		if err == nil {
			return out
		}
		if time.Now().After(end) {
			c.t.Fatalf("cairn %s: %v", strings.Join(args, " "), err)
		}
	}
}

// header waits for a header of a later epoch than after that the chain took, as whoever runs tells it, and returns its epoch; signed by all, if
// that is demanded.
func (c *crew) header(after uint64, all bool) uint64 {
	c.t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		for i, rpc := range c.rpc {
			if c.running[fmt.Sprintf("validator-%d", i)] == nil {
				continue
			}
			raw, err := try(c.t, c.dir, "query", "tally", "headers", "0", "--node", "tcp://"+rpc, "--output", "json")
			if err != nil {
				continue
			}
			var out struct {
				Headers []struct {
					Epoch  uint64 `json:",string"`
					Status string
					Signed uint64 `json:",string"`
					Total  uint64 `json:",string"`
				}
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				c.t.Fatalf("%v in %s", err, raw)
			}
			for _, h := range out.Headers {
				if h.Epoch > after && (h.Status == "STATUS_ACCEPTED" || h.Status == "STATUS_FINAL") && (!all || h.Total > 0 && h.Signed == h.Total) {
					return h.Epoch
				}
			}
			break
		}
	}
	c.t.Fatalf("no header after epoch %d is taken (by all: %v)", after, all)
	return 0
}

// TestProcessesKilled: four validators, each with a verifier, and three servers of one bus, all of them processes. Epochs are accepted with all four
// signatures; any one process can be killed at any moment, the next epochs are accepted all the same, and once it is back all four sign again.
func TestProcessesKilled(t *testing.T) {
	if !soak {
		t.Skip("it takes minutes: `make soak` runs it, and TestProcesses is short")
	}
	const validators, servers = 4, 3
	c := &crew{t: t, dir: t.TempDir(), members: map[string][]string{}, running: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for name := range c.members {
			c.kill(name)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			for name := range c.members {
				raw, _ := os.ReadFile(filepath.Join(c.dir, name+".log"))
				t.Logf("%s:\n%s", name, raw[max(0, len(raw)-2000):])
			}
		}
	})
	home := func(name string) string { return filepath.Join(c.dir, name) }
	port := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	var made []struct{ Home, RPC string }
	raw := cairn(t, c.dir, "testnet", "init-files", "--validators", fmt.Sprint(validators), "--output-dir", home("chain"), "--id", "cairn-soak", "--block-time", "500ms", "--epoch-blocks", "20")
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	add := func(name string, args ...string) {
		c.members[name] = args
		c.start(name)
	}
	for i, v := range made {
		c.rpc = append(c.rpc, v.RPC)
		add(fmt.Sprintf("validator-%d", i), "start", "--home", v.Home, "--log_level", "error", "--disk-warn", "0", "--disk-stop", "0")
	}
	nodes := func(first int) string { // each member has a node of its own before the others
		list := make([]string, validators)
		for i := range list {
			list[i] = "http://" + c.rpc[(first+i)%validators]
		}
		return strings.Join(list, ",")
	}
	var keys, routes, buses []string
	for i := range servers {
		key := parse[struct{ Key string }](t, cairn(t, c.dir, "bus", "key", "--home", home(fmt.Sprintf("bus-%d", i)), "--json"))
		keys, routes, buses = append(keys, key.Key), append(routes, port()), append(buses, port())
	}
	for i := range servers {
		name := fmt.Sprintf("bus-%d", i)
		args := []string{"bus", "init", "--home", home(name), "--chain", "cairn-soak", "--rpc", nodes(i), "--listen", buses[i], "--listen-servers", routes[i], "--listen-status", "127.0.0.1:0"}
		for j := range servers {
			if j != i {
				args = append(args, "--server", keys[j]+"@"+routes[j])
			}
		}
		cairn(t, c.dir, args...)
		add(name, "bus", "run", "--home", home(name))
	}
	for i, v := range made {
		name := fmt.Sprintf("verifier-%d", i)
		cairn(t, c.dir, "verifier", "init", "--home", home(name), "--chain", "cairn-soak", "--rpc", nodes(i), "--bus", "nats://"+strings.Join(buses, ",nats://"), "--keyring", v.Home, "--listen-status", "127.0.0.1:0")
		c.do("verifier", "register", "--home", home(name))
		add(name, "verifier", "run", "--home", home(name))
	}
	last := c.header(0, true)
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2 {
		for _, kind := range []string{"validator", "bus", "verifier"} { // in order, so that the seed says all
			n := map[string]int{"validator": validators, "bus": servers, "verifier": validators}[kind]
			name := fmt.Sprintf("%s-%d", kind, rng.IntN(n))
			time.Sleep(time.Duration(rng.IntN(10_000)) * time.Millisecond) // somewhere in an epoch
			t.Logf("kill %s after epoch %d", name, last)
			c.kill(name)
			last = c.header(last+1, false) // the one that was on its way does not show much
			c.start(name)
			last = c.header(last, true)
		}
	}
	for name, cmd := range c.running { // whoever is told to stop stops in order
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, cmd := range c.running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	clear(c.running)
}
