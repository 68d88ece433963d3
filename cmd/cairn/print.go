package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/refusal"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/all/spec"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// usageError says that a command line was not understood.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string {
	if types.ReasonOf(e.err) != "" {
		return e.err.Error()
	}
	first, rest, _ := strings.Cut(e.err.Error(), "\n") // cobra adds what may have been meant
	return strings.TrimRight(fmt.Sprintf("%s: %s\n%s", first, types.BadArgument, rest), "\n")
}
func (e usageError) Unwrap() []error { return []error{e.err, types.BadArgument} }

// try says what to do about it.
func (e usageError) try() string {
	if try := tryOf(e.err); try != "" && types.ReasonOf(e.err) != types.BadArgument {
		return try
	}
	return e.command + " --help"
}

// flagError says what is wrong with a flag. An amount below zero looks like one.
func flagError(c *cobra.Command, err error) error {
	if _, arg, ok := strings.Cut(err.Error(), " in -"); ok && arg != "" && arg[0] >= '0' && arg[0] <= '9' {
		err = fmt.Errorf("-%s is below zero", arg)
	}
	return usageError{c.CommandPath(), fmt.Errorf("%s: %w", c.CommandPath(), err)}
}

// exactly takes as many arguments as names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			for i, arg := range args {
				if strings.TrimSpace(arg) == "" {
					return usageError{c.CommandPath(), fmt.Errorf("%s: %s is empty", c.CommandPath(), names[i])}
				}
			}
			return nil
		}
		return usageError{c.CommandPath(), fmt.Errorf("%s: want %d arguments (%s), have %d", c.CommandPath(), len(names), strings.Join(names, " "), len(args))}
	}
}

// advice is an error with what to do about it.
type advice struct {
	error
	try string
}

func (a advice) Unwrap() error { return a.error }

// report prints an error as people read it: what failed, then what to do about it.
func report(w io.Writer, err error) {
	text, try := plain(err), tryOf(err)
	if types.ReasonOf(err) == "" {
		reason := reasonOf(err)
		if reason != "" {
			text += ": " + string(reason)
		}
		if try == "" {
			try = tryOf(reason)
		}
	}
	fmt.Fprintln(w, text)
	if try != "" {
		fmt.Fprintln(w, "try:", try)
	}
}

// remote is how gRPC begins the text of what a server refused.
var remote = regexp.MustCompile(`rpc error: code = (\w+) desc = `)

// plain is an error's text without the words of the protocol that brought it.
func plain(err error) string { return remote.ReplaceAllString(err.Error(), "") }

// reasonOf is the reason of an error that carries none: it comes from a file, or from the Cosmos SDK's commands
// and what answered them, which say in words or in gRPC's terms what it is.
func reasonOf(err error) types.Reason {
	text := err.Error()
	code := ""
	if m := remote.FindStringSubmatch(text); m != nil {
		code = m[1]
	}
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case refusal.Parse(text) != "":
		return refusal.Parse(text)
	case has("connection refused"), code == "Unavailable":
		return types.NotRunning
	case errors.Is(err, fs.ErrNotExist), code == "NotFound", has("key not found"), has("not found"):
		return types.NotFound
	case code == "InvalidArgument", has("invalid argument"), has("invalid request"), has("failed to parse"), has("decoding bech32"), has("accepts "), has("requires "), has("required flag"):
		return types.BadArgument
	}
	return ""
}

func tryOf(err error) string {
	var a advice
	if errors.As(err, &a) {
		return a.try
	}
	return role.Info(types.ReasonOf(err), spec.Reasons()...).Try
}

// output is where a command prints, as a table or as JSON.
type output struct {
	w    io.Writer
	json bool
}

func outputOf(c *cobra.Command) output {
	asJSON, _ := c.Flags().GetBool("json")
	return output{c.OutOrStdout(), asJSON}
}

// print writes v as one line of JSON, or calls human.
func (o output) print(v any, human func(io.Writer)) error {
	if o.json {
		return json.NewEncoder(o.w).Encode(v)
	}
	human(o.w)
	return nil
}

// table writes rows under a head, aligned.
func table(w io.Writer, head []string, rows [][]string) { command.Table(w, head, rows) }

// short abbreviates a key for tables.
func short(s string) string {
	s = strings.TrimPrefix(s, "did:key:")
	if len(s) > 18 {
		return s[:8] + "…" + s[len(s)-6:]
	}
	return s
}
