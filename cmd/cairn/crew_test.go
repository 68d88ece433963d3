package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/internal/testutil"
)

// crew is a network in which each role is a process of its own, started by what docs/operate.md shows.
type crew struct {
	dir     string   // each member's home is in it, by its name
	site    string   // a URL where the files of that folder are published
	rpc     []string // of the validators, host:port
	members map[string][]string

	mu      sync.Mutex
	running map[string]*exec.Cmd
}

func newCrew(dir string) (c *crew, end func()) {
	site := httptest.NewServer(http.FileServer(http.Dir(dir)))
	c = &crew{dir: dir, site: site.URL, members: map[string][]string{}, running: map[string]*exec.Cmd{}}
	return c, func() { c.end(); site.Close() }
}

func (c *crew) path(name string) string { return filepath.Join(c.dir, name) }

// command is a command line of cairn or cairn-node, in the crew's folder.
func (c *crew) command(ctx context.Context, line ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], line[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.dir, append(os.Environ(), "CAIRN_TEST_EXEC="+line[0], "CAIRN_HOME="+c.dir, "NO_COLOR=1"), 5*time.Second
	return cmd
}

// run runs a command line that must succeed, and returns what it printed.
func (c *crew) run(ctx context.Context, line ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := c.command(ctx, line...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// until runs a command line until it succeeds.
func (c *crew) until(ctx context.Context, line ...string) ([]byte, error) {
	for end := time.Now().Add(3 * time.Minute); ; {
		out, err := c.run(ctx, line...)
		if err == nil || time.Now().After(end) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, errors.Join(err, ctx.Err())
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// decoded runs a command line that prints JSON.
func decoded[T any](ctx context.Context, c *crew, line ...string) (v T, err error) {
	out, err := c.run(ctx, line...)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return v, fmt.Errorf("%s: %w in %s", strings.Join(line, " "), err, out)
	}
	return v, nil
}

// add names a member of the crew, by the command line that runs it, and starts it.
func (c *crew) add(name string, line ...string) error {
	c.mu.Lock()
	c.members[name] = line
	c.mu.Unlock()
	return c.start(name)
}

// start starts a member, and writes what it says to NAME.log.
func (c *crew) start(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd := c.command(context.Background(), c.members[name]...)
	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.running[name] = cmd
	return nil
}

// kill ends a member without warning.
func (c *crew) kill(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd := c.running[name]; cmd != nil {
		cmd.Process.Kill()
		cmd.Wait()
		delete(c.running, name)
	}
}

// end kills whoever still runs.
func (c *crew) end() {
	for name := range c.members {
		c.kill(name)
	}
}

// alive says whether a member runs.
func (c *crew) alive(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[name] != nil
}

// logs returns the end of what each member said.
func (c *crew) logs() string {
	var b strings.Builder
	for name := range c.members {
		raw, _ := os.ReadFile(c.path(name + ".log"))
		fmt.Fprintf(&b, "%s:\n%s\n", name, raw[max(0, len(raw)-2000):])
	}
	return b.String()
}

// people is the home in which customers and owners have their accounts.
const people = "people"

// accounts has people join the network, makes an account for each name, and has a validator send each 100 STONE.
func (c *crew) accounts(ctx context.Context, names ...string) (map[string]string, error) {
	if _, err := c.run(ctx, "cairn", "network", "join", "manifest.json", "--home", people); err != nil {
		return nil, err
	}
	all, list := map[string]string{}, []string{"cairn", "tx", "bank", "multi-send", "validator"}
	for _, name := range names {
		made, err := decoded[struct{ Account string }](ctx, c, "cairn", "account", "create", name, "--home", people, "--json")
		if err != nil {
			return nil, err
		}
		all[name], list = made.Account, append(list, made.Account)
	}
	return all, c.send(ctx, append(list, "100000000ustone")...)
}

// send has the first validator send a transaction, and waits for its block.
func (c *crew) send(ctx context.Context, line ...string) error {
	return c.sendFrom(ctx, filepath.Join("chain", "validator-0"), line...)
}

// sendFrom sends a transaction with the keys of a home, and waits for its block.
func (c *crew) sendFrom(ctx context.Context, home string, line ...string) error {
	type result struct {
		Code   int
		TxHash string
		RawLog string `json:"raw_log"`
	}
	sent, err := decoded[result](ctx, c, append(line, "--home", home, "--keyring-backend", "test", "--gas", "auto", "--gas-adjustment", "1.5", "--gas-prices", "0.005ustone",
		"--yes", "--output", "json")...)
	if err != nil {
		return err
	}
	if sent.Code == 0 {
		var out []byte
		if out, err = c.until(ctx, "cairn", "query", "tx", sent.TxHash, "--home", home, "--output", "json"); err == nil {
			err = json.Unmarshal(out, &sent)
		}
	}
	if err == nil && sent.Code != 0 {
		err = errors.New(sent.RawLog)
	}
	return err
}

// customer gives an account an API key at each gateway, and credits.
func (c *crew) customer(ctx context.Context, name string, gateways ...string) error {
	for _, at := range gateways {
		if _, err := c.until(ctx, "cairn", "account", "key", name, "--home", people, "--api", at); err != nil {
			return err
		}
	}
	_, err := c.run(ctx, "cairn", "credit", "buy", "50", "--from", name, "--home", people)
	return err
}

// devices sets up a device for each owner, has the owner register it, and starts it.
func (c *crew) devices(ctx context.Context, owners ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, owner := range owners {
		group.Go(func() error {
			name := fmt.Sprintf("device-%d", i)
			at, err := testutil.FreeAddress()
			if err != nil {
				return err
			}
			_, err = c.run(ctx, "cairn-node", "init", "--home", name, "--network", c.site+"/manifest.json", "--owner", owner, "--cell", "871fb4662ffffff", "--yes",
				"--offer", "storage", "--set", "storage.listen="+at, "--set", "storage.address=", "--set", "storage.capacity_bytes=1073741824",
				"--set", "storage.price=5000000", "--listen", "127.0.0.1:0")
			if err != nil {
				return err
			}
			code, err := c.run(ctx, "cairn-node", "code", "--home", name, "--qr=false")
			if err != nil {
				return err
			}
			if _, err := c.run(ctx, "cairn", "device", "register", strings.TrimSpace(string(code)), "--home", people); err != nil {
				return err
			}
			return c.add(name, "cairn-node", "run", "--home", name, "--disk-warn", "0", "--disk-stop", "0")
		})
	}
	return group.Wait()
}
