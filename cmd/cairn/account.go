package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

func accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "account", Short: "Accounts in the home's keyring, and API keys for them",
		Long: `A home has a customer of its own, whose credits the commands spend unless they are told otherwise. A further account has its own
STONE, its own credits and its own API key, which the home keeps: --account NAME, or $CAIRN_ACCOUNT, makes a command use them.`,
		Example: "  cairn account create alice\n  cairn credit show --account alice\n  cairn account list",
	}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make an account, fund it, and give it an API key with a spend limit", Args: exactly("NAME"), RunE: accountCreate,
		Example: "  cairn account create alice --fund 20 --buy 10 --limit 5",
	}
	create.Flags().String("fund", "10", "STONE to send to it from --from, to which comes what its first transactions cost")
	create.Flags().String("buy", "", "STONE, of that, to buy credits for at once (default half of it)")
	key := &cobra.Command{
		Use: "key NAME", Short: "Give an account of the keyring another API key, and use that from now on", Args: exactly("NAME"), RunE: accountKey,
		Long:    "The home keeps one API key of an account. One that is replaced still works for whoever has it, within its limit, until it expires.",
		Example: "  cairn account key alice --limit 20",
	}
	own := &cobra.Command{
		Use: "create [NAME]", Short: "Make an API key for a program, which this home does not keep", Args: cobra.MaximumNArgs(1), RunE: accountKeyCreate,
		Long:    "It is a key of an account of the keyring, of the home's own customer where none is named. What uses it spends that account's credits, up to the limit.",
		Example: "  OPENAI_API_KEY=$(cairn account key create --json | jq -r .key)",
	}
	key.AddCommand(placeFlags(own))
	for _, c := range []*cobra.Command{create, key, own} {
		c.Flags().String("limit", "100", "dollars that the API key may spend in total")
		c.Flags().Uint64("epochs", 8000, "for how many epochs the API key may spend")
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the accounts of the home's keyring", Args: exactly(), RunE: accountList,
		Example: "  cairn account list"}
	restore := &cobra.Command{
		Use: "restore NAME", Short: "Bring an account along: its words, one line on standard input, restore its key in the home's keyring", Args: exactly("NAME"), RunE: accountRestore,
		Example: "  cairn account restore alice < words.txt",
	}
	send := &cobra.Command{
		Use: "send ACCOUNT STONE", Short: "Send STONE to an account: a name in the home's keyring, or an address", Args: exactly("ACCOUNT", "STONE"), RunE: accountSend,
		Example: "  cairn account send cairn1… 25 --from alice",
	}
	c.AddCommand(placeFlags(restore), placeFlags(fromFlag(create)), placeFlags(key), placeFlags(list), placeFlags(fromFlag(send)))
	return c
}

func accountSend(c *cobra.Command, args []string) error {
	amount, err := command.ParseStone(args[1])
	if err != nil {
		return usageError{c.CommandPath(), fmt.Errorf("%s: %w", c.CommandPath(), err)}
	}
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	from, err := l.Lookup(fromOf(c))
	if err != nil {
		return fmt.Errorf("account send: %w", err)
	}
	to, err := l.Lookup(args[0])
	if err != nil {
		if to, err = types.ParseAccount(args[0]); err != nil {
			return advice{types.Refuse(types.BadArgument, "account send: %s is no name in this home's keyring, and no address: %v", args[0], err), "cairn account list"}
		}
	}
	done, err := l.Submit(c.Context(), from, ledger.Send{To: to, Amount: amount})
	if err != nil {
		return fmt.Errorf("account send: %w", err)
	}
	out := struct {
		From   types.Account `json:"from"`
		To     types.Account `json:"to"`
		Amount types.Ustone  `json:"amount_ustone,string"`
		Height uint64        `json:"height"`
		Tx     string        `json:"tx"`
	}{from, to, amount, done.Height, done.TxHash}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "sent %s to %v in block %d\n", command.Stone(amount), to, done.Height)
	})
}

// Created is what `cairn account create` and `cairn account key` print as JSON. Words is empty where the
// account was there before.
type Created struct {
	Name    string        `json:"name"`
	Account types.Account `json:"account"`
	Words   string        `json:"words,omitempty"`
	APIKey  string        `json:"api_key"`
	Payer   types.Key     `json:"payer"`
}

// amountFlag reads a flag in STONE, or in dollars: millionths in both.
func amountFlag(c *cobra.Command, name string) (uint64, error) {
	text, _ := c.Flags().GetString(name)
	u, err := command.ParseStone(text)
	if err != nil {
		return 0, usageError{c.CommandPath(), fmt.Errorf("--%s: %w", name, err)}
	}
	return uint64(u), nil
}

// firstGas is what an account has fees for beside what it is funded with: to grant a key, buy credits, register
// a device, and some more.
const firstGas = 10_000_000

func accountCreate(c *cobra.Command, args []string) error {
	fund, err := amountFlag(c, "fund")
	if err != nil {
		return err
	}
	buy := fund / 2
	if c.Flags().Changed("buy") {
		if buy, err = amountFlag(c, "buy"); err != nil {
			return err
		}
	}
	limit, err := amountFlag(c, "limit")
	if err != nil {
		return err
	}
	if err := keyEpochs(c); err != nil {
		return err
	}
	switch {
	case fund == 0:
		return usageError{c.CommandPath(), fmt.Errorf("%s: --fund 0: an account that holds nothing cannot grant a key", c.CommandPath())}
	case buy > fund:
		return usageError{c.CommandPath(), fmt.Errorf("%s: --buy %s of --fund %s", c.CommandPath(), command.Stone(types.Ustone(buy)), command.Stone(types.Ustone(fund)))}
	}
	if err := role.CheckText("name", args[0], 64); err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	p, err := placeOf(c)
	if err != nil {
		return err
	}
	l, err := p.ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	home := p.home
	begun, err := network.Begun(home, args[0])
	if err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	switch _, err := network.ReadKey(home, p.keyName(args[0])); {
	case err == nil && !begun:
		return advice{fmt.Errorf("account create: %s is there already", args[0]), "name another, or use it: --account " + args[0]}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("account create: %w", err)
	}
	from, err := l.Lookup(fromOf(c))
	if err != nil && p.runs == nil && !c.Flags().Changed("from") {
		return accountAlone(c, l, args[0])
	}
	if err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	price, err := l.GasPrice(c.Context())
	if err != nil {
		return fmt.Errorf("account create: %w", err)
	}
	out, err := beginAccount(l, home, args[0], begun)
	if err != nil {
		return err
	}
	err = fillAccount(c, l, p, out, filling{from: from, fund: types.Ustone(fund), fees: types.Ustone(price * firstGas / 1_000_000), buy: types.Ustone(buy), limit: types.Credit(limit)})
	if err != nil {
		if out.Words != "" { // they are shown once
			fmt.Fprintf(c.ErrOrStderr(), "words    %s\n         they restore account %s\n", out.Words, out.Name)
		}
		try := "the same again: it goes on where it stopped"
		if errors.Is(err, types.InsufficientFund) {
			try = fmt.Sprintf("have STONE sent to %v, or name who has some: --from NAME; then %s", from, try)
		}
		return advice{fmt.Errorf("account create %s: %w", args[0], err), try}
	}
	return outputOf(c).print(out, func(w io.Writer) {
		printKey(w, out)
		if out.Words != "" {
			fmt.Fprintf(w, "words    %s\n         they restore the account; write them down, they are shown once\n\n", out.Words)
		}
		if buy > 0 {
			fmt.Fprintf(w, "next     cairn %s --account %s    (it waits for the next epoch, when credits count; without --account the home's own customer pays)\n",
				firstTry(), out.Name)
		} else {
			fmt.Fprintf(w, "next     cairn credit buy STONE --account %s    (it has %s, and no credits yet)\n", out.Name, command.Stone(types.Ustone(fund)))
		}
	})
}

// accountAlone makes an account in a home that has no other to fund it.
func accountAlone(c *cobra.Command, l *client.Client, name string) error {
	account, words, err := l.CreateAccount(name)
	if err != nil {
		return advice{fmt.Errorf("account create: %w", err), "name another"}
	}
	return outputOf(c).print(&Created{Name: name, Account: account, Words: words}, func(w io.Writer) {
		fmt.Fprintf(w, "account  %s\nwords    %s\n         they restore the account; write them down, they are shown once\n\n", account, words)
		fmt.Fprintf(w, "next     have somebody send it STONE; then cairn account key %s, and cairn credit buy STONE --from %s\n", name, name)
	})
}

// maxWords bounds the words that restore an account, in bytes.
const maxWords = 1024

func accountRestore(c *cobra.Command, args []string) error {
	if err := role.CheckText("name", args[0], 64); err != nil {
		return fmt.Errorf("account restore: %w", err)
	}
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	if in, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprint(c.ErrOrStderr(), "words: ")
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), maxWords)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("account restore: %w", err)
	}
	account, err := l.RestoreAccount(args[0], strings.Join(strings.Fields(line), " "))
	if err != nil {
		return advice{fmt.Errorf("account restore: %w", err), "give the words that `cairn account create` showed, in one line on standard input, and a name that the home's keyring does not have"}
	}
	return outputOf(c).print(&Created{Name: args[0], Account: account}, func(w io.Writer) {
		fmt.Fprintf(w, "account  %s\nnext     cairn account key %s\n", account, args[0])
	})
}

// beginAccount makes an account's key in the keyring, or finds the one of an account that was begun and not finished.
func beginAccount(l *client.Client, home, name string, begun bool) (*Created, error) {
	if begun {
		if account, err := l.Lookup(name); err == nil {
			return &Created{Name: name, Account: account}, nil
		}
	} else if _, err := l.Lookup(name); err == nil {
		return nil, advice{fmt.Errorf("account create: %s is in the keyring already, without an API key", name), "give it one: cairn account key " + name}
	}
	if err := network.Begin(home, name); err != nil {
		return nil, fmt.Errorf("account create: %w", err)
	}
	account, words, err := l.CreateAccount(name)
	if err != nil {
		return nil, fmt.Errorf("account create: %w", errors.Join(err, network.Finish(home, name)))
	}
	return &Created{Name: name, Account: account, Words: words}, nil
}

// filling is what a new account gets.
type filling struct {
	from            types.Account
	fund, fees, buy types.Ustone
	limit           types.Credit
}

// fillAccount gives an account what it lacks of that, step by step. Each step looks whether an earlier try has
// done it, so that nothing is sent or bought twice.
func fillAccount(c *cobra.Command, l *client.Client, p *place, out *Created, in filling) error {
	info, err := l.Account(c.Context(), out.Account)
	if err != nil {
		return err
	}
	req := network.KeyRequest{Limit: in.limit}
	if info.Bought == 0 && info.Balance < in.fund { // nothing but fees was spent yet
		req.Funder, req.Fund = in.from, in.fund+in.fees-info.Balance
	}
	key, err := network.ReadKey(p.home, p.keyName(out.Name))
	switch {
	case err == nil:
		out.APIKey, out.Payer = key.APIKey, key.Payer
	case errors.Is(err, fs.ErrNotExist):
		if err := makeKey(c, l, p, out, req); err != nil {
			return err
		}
	default:
		return err
	}
	grant, err := l.Grant(c.Context(), out.Payer) // credits are of use where the key spends
	if err != nil {
		return fmt.Errorf("it is made and funded, but has no credits: %w", err)
	}
	if in.buy > 0 && info.In(grant.Region) == 0 {
		quote, err := l.Quote(c.Context(), in.buy)
		if err == nil {
			_, err = l.Submit(c.Context(), out.Account, ledger.Buy{Region: grant.Region, Amount: in.buy, Min: quote - quote/100})
		}
		if err != nil {
			return fmt.Errorf("it is made and funded, but has no credits: %w", err)
		}
	}
	return network.Finish(p.home, out.Name)
}

// keyEpochs refuses an API key that could never spend, before anything is sent.
func keyEpochs(c *cobra.Command) error {
	if epochs, _ := c.Flags().GetUint64("epochs"); epochs == 0 || epochs > receipt.MaxExpiry {
		return usageError{c.CommandPath(), fmt.Errorf("%s: --epochs %d: want 1 to %d", c.CommandPath(), epochs, receipt.MaxExpiry)}
	}
	return nil
}

func accountKey(c *cobra.Command, args []string) error {
	if err := keyEpochs(c); err != nil {
		return err
	}
	limit, err := amountFlag(c, "limit")
	if err != nil {
		return err
	}
	p, err := placeOf(c)
	if err != nil {
		return err
	}
	l, err := p.ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	account, err := l.Lookup(args[0])
	if err != nil {
		return fmt.Errorf("account key: %w", err)
	}
	out := &Created{Name: args[0], Account: account}
	if err := makeKey(c, l, p, out, network.KeyRequest{Limit: types.Credit(limit)}); err != nil {
		return fmt.Errorf("account key %s: %w", args[0], err)
	}
	return outputOf(c).print(out, func(w io.Writer) { printKey(w, out) })
}

// ProgramKey is what `cairn account key create` prints as JSON.
type ProgramKey struct {
	Key     string        `json:"key"`
	Name    string        `json:"name"`
	Account types.Account `json:"account"`
	Payer   types.Key     `json:"payer"`
}

func accountKeyCreate(c *cobra.Command, args []string) error {
	name := cmp.Or(append(args, "")[0], network.CustomerName)
	if err := keyEpochs(c); err != nil {
		return err
	}
	limit, err := amountFlag(c, "limit")
	if err != nil {
		return err
	}
	p, err := placeOf(c)
	if err != nil {
		return err
	}
	api, err := p.gateway()
	if err != nil {
		return err
	}
	l, err := p.ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	account, err := l.Lookup(name)
	if err != nil {
		return fmt.Errorf("account key create: %w", err)
	}
	epochs, _ := c.Flags().GetUint64("epochs")
	key, err := network.CreateKey(c.Context(), l, api, network.KeyRequest{Account: account, Label: "program", Epochs: types.Epoch(epochs), Limit: types.Credit(limit)})
	if err != nil {
		return fmt.Errorf("account key create: %w", err)
	}
	out := &ProgramKey{Key: key.APIKey, Name: name, Account: account, Payer: key.Payer}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "account  %s\nAPI key  %s\n         programs send it as `Authorization: Bearer …`; it is shown once\n", account, key.APIKey)
	})
}

// makeKey makes the API key of an account at the gateway as the flags say, and keeps it in the home.
func makeKey(c *cobra.Command, l *client.Client, p *place, out *Created, in network.KeyRequest) error {
	api, err := p.gateway()
	if err != nil {
		return err
	}
	epochs, _ := c.Flags().GetUint64("epochs")
	in.Account, in.Label, in.Epochs = out.Account, out.Name, types.Epoch(epochs)
	key, err := network.CreateKey(c.Context(), l, api, in)
	if err != nil {
		return err
	}
	out.APIKey, out.Payer = key.APIKey, key.Payer
	return network.WriteKey(p.home, p.keyName(out.Name), &network.Customer{Account: out.Account, Payer: key.Payer, APIKey: key.APIKey})
}

func printKey(w io.Writer, k *Created) {
	fmt.Fprintf(w, "account  %s\nAPI key  %s\n         programs send it as `Authorization: Bearer …`; --account %s has a command use it, this home keeps it\n", k.Account, k.APIKey, k.Name)
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
			rows[i] = []string{r.Name, r.Account.String(), command.Stone(r.Balance), command.Dollars(r.Bought)}
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
		p, err := placeOf(c)
		if err != nil {
			return client.Endpoints{}, err
		}
		l, err := p.ledger(c)
		if err != nil {
			return client.Endpoints{}, err
		}
		var e client.Endpoints
		if p.runs != nil {
			e = client.Endpoints{Chain: p.runs.ChainID, RPC: p.runs.RPC, REST: p.runs.REST, GRPC: p.runs.GRPC}
		} else {
			e = client.Endpoints{Chain: p.far.Chain, RPC: p.far.RPC[0]} // there is one: the ledger asked it
		}
		if rest, _ := c.Flags().GetString("rest"); rest != "" {
			e.REST = rest
		}
		if e.REST == "" {
			return e, advice{types.Refuse(types.NotFound, "a manifest does not say where %s serves the Cosmos SDK's REST API, which wallets need", e.Chain), "name it: --rest https://host:port"}
		}
		defer l.Close()
		e.GasPrice, err = l.GasPrice(c.Context())
		return e, err
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
	for _, c := range []*cobra.Command{keplr, registry} {
		c.Flags().String("rest", "", "where the Cosmos SDK's REST API is (default the home's own)")
	}
	c.AddCommand(placeFlags(keplr), placeFlags(registry))
	return c
}
