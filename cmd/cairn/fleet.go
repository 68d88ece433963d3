package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

func fleetCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "fleet", Short: "Things behind a device of yours: commit to their keys, show what is committed to",
		Example: "  cairn device fleet set did:key:z6Mk… things.txt\n  cairn device fleet show did:key:z6Mk…",
	}
	set := &cobra.Command{
		Use: "set DEVICE FILE", Short: "Say which things are behind a device, in place of what was said before",
		Args: exactly("DEVICE", "FILE"), RunE: fleetSet,
		Long: "Say which things are behind a device, in place of what was said before.\n\n" +
			"FILE has one thing on each line: its key (did:key:z6Mk…) and, after a blank, its attributes in hexadecimal\n" +
			"if it has any. Empty lines and those that begin with # are left out. The chain keeps one root over all of\n" +
			"them, in the order of the lines, and their number. A thing counts once it has agreed to be behind this\n" +
			"device (docs/spec/fleet.md).",
		Example: "  cairn device fleet set did:key:z6Mk… things.txt",
	}
	clearing := &cobra.Command{Use: "clear DEVICE", Short: "Say that no things are behind a device",
		Args: exactly("DEVICE"), RunE: fleetClear, Example: "  cairn device fleet clear did:key:z6Mk…"}
	show := &cobra.Command{Use: "show DEVICE", Short: "Show what the chain has of a device's fleet",
		Args: exactly("DEVICE"), RunE: fleetShow,
		Example: "  cairn device fleet show did:key:z6Mk…\n  cairn device fleet show did:key:z6Mk… --file things.txt"}
	show.Flags().String("file", "", "a file of things: say whether it is the fleet that is set")
	c.AddCommand(placeFlags(set), placeFlags(clearing), placeFlags(show))
	return c
}

// maxThings bounds a file of things, in bytes: as many as a fleet takes, with attributes of the longest, would be
// 600 MiB.
const maxThings = 1 << 30

// readThings reads a file of things.
func readThings(c *cobra.Command, path string) (*fleet.Roster, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.CommandPath(), err)
	}
	defer file.Close()
	things, err := fleet.ReadList(io.LimitReader(file, maxThings))
	if err != nil {
		return nil, advice{fmt.Errorf("%s: %s: %w", c.CommandPath(), path, err),
			fmt.Sprintf("mend these lines: one thing on each, a key and its attributes in hexadecimal; at most %d", fleet.MaxCount)}
	}
	return fleet.NewRoster(things)
}

// fleetDevice opens the chain, and returns a device of it.
func fleetDevice(c *cobra.Command, text string) (*client.Client, *ledger.Device, error) {
	key, err := types.ParseKey(text)
	if err != nil {
		return nil, nil, usageError{c.CommandPath(), fmt.Errorf("%s: %w", c.CommandPath(), err)}
	}
	l, err := openLedger(c)
	if err != nil {
		return nil, nil, err
	}
	d, err := l.Device(c.Context(), key)
	if err != nil {
		l.Close()
		return nil, nil, fmt.Errorf("%s: device %v: %w", c.CommandPath(), key, err)
	}
	return l, d, nil
}

// fleetOut is what scripts may rely on of a fleet.
type fleetOut struct {
	Device types.Key `json:"device"`
	Things uint64    `json:"things"`
	Root   string    `json:"root,omitempty"`
	Height uint64    `json:"height,omitempty"`
	Tx     string    `json:"tx,omitempty"`
	Same   *bool     `json:"same,omitempty"`
}

func fleetOf(device types.Key, f fleet.Fleet) fleetOut {
	out := fleetOut{Device: device, Things: f.Count}
	if !f.None() {
		out.Root = f.Root.String()
	}
	return out
}

func (f *fleetOut) String() string {
	if f.Things == 0 {
		return "no things"
	}
	return fmt.Sprintf("%d things under root %s", f.Things, f.Root)
}

func fleetSet(c *cobra.Command, args []string) error {
	roster, err := readThings(c, args[1])
	if err != nil {
		return err
	}
	f := roster.Fleet()
	if f.None() {
		return advice{types.Refuse(types.BadArgument, "%s: %s has no things", c.CommandPath(), args[1]),
			"cairn device fleet clear says that there are none"}
	}
	return fleetSubmit(c, args[0], f)
}

func fleetClear(c *cobra.Command, args []string) error { return fleetSubmit(c, args[0], fleet.Fleet{}) }

// fleetSubmit sets a fleet in the name of the device's owner.
func fleetSubmit(c *cobra.Command, device string, f fleet.Fleet) error {
	l, d, err := fleetDevice(c, device)
	if err != nil {
		return err
	}
	defer l.Close()
	accounts, err := l.Accounts()
	if err != nil {
		return fmt.Errorf("%s: %w", c.CommandPath(), err)
	}
	if !slices.ContainsFunc(accounts, func(a client.Account) bool { return a.Account == d.Owner }) {
		return advice{types.Refuse(types.NotOwner, "%s: device %v is of %v, whose key is not in this home's keyring",
			c.CommandPath(), d.Key, d.Owner), "run this where that key is"}
	}
	out := fleetOf(d.Key, f)
	if d.Fleet == f { // it would cost what a change costs, and change nothing
		return outputOf(c).print(out, func(w io.Writer) { fmt.Fprintf(w, "set already: %s\n", &out) })
	}
	done, err := l.Submit(c.Context(), d.Owner, ledger.SetFleet{Device: d.Key, Fleet: f})
	if err != nil {
		return fmt.Errorf("%s: %w", c.CommandPath(), err)
	}
	out.Height, out.Tx = done.Height, done.TxHash
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "set in block %d: %s; it counts from the next epoch\n", out.Height, &out)
	})
}

func fleetShow(c *cobra.Command, args []string) error {
	var file *fleet.Roster
	path, _ := c.Flags().GetString("file")
	if path != "" {
		var err error
		if file, err = readThings(c, path); err != nil {
			return err
		}
	}
	l, d, err := fleetDevice(c, args[0])
	if err != nil {
		return err
	}
	defer l.Close()
	out := fleetOf(d.Key, d.Fleet)
	if file != nil {
		same := file.Fleet() == d.Fleet
		out.Same = &same
	}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%v\n  fleet     %s\n", out.Device, &out)
		switch {
		case out.Same == nil:
		case *out.Same:
			fmt.Fprintf(w, "  file      %s is this fleet\n", path)
		default:
			have := fleetOf(d.Key, file.Fleet())
			fmt.Fprintf(w, "  file      %s is another: %s\n", path, &have)
		}
	})
}
