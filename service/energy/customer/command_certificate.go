package customer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role/command"
)

func (v verbs) certificate() *cobra.Command {
	noun := &cobra.Command{
		Use: "certificate", Aliases: []string{"cert"}, Short: "Certificates of what was produced and not sold: list, issue, split, transfer, sell, retire them",
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return v.Usage(c, fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()))
			}
			return c.Help()
		},
		Example: "  cairn energy certificate list\n  cairn energy certificate issue --all\n  cairn energy certificate split did:key:z6Mk…/120000 500",
	}
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List certificates under the names of EnergyTag's standard", Args: command.Exactly(v), RunE: v.listCertificates,
		Example: "  cairn energy certificate list\n  cairn energy certificate list --owner owner-0\n  cairn energy certificate list --device did:key:z6Mk… --json",
	}
	list.Flags().String("owner", "", "a name in the home's keyring, or an address (default the home's customer)")
	list.Flags().String("device", "", "those over this device's register, whoever owns them")
	list.Flags().String("state", "", "active or retired (default both)")
	issue := &cobra.Command{
		Use: "issue [DEVICE [DAY]]", Short: "Issue what a device did not sell, by proof from a final tally", Args: cobra.MaximumNArgs(2), RunE: v.issue,
		Long: `issue fetches a device's sheets from the gateway: what it produced on each solar day and nobody bought, with the Merkle proof that leads
to a final header. The chain checks it and makes a certificate for each hour. Days are issued in order, each watt-hour once.`,
		Example: "  cairn energy certificate issue did:key:z6Mk… 2026-06-21\n  cairn energy certificate issue --all",
	}
	issue.Flags().Bool("all", false, "for every device whose owner's key is in the home's keyring, every day that is ready")
	split := &cobra.Command{
		Use: "split ID WH", Short: "Cut a certificate in two: the first part has WH watt-hours", Args: command.Exactly(v, "ID", "WH"), RunE: v.split,
		Example: "  cairn energy certificate split did:key:z6Mk…/120000 500",
	}
	transfer := &cobra.Command{
		Use: "transfer ID TO", Short: "Give a certificate to another account", Args: command.Exactly(v, "ID", "TO"), RunE: v.transfer,
		Example: "  cairn energy certificate transfer did:key:z6Mk…/120000 customer",
	}
	retire := &cobra.Command{
		Use: "retire ID", Short: "Claim a certificate for somebody's consumption, for good", Args: command.Exactly(v, "ID"), RunE: v.retire,
		Example: "  cairn energy certificate retire did:key:z6Mk…/120000 --beneficiary \"Bakery Ltd\" --hourly",
	}
	retire.Flags().String("beneficiary", "", "whose consumption it is (default the owner); a meter's did:key counts in its score")
	retire.Flags().Bool("hourly", false, "claim consumption in the hour in which it was produced")
	noun.AddCommand(v.Flags(v.Pays(list), false), v.Flags(v.Pays(issue), true), v.Flags(split, true), v.Flags(transfer, true), v.Flags(retire, true), v.sell(), v.buy())
	return noun
}

func (v verbs) listCertificates(c *cobra.Command, _ []string) error {
	q := url.Values{}
	for _, name := range []string{"device", "state"} {
		if text, _ := c.Flags().GetString(name); text != "" {
			q.Set(name, text)
		}
	}
	if name, _ := c.Flags().GetString("owner"); name != "" {
		l, err := v.Ledger(c)
		if err != nil {
			return err
		}
		defer l.Close()
		owner, err := l.Lookup(name)
		if err != nil {
			return fmt.Errorf("energy certificate list: %w", err)
		}
		q.Set("owner", owner.String())
	}
	list := []Certificate{}
	for {
		var page CertificateList
		if err := v.Call(c, "GET", "/energy/v1/certificates?"+q.Encode(), nil, &page); err != nil {
			return fmt.Errorf("energy certificate list: %w", err)
		}
		list = append(list, page.Certificates...)
		if page.Next == "" {
			break
		}
		q.Set("after", page.Next)
	}
	return v.Print(c, list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, x := range list {
			rows[i] = []string{x.ID.String(), kWh(x.Quantity), x.Begin.Format("2006-01-02 15:04"), x.Source, x.Status, x.Beneficiary}
		}
		command.Table(w, []string{"CERTIFICATE", "ENERGY", "PRODUCED (UTC)", "SOURCE", "STATUS", "FOR"}, rows)
	})
}

// Issued is what one day of a device made.
type Issued struct {
	Device       types.Key `json:"device"`
	Day          string    `json:"day"`
	Wh           uint64    `json:"wh"`
	Certificates []lot.ID  `json:"certificates"`
	Height       uint64    `json:"height"`
	Tx           string    `json:"tx"`
}

func (v verbs) issue(c *cobra.Command, args []string) error {
	all, _ := c.Flags().GetBool("all")
	if all == (len(args) > 0) {
		return v.Usage(c, fmt.Errorf("%s: name a device, or --all", c.CommandPath()))
	}
	l, err := v.Ledger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	owners, err := v.producers(c, l, args)
	if err != nil {
		return fmt.Errorf("energy certificate issue: %w", err)
	}
	done := []Issued{}
	for _, device := range slices.SortedFunc(maps.Keys(owners), func(a, b types.Key) int { return slices.Compare(a[:], b[:]) }) {
		var sheets []Sheet
		if err := v.Call(c, "GET", "/energy/v1/sheets?device="+url.QueryEscape(device.String()), nil, &sheets); err != nil {
			return fmt.Errorf("energy certificate issue: %w", err)
		}
		if len(args) == 2 {
			sheets = slices.DeleteFunc(sheets, func(s Sheet) bool { return s.Day != args[1] })
			if len(sheets) == 0 {
				return v.Advise(fmt.Errorf("energy certificate issue: %v has nothing to issue of %s", device, args[1]),
					"a day closes with the first reading of the next, if it had no alarm and something was left unsold")
			}
		}
		for i := range sheets {
			if s := &sheets[i]; len(args) == 2 || s.State == "ready" { // a day that is named is tried whatever the gateway thinks
				one, err := issueSheet(c, l, owners[device], s)
				if err != nil {
					return fmt.Errorf("energy certificate issue: %v, %s: %w", device, s.Day, err)
				}
				done = append(done, *one)
			}
		}
	}
	return v.Print(c, done, func(w io.Writer) {
		rows := make([][]string, len(done))
		for i, d := range done {
			rows[i] = []string{d.Device.String(), d.Day, kWh(d.Wh), strconv.Itoa(len(d.Certificates)), fmt.Sprint(d.Height)}
		}
		command.Table(w, []string{"DEVICE", "DAY", "ENERGY", "CERTIFICATES", "BLOCK"}, rows)
		if len(done) == 0 {
			fmt.Fprintln(w, "nothing is ready: a day closes with the first reading of the next, and its tally has to be final")
		}
	})
}

// producers returns the devices to issue for, each with its owner.
func (v verbs) producers(c *cobra.Command, l command.Ledger, args []string) (map[types.Key]types.Account, error) {
	owners := map[types.Key]types.Account{}
	if len(args) > 0 {
		key, err := types.ParseKey(args[0])
		if err != nil {
			return nil, v.Usage(c, err)
		}
		d, err := l.Device(c.Context(), key)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, types.Refuse(types.UnknownAuthor, "device %v", key)
		}
		if err != nil {
			return nil, err
		}
		owners[key] = d.Owner
		if name, _ := c.Flags().GetString("from"); name != "" {
			owners[key], err = l.Lookup(name)
		}
		return owners, err
	}
	names, err := l.Names()
	if err != nil {
		return nil, err
	}
	if name, _ := c.Flags().GetString("from"); name != "" {
		account, err := l.Lookup(name)
		if err != nil {
			return nil, err
		}
		names = map[string]types.Account{name: account}
	}
	mine := map[types.Account]bool{}
	for _, a := range names {
		mine[a] = true
	}
	devices, err := l.Devices(c.Context())
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if mine[d.Owner] && slices.Contains(d.Categories, types.Energy) {
			owners[d.Key] = d.Owner
		}
	}
	return owners, nil
}

// issueSheet issues one day.
func issueSheet(c *cobra.Command, l command.Ledger, owner types.Account, s *Sheet) (*Issued, error) {
	msg, err := s.Issue()
	if err != nil {
		return nil, err
	}
	done, err := l.Submit(c.Context(), owner, *msg)
	if err != nil {
		return nil, err
	}
	out := &Issued{Device: s.Device, Day: s.Day, Wh: s.Wh, Height: done.Height, Tx: done.TxHash, Certificates: []lot.ID{}}
	for _, run := range msg.Lots.Runs() {
		out.Certificates = append(out.Certificates, lot.ID{Device: s.Device, From: run.From})
	}
	return out, nil
}

// Changed is what a message did to a certificate.
type Changed struct {
	Certificates []*certificate.Certificate `json:"certificates"` // as the chain has them now
	Height       uint64                     `json:"height"`
	Tx           string                     `json:"tx"`
}

// change sends a message about a certificate by its owner, or by --from, and shows what became of it.
func (v verbs) change(c *cobra.Command, id lot.ID, make func(command.Ledger, *certificate.Certificate) (ledger.Msg, []lot.ID, error)) (*Changed, error) {
	l, err := v.Ledger(c)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	now, err := certificate.Reader{Chain: l}.Certificate(c.Context(), id)
	if err != nil {
		return nil, err
	}
	from := now.Owner
	if name, _ := c.Flags().GetString("from"); name != "" {
		if from, err = l.Lookup(name); err != nil {
			return nil, err
		}
	}
	msg, ids, err := make(l, now)
	if err != nil {
		return nil, err
	}
	done, err := l.Submit(c.Context(), from, msg)
	if err != nil {
		return nil, err
	}
	out := &Changed{Height: done.Height, Tx: done.TxHash}
	for _, id := range ids {
		x, err := certificate.Reader{Chain: l}.Certificate(c.Context(), id)
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, x)
	}
	return out, nil
}

// changed runs a verb on one certificate.
func (v verbs) changed(c *cobra.Command, text string, say string, make func(command.Ledger, *certificate.Certificate) (ledger.Msg, []lot.ID, error)) error {
	id, err := lot.ParseID(text)
	if err != nil {
		return v.Usage(c, err)
	}
	out, err := v.change(c, id, make)
	if err != nil {
		return fmt.Errorf("energy certificate %s: %w", c.Name(), err)
	}
	return v.Print(c, out, func(w io.Writer) {
		for _, x := range out.Certificates {
			fmt.Fprintf(w, "%s %s (%s, %s)\n", say, x.ID, kWh(x.Wh()), x.State)
		}
	})
}

func (v verbs) split(c *cobra.Command, args []string) error {
	wh, err := strconv.ParseUint(args[1], 10, 62)
	if err != nil {
		return v.Usage(c, fmt.Errorf("%s: %.40q: want watt-hours", c.CommandPath(), args[1]))
	}
	return v.changed(c, args[0], "now", func(_ command.Ledger, x *certificate.Certificate) (ledger.Msg, []lot.ID, error) {
		second := lot.ID{Device: x.ID.Device, From: x.ID.From + wh}
		return certificate.Split{ID: x.ID, At: second.From}, []lot.ID{x.ID, second}, nil
	})
}

func (v verbs) transfer(c *cobra.Command, args []string) error {
	return v.changed(c, args[0], "transferred", func(l command.Ledger, x *certificate.Certificate) (ledger.Msg, []lot.ID, error) {
		to, err := l.Lookup(args[1])
		return certificate.Transfer{ID: x.ID, To: to}, []lot.ID{x.ID}, err
	})
}

func (v verbs) retire(c *cobra.Command, args []string) error {
	who, _ := c.Flags().GetString("beneficiary")
	return v.changed(c, args[0], "retired", func(_ command.Ledger, x *certificate.Certificate) (ledger.Msg, []lot.ID, error) {
		msg := certificate.Retire{ID: x.ID, Beneficiary: who}
		if hourly, _ := c.Flags().GetBool("hourly"); hourly {
			msg.Hour = lot.Hour(x.Begin)
		}
		return msg, []lot.ID{x.ID}, nil
	})
}

func unhex(text string) ([]byte, error) { return hex.DecodeString(text) }
