package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/process"
)

// roleCommand is `cairn ROLE`, of a role that runs as a process of its own, with init, run, check, status and
// unit. flags adds what init takes, and fill sets the settings by it. more are further commands.
func roleCommand[S any](r process.Role[S], short string, flags func(*cobra.Command), fill func(c *cobra.Command, home string, s *S) error, more ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{Use: r.Name, Short: short, Example: fmt.Sprintf("  cairn %s init\n  cairn %s run", r.Name, r.Name)}
	root.AddCommand(roleInit(r, flags, fill), roleRun(r), roleCheck(r), roleStatus(r), roleUnit(r))
	root.AddCommand(more...)
	return root
}

// roleFlags gives a command of a role --home and --json.
func roleFlags(name string, c *cobra.Command) *cobra.Command {
	c.Flags().String("home", "", fmt.Sprintf("the home of this %s (default $%s, else ~/.cairn-%s)", name, homeVariable(name), name))
	c.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
	return c
}

func homeVariable(name string) string { return "CAIRN_" + strings.ToUpper(name) + "_HOME" }

// roleHome returns the home that a role's command works on.
func roleHome(name string, c *cobra.Command) (string, error) {
	if home, _ := c.Flags().GetString("home"); home != "" {
		return filepath.Abs(home)
	}
	if home := os.Getenv(homeVariable(name)); home != "" {
		return filepath.Abs(home)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", advice{fmt.Errorf("home: %w", err), "name one with --home"}
	}
	return filepath.Join(user, ".cairn-"+name), nil
}

func roleInit[S any](r process.Role[S], flags func(*cobra.Command), fill func(*cobra.Command, string, *S) error) *cobra.Command {
	c := &cobra.Command{
		Use: "init", Short: fmt.Sprintf("Write %s.yaml with every default and a sentence for each, and make what the %s needs", r.Name, r.Name), Args: exactly(),
		Example: fmt.Sprintf("  cairn %s init\n  cairn %s init --home /var/lib/cairn-%s", r.Name, r.Name, r.Name),
	}
	c.Flags().String("listen-status", "", "where /healthz and /metrics are served, as host:port (the default is in the settings)")
	c.Flags().Bool("force", false, "write the settings anew where there are some; keys stay")
	if flags != nil {
		flags(c)
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := roleHome(r.Name, c)
		if err != nil {
			return err
		}
		force, _ := c.Flags().GetBool("force")
		if _, err := os.Stat(filepath.Join(home, r.Name+".yaml")); err == nil && !force {
			return advice{fmt.Errorf("%s has settings already", home), "edit them, or write them anew with --force; keys stay"}
		}
		s := r.Defaults()
		if c.Flags().Changed("listen-status") {
			r.Common(&s).Listen, _ = c.Flags().GetString("listen-status")
		}
		if err := os.MkdirAll(home, 0o700); err != nil {
			return fmt.Errorf("home: %w", err)
		}
		if fill != nil {
			if err := fill(c, home, &s); err != nil {
				return err
			}
		}
		path, err := r.Init(home, s, force)
		if err != nil {
			return err
		}
		return outputOf(c).print(map[string]string{"settings": path}, func(w io.Writer) { fmt.Fprintf(w, "%s\n", path) })
	}
	return roleFlags(r.Name, c)
}

func roleRun[S any](r process.Role[S]) *cobra.Command {
	c := &cobra.Command{
		Use: "run", Short: fmt.Sprintf("Run the %s until it is told to stop (SIGTERM, SIGINT)", r.Name), Args: exactly(),
		Long:    fmt.Sprintf("It waits for what is away and says so at /healthz. It ends with status 0 when it was told to, 1 for what failed and 2 for\nsettings that were not understood (%s.yaml in its home).", r.Name),
		Example: fmt.Sprintf("  cairn %s run\n  cairn %s run --log-level debug", r.Name, r.Name),
	}
	c.Flags().String("log-level", "", "how much the log says: debug, info, warn or error (default as the settings say)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := roleHome(r.Name, c)
		if err != nil {
			return err
		}
		return roleError(r.Name, c, r.Start(c.Context(), home, c.ErrOrStderr(), func(s *S) error {
			name, _ := c.Flags().GetString("log-level")
			if name == "" {
				return nil
			}
			var level slog.Level
			if err := level.UnmarshalText([]byte(name)); err != nil {
				return usageError{c.CommandPath(), fmt.Errorf("--log-level %q: debug, info, warn or error", name)}
			}
			r.Common(s).Log.Level = level
			return nil
		}))
	}
	return roleFlags(r.Name, c)
}

// roleError says what to do about an error of a role's home.
func roleError(name string, c *cobra.Command, err error) error {
	var wrong *process.SettingsError
	switch {
	case errors.As(err, &wrong):
		return usageError{"cairn " + name + " init", err}
	case errors.Is(err, fs.ErrNotExist) && strings.Contains(err.Error(), name+".yaml"):
		return advice{err, "cairn " + name + " init"}
	}
	return err
}

func roleCheck[S any](r process.Role[S]) *cobra.Command {
	c := &cobra.Command{
		Use: "check", Short: "Say whether the settings can be read, and where not", Args: exactly(), Example: fmt.Sprintf("  cairn %s check", r.Name),
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := roleHome(r.Name, c)
		if err != nil {
			return err
		}
		if _, err := r.Load(home); err != nil {
			return roleError(r.Name, c, err)
		}
		path := filepath.Join(home, r.Name+".yaml")
		return outputOf(c).print(map[string]string{"settings": path}, func(w io.Writer) { fmt.Fprintf(w, "%s can be read\n", path) })
	}
	return roleFlags(r.Name, c)
}

func roleStatus[S any](r process.Role[S]) *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Say what the running process has, and what it waits for", Args: exactly(), Example: fmt.Sprintf("  cairn %s status --json", r.Name),
		Long: "It prints what /healthz says, and ends with status 1 where something is missing.",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		home, err := roleHome(r.Name, c)
		if err != nil {
			return err
		}
		report, err := process.Ask(c.Context(), home)
		if err != nil {
			return advice{err, "cairn " + r.Name + " run"}
		}
		err = outputOf(c).print(report, func(w io.Writer) {
			for _, check := range report.Checks {
				if check.OK {
					fmt.Fprintf(w, "ok      %s\n", check.Name)
				} else {
					fmt.Fprintf(w, "missing %s: %s\n", check.Name, check.Missing)
				}
			}
		})
		if err == nil && !report.Healthy {
			return fmt.Errorf("this %s lacks something", r.Name)
		}
		return err
	}
	return roleFlags(r.Name, c)
}

// roleKey is `cairn ROLE key`, which prints the public part of what get returns.
func roleKey(name, short, long string, get func(home string) (types.PrivateKey, error)) *cobra.Command {
	return roleFlags(name, &cobra.Command{
		Use: "key", Short: short, Long: long, Args: exactly(), Example: fmt.Sprintf("  cairn %s key", name),
		RunE: func(c *cobra.Command, _ []string) error {
			home, err := roleHome(name, c)
			if err != nil {
				return err
			}
			key, err := get(home)
			if err != nil {
				return err
			}
			return outputOf(c).print(map[string]types.Key{"key": key.Public()}, func(w io.Writer) { fmt.Fprintln(w, key.Public()) })
		},
	})
}

func roleUnit[S any](r process.Role[S]) *cobra.Command {
	c := &cobra.Command{
		Use: "unit", Short: "Print a systemd unit that runs it from boot on, with no rights that it does not need", Args: exactly(),
		Example: fmt.Sprintf("  cairn %s unit | sudo tee /etc/systemd/system/cairn-%s.service", r.Name, r.Name),
	}
	c.Flags().String("user", "", "the account that it runs under (default: systemd makes one)")
	c.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
	c.RunE = func(c *cobra.Command, _ []string) error {
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("unit: %w", err)
		}
		who, _ := c.Flags().GetString("user")
		text := process.Unit(r.Name, program, who)
		return outputOf(c).print(map[string]string{"unit": text}, func(w io.Writer) { fmt.Fprint(w, text) })
	}
	return c
}
