package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/network"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "account", Short: "Accounts in the home's keyring, and API keys for them",
		Example: "  cairn account create alice\n  cairn account list",
	}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make an account, fund it, and give it an API key with a spend limit", Args: exactly("NAME"), RunE: accountCreate,
		Example: "  cairn account create alice --fund 100 --limit 20",
	}
	create.Flags().String("fund", "0", "STONE to send to it from --from")
	create.Flags().String("limit", "100", "dollars that the API key may spend in total")
	create.Flags().Uint64("epochs", 8000, "for how many epochs the API key may spend")
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the accounts of the home's keyring", Args: exactly(), RunE: accountList,
		Example: "  cairn account list"}
	c.AddCommand(homeFlags(fromFlag(create)), homeFlags(list))
	return c
}

func accountCreate(c *cobra.Command, args []string) error {
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	fundText, _ := c.Flags().GetString("fund")
	fund, err := parseStone(fundText)
	if err != nil {
		return usageError{c.CommandPath(), err}
	}
	limitText, _ := c.Flags().GetString("limit")
	limit, err := parseStone(limitText) // millionths in both
	if err != nil {
		return usageError{c.CommandPath(), err}
	}
	name, _ := c.Flags().GetString("from")
	from, err := l.Lookup(name)
	if err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	epochs, _ := c.Flags().GetUint64("epochs")
	account, words, err := l.CreateAccount(args[0])
	if err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	key, err := network.CreateKey(c.Context(), l, a.at.API, network.KeyRequest{
		Account: account, Label: args[0], Limit: types.Credit(limit), Epochs: types.Epoch(epochs), Funder: from, Fund: fund,
	})
	if err != nil {
		return fmt.Errorf("account create %s: %w", args[0], err)
	}
	out := struct {
		Name    string        `json:"name"`
		Account types.Account `json:"account"`
		Words   string        `json:"words"`
		APIKey  string        `json:"api_key"`
		Payer   types.Key     `json:"payer"`
	}{args[0], account, words, key.APIKey, key.Payer}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "account  %s\nAPI key  %s\n         send it as `Authorization: Bearer …`; it is shown once\nwords    %s\n         they restore the account; write them down, they are shown once\n",
			account, key.APIKey, words)
	})
}

func accountList(c *cobra.Command, _ []string) error {
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	accounts, err := l.Accounts()
	if err != nil {
		return fmt.Errorf("account list: %w", err)
	}
	type row struct {
		Name    string        `json:"name"`
		Account types.Account `json:"account"`
		Balance types.Ustone  `json:"balance_ustone,string"`
		Bought  types.Credit  `json:"bought,string"`
	}
	list := []row{}
	for _, a := range accounts {
		info, err := l.Account(c.Context(), a.Account)
		if err != nil {
			return fmt.Errorf("account list: %s: %w", a.Name, err)
		}
		list = append(list, row{a.Name, a.Account, info.Balance, info.Bought})
	}
	return outputOf(c).print(list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, r := range list {
			rows[i] = []string{r.Name, r.Account.String(), stone(r.Balance), dollars(r.Bought)}
		}
		table(w, []string{"NAME", "ACCOUNT", "BALANCE", "CREDITS BOUGHT"}, rows)
	})
}

func walletCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "wallet", Short: "What wallets need to know of this chain",
		Example: "  cairn wallet keplr\n  cairn wallet registry",
	}
	ends := func(c *cobra.Command) (client.Endpoints, error) {
		a, err := openAPI(c)
		if err != nil {
			return client.Endpoints{}, err
		}
		return client.Endpoints{Chain: a.at.ChainID, RPC: a.at.RPC, REST: a.at.REST, GRPC: a.at.GRPC}, nil
	}
	keplr := &cobra.Command{Use: "keplr", Short: "Print Keplr's chain info (experimentalSuggestChain)", Args: exactly(), Example: "  cairn wallet keplr",
		RunE: func(c *cobra.Command, _ []string) error {
			e, err := ends(c)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), string(client.KeplrChainInfo(e)))
			return nil
		}}
	registry := &cobra.Command{Use: "registry", Short: "Print chain.json, or assetlist.json with --assets, for the chain registry", Args: exactly(), Example: "  cairn wallet registry --assets",
		RunE: func(c *cobra.Command, _ []string) error {
			e, err := ends(c)
			if err != nil {
				return err
			}
			chain, assets := client.ChainRegistry(e)
			if only, _ := c.Flags().GetBool("assets"); only {
				chain = assets
			}
			fmt.Fprintln(c.OutOrStdout(), string(chain))
			return nil
		}}
	registry.Flags().Bool("assets", false, "print assetlist.json")
	c.AddCommand(homeFlags(keplr), homeFlags(registry))
	return c
}
