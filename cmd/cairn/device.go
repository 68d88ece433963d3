package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role/command"
)

func deviceCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "device", Short: "Devices: list them, register your own, say what is behind them",
		Example: "  cairn device list\n  cairn device register cairn-claim:hF…",
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List devices with what they earned", Args: exactly(), RunE: deviceList,
		Example: "  cairn device list\n  cairn device list --json"}
	show := &cobra.Command{Use: "show DEVICE", Short: "Show one device: earnings, refusals and why", Args: exactly("DEVICE"), RunE: deviceShow,
		Example: "  cairn device show did:key:z6Mk…"}
	register := &cobra.Command{Use: "register CODE", Short: "Register the device that shows a claim code", Args: exactly("CODE"), RunE: deviceRegister,
		Example: "  cairn device register cairn-claim:hF…\n  cairn device register \"$(cairn-node code --qr=false)\""}
	register.Flags().String("bond", "0", "STONE to bond, where the category asks for a bond")
	fromFlag(register).Flags().Lookup("from").Usage = "account that has to be the owner: a name in the home's keyring (default the owner that the code names)"
	c.AddCommand(placeFlags(list), placeFlags(show), placeFlags(register), fleetCommand())
	return c
}

// deviceRow is what scripts may rely on of a device in a category; the API's /api/devices says more.
type deviceRow struct {
	Device   string       `json:"device"`
	Category string       `json:"category"`
	Owner    string       `json:"owner"`
	Status   string       `json:"status"`
	Quality  types.Bp     `json:"quality"`
	Earned   types.Ustone `json:"earned_ustone,string"`
	Claimed  types.Ustone `json:"claimed_ustone,string"`
	Refused  uint64       `json:"refused"`
}

func deviceList(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	devices := []explorer.Device{}
	for after := ""; ; {
		var page []explorer.Device
		if err := a.get(c.Context(), "/api/devices?limit=1000&after="+url.QueryEscape(after), &page); err != nil {
			return fmt.Errorf("device list: %w", err)
		}
		devices = append(devices, page...)
		if len(page) < 1000 {
			break
		}
		after = page[len(page)-1].Device
	}
	lines := make([]deviceRow, len(devices))
	for i, d := range devices {
		lines[i] = deviceRow{d.Device, d.Category, d.Owner, d.Status, d.Quality, d.Earned, d.Claimed, d.Refused}
	}
	return outputOf(c).print(lines, func(w io.Writer) {
		rows := make([][]string, len(devices))
		for i, d := range devices {
			rows[i] = []string{d.Device, d.Category, d.Status, fmt.Sprintf("%.2f %%", float64(d.Quality)/100),
				command.Stone(d.Earned), command.Stone(d.Claimed), strconv.FormatUint(d.Refused, 10)}
		}
		table(w, []string{"DEVICE", "PROVIDES", "STATUS", "QUALITY", "EARNED", "CLAIMED", "REFUSED"}, rows)
	})
}

func deviceShow(c *cobra.Command, args []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	var page explorer.DevicePage
	if err := a.get(c.Context(), "/api/devices/"+url.PathEscape(args[0]), &page); err != nil {
		return fmt.Errorf("device show: %w", err)
	}
	return outputOf(c).print(page, func(w io.Writer) {
		for _, d := range page.Devices {
			fmt.Fprintf(w, "%s\n  provides  %s\n  owner     %s\n  status    %s\n  quality   %.2f %%\n  earned    %s\n  claimed   %s\n",
				d.Device, d.Category, d.Owner, d.Status, float64(d.Quality)/100, command.Stone(d.Earned), command.Stone(d.Claimed))
			if d.Things > 0 {
				fmt.Fprintf(w, "  behind it %d things\n", d.Things)
			}
		}
		for _, r := range page.Refusals {
			fmt.Fprintf(w, "  refused   %d × %s\n            try: %s\n", r.Count, r.Reason, tryOf(r.Reason))
		}
	})
}

// ownerOf returns the account that registers a device: the owner that its code names, whose key has to be in
// the keyring. from, "" for none, is an account that has to be that.
func ownerOf(l *client.Client, named types.Account, from string) (types.Account, error) {
	if from != "" {
		owner, err := l.Lookup(from)
		if err == nil && owner != named {
			err = advice{fmt.Errorf("device register: the code names owner %v, account %s is %v", named, from, owner),
				"leave --from away, or make the code with --owner " + owner.String()}
		}
		return owner, err
	}
	accounts, err := l.Accounts()
	if err != nil {
		return named, fmt.Errorf("device register: %w", err)
	}
	if !slices.ContainsFunc(accounts, func(a client.Account) bool { return a.Account == named }) {
		return named, advice{fmt.Errorf("device register: the code names owner %v, whose key is not in this home's keyring", named),
			"run this where that key is, or make the code with --owner and an address that cairn account list shows"}
	}
	return named, nil
}

func deviceRegister(c *cobra.Command, args []string) error {
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	statement, err := evidence.ParseCode(args[0], l.Chain())
	if err != nil {
		return advice{fmt.Errorf("device register: %w", err), "copy the code whole: cairn-node code shows it"}
	}
	from, _ := c.Flags().GetString("from")
	owner, err := ownerOf(l, statement.Statement.Owner, from)
	if err != nil {
		return err
	}
	text, _ := c.Flags().GetString("bond")
	bond, err := command.ParseStone(text)
	if err != nil {
		return usageError{c.CommandPath(), err}
	}
	done, err := l.Submit(c.Context(), owner, ledger.Register{Statement: *statement, Bond: bond})
	if err != nil {
		return fmt.Errorf("device register: %w", err)
	}
	out := struct {
		Device types.Key `json:"device"`
		Height uint64    `json:"height"`
		Tx     string    `json:"tx"`
	}{statement.Statement.Device, done.Height, done.TxHash}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "registered %v in block %d; it counts from the next epoch\n", out.Device, out.Height)
	})
}
