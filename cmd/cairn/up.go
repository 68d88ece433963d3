package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/all/simulator"
	"github.com/cairn-network/cairn/service/role"
)

func upCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "up", Short: "Start a whole network on this machine and do a first round of real work", Args: exactly(),
		Long: `up starts a chain, verifiers, independent devices, a gateway and a page in one process, has a customer use them, and has
the devices' owners paid. It keeps everything in its home and goes on there the next time. Keys are in an unencrypted
keyring that only you can read: this is a network to try things on, not one to keep money in.`,
		Example: "  cairn up\n  cairn up --home /tmp/cairn --once --json\n  cairn up --validators 4 --nodes 12",
	}
	c.Flags().Int("validators", 0, "validators, each with a verifier (default 1; fixed once the home exists)")
	c.Flags().Int("nodes", 0, "devices (default 8; may grow)")
	c.Flags().Int("homes", 0, "homes behind simulated meters and inverters (default 8, 0 for none; may grow)")
	simulators := simulator.Simulators()
	for _, s := range simulators {
		if s.Flags != nil {
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			s.Flags(flags)
			c.Flags().AddGoFlagSet(flags)
		}
	}
	c.Flags().String("listen", "", "where page and API listen (default 127.0.0.1:8420; port 0 takes a free one)")
	c.Flags().StringSlice("host", nil, "a name that page and API are reached under, besides addresses and localhost; * for any")
	c.Flags().StringSlice("gateway", nil, "the key of a gateway that runs on its own (cairn gateway key), which may log on to the bus; once for each")
	c.Flags().Duration("block-time", 0, "time between blocks of a new network (default 400ms)")
	c.Flags().String("disk-warn", disk.Size(disk.Warn), "free disk space below which it warns (0: never)")
	c.Flags().String("disk-stop", disk.Size(disk.Stop), "free disk space below which it stops, while it can do so in order (0: never)")
	c.Flags().StringSlice("new-folder", nil, "categories of which a device's folder is lost for good: begin anew there; without it a folder that is missing ends the start")
	c.Flags().Bool("once", false, "stop after the first round")
	c.Flags().String("log", "", fmt.Sprintf("write a log to this file (default HOME/cairn.log); it is begun anew at %d MiB, and %d before it are kept", process.LogMegabytes, process.LogsKept))
	c.Flags().String("log-level", "info", "how much the log says: debug, info, warn or error; the chain's everyday lines only with debug")
	c.RunE = func(c *cobra.Command, _ []string) error { return up(c, simulators) }
	return homeFlags(c)
}

func up(c *cobra.Command, simulators []role.Simulator) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	show := newSteps(c.ErrOrStderr())
	cfg := network.Config{Home: home, Progress: show.step}
	cfg.Validators, _ = c.Flags().GetInt("validators")
	cfg.Nodes, _ = c.Flags().GetInt("nodes")
	if cfg.Homes, _ = c.Flags().GetInt("homes"); cfg.Homes == 0 && c.Flags().Changed("homes") {
		cfg.Homes = -1
	}
	cfg.Simulators = simulators
	cfg.Listen, _ = c.Flags().GetString("listen")
	cfg.Hosts, _ = c.Flags().GetStringSlice("host")
	gateways, _ := c.Flags().GetStringSlice("gateway")
	for _, text := range gateways {
		key, err := types.ParseKey(text)
		if err != nil {
			return usageError{c.CommandPath(), fmt.Errorf("--gateway: %w", err)}
		}
		cfg.Gateways = append(cfg.Gateways, key)
	}
	cfg.NewFolders, _ = c.Flags().GetStringSlice("new-folder")
	cfg.BlockTime, _ = c.Flags().GetDuration("block-time")
	for _, name := range []string{"validators", "nodes"} {
		if n, _ := c.Flags().GetInt(name); n < 1 && c.Flags().Changed(name) {
			return usageError{c.CommandPath(), fmt.Errorf("%s: --%s %d: want 1 or more", c.CommandPath(), name, n)}
		}
	}
	if homes, _ := c.Flags().GetInt("homes"); homes < 0 {
		return usageError{c.CommandPath(), fmt.Errorf("%s: --homes %d: want 0 or more", c.CommandPath(), homes)}
	}
	if c.Flags().Changed("block-time") && cfg.BlockTime <= 0 {
		return usageError{c.CommandPath(), fmt.Errorf("%s: --block-time %v: want more than 0", c.CommandPath(), cfg.BlockTime)}
	}
	if cfg.Disk, err = diskOf(c); err != nil {
		return usageError{c.CommandPath(), err}
	}
	if err := cfg.Check(); types.ReasonOf(err) == types.BadArgument {
		return usageError{c.CommandPath(), err}
	} else if err != nil {
		return err
	}
	log, closeLog, err := logOf(c, home)
	if err != nil {
		return err
	}
	defer closeLog()
	cfg.Log = log
	fmt.Fprintf(c.ErrOrStderr(), "Cairn in %s (test keyring: unencrypted, for this machine only)\n", home)
	n, err := network.Start(c.Context(), cfg)
	if types.ReasonOf(err) == types.PortInUse && strings.Contains(err.Error(), "listen on") { // not a port that the home keeps
		return advice{err, "name another port: " + c.CommandPath() + " --listen 127.0.0.1:0 takes a free one"}
	}
	if err != nil {
		return err
	}
	defer n.Stop()
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	go func() {
		select {
		case err := <-n.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	summary, err := n.FirstRound(ctx)
	show.end()
	if err != nil {
		return cmpCause(ctx, err)
	}
	out := outputOf(c)
	if once, _ := c.Flags().GetBool("once"); once {
		return out.print(summary, func(w io.Writer) { fmt.Fprintf(w, "done; `cairn up` goes on from here\n") })
	}
	err = out.print(summary, func(w io.Writer) { welcome(w, summary, home) })
	if err != nil {
		return err
	}
	live(ctx, c.ErrOrStderr(), n)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	fmt.Fprintln(c.ErrOrStderr(), "stopping; a second `cairn up` goes on from here")
	return nil
}

// diskOf reads --disk-warn and --disk-stop.
func diskOf(c *cobra.Command) (limits disk.Limits, err error) {
	for name, to := range map[string]*uint64{"disk-warn": &limits.Warn, "disk-stop": &limits.Stop} {
		text, _ := c.Flags().GetString(name)
		if *to, err = disk.ParseSize(text); err != nil {
			return limits, fmt.Errorf("--%s: %w", name, err)
		}
	}
	return limits, limits.Check()
}

// cmpCause prefers why ctx ended to what failed because of it.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// welcome says where the page is and what to try next, as somebody in this shell can type it.
func welcome(w io.Writer, s *network.Summary, home string) {
	program := os.Args[0]
	if found, err := exec.LookPath(filepath.Base(program)); err == nil && sameFile(found, program) {
		program = filepath.Base(program) // the shell finds it by name
	}
	flag := ""
	if user, err := os.UserHomeDir(); err != nil || home != filepath.Join(user, ".cairn") {
		flag = " --home " + home
	}
	fmt.Fprintf(w, "\n  page  %s\n\n  try, in another terminal:\n\n", s.Page)
	for _, line := range append(tries(), "device list", "credit show", "tally list") {
		fmt.Fprintf(w, "        %s %s\n", program, inHome(line, flag))
	}
	fmt.Fprintf(w, "\n  Ctrl-C stops it.\n\n")
}

// inHome puts a flag between a command's words and its arguments: what comes behind those may be somebody else's.
func inHome(line, flag string) string {
	words := strings.Fields(line)
	at := slices.IndexFunc(words, func(w string) bool { return w != strings.ToLower(w) })
	if at < 0 {
		return line + flag
	}
	return strings.Join(words[:at], " ") + flag + " " + strings.Join(words[at:], " ")
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	two, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}

// live shows where the network stands until ctx ends.
func live(ctx context.Context, w io.Writer, n *network.Network) {
	f, ok := w.(*os.File)
	moves := ok && term.IsTerminal(int(f.Fd()))
	var last types.Epoch
	for block := range n.Ledger().Watch(ctx) {
		if moves {
			fmt.Fprintf(w, "\r\x1b[Kblock %d · epoch %d", block.Height, block.Epoch)
		} else if block.Epoch != last {
			fmt.Fprintf(w, "block %d · epoch %d\n", block.Height, block.Epoch)
		}
		last = block.Epoch
	}
	if moves {
		fmt.Fprintln(w)
	}
}

// logOf opens the log.
func logOf(c *cobra.Command, home string) (*slog.Logger, func(), error) {
	path, _ := c.Flags().GetString("log")
	if path == "" {
		if err := os.MkdirAll(home, 0o700); err != nil {
			return nil, nil, fmt.Errorf("log: %w: %w", err, types.HomeUnwritable)
		}
		path = filepath.Join(home, "cairn.log")
	}
	var level slog.Level
	name, _ := c.Flags().GetString("log-level")
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, nil, usageError{c.CommandPath(), fmt.Errorf("--log-level %q: debug, info, warn or error", name)}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("log: %w", err)
	}
	log, done, err := process.Log{Level: level, File: path}.Open(home, nil)
	if err != nil {
		return nil, nil, err
	}
	return log, func() { done() }, nil
}

// steps prints a line for each step: with a moving sign while it takes, on a terminal.
type steps struct {
	w     io.Writer
	moves bool
	stop  func()
}

func newSteps(w io.Writer) *steps {
	f, ok := w.(*os.File)
	return &steps{w: w, moves: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (s *steps) step(st network.Step) {
	s.end()
	if st.Trouble {
		fmt.Fprintf(s.w, "! %s\n", st.Text)
		return
	}
	if st.Done {
		fmt.Fprintf(s.w, "✓ %s\n", st.Text)
		return
	}
	if !s.moves {
		fmt.Fprintf(s.w, "… %s\n", st.Text)
		return
	}
	done, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			fmt.Fprintf(s.w, "\r\x1b[K%c %s", []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[i%10], st.Text)
			select {
			case <-quit:
				fmt.Fprint(s.w, "\r\x1b[K")
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	s.stop = func() {
		close(quit)
		<-done
		s.stop = nil
	}
}

// end takes the moving sign away.
func (s *steps) end() {
	if s.stop != nil {
		s.stop()
	}
}

func downCommand() *cobra.Command {
	return homeFlags(&cobra.Command{
		Use: "down", Short: "Stop the network that runs in a home", Args: exactly(), RunE: down, Example: "  cairn down",
	})
}

func down(c *cobra.Command, _ []string) error {
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	pid, err := network.Running(home)
	if errors.Is(err, network.ErrNotRunning) {
		return outputOf(c).print(map[string]any{"stopped": false}, func(w io.Writer) { fmt.Fprintf(w, "no network runs in %s\n", home) })
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for range 600 { // twice what the chain waits for what still writes
		if _, err := network.Running(home); errors.Is(err, network.ErrNotRunning) {
			return outputOf(c).print(map[string]any{"stopped": true}, func(w io.Writer) { fmt.Fprintf(w, "stopped; `cairn up` goes on from here\n") })
		}
		time.Sleep(100 * time.Millisecond)
	}
	return advice{fmt.Errorf("process %d does not stop", pid), fmt.Sprintf("kill -9 %d: nothing that was acknowledged is lost", pid)}
}
