package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/command"
)

// maxAnswer bounds an answer that a command takes as it is, in bytes.
const maxAnswer = 256 << 20

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
	raw, ok := out.(*[]byte)
	if !ok {
		return a.call(c.Context(), method, path, in, out)
	}
	res, err := a.do(c.Context(), method, path, nil, 0)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if *raw, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer)); err != nil {
		return fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return nil
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
