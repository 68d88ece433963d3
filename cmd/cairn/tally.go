package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role/command"
)

func tallyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "tally", Short: "Tallies: list them, recompute them",
		Example: "  cairn tally list\n  cairn tally verify --epoch 12",
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the newest tallies", Args: exactly(), RunE: tallyList,
		Example: "  cairn tally list --limit 20"}
	list.Flags().Int("limit", 20, "how many, at most 1,000")
	c.AddCommand(placeFlags(list), tallyVerifyCommand())
	return c
}

// tallyRow is what scripts may rely on of a tally; the API's /api/tallies says more.
type tallyRow struct {
	Epoch   types.Epoch   `json:"epoch"`
	Region  types.Region  `json:"region"`
	Header  string        `json:"header"`
	Status  ledger.Status `json:"status"`
	Counted uint64        `json:"counted"`
	Refused uint64        `json:"refused"`
	Paid    types.Credit  `json:"paid,string"`
	Amount  types.Ustone  `json:"amount,string"`
}

func tallyList(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	limit, _ := c.Flags().GetInt("limit")
	if limit < 1 || limit > 1000 {
		return usageError{c.CommandPath(), fmt.Errorf("%s: --limit %d: want 1 to 1,000", c.CommandPath(), limit)}
	}
	var tallies []explorer.Tally
	if err := a.get(c.Context(), "/api/tallies?limit="+strconv.Itoa(limit), &tallies); err != nil {
		return fmt.Errorf("tally list: %w", err)
	}
	lines := make([]tallyRow, len(tallies))
	for i, t := range tallies {
		lines[i] = tallyRow{t.Epoch, t.Region, t.Header, t.Status, t.Counted, t.Refused, t.Paid, t.Amount}
	}
	return outputOf(c).print(lines, func(w io.Writer) {
		rows := make([][]string, len(tallies))
		for i, t := range tallies {
			rows[i] = []string{fmt.Sprint(t.Epoch), fmt.Sprint(t.Region), t.Header, string(t.Status), fmt.Sprint(t.Counted), fmt.Sprint(t.Refused), command.Dollars(t.Paid), command.Stone(t.Amount)}
		}
		table(w, []string{"EPOCH", "REGION", "HEADER", "STATUS", "COUNTED", "REFUSED", "PAID", "AMOUNT"}, rows)
	})
}
