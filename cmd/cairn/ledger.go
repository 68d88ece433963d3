package main

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/network"
)

// openLedger connects to the chain of the network that a command works on, with the keys of its home. The
// caller closes it.
func openLedger(c *cobra.Command) (*client.Client, error) {
	p, err := placeOf(c)
	if err != nil {
		return nil, err
	}
	return p.ledger(c)
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
