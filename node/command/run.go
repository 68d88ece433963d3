package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/service/role"
)

func runCommand(devices []role.Device) *cobra.Command {
	c := &cobra.Command{
		Use:     "run",
		Short:   "Provide, until interrupted",
		Example: "  cairn-node run\n  cairn-node run --log debug",
	}
	c.Flags().String("listen", "", "where status and metrics are served, instead of where the settings say ($CAIRN_NODE_LISTEN does the same)")
	c.Flags().String("disk-warn", disk.Size(disk.Warn), "free disk space below which log and status warn (0: never)")
	c.Flags().String("disk-stop", disk.Size(disk.Stop), "free disk space below which nothing new is taken on; what is held is proven and served (0: never)")
	c.Flags().StringSlice("new-folder", nil, "categories whose folder is lost for good: begin anew there, once; without it a folder that is missing ends the start")
	c.Flags().String("log", "info", "what to log: debug, info, warn or error")
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := homeOf(c)
		if err != nil {
			return err
		}
		text, _ := c.Flags().GetString("log")
		var level slog.Level
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return usage{c.CommandPath(), fmt.Errorf("%s: no log level %q", c.CommandPath(), text)}
		}
		log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
		s, err := load(home)
		if err != nil {
			return err
		}
		s.Listen = cmp.Or(os.Getenv("CAIRN_NODE_LISTEN"), s.Listen)
		if listen, _ := c.Flags().GetString("listen"); c.Flags().Changed("listen") {
			s.Listen = listen
		}
		err = node.Examine(home, func(f health.Finding) {
			log.Error("a file of the home is damaged", "file", f.What, "what", f.Text, "lost", f.Lost, "moved_to", f.Mended)
		})
		if err != nil {
			return err
		}
		limits, err := diskLimits(c)
		if err != nil {
			return err
		}
		lost, _ := c.Flags().GetStringSlice("new-folder")
		for _, name := range lost {
			if _, ok := s.Categories[name]; !ok {
				return types.Refuse(types.BadArgument, "--new-folder %s: this device offers no such category", name)
			}
		}
		n, buses, err := build(home, s, devices, limits, lost, log)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		log.Info("running", "device", n.Key(), "home", home)
		following := make(chan struct{})
		go func() {
			defer close(following)
			manifest.Follow(ctx, home, s.Network, log, buses.Set)
		}()
		defer func() { stop(); <-following }()
		return n.Run(ctx)
	}
	return c
}

// diskLimits reads the flags.
func diskLimits(c *cobra.Command) (l disk.Limits, err error) {
	for name, to := range map[string]*uint64{"disk-warn": &l.Warn, "disk-stop": &l.Stop} {
		text, _ := c.Flags().GetString(name)
		if *to, err = disk.ParseSize(text); err != nil {
			return l, usage{c.CommandPath(), fmt.Errorf("%s: --%s: %w", c.CommandPath(), name, err)}
		}
	}
	if err := l.Check(); err != nil {
		return l, usage{c.CommandPath(), fmt.Errorf("%s: %w", c.CommandPath(), err)}
	}
	return l, nil
}

// providersOf makes what the settings say.
func providersOf(s *node.Settings, devices []role.Device) ([]role.Provider, error) {
	var providers []role.Provider
	left := len(s.Categories)
	for _, d := range devices {
		name := d.Category.String()
		settings, ok := s.Categories[name]
		if !ok {
			continue
		}
		left--
		if err := s.Check(name, reflect.New(reflect.TypeOf(d.Settings)).Interface()); err != nil {
			return nil, advice{fmt.Errorf("%s: %w", node.SettingsFile, err), "mend that line, or run init again"}
		}
		p, err := d.New(settings)
		if err != nil {
			return nil, advice{fmt.Errorf("%s: %w", node.SettingsFile, err), "mend the section " + name + ", or run init again"}
		}
		providers = append(providers, p)
	}
	if left != 0 {
		return nil, advice{fmt.Errorf("%s offers a category that this program does not provide", node.SettingsFile), "upgrade it, or run init again"}
	}
	return providers, nil
}

// build makes the node of a home, and where it looks for the bus.
func build(home string, s *node.Settings, devices []role.Device, limits disk.Limits, newFolders []string, log *slog.Logger) (*node.Node, *manifest.Buses, error) {
	providers, err := providersOf(s, devices)
	if err != nil {
		return nil, nil, err
	}
	network, err := joined(home)
	if err != nil {
		return nil, nil, err
	}
	pin, err := network.Pin(s.Region)
	if err != nil {
		return nil, nil, advice{err, "run init again: it says in which region the device is"}
	}
	claim, err := s.Claim(home, network.Chain)
	if err != nil {
		return nil, nil, err
	}
	buses := manifest.NewBuses(network, log)
	n, err := node.New(node.Config{
		Home: home, Owner: s.Owner, Cell: s.Cell, Pin: pin, Dial: buses.Dial, Listen: s.Listen, Disk: limits,
		Register: "cairn device register " + claim.Code(), NewFolders: newFolders,
	}, providers, log)
	return n, buses, err
}

// joined returns the manifest of the network that a home belongs to.
func joined(home string) (*manifest.Manifest, error) {
	m, err := manifest.Load(home)
	if err != nil {
		return nil, advice{err, "run init again with the network's manifest: --network FILE|URL"}
	}
	return &m.Manifest, nil
}

func statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "status",
		Short:   "Say what the device provides, what it earned, what was refused and why, and what to do next",
		Example: "  cairn-node status\n  cairn-node status --json",
	}
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := homeOf(c)
		if err != nil {
			return err
		}
		if _, err := load(home); err != nil {
			return err
		}
		s, err := fetchStatus(c.Context(), home)
		if err != nil {
			return err
		}
		return output(c, s, func(w io.Writer) { printStatus(w, s) })
	}
	return c
}

// fetchStatus asks the node that runs in home.
func fetchStatus(ctx context.Context, home string) (*node.Status, error) {
	address, err := node.StatusAddress(home)
	if err != nil {
		return nil, advice{types.Refuse(types.NotRunning, "status: no node runs in %s", home), "cairn-node run"}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/status", nil)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, advice{types.Refuse(types.NotRunning, "status: nothing answers at %s", address), "cairn-node run"}
	}
	defer res.Body.Close()
	s := new(node.Status)
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(s); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

func printStatus(out io.Writer, s *node.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	state := "online"
	if !s.Online {
		state = "offline"
	}
	fmt.Fprintf(w, "device\t%v\nowner\t%v\nnetwork\t%s, region %d, %s, epoch %d, block %d\n", s.Device, s.Owner, s.Chain, s.Region, state, s.Epoch, s.Height)
	if s.Problem != "" {
		fmt.Fprintf(w, "problem\t%s\n", s.Problem)
	}
	for _, r := range s.Remarks {
		fmt.Fprintf(w, "problem\t%s (%s)\n", r.Text, r.Reason)
	}
	for _, p := range s.Providers {
		line := p.State
		if p.Quality != nil {
			line += fmt.Sprintf(", quality %d.%02d %%", *p.Quality/100, *p.Quality%100)
		}
		if p.Restarts > 0 {
			line += fmt.Sprintf(", failed %d times", p.Restarts)
		}
		fmt.Fprintf(w, "provides\t%s: %s\n", p.Category, line)
		for _, line := range p.Serves {
			fmt.Fprintf(w, "  serves\t%s\n", line)
		}
		for _, r := range p.Remarks {
			fmt.Fprintf(w, "  note\t%s (%s)\n", r.Text, r.Reason)
		}
	}
	fmt.Fprintf(w, "earned\ttoday %s, in total %s, of which final %s\n", stone(s.Earned.Today), stone(s.Earned.Total), stone(s.Earned.Final))
	fmt.Fprintf(w, "evidence\t%d handed in, %d acknowledged, %d counted, %d waiting\n", s.Submitted, s.Acked, s.Counted, s.Pending)
	for _, r := range s.Refused {
		fmt.Fprintf(w, "refused\t%d × %s: %s\n", r.Count, r.Reason, r.What)
	}
	fmt.Fprintf(w, "next\t%s\n", s.Next)
	w.Flush() // like all printing here, to a terminal or a pipe that may have gone
}

// stone writes an amount in STONE.
func stone(a types.Ustone) string { return fmt.Sprintf("%d.%06d STONE", a/1_000_000, a%1_000_000) }
