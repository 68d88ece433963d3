package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role/command"
)

// claimBatch is how many claims go into one transaction.
const claimBatch = 100

func claimCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "claim [DEVICE…]", Short: "Have owners paid what final tallies say their devices earned", RunE: claim,
		Example: "  cairn claim --all\n  cairn claim did:key:z6Mk…",
	}
	c.Flags().Bool("all", false, "claim for every device whose owner's key is in the home's keyring")
	return placeFlags(fromFlag(c))
}

// Claimed is what one device's claim paid.
type Claimed struct {
	Device types.Key    `json:"device"`
	Owner  string       `json:"owner"`
	Epoch  types.Epoch  `json:"epoch"`
	Paid   types.Ustone `json:"paid_ustone,string"`
}

func claim(c *cobra.Command, args []string) error {
	all, _ := c.Flags().GetBool("all")
	if all == (len(args) > 0) {
		return usageError{c.CommandPath(), errors.New("claim: name devices, or --all")}
	}
	l, err := openLedger(c)
	if err != nil {
		return err
	}
	defer l.Close()
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	devices, err := claimants(c, l, args)
	if err != nil {
		return err
	}
	from, err := l.Lookup(fromOf(c))
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	out := struct {
		Claimed types.Ustone `json:"claimed_ustone,string"`
		Devices []Claimed    `json:"devices"`
	}{Devices: []Claimed{}}
	var claims []ledger.Claim
	for _, d := range devices {
		var shown explorer.Proof
		err := a.get(c.Context(), "/api/proof/"+url.PathEscape(d.Device.String()), &shown)
		if reason := types.ReasonOf(err); reason == types.NotFinal || reason == types.UnknownAuthor {
			continue // no final header counts it yet
		}
		if err != nil {
			return fmt.Errorf("claim: proof of %v: %w", d.Device, err)
		}
		proof := shown.Claim()
		before, err := l.Claimed(c.Context(), d.Device)
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		if proof.Leaf.Amount <= before {
			continue
		}
		d.Epoch, d.Paid = proof.Epoch, proof.Leaf.Amount-before
		out.Claimed += d.Paid
		out.Devices = append(out.Devices, d)
		claims = append(claims, proof)
	}
	for len(claims) > 0 {
		n := min(len(claims), claimBatch)
		if _, err := l.Submit(c.Context(), from, ledger.Claims{Claims: claims[:n]}); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		claims = claims[n:]
	}
	return outputOf(c).print(out, func(w io.Writer) {
		rows := make([][]string, len(out.Devices))
		for i, d := range out.Devices {
			rows[i] = []string{d.Device.String(), d.Owner, fmt.Sprint(d.Epoch), command.Stone(d.Paid)}
		}
		table(w, []string{"DEVICE", "OWNER", "UP TO EPOCH", "PAID"}, rows)
		fmt.Fprintf(w, "claimed %s\n", command.Stone(out.Claimed))
	})
}

// claimants lists the devices to claim for: those that are named, or all of this keyring's owners.
func claimants(c *cobra.Command, l *client.Client, names []string) ([]Claimed, error) {
	var list []Claimed
	for _, name := range names {
		key, err := types.ParseKey(name)
		if err != nil {
			return nil, usageError{c.CommandPath(), err}
		}
		d, err := l.Device(c.Context(), key)
		if err != nil {
			return nil, fmt.Errorf("claim: device %v: %w", key, err)
		}
		list = append(list, Claimed{Device: key, Owner: d.Owner.String()})
	}
	if len(names) > 0 {
		return list, nil
	}
	accounts, err := l.Accounts()
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	mine := map[types.Account]string{}
	for _, a := range accounts {
		mine[a.Account] = a.Name
	}
	devices, err := l.Devices(c.Context())
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	for _, d := range devices {
		if owner, ok := mine[d.Owner]; ok {
			list = append(list, Claimed{Device: d.Key, Owner: owner})
		}
	}
	return list, nil
}
