package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/command"
	"github.com/cairn-network/cairn/network"
)

// TestHelpMakesNoChain: what only explains commands makes nothing of the chain, which would take longer than
// the rest.
func TestHelpMakesNoChain(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CAIRN_HOME", home)
	t.Setenv("CAIRN_NODE_HOME", home)
	made := 0
	encoding := func() app.Encoding { made++; return app.NewEncoding() }
	says := func(args ...string) string {
		t.Helper()
		chain := command.New(encoding, nil)
		root := newRoot(chain.Commands())
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(io.Discard)
		if code := complete(t.Context(), chain, root, args, &out); code != 0 || out.Len() == 0 {
			t.Errorf("cairn %q: status %d, says %q", args, code, out.String())
		}
		return out.String()
	}
	lines := [][]string{nil, {"--version"}, {"--help"}, {"help"}, {"help", "keys"}, {"completion", "bash"}, {"__complete", ""}, {"__complete", "store", "p"}, {"__completeNoDesc", "key"}}
	late := []string{"query", "tx", "genesis"} // their subcommands come from the modules
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		if len(path) > 0 {
			lines = append(lines, append(slices.Clone(path), "--help"))
		}
		for _, sub := range c.Commands() {
			if len(path) > 0 || !slices.Contains(late, sub.Name()) {
				walk(sub, append(slices.Clone(path), sub.Name()))
			}
		}
	}
	walk(newRoot(command.New(encoding, nil).Commands()), nil)
	if len(lines) < 100 {
		t.Errorf("%d command lines only", len(lines))
	}
	for _, args := range lines {
		if says(args...); made != 0 {
			t.Fatalf("cairn %q made the chain's codecs", args)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"query", "--help"}, "bank"}, {[]string{"query", "certificate", "owner", "--help"}, "active | retired"}, {[]string{"q", "bank", "--help"}, "balances"}, {[]string{"help", "tx", "staking"}, "delegate"},
		{[]string{"tx", "bank", "send", "--help"}, "--fees"}, {[]string{"genesis", "--help"}, "gentx"}, {[]string{"__complete", "query", "cred"}, "credit"},
	} {
		if out := says(c.args...); !strings.Contains(out, c.want) || made != 1 {
			t.Errorf("cairn %q made the codecs %d times and says %q", c.args, made, out)
		}
		made = 0
	}
	if files, err := os.ReadDir(home); err != nil || len(files) > 0 {
		t.Errorf("help left %v in the home: %v", files, err)
	}
}

// TestTriesName: what a network says when it is up names its home where the command takes it, and not where a job's
// program would.
func TestTriesName(t *testing.T) {
	var out bytes.Buffer
	welcome(&out, &network.Summary{Page: "http://127.0.0.1/"}, "/elsewhere")
	lines := 0
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		if !strings.Contains(line, "/elsewhere") {
			continue
		}
		lines++
		c, rest, err := newRoot(nil).Find(words[1:])
		if err != nil || !c.Runnable() {
			t.Fatalf("%q: %v", line, err)
		}
		if err := c.ParseFlags(rest); err != nil || c.Flag("home").Value.String() != "/elsewhere" {
			t.Errorf("%q: its home is %q: %v", line, c.Flag("home").Value, err)
		}
	}
	if lines < 5 {
		t.Errorf("%d lines", lines)
	}
}
