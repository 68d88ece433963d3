package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
)

// stranger is a device's key that nobody registered.
const stranger = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

// refused is a command line, and the reason with which it is refused.
type refused struct {
	reason types.Reason
	args   []string
}

func no(r types.Reason, args ...string) refused { return refused{r, args} }

// offline are refused before a network is asked, or for want of one.
var offline = []refused{
	no(types.BadArgument, "nope"), no(types.BadArgument, "--nope"), no(types.BadArgument, "up", "x"), no(types.BadArgument, "down", "x"),
	no(types.BadArgument, "up", "--validators", "0"), no(types.BadArgument, "up", "--validators", "-1"), no(types.BadArgument, "up", "--validators", "17"),
	no(types.BadArgument, "up", "--validators", "x"), no(types.BadArgument, "up", "--nodes", "0"), no(types.BadArgument, "up", "--nodes", "257"),
	no(types.BadArgument, "up", "--homes", "-1"), no(types.BadArgument, "up", "--homes", "65"), no(types.BadArgument, "up", "--block-time", "0s"),
	no(types.BadArgument, "up", "--block-time", "-1s"), no(types.BadArgument, "up", "--block-time", "1h"), no(types.BadArgument, "up", "--listen", "nonsense"),
	no(types.BadArgument, "up", "--listen", "127.0.0.1:99999"), no(types.BadArgument, "up", "--disk-warn", "x"),
	no(types.BadArgument, "up", "--disk-warn", "1GiB", "--disk-stop", "2GiB"), no(types.BadArgument, "up", "--energy-data", "/nonexistent"),
	no(types.TooFew, "up", "--nodes", "3"), no(types.DiskFull, "up", "--disk-warn", "0", "--disk-stop", "500000TiB"),

	no(types.BadArgument, "credit", "buy"), no(types.BadArgument, "credit", "buy", "0"), no(types.BadArgument, "credit", "buy", "-5"),
	no(types.BadArgument, "credit", "buy", "--", "-5"), no(types.BadArgument, "credit", "buy", "x"), no(types.BadArgument, "credit", "buy", ""),
	no(types.BadArgument, "credit", "buy", "1e9"), no(types.BadArgument, "credit", "buy", "0.0000001"), no(types.BadArgument, "credit", "nope"),
	no(types.BadArgument, "account", "create", ""), no(types.BadArgument, "account", "create", "a", "--fund", "0"),
	no(types.BadArgument, "account", "create", "a", "--epochs", "0"), no(types.BadArgument, "account", "create", "a", "--limit", "x"),
	no(types.BadArgument, "account", "create", "a", "--buy", "20"), no(types.BadArgument, "account", "key", "a", "--epochs", "9999999"),
	no(types.BadArgument, "tally", "verify"), no(types.BadArgument, "tally", "verify", "--epoch", "-1"), no(types.BadArgument, "tally", "verify", "--epoch", "1", "--header", "zz"),
	no(types.NotFound, "tally", "verify", "--epoch", "1", "--bundle", "/nonexistent"),
	no(types.BadArgument, "claim"), no(types.BadArgument, "device", "show", " "), no(types.BadArgument, "store", "get", "x"), no(types.BadArgument, "store", "put"),

	no(types.NotRunning, "credit", "buy", "1"), no(types.NotRunning, "credit", "show"), no(types.NotRunning, "supply"), no(types.NotRunning, "account", "list"),
	no(types.NotRunning, "account", "create", "a"), no(types.NotRunning, "device", "list"), no(types.NotRunning, "device", "show", stranger),
	no(types.NotRunning, "tally", "list"), no(types.NotRunning, "claim", "--all"), no(types.NotRunning, "store", "list"), no(types.NotRunning, "wallet", "keplr"),
	no(types.NotRunning, "energy", "price"), no(types.NotRunning, "energy", "fills"),

	no(types.BadArgument, "energy", "fraud"), no(types.BadArgument, "energy", "fraud", "--made", "--data", "x"),
	no(types.NotFound, "energy", "fraud", "--data", "/nonexistent"), no(types.NotFound, "energy", "plot", "--data", "/nonexistent"),
	no(types.BadArgument, "energy", "fraud", "--data", "/nonexistent", "--lat", "91"), no(types.BadArgument, "energy", "plot"),
	no(types.BadArgument, "energy", "plot", "--data", "x", "--attack", "nope"),
	no(types.BadArgument, "energy", "fraud", "--made", "--causes", "nope"), no(types.BadArgument, "energy", "fraud", "--made", "--climates", "nope"),
	no(types.BadArgument, "energy", "bound"), no(types.BadArgument, "energy", "bound", "--lat", "91", "--lon", "0", "--unix", "0"),
	no(types.NotRunning, "query", "gov", "proposal", "99", "--node", "tcp://127.0.0.1:1"),

	no(types.NotFound, "doctor"), no(types.NotFound, "doctor", "--repair"), no(types.BadArgument, "doctor", "--disk-stop", "x"), no(types.NotFound, "node", "doctor"),
	no(types.BadArgument, "node", "nope"), no(types.BadArgument, "node", "run", "x"), no(types.BadArgument, "node", "run", "--log", "loud"),
	no(types.NotFound, "node", "run"), no(types.NotFound, "node", "status"), no(types.NotFound, "node", "code"),
	no(types.BadArgument, "node", "init"), no(types.NotFound, "node", "init", "--network", "/nonexistent", "--owner", types.Account{7}.String(), "--cell", "891f8e0c2d7ffff"),
}

// online are refused by a network that runs.
var online = []refused{
	no(types.HomeBusy, "doctor", "--repair"), no("", "device", "show", "x"), no("", "device", "show", stranger), no("", "device", "register", "x"), no("", "device", "register", "cairn-claim:hFxx"),
	no(types.BadArgument, "claim", "x"), no(types.NotFound, "claim", stranger), no(types.NotFound, "account", "key", "nobody"),
	no(types.BadArgument, "account", "create", ".x"), no(types.BadArgument, "account", "create", "a/b"), no(types.NotFound, "account", "create", "b", "--from", "nobody"),
	no(types.NotFound, "credit", "buy", "1", "--from", "nobody"), no("", "credit", "buy", "99999999999"), no("", "credit", "show", "--account", "nobody"),
	no("", "store", "get", "x", "out"), no("", "store", "get", strings.Repeat("3f", 16), "out"), no("", "store", "delete", "x"), no(types.NotFound, "store", "put", "/nonexistent"),
	no("", "store", "put", os.Args[0], "--profile", "nope"), no(types.NotFound, "store", "price", "/nonexistent"),
	no(types.NotFound, "tally", "verify", "--epoch", "999999"), no(types.NotFound, "tally", "verify", "--epoch", "3", "--region", "9"),
	no(types.BadArgument, "tally", "list", "--limit", "-1"), no(types.BadArgument, "tally", "list", "--limit", "1001"),
	no("", "energy", "statement", "x"), no("", "energy", "certificate", "retire", "x"), no("", "energy", "order", "--rule", "nope"),
	no(types.NotFound, "query", "gov", "proposal", "99"), no("", "query", "credit", "account", "x"), no("", "query", "bank", "balances", "x"),
	no("", "query", "device", "device", stranger), no("", "query", "tally", "header", "99999", "0"), no("", "query", "block", "99999999"),
}

// check runs refused command lines, and says which are refused in another way: each ends in a coded reason and
// says what to do about it, in words of its own and not in those of the protocol or library that brought it.
func check(t *testing.T, list []refused, more ...string) {
	for _, c := range list {
		args := c.args
		if slices.Contains(args, "query") && !slices.Contains(args, "--node") {
			args = append(slices.Clone(args), more...)
		}
		var stderr bytes.Buffer
		var code int
		if args[0] == "query" {
			code = run(t.Context(), args, &stderr)
		} else { // the chain's commands take a second to make
			code = execute(t.Context(), newRoot(nil), args, &stderr)
		}
		if home := os.Getenv("CAIRN_NODE_HOME"); args[0] == "query" {
			os.RemoveAll(home) // the SDK's commands make one
		} else if _, err := os.Stat(home); home != "" && err == nil {
			t.Errorf("cairn %q made a home", args)
		}
		text := stderr.String()
		head, try, ok := strings.Cut(text, "\ntry: ")
		first, _, _ := strings.Cut(head, "\n") // cobra adds lines
		switch {
		case code == 0:
			t.Errorf("cairn %q is taken", args)
		case !ok || strings.TrimSpace(try) == "":
			t.Errorf("cairn %q does not say what to do:\n%s", args, text)
		case c.reason != "" && !strings.HasSuffix(first, ": "+string(c.reason)):
			t.Errorf("cairn %q: want %s:\n%s", args, c.reason, text)
		case !strings.ContainsAny(first, "_") && c.reason == "":
			t.Errorf("cairn %q has no reason:\n%s", args, text)
		}
		for _, raw := range []string{"rpc error", "desc =", "panic", "goroutine", "cosmos-sdk@", "%!"} {
			if strings.Contains(text, raw) {
				t.Errorf("cairn %q says %q:\n%s", args, raw, text)
			}
		}
	}
}

// TestRefusals gives commands what they do not take, in a home where nothing runs.
func TestRefusals(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("CAIRN_HOME", home)
	t.Setenv("CAIRN_NODE_HOME", home)
	check(t, offline)
	// Every command of Cairn refuses arguments too many, and flags that it does not have.
	var walk func(c *cobra.Command, path []string)
	var all []refused
	walk = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			if sub.GroupID != "chain" && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub, append(slices.Clone(path), sub.Name()))
			}
		}
		if len(path) > 0 && !c.HasSubCommands() {
			all = append(all, no(types.BadArgument, append(slices.Clone(path), "--nope")...))
			if c.Name() != "claim" {
				all = append(all, no(types.BadArgument, append(slices.Clone(path), "1", "2", "3", "4", "5", "6")...))
			}
		}
	}
	walk(newRoot(nil), nil)
	if len(all) < 60 {
		t.Errorf("%d command lines only", len(all))
	}
	check(t, all)
}
