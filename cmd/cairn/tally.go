package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/all/spec"
	"github.com/cairn-network/cairn/service/role/command"
	"github.com/cairn-network/cairn/verifier"
)

func tallyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "tally", Short: "Tallies: list them, recompute them",
		Example: "  cairn tally list\n  cairn tally verify --epoch 12",
	}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the newest tallies", Args: exactly(), RunE: tallyList,
		Example: "  cairn tally list --limit 20"}
	list.Flags().Int("limit", 20, "how many, at most 1,000")
	verify := &cobra.Command{
		Use: "verify", Short: "Recompute a tally from what everybody signed", Args: exactly(), RunE: tallyVerify,
		Long: `verify computes the header of one epoch from its batch and compares it with the one that the chain took. In the home of a running
network it downloads what it needs into HOME/bundles; anywhere else it takes it from there, or from --bundle DIR, and needs no network.
It exits 0 only if both are equal.`,
		Example: "  cairn tally verify --epoch 12\n  cairn tally verify --epoch 12 --home elsewhere --bundle bundles --header 5f3a…",
	}
	verify.Flags().Uint64("epoch", 0, "which epoch")
	verify.Flags().Uint16("region", 0, "which region")
	verify.Flags().String("bundle", "", "folder that holds the bundle (default HOME/bundles)")
	verify.Flags().String("header", "", "hash that the header must have (default what the chain took; offline, the bundle's own)")
	c.AddCommand(homeFlags(list), homeFlags(verify))
	return c
}

// tallyLine is what scripts may rely on of a tally; the API's /api/tallies says more.
type tallyLine struct {
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
	lines := make([]tallyLine, len(tallies))
	for i, t := range tallies {
		lines[i] = tallyLine{t.Epoch, t.Region, t.Header, t.Status, t.Counted, t.Refused, t.Paid, t.Amount}
	}
	return outputOf(c).print(lines, func(w io.Writer) {
		rows := make([][]string, len(tallies))
		for i, t := range tallies {
			rows[i] = []string{fmt.Sprint(t.Epoch), fmt.Sprint(t.Region), t.Header, string(t.Status), fmt.Sprint(t.Counted), fmt.Sprint(t.Refused), command.Dollars(t.Paid), command.Stone(t.Amount)}
		}
		table(w, []string{"EPOCH", "REGION", "HEADER", "STATUS", "COUNTED", "REFUSED", "PAID", "AMOUNT"}, rows)
	})
}

func tallyVerify(c *cobra.Command, _ []string) error {
	epoch, _ := c.Flags().GetUint64("epoch")
	region, _ := c.Flags().GetUint16("region")
	dir, _ := c.Flags().GetString("bundle")
	if epoch == 0 {
		return usageError{c.CommandPath(), errors.New("tally verify: which --epoch?")}
	}
	var expected types.Hash
	if text, _ := c.Flags().GetString("header"); text != "" {
		var err error
		if expected, err = types.ParseHash(text); err != nil {
			return usageError{c.CommandPath(), err}
		}
	}
	if dir == "" {
		var err error
		if dir, err = fetchBundle(c, types.Epoch(epoch), types.Region(region), &expected); err != nil {
			return err
		}
	}
	check, err := verifier.RecomputeFile(dir, types.Epoch(epoch), types.Region(region), expected, 1, spec.Categories(), runtime.GOMAXPROCS(0))
	if errors.Is(err, fs.ErrNotExist) {
		return advice{fmt.Errorf("tally verify: %w", err), "copy the bundle there from a home that has it, or name its folder with --bundle"}
	}
	if err != nil {
		return fmt.Errorf("tally verify: %w", err)
	}
	out := struct {
		Header   types.Hash `json:"header"`   // what the signed items give
		Expected types.Hash `json:"expected"` // what the chain took
		Equal    bool       `json:"equal"`
		Why      string     `json:"why,omitempty"`
	}{check.Header, check.Expected, check.Equal, check.Why}
	err = outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "recomputed  %v\nexpected    %v\n", out.Header, out.Expected)
		if out.Equal {
			fmt.Fprintln(w, "equal")
		}
	})
	if err == nil && !check.Equal {
		err = advice{fmt.Errorf("tally verify: epoch %d, region %d: not equal: %s", epoch, region, check.Why), "fetch the bundle from another verifier; if it stays so, appeal"}
	}
	return err
}

// fetchBundle downloads a tally's inputs into a home, unless they are there, and asks the chain for the header that it took.
func fetchBundle(c *cobra.Command, e types.Epoch, region types.Region, expected *types.Hash) (string, error) {
	home, err := homeOf(c)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, "bundles")
	if _, err := network.ReadAddresses(home); err != nil {
		return dir, nil // another home: it has to have the bundle
	}
	a, err := openAPI(c)
	if err != nil {
		return "", err
	}
	l, err := openLedger(c)
	if err != nil {
		return "", err
	}
	defer l.Close()
	h, err := l.Header(c.Context(), e, region)
	if errors.Is(err, ledger.ErrNotFound) {
		return "", advice{types.Refuse(types.NotFound, "tally verify: epoch %d of region %d has no header", e, region), "cairn tally list shows those that have one"}
	}
	if err != nil {
		return "", fmt.Errorf("tally verify: header of epoch %d: %w", e, err)
	}
	if h.Raw == nil {
		return "", advice{types.Refuse(types.NotFound, "tally verify: epoch %d of region %d is %s: it has no header", e, region, h.Status), "cairn tally list shows those that have one"}
	}
	if expected.IsZero() {
		*expected = h.Hash
	}
	res, err := a.do(c.Context(), "GET", fmt.Sprintf("/api/tallies/%d/%d/bundle", e, region), nil, 0)
	if err != nil {
		return "", fmt.Errorf("tally verify: bundle: %w", err)
	}
	defer res.Body.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("tally verify: %w: %w", err, types.HomeUnwritable)
	}
	f, err := os.CreateTemp(dir, ".bundle-*")
	if err != nil {
		return "", fmt.Errorf("tally verify: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, res.Body)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return "", fmt.Errorf("tally verify: bundle: %w", err)
	}
	return dir, os.Rename(f.Name(), filepath.Join(dir, verifier.BundleName(e, region)))
}
