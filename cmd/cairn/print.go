package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/service/all/spec"
	"github.com/cairn-network/cairn/service/role/command"
)

// usageError says that a command line was not understood.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exactly takes as many arguments as names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
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
	fmt.Fprintln(w, err)
	if try := tryOf(err); try != "" {
		fmt.Fprintln(w, "try:", try)
	}
}

func tryOf(err error) string {
	var a advice
	if errors.As(err, &a) {
		return a.try
	}
	reason := types.ReasonOf(err)
	for _, table := range [][]types.ReasonInfo{types.Reasons(), gateway.Reasons(), spec.Reasons()} {
		for _, info := range table {
			if info.Reason == reason {
				return info.Try
			}
		}
	}
	return ""
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

// bytesOf prints a size in binary units.
func bytesOf(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	i, f := -1, float64(n)
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// short abbreviates a key for tables.
func short(s string) string {
	s = strings.TrimPrefix(s, "did:key:")
	if len(s) > 18 {
		return s[:8] + "…" + s[len(s)-6:]
	}
	return s
}
