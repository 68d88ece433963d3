package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/gateway"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role/command"
)

func creditCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "credit", Short: "Prepaid dollars: buy them, see where they went",
		Example: "  cairn credit buy 5\n  cairn credit show",
	}
	buy := &cobra.Command{Use: "buy STONE", Short: "Buy credits for STONE", Args: exactly("STONE"), RunE: creditBuy,
		Example: "  cairn credit buy 5\n  cairn credit buy 250 --account alice"}
	show := &cobra.Command{Use: "show", Short: "Show what is left and where each credit went", Args: exactly(), RunE: creditShow,
		Example: "  cairn credit show\n  cairn credit show --account alice"}
	buy.Flags().Uint16("region", 0, "region that they can be spent in: where there are several, one has to be chosen")
	c.AddCommand(placeFlags(fromFlag(buy)), placeFlags(accountFlag(show)))
	return c
}

func creditBuy(c *cobra.Command, args []string) error {
	amount, err := command.ParseStone(args[0])
	if err == nil && amount == 0 {
		err = fmt.Errorf("%s %.40q: want more than 0 STONE", c.CommandPath(), args[0])
	}
	if err != nil {
		return usageError{c.CommandPath(), err}
	}
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	from, err := l.Lookup(fromOf(c))
	if err != nil {
		return fmt.Errorf("credit buy: %w", err)
	}
	region, err := regionOf(c, l)
	if err != nil {
		return err
	}
	quote, err := l.Quote(c.Context(), amount)
	if err != nil {
		return fmt.Errorf("credit buy %s: %w", command.Stone(amount), err)
	}
	if !outputOf(c).json {
		fmt.Fprintf(c.ErrOrStderr(), "%s buys %s now\n", command.Stone(amount), command.Dollars(quote))
	}
	done, err := l.Submit(c.Context(), from, ledger.Buy{Region: region, Amount: amount, Min: quote - quote/100})
	if err != nil {
		return fmt.Errorf("credit buy %s: %w", command.Stone(amount), err)
	}
	after, err := l.Account(c.Context(), from)
	if err != nil {
		return fmt.Errorf("credit buy: %w", err)
	}
	out := struct {
		Account types.Account `json:"account"`
		Region  types.Region  `json:"region"`
		Paid    types.Ustone  `json:"paid_ustone,string"`
		Credits types.Credit  `json:"credits,string"`
		Bought  types.Credit  `json:"bought,string"`
		Height  uint64        `json:"height"`
		Tx      string        `json:"tx"`
	}{from, region, amount, quote, after.In(region), done.Height, done.TxHash}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "bought %s for %s; they can be spent from the next epoch\n", command.Dollars(out.Credits), command.Stone(amount))
	})
}

// regionOf is the region that --region names. It has to where there are several: credits bought for one are of
// no use in another.
func regionOf(c *cobra.Command, l ledger.Reader) (types.Region, error) {
	head, err := l.Head(c.Context())
	if err != nil {
		return 0, err
	}
	epoch, err := l.Epoch(c.Context(), head.Epoch)
	if err != nil {
		return 0, err
	}
	r, err := c.Flags().GetUint16("region")
	switch {
	case err != nil:
		return 0, err
	case !c.Flags().Changed("region") && epoch.Regions() > 1:
		return 0, usageError{c.CommandPath(), fmt.Errorf("%s: which --region of %d? /v1/status of your gateway names its own", c.CommandPath(), epoch.Regions())}
	case int(r) >= epoch.Regions():
		return 0, types.Refuse(types.WrongRegion, "%s: region %d of %d", c.CommandPath(), r, epoch.Regions())
	}
	return types.Region(r), nil
}

func creditShow(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	var credit gateway.Credit
	if err := a.get(c.Context(), "/v1/credit", &credit); err != nil {
		return fmt.Errorf("credit show: %w", err)
	}
	return outputOf(c).print(credit, func(w io.Writer) {
		fmt.Fprintf(w, "account    %s\nbalance    %s\nspendable  %s with this key (limit %s, until epoch %d)\nspent      %s with this key, as the last tally counts\n\n",
			credit.Account, command.Dollars(credit.Balance), command.Dollars(credit.Spendable), command.Dollars(credit.Limit), credit.Expiry, command.Dollars(credit.Spent))
		rows := make([][]string, len(credit.Spending))
		for i, s := range credit.Spending {
			to := s.Device.String()
			if s.Device.IsZero() {
				to = "in sessions that ended"
			}
			rows[i] = []string{s.Category, to, command.Dollars(s.Amount)}
		}
		table(w, []string{"FOR", "TO", "SIGNED FOR"}, rows)
		fmt.Fprintln(w, "\nWhat devices hold is spent by the epoch, and not signed for again: it shows under spent alone.")
	})
}

func supplyCommand() *cobra.Command {
	return placeFlags(&cobra.Command{
		Use: "supply", Short: "Show where all the money is, and whether it balances", Args: exactly(), RunE: supply, Example: "  cairn supply",
	})
}

// Supply is what `cairn supply --json` prints; ustone, and micro-credits for credits.
type Supply struct {
	Genesis       types.Ustone `json:"genesis,string"`
	Minted        types.Ustone `json:"minted,string"`
	Burned        types.Ustone `json:"burned,string"`
	Vault         types.Ustone `json:"vault,string"`
	Escrow        types.Ustone `json:"escrow,string"`
	Bonds         types.Ustone `json:"bonds,string"`
	Claimed       types.Ustone `json:"claimed,string"`
	Unclaimed     types.Ustone `json:"unclaimed,string"`
	CreditsBought types.Credit `json:"credits_bought,string"`
	CreditsSpent  types.Credit `json:"credits_spent,string"`
	Balanced      bool         `json:"balanced"`
	Faults        []string     `json:"faults,omitempty"`
}

func supply(c *cobra.Command, _ []string) error {
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := l.Supply(c.Context())
	if err != nil {
		return fmt.Errorf("supply: %w", err)
	}
	out := Supply{
		Genesis: s.Genesis, Minted: s.Minted, Burned: s.Burned, Vault: s.Vault, Escrow: s.Escrow, Bonds: s.Bonds,
		Claimed: s.Claimed, Unclaimed: s.Amount - s.Claimed, CreditsBought: s.Bought, CreditsSpent: s.Spent,
		Balanced: s.Balanced, Faults: s.Faults,
	}
	err = outputOf(c).print(out, func(w io.Writer) {
		table(w, []string{"", ""}, [][]string{
			{"genesis", command.Stone(out.Genesis)}, {"+ minted", command.Stone(out.Minted)}, {"− burned", command.Stone(out.Burned)}, {"= supply", command.Stone(s.Supply)},
			{"in the vault", command.Stone(out.Vault)}, {"in escrow", command.Stone(out.Escrow)}, {"in bonds", command.Stone(out.Bonds)},
			{"claimed", command.Stone(out.Claimed)}, {"unclaimed", command.Stone(out.Unclaimed)},
			{"credits bought", command.Dollars(out.CreditsBought)}, {"credits spent", command.Dollars(out.CreditsSpent)},
		})
		if out.Balanced {
			fmt.Fprintln(w, "balanced")
		}
	})
	if err == nil && !out.Balanced {
		err = fmt.Errorf("supply: the ledger does not balance: %v", s.Faults)
	}
	return err
}
