package customer

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role/command"
)

// maxSale bounds the file of an offer, in bytes.
const maxSale = 16 << 10

func (v verbs) sell() *cobra.Command {
	c := &cobra.Command{
		Use: "sell ID BUYER STONE", Short: "Offer a certificate to an account for a price", Args: command.Exactly(v, "ID", "BUYER", "STONE"), RunE: v.runSell,
		Long: `sell signs half of a transaction: the buyer pays STONE, and the certificate is the buyer's. It prints the offer, which the buyer
completes with buy: then both happen at once, or neither. Nobody but the buyer that it names can use it. It lapses after --blocks, or as soon
as the seller signs any other transaction, such as a transfer to itself.`,
		Example: "  cairn energy certificate sell did:key:z6Mk…/120000 customer 2.5 > offer.json",
	}
	c.Flags().Uint64("blocks", 1000, "for how many blocks the offer holds")
	return v.Flags(c, false)
}

func (v verbs) buy() *cobra.Command {
	c := &cobra.Command{
		Use: "buy FILE", Short: "Buy the certificate that an offer is of", Args: command.Exactly(v, "FILE"), RunE: v.runBuy,
		Long: `buy reads what sell printed (- is standard input), checks that it still holds and is what the seller signed, signs it as the buyer,
and hands it in. The transaction pays the price and transfers the certificate, or does nothing.`,
		Example: "  cairn energy certificate buy offer.json --at-most 2.5",
	}
	c.Flags().String("at-most", "", "STONE: refuse an offer that asks for more")
	return v.Flags(c, false)
}

func (v verbs) runSell(c *cobra.Command, args []string) error {
	id, err := lot.ParseID(args[0])
	if err != nil {
		return v.Usage(c, err)
	}
	price, err := command.ParseStone(args[2])
	if err != nil {
		return v.Usage(c, err)
	}
	l, err := v.Ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	buyer, err := l.Lookup(args[1])
	if err != nil {
		return fmt.Errorf("energy certificate sell: %w", err)
	}
	blocks, _ := c.Flags().GetUint64("blocks")
	sale, err := certificate.Sell(c.Context(), l, id, buyer, price, blocks)
	if err != nil {
		return fmt.Errorf("energy certificate sell: %w", err)
	}
	return v.Print(c, sale, func(w io.Writer) {
		raw, _ := json.MarshalIndent(sale, "", "  ") // marshals as it does for --json
		fmt.Fprintf(w, "%s\n", raw)
		fmt.Fprintf(c.ErrOrStderr(), "offered to %v for %s, until block %d; the buyer runs: cairn energy certificate buy FILE\n",
			sale.Buyer, command.Stone(price), sale.Until)
	})
}

// Bought is what `cairn energy certificate buy` prints.
type Bought struct {
	Certificate *certificate.Certificate `json:"certificate"` // as the chain has it now
	Seller      types.Account            `json:"seller"`
	Price       types.Ustone             `json:"price_ustone,string"`
	Height      uint64                   `json:"height"`
	Tx          string                   `json:"tx"`
}

func (v verbs) runBuy(c *cobra.Command, args []string) error {
	sale, err := readSale(c, args[0])
	if err != nil {
		return v.Advise(fmt.Errorf("energy certificate buy: %w", err), "give it the file that `cairn energy certificate sell` printed")
	}
	if text, _ := c.Flags().GetString("at-most"); text != "" {
		most, err := command.ParseStone(text)
		if err != nil {
			return v.Usage(c, err)
		}
		if sale.Price > most {
			return fmt.Errorf("energy certificate buy: %w",
				types.Refuse(types.CertificateSale, "it costs %s, and you would pay %s", command.Stone(sale.Price), command.Stone(most)))
		}
	}
	l, err := v.Ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	done, err := certificate.Buy(c.Context(), l, sale)
	if err != nil {
		return fmt.Errorf("energy certificate buy: %w", err)
	}
	now, err := certificate.Reader{Chain: l}.Certificate(c.Context(), sale.Certificate)
	if err != nil {
		return fmt.Errorf("energy certificate buy: %w", err)
	}
	return v.Print(c, Bought{now, sale.Seller, sale.Price, done.Height, done.TxHash}, func(w io.Writer) {
		fmt.Fprintf(w, "bought %s (%s) of %v for %s\n", now.ID, kWh(now.Wh()), sale.Seller, command.Stone(sale.Price))
	})
}

func readSale(c *cobra.Command, path string) (*certificate.Sale, error) {
	in := c.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	d := json.NewDecoder(io.LimitReader(in, maxSale))
	d.DisallowUnknownFields()
	sale := new(certificate.Sale)
	if err := d.Decode(sale); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sale, nil
}
