package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/command"
	device "github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service/all/provider"
)

// named finds commands as documents name them: in code, whole lines or between back quotes.
var named = regexp.MustCompile("(?m)^    (?:bin/)?(cairn(?:-node)?) (.*)$|`(?:bin/)?(cairn(?:-node)?) ([a-z][^`]*)`|\\$\\(bin/(cairn-node) ([^)]*)\\)")

// takes reports whether a command has arguments of its own, beside commands below it or without.
func takes(c *cobra.Command) bool { return !c.HasSubCommands() || strings.Contains(c.Use, " ") }

// TestDocsNameRealCommands: each command and flag that a document names exists.
func TestDocsNameRealCommands(t *testing.T) {
	chain := command.New(app.NewEncoding, nil)
	roots := map[string]*cobra.Command{"cairn": newRoot(chain.Commands()), "cairn-node": device.New(provider.Devices())}
	if err := chain.Complete(roots["cairn"]); err != nil {
		t.Fatal(err)
	}
	found := 0
	check := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			program, line := m[1]+m[3]+m[5], m[2]+m[4]+m[6]
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(line)
			c, rest, err := roots[program].Find(words)
			found++
			if err != nil || len(rest) > 0 && !takes(c) && !strings.HasPrefix(rest[0], "-") && rest[0] != "…" || c == roots[program] {
				t.Errorf("%s: there is no `%s %s`", path, program, line)
				continue
			}
			for _, word := range rest {
				name, ok := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(strings.TrimRight(name, `").,`), "=")
				if ok && name != "help" && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil && !strings.Contains(line, "$(") {
					t.Errorf("%s: `%s %s` has no --%s", path, program, line, name)
				}
			}
		}
	}
	check("../../README.md")
	check("../../CONTRIBUTING.md")
	err := filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			check(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 15 {
		t.Errorf("only %d commands are named: the pattern does not find them", found)
	}
}
