package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/explorer"
)

func tallyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "tally", Short: "Tallies: list them, recompute them",
		Example: "  cairn tally list\n  cairn tally verify --epoch 12",
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the newest tallies", Args: exactly(), RunE: tallyList,
		Example: "  cairn tally list --limit 20"}
	list.Flags().Int("limit", 20, "how many, at most 1,000")
	c.AddCommand(homeFlags(list))
	return c
}

func tallyList(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	limit, _ := c.Flags().GetInt("limit")
	var tallies []explorer.Tally
	if err := a.get(c.Context(), "/api/tallies?limit="+strconv.Itoa(limit), &tallies); err != nil {
		return fmt.Errorf("tally list: %w", err)
	}
	return outputOf(c).print(tallies, func(w io.Writer) {
		rows := make([][]string, len(tallies))
		for i, t := range tallies {
			rows[i] = []string{fmt.Sprint(t.Epoch), fmt.Sprint(t.Region), t.Header, string(t.Status), fmt.Sprint(t.Counted), fmt.Sprint(t.Refused), dollars(t.Paid), stone(t.Amount)}
		}
		table(w, []string{"EPOCH", "REGION", "HEADER", "STATUS", "COUNTED", "REFUSED", "PAID", "AMOUNT"}, rows)
	})
}
