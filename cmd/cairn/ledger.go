package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// accountName is what $CAIRN_ACCOUNT says, or the home's own customer.
func accountName() string { return cmp.Or(os.Getenv("CAIRN_ACCOUNT"), network.CustomerName) }

// fromFlag gives a command --from, also known as --account.
func fromFlag(c *cobra.Command) *cobra.Command {
	c.Flags().String("from", "", "account that signs and pays: a name in the home's keyring (default $CAIRN_ACCOUNT, else "+network.CustomerName+")")
	c.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "account" {
			name = "from"
		}
		return pflag.NormalizedName(name)
	})
	return c
}

// fromOf returns the name that --from gives.
func fromOf(c *cobra.Command) string {
	name, _ := c.Flags().GetString("from")
	return cmp.Or(name, accountName())
}

// accountFlag gives a command that speaks to the gateway --account.
func accountFlag(c *cobra.Command) *cobra.Command {
	c.Flags().String("account", "", "account that pays: one whose API key is in the home (default $CAIRN_ACCOUNT, else "+network.CustomerName+")")
	return c
}
