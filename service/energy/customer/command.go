package customer

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role/command"
)

// verbs makes the commands of `cairn energy`.
type verbs struct{ command.Shell }

// commands makes the noun.
func commands(shell command.Shell) *cobra.Command {
	v := verbs{shell}
	noun := &cobra.Command{
		Use: "energy", Short: "Neighbours' energy and certificates: order them, see what was bought, prove it",
		Example: "  cairn energy order --rule certificate --limit 20 --wh 5000 --cap 2\n  cairn energy fills\n  cairn energy certificate issue --all",
	}
	noun.AddCommand(v.order(), v.fills(), v.statement(), v.price(), v.score(), v.certificate())
	return noun
}

func (v verbs) order() *cobra.Command {
	c := &cobra.Command{
		Use: "order", Short: "Sign an order, replace or cancel one; without flags, list them", Args: command.Exactly(v), RunE: v.runOrder,
		Long: `order signs a ceiling: how much energy at most at which price at most. What is bought, and at which price, each tally computes
from what was measured. Rule community buys neighbours' energy for a meter that the account owns; rule certificate buys the origin of what
neighbours left, retired for the beneficiary at once.`,
		Example: `  cairn energy order
  cairn energy order --rule certificate --limit 20 --wh 5000 --cap 2 --beneficiary "Bakery Ltd"
  cairn energy order --rule community --meter did:key:z6Mk… --limit 250 --wh 2000 --cap 5
  cairn energy order --replace 0000… --rule certificate --limit 25 --wh 5000 --cap 4
  cairn energy order --cancel 0000…`,
	}
	f := c.Flags()
	f.String("rule", "", "community or certificate")
	f.String("meter", "", "device that consumes: community orders need one; certificates then match its consumption, quarter hour by quarter hour")
	f.String("zone", "", "cell of resolution 3 (default any; community: the meter's)")
	f.String("technology", "", "solar (default any)")
	f.String("beneficiary", "", "whom certificates are retired for (default the payer)")
	f.Uint64("limit", 0, "highest price, in micro-credits per Wh: 1 is $0.001 per kWh")
	f.Uint64("wh", 0, "most Wh in a quarter hour")
	f.String("cap", "", "most dollars in total, since the order began")
	f.Uint64("epochs", 0, "for how many epochs it may act (default 8000)")
	f.String("replace", "", "id of an order that takes these terms")
	f.String("cancel", "", "id of an order to cancel")
	c.MarkFlagsMutuallyExclusive("cancel", "rule")
	c.MarkFlagsMutuallyExclusive("cancel", "replace")
	return v.Flags(v.Pays(c), false)
}

func (v verbs) runOrder(c *cobra.Command, _ []string) error {
	f := c.Flags()
	id, _ := f.GetString("cancel")
	rule, _ := f.GetString("rule")
	if id == "" && rule == "" {
		for _, name := range []string{"replace", "meter", "limit", "wh", "cap"} {
			if f.Changed(name) {
				return v.Usage(c, fmt.Errorf("%s: --%s needs --rule", c.CommandPath(), name))
			}
		}
		return v.listOrders(c)
	}
	var o Order
	if id != "" {
		if err := v.Call(c, "DELETE", "/energy/v1/orders/"+url.PathEscape(id), nil, &o); err != nil {
			return fmt.Errorf("energy order: %w", err)
		}
		return v.Print(c, o, func(w io.Writer) {
			fmt.Fprintf(w, "cancelled %s; it bought %s for %s\n", o.ID, kWh(o.Bought), command.Dollars(o.Paid))
		})
	}
	t, err := v.terms(c, rule)
	if err != nil {
		return v.Usage(c, err)
	}
	method, path, verb := "POST", "/energy/v1/orders", "signed"
	if id, _ := f.GetString("replace"); id != "" {
		method, path, verb = "PUT", path+"/"+url.PathEscape(id), "replaced"
	}
	if err := v.Call(c, method, path, t, &o); err != nil {
		return fmt.Errorf("energy order: %w", err)
	}
	return v.Print(c, o, func(w io.Writer) {
		fmt.Fprintf(w, "%s order %s: up to %s a quarter hour at up to %s a kWh, %s in total\nit acts from the epoch after the one that counts it\n",
			verb, o.ID, kWh(o.Wh), perKWh(o.Limit), command.Dollars(o.Cap))
	})
}

// terms reads an order's flags.
func (v verbs) terms(c *cobra.Command, rule string) (*Terms, error) {
	f := c.Flags()
	t := &Terms{Rule: rule}
	t.Technology, _ = f.GetString("technology")
	t.Beneficiary, _ = f.GetString("beneficiary")
	t.Limit, _ = f.GetUint64("limit")
	t.Wh, _ = f.GetUint64("wh")
	epochs, _ := f.GetUint64("epochs")
	t.Epochs = types.Epoch(epochs)
	if text, _ := f.GetString("meter"); text != "" {
		key, err := types.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("--meter: %w", err)
		}
		t.Meter = &key
	}
	if text, _ := f.GetString("zone"); text != "" {
		zone, err := types.ParseCell(text)
		if err != nil {
			return nil, fmt.Errorf("--zone: %w", err)
		}
		t.Zone = &zone
	}
	text, _ := f.GetString("cap")
	var err error
	if t.Cap, err = parseDollars(text); err != nil {
		return nil, fmt.Errorf("--cap: %w", err)
	}
	return t, nil
}

func (v verbs) listOrders(c *cobra.Command) error {
	list := []Order{}
	if err := v.Call(c, "GET", "/energy/v1/orders", nil, &list); err != nil {
		return fmt.Errorf("energy order: %w", err)
	}
	return v.Print(c, list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, o := range list {
			state := o.State
			if o.Reason != "" {
				state += " (" + string(o.Reason) + ")"
			}
			rows[i] = []string{o.ID, o.Rule, perKWh(o.Limit), kWh(o.Wh), command.Dollars(o.Cap), kWh(o.Bought), command.Dollars(o.Paid), state}
		}
		command.Table(w, []string{"ORDER", "RULE", "LIMIT/KWH", "PER QUARTER HOUR", "CAP", "BOUGHT", "PAID", "STATE"}, rows)
	})
}

// span gives a command the flags that choose statements.
func span(c *cobra.Command) *cobra.Command {
	c.Flags().String("order", "", "of this order only")
	c.Flags().Uint64("from-epoch", 0, "from this epoch on")
	c.Flags().Uint64("to-epoch", 0, "up to this epoch")
	c.Flags().Int("limit", 100, "at most so many")
	c.Flags().Bool("csv", false, "print CSV, oldest first, all of them")
	return c
}

// query is what those flags ask for.
func query(c *cobra.Command) string {
	q := url.Values{}
	if order, _ := c.Flags().GetString("order"); order != "" {
		q.Set("order", order)
	}
	for flag, name := range map[string]string{"from-epoch": "from", "to-epoch": "to"} {
		if n, _ := c.Flags().GetUint64(flag); n > 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	if n, _ := c.Flags().GetInt("limit"); n > 0 {
		q.Set("limit", strconv.Itoa(n))
	}
	return "?" + q.Encode()
}

// csv prints what the gateway writes as CSV.
func (v verbs) csv(c *cobra.Command, path string) error {
	res, err := v.Send(c, command.Request{Method: "GET", Path: path + query(c)})
	if err != nil {
		return fmt.Errorf("energy: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(c.OutOrStdout(), res.Body); err != nil {
		return fmt.Errorf("energy: %s: %w", path, err)
	}
	return nil
}

func (v verbs) fills() *cobra.Command {
	return v.Flags(v.Pays(span(&cobra.Command{
		Use: "fills", Short: "What orders bought, range by range, newest first", Args: command.Exactly(v),
		Example: "  cairn energy fills\n  cairn energy fills --csv > fills.csv",
		RunE: func(c *cobra.Command, _ []string) error {
			if asCSV, _ := c.Flags().GetBool("csv"); asCSV {
				return v.csv(c, "/energy/v1/fills.csv")
			}
			list := []Fill{}
			if err := v.Call(c, "GET", "/energy/v1/fills"+query(c), nil, &list); err != nil {
				return fmt.Errorf("energy fills: %w", err)
			}
			return v.Print(c, list, func(w io.Writer) {
				rows := make([][]string, len(list))
				for i, f := range list {
					rows[i] = []string{f.Time.Format("2006-01-02 15:04"), f.Rule, short(f.Device.String()), kWh(f.Wh), perKWh(f.Price), command.Dollars(f.Amount), fmt.Sprint(f.Epoch), finality(f.Final)}
				}
				command.Table(w, []string{"TIME (UTC)", "RULE", "DEVICE", "BOUGHT", "PER KWH", "PAID", "EPOCH", ""}, rows)
			})
		},
	})), false)
}

// Checked is a statement that was held against the chain.
type Checked struct {
	*Statement
	Header types.Hash `json:"header"` // that the chain has
	Proven bool       `json:"proven"`
	Why    string     `json:"why,omitempty"`
}

func (v verbs) statement() *cobra.Command {
	c := span(&cobra.Command{
		Use: "statement", Short: "What orders bought, epoch by epoch, each with a proof that a stranger can check", Args: command.Exactly(v), RunE: v.runStatement,
		Example: "  cairn energy statement\n  cairn energy statement --check --json\n  cairn energy statement --csv > statements.csv",
	})
	c.Flags().Bool("check", false, "hold each against the header that the chain has, and fail if one does not hold")
	return v.Flags(v.Pays(c), false)
}

func (v verbs) runStatement(c *cobra.Command, _ []string) error {
	if asCSV, _ := c.Flags().GetBool("csv"); asCSV {
		return v.csv(c, "/energy/v1/statements.csv")
	}
	list := []*Statement{}
	if err := v.Call(c, "GET", "/energy/v1/statements"+query(c), nil, &list); err != nil {
		return fmt.Errorf("energy statement: %w", err)
	}
	if check, _ := c.Flags().GetBool("check"); check {
		return v.check(c, list)
	}
	return v.Print(c, list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, s := range list {
			rows[i] = []string{fmt.Sprint(s.Epoch), s.Order, kWh(s.Wh), command.Dollars(s.Amount), fmt.Sprint(len(s.Sales)), finality(s.Final)}
		}
		command.Table(w, []string{"EPOCH", "ORDER", "BOUGHT", "PAID", "RANGES", ""}, rows)
	})
}

// check holds statements against the chain's headers.
func (v verbs) check(c *cobra.Command, list []*Statement) error {
	l, err := v.Ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	out, bad := make([]Checked, len(list)), 0
	for i, s := range list {
		out[i] = Checked{Statement: s}
		h, err := l.Header(c.Context(), s.Epoch, s.Region)
		if err == nil {
			out[i].Header = h.Hash
			err = s.Prove(h.Raw, h.Hash)
		}
		if out[i].Proven = err == nil; err != nil {
			out[i].Why = err.Error()
			bad++
		}
	}
	err = v.Print(c, out, func(w io.Writer) {
		rows := make([][]string, len(out))
		for i, s := range out {
			verdict := "proven"
			if !s.Proven {
				verdict = s.Why
			}
			rows[i] = []string{fmt.Sprint(s.Epoch), s.Order, kWh(s.Wh), command.Dollars(s.Amount), fmt.Sprintf("%.16s…", s.Header), verdict}
		}
		command.Table(w, []string{"EPOCH", "ORDER", "BOUGHT", "PAID", "HEADER", "CHECK"}, rows)
	})
	if err == nil && bad > 0 {
		err = v.Advise(fmt.Errorf("energy statement: %d of %d are not proven", bad, len(out)), "ask another gateway; docs/energy.md says how to check by hand")
	}
	return err
}

// Prove holds a statement against a header and its hash: the sales against the leaf, the leaf against the
// outputs tree.
func (s *Statement) Prove(header []byte, hash types.Hash) error {
	h, err := tally.DecodeHeader(header)
	if err != nil {
		return err
	}
	if h.Hash() != hash || h.Epoch != s.Epoch || h.Region != s.Region {
		return errors.New("the header is another one")
	}
	data, err1 := hexOf(s.Leaf)
	detail, err2 := unhex(s.SalesCBOR)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	said, err := energy.DecodeStatement(data)
	if err != nil {
		return err
	}
	sales, err := energy.DecodeSales(detail)
	switch {
	case err != nil:
		return err
	case said.Epoch != s.Epoch || said.Payer != s.Payer || said.Session.String() != s.Order || said.Wh != s.Wh || said.Amount != s.Amount:
		return errors.New("the leaf says something else")
	case !said.Matches(sales):
		return errors.New("the sales are not those of the leaf")
	}
	var siblings []types.Hash
	for _, text := range s.Siblings {
		x, err := types.ParseHash(text)
		if err != nil {
			return err
		}
		siblings = append(siblings, x)
	}
	return h.VerifyOutput(types.Energy, data, s.Index, siblings)
}

func (v verbs) price() *cobra.Command {
	c := &cobra.Command{
		Use: "price", Short: "What energy and certificates cost: cleared, and asked now", Args: command.Exactly(v),
		Example: "  cairn energy price\n  cairn energy price --class certificate --json",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for _, name := range []string{"zone", "class"} {
				if text, _ := c.Flags().GetString(name); text != "" {
					q.Set(name, text)
				}
			}
			n, _ := c.Flags().GetInt("limit")
			q.Set("limit", strconv.Itoa(n))
			var p Prices
			if err := v.Call(c, "GET", "/energy/v1/prices?"+q.Encode(), nil, &p); err != nil {
				return fmt.Errorf("energy price: %w", err)
			}
			return v.Print(c, p, func(w io.Writer) {
				rows := make([][]string, len(p.Cleared))
				for i, m := range p.Cleared {
					rows[i] = []string{m.Time.Format("2006-01-02 15:04"), m.Zone.String(), m.Class, perKWh(m.Price), kWh(m.Wh), kWh(m.Bid), kWh(m.Offered), finality(m.Final)}
				}
				command.Table(w, []string{"TIME (UTC)", "ZONE", "CLASS", "PER KWH", "TRADED", "ASKED FOR", "OFFERED", ""}, rows)
				for _, a := range p.Asks {
					fmt.Fprintf(w, "now: %d devices in %s ask %s to %s a kWh (%s)\n", a.Devices, a.Zone, perKWh(a.Lowest), perKWh(a.Highest), a.Class)
				}
			})
		},
	}
	c.Flags().String("zone", "", "cell of resolution 3 (default all)")
	c.Flags().String("class", "", "community or certificate (default both)")
	c.Flags().Int("limit", 20, "at most so many clearings")
	return v.Flags(v.Pays(c), false)
}

func (v verbs) score() *cobra.Command {
	c := &cobra.Command{
		Use: "score", Short: "Which share of a meter's consumption was matched in the hour it happened", Args: command.Exactly(v),
		Example: "  cairn energy score --meter did:key:z6Mk…\n  cairn energy score --meter did:key:z6Mk… --from 2026-06-21T00:00:00Z --json",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for _, name := range []string{"meter", "from", "to"} {
				if text, _ := c.Flags().GetString(name); text != "" {
					q.Set(name, text)
				}
			}
			if q.Get("meter") == "" {
				return v.Usage(c, fmt.Errorf("%s: which --meter?", c.CommandPath()))
			}
			var s Score
			if err := v.Call(c, "GET", "/energy/v1/score?"+q.Encode(), nil, &s); err != nil {
				return fmt.Errorf("energy score: %w", err)
			}
			return v.Print(c, s, func(w io.Writer) {
				rows := make([][]string, len(s.Hours))
				for i, h := range s.Hours {
					rows[i] = []string{h.Time.Format("2006-01-02 15:04"), kWh(h.Consumed), kWh(h.Fills), kWh(h.Certified), kWh(h.Matched)}
				}
				command.Table(w, []string{"HOUR (UTC)", "CONSUMED", "FILLED", "CERTIFICATES", "MATCHED"}, rows)
				fmt.Fprintf(w, "matched %s of %s: %d.%02d %%\n", kWh(s.Matched), kWh(s.Consumed+s.Unattributed), s.Score/100, s.Score%100)
			})
		},
	}
	c.Flags().String("meter", "", "device of the account that consumes")
	c.Flags().String("from", "", "full hour, in energy time, like 2026-06-21T12:00:00Z")
	c.Flags().String("to", "", "full hour: not included")
	return v.Flags(v.Pays(c), false)
}

// How amounts are printed.

func perKWh(price uint64) string { return fmt.Sprintf("$%d.%03d", price/1000, price%1000) }

func kWh(wh uint64) string { return fmt.Sprintf("%d.%03d kWh", wh/1000, wh%1000) }

func finality(final bool) string {
	if final {
		return "final"
	}
	return "open"
}

// short abbreviates a key for tables.
func short(s string) string {
	s = strings.TrimPrefix(s, "did:key:")
	if len(s) > 18 {
		return s[:8] + "…" + s[len(s)-6:]
	}
	return s
}

// parseDollars reads dollars with up to six decimals.
func parseDollars(s string) (types.Credit, error) {
	whole, part, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(s), "$"), ".")
	digits := whole + part + strings.Repeat("0", max(0, 6-len(part)))
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || whole == "" || len(part) > 6 {
		return 0, fmt.Errorf("%q: want dollars with at most six decimals, like 5 or 0.25", s)
	}
	return types.Credit(n), nil
}
