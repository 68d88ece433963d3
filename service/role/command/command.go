// Package command is how a category brings commands of its own into the program: `cairn energy order` is made
// by energy's customer.
//
// A role.Customer's Command makes its noun, a cobra command with verbs below it; the program gives it a Shell, which
// knows the network's home, its gateway and its chain, and how the program prints and reports. So every category's
// commands look alike, and none needs code of its own in cmd.
package command

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Shell is what the program gives a category's commands. Errors that its methods return are ready to be
// returned by RunE.
type Shell interface {
	// Flags gives a command what all have: --home and --json; and if it signs transactions --from, which is
	// empty by default.
	Flags(c *cobra.Command, signs bool) *cobra.Command
	// Pays gives a command --account: the account whose API key Call sends. Without it, Call asks for what
	// everybody may know.
	Pays(c *cobra.Command) *cobra.Command
	// Call sends a request to the gateway of the command's home, with the account's API key, and decodes the
	// JSON of its answer into out, where that is not nil. In is sent as JSON, where it is not nil. What the
	// gateway refuses carries its reason.
	Call(c *cobra.Command, method, path string, in, out any) error
	// Send is Call for what is no JSON, or more than fits into memory: the request's body is read as it is sent, and
	// the answer's, which the caller closes, as it comes. Neither has a limit. The end of the command's context ends
	// both.
	Send(c *cobra.Command, r Request) (*http.Response, error)
	// Payer is the name of the account that Call asks for.
	Payer(c *cobra.Command) string
	// Gateway returns the address of whom Call asks. Without a network, or without a key of the account's, it
	// says what to do.
	Gateway(c *cobra.Command) (string, error)
	// Ledger connects to the chain of the command's home. The caller closes it.
	Ledger(c *cobra.Command) (Ledger, error)
	// Print prints v as one line of JSON if the command was given --json, and else what human writes.
	Print(c *cobra.Command, v any, human func(io.Writer)) error
	// Usage says that the command line was not understood.
	Usage(c *cobra.Command, err error) error
	// Advise adds to an error what to do about it. Coded errors have advice of their own.
	Advise(err error, try string) error
}

// Request is what Send sends.
type Request struct {
	Method, Path string
	Body         io.Reader // nil for none
	Size         int64     // of Body; 0 where it is not known
	Header       http.Header
}

// Ledger is the chain, with the keys of the accounts in a home's keyring.
type Ledger interface {
	ledger.Ledger
	ledger.Dealer
	// Lookup returns the account of a name in the keyring, or of an address.
	Lookup(nameOrAddress string) (types.Account, error)
	// Names lists the keyring's accounts by name.
	Names() (map[string]types.Account, error)
	// Secret derives a secret for a purpose from an account's key: whoever has the key gets the same.
	Secret(account types.Account, purpose string) ([32]byte, error)
	Close() error
}

// Exactly is for cobra.Command.Args: as many arguments as names.
func Exactly(shell Shell, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			for i, arg := range args {
				if strings.TrimSpace(arg) == "" {
					return shell.Usage(c, fmt.Errorf("%s: %s is empty", c.CommandPath(), names[i]))
				}
			}
			return nil
		}
		return shell.Usage(c, fmt.Errorf("%s: want %d arguments (%s), have %d", c.CommandPath(), len(names), strings.Join(names, " "), len(args)))
	}
}

// Table writes rows under a head, aligned.
func Table(w io.Writer, head []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
}
