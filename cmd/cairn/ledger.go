package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/network"
)

// openLedger connects to the chain of the network that runs in a command's home, with the keys of that home. The caller closes it.
func openLedger(c *cobra.Command) (*client.Client, error) {
	home, err := homeOf(c)
	if err != nil {
		return nil, err
	}
	at, err := network.ReadAddresses(home)
	if err != nil {
		return nil, advice{err, "make up, or: cairn up --home " + home}
	}
	keys, err := local.Keyring(filepath.Join(home, network.KeyringDir), app.NewEncoding().Codec)
	if err != nil {
		return nil, err
	}
	l, err := client.New(c.Context(), client.Config{URL: at.RPC, Keyring: keys})
	if err != nil {
		return nil, advice{fmt.Errorf("ledger at %s: %w", at.RPC, err), "is the network still running? make up"}
	}
	return l, nil
}

// fromFlag gives a command --from.
func fromFlag(c *cobra.Command) *cobra.Command {
	c.Flags().String("from", network.CustomerName, "account that signs and pays: a name in the home's keyring")
	return c
}
