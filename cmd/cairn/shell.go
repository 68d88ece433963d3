package main

import (
	"cmp"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/command"
)

// shell is what categories' commands are given.
type shell struct{}

var _ command.Shell = shell{}

func (shell) Flags(c *cobra.Command, signs bool) *cobra.Command {
	if signs {
		c.Flags().String("from", "", "account that signs: a name in the home's keyring (default whoever it takes)")
	}
	return placeFlags(c)
}

func (shell) Pays(c *cobra.Command) *cobra.Command { return accountFlag(c) }

func (shell) Call(c *cobra.Command, method, path string, in, out any) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	return a.call(c.Context(), method, path, in, out)
}

func (shell) Send(c *cobra.Command, r command.Request) (*http.Response, error) {
	a, err := openAPI(c)
	if err != nil {
		return nil, err
	}
	return a.do(c.Context(), r)
}

func (shell) Payer(c *cobra.Command) string {
	name, _ := c.Flags().GetString("account")
	return cmp.Or(name, accountName())
}

func (shell) Gateway(c *cobra.Command) (string, error) {
	a, err := openAPI(c)
	if err != nil {
		return "", err
	}
	return a.api, nil
}

func (shell) Ledger(c *cobra.Command) (command.Ledger, error) {
	l, err := openLedger(c)
	if err != nil {
		return nil, err
	}
	return keyed{l}, nil
}

func (shell) Print(c *cobra.Command, v any, human func(io.Writer)) error {
	return outputOf(c).print(v, human)
}

func (shell) Usage(c *cobra.Command, err error) error { return usageError{c.CommandPath(), err} }

func (shell) Advise(err error, try string) error { return advice{err, try} }

// keyed is the chain as categories' commands see it.
type keyed struct{ *client.Client }

func (k keyed) Names() (map[string]types.Account, error) {
	accounts, err := k.Accounts()
	if err != nil {
		return nil, err
	}
	names := make(map[string]types.Account, len(accounts))
	for _, a := range accounts {
		names[a.Name] = a.Account
	}
	return names, nil
}
