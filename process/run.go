package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/internal/settings"
)

// Settings are what every role has: its section `process`.
type Settings struct {
	Listen     string   `json:"listen" doc:"Where /healthz and /metrics are served, as host:port; \"\" for nowhere. Whoever reaches it can read them."`
	StopWithin Duration `json:"stop_within" doc:"How long the process may take to end in order when it is told to; then it ends as it is."`
	Log        Log      `json:"log" doc:"What is logged, and where."`
	DiskWarn   Size     `json:"disk_warn" doc:"The free space of the home's disk below which the log warns; 0 for never."`
	DiskStop   Size     `json:"disk_stop" doc:"The free space below which the process stops in order; 0 for never."`
}

// Default returns the settings that a role begins with. listen is its own.
func Default(listen string) Settings {
	return Settings{Listen: listen, StopWithin: Duration(30 * time.Second), Log: Log{Stderr: true}, DiskWarn: Size(disk.Warn), DiskStop: Size(disk.Stop)}
}

// Duration is written as 1m30s.
type Duration time.Duration

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%.40q is no duration: want a number with a unit, as 30s, 5m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// Size is written as 2GiB.
type Size uint64

// MarshalText writes it.
func (s Size) MarshalText() ([]byte, error) { return []byte(disk.Size(uint64(s))), nil }

// UnmarshalText reads it.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := disk.ParseSize(string(text))
	*s = Size(v)
	return err
}

// Role is a kind of process. S are its settings, a struct with `json` and `doc` tags.
type Role[S any] struct {
	Name     string // "bus": its settings are bus.yaml, its figures cairn_bus_…
	About    string // what the settings file says at its top
	Defaults func() S
	Common   func(*S) *Settings // the section `process`
	// Check refuses settings that can't work, before anything starts; nil takes all.
	Check func(home string, s *S) error
	// Run does the role's work until ctx ends, and returns nil then. An error before is one that does not mend
	// itself.
	Run func(ctx context.Context, p *Process, s *S) error
}

// Process is what a role's Run works with.
type Process struct {
	Home    string
	Log     *slog.Logger
	Health  *Health
	Figures *Figures

	// Slow is the longest wait between two tries (Try); the first are sooner. Tests shorten it.
	slow time.Duration
}

// NewProcess returns one for a role that runs inside another process, as those of `cairn up` do: with nobody
// who asks for its health.
func NewProcess(name, home string, log *slog.Logger) *Process {
	return &Process{Home: home, Log: log, Health: new(Health), Figures: NewFigures(name), slow: 15 * time.Second}
}

// Path is a path below the home.
func (p *Process) Path(parts ...string) string {
	return filepath.Join(append([]string{p.Home}, parts...)...)
}

// Lasting reports whether an error is of a kind that no waiting mends.
func Lasting(err error) bool {
	switch types.ReasonOf(err) {
	case types.HomeBusy, types.HomeDamaged, types.HomeFormat, types.HomeChanged, types.HomeUnwritable, types.PortInUse, types.BadArgument,
		types.WrongChain, types.DiskFull, types.ClockOff:
		return true
	}
	return false
}

// Try does something until it succeeds, ctx ends or the error is Lasting. Between two tries it waits up to 15
// s, less a part at random, so that all that wait for one thing do not come back in one moment. Meanwhile the
// health says under name what is missing.
func (p *Process) Try(ctx context.Context, name string, do func(context.Context) error) error {
	var mu sync.Mutex
	missing := fmt.Errorf("%s: not there yet", name)
	look := func() error { mu.Lock(); defer mu.Unlock(); return missing }
	p.Health.Add(name, look)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, cmp.Or(p.slow, 15*time.Second)) {
		err := do(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && Lasting(err) {
			return err
		}
		mu.Lock()
		before := missing
		missing = err
		mu.Unlock()
		if err == nil {
			return nil
		}
		if before.Error() != err.Error() {
			p.Log.Warn("waiting", "for", name, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait - rand.N(wait/2)):
		}
	}
}

// file is where a role's settings are.
func (r *Role[S]) file(home string) string { return filepath.Join(home, r.Name+".yaml") }

// Init writes the settings file of a home. It returns fs.ErrExist where there is one, unless it may be replaced.
func (r *Role[S]) Init(home string, s S, replace bool) (path string, err error) {
	if r.Check != nil {
		if err := r.Check(home, &s); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", types.Refuse(types.HomeUnwritable, "home: %v", err)
	}
	text, err := settings.Encode(r.About, s, nil)
	if err != nil {
		return "", fmt.Errorf("%s: settings: %w", r.Name, err)
	}
	path = r.file(home)
	if replace {
		err = files.Replace(path, text, 0o600)
	} else {
		err = files.Create(path, text)
	}
	if err != nil {
		return "", fmt.Errorf("%s: settings: %w", r.Name, err)
	}
	return path, nil
}

// maxSettings bounds a settings file, in bytes.
const maxSettings = 1 << 20

// SettingsError says that settings can't be read, or can't work.
type SettingsError struct{ Err error }

func (e *SettingsError) Error() string   { return e.Err.Error() }
func (e *SettingsError) Unwrap() []error { return []error{e.Err, types.BadArgument} }

// Load reads the settings of a home: the defaults, where the file does not say otherwise. An error that is
// fs.ErrNotExist says that there is no file; a SettingsError, which line of it is wrong.
func (r *Role[S]) Load(home string) (*S, error) {
	path := r.file(home)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: settings: %w", r.Name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return nil, fmt.Errorf("%s: settings: %w", r.Name, err)
	}
	if len(text) > maxSettings {
		return nil, &SettingsError{fmt.Errorf("%s is longer than %d bytes", path, maxSettings)}
	}
	root, err := settings.Parse(text)
	if err != nil {
		return nil, &SettingsError{fmt.Errorf("%s: %w", path, err)}
	}
	s := r.Defaults()
	if err := settings.Decode(root, &s, ""); err != nil {
		return nil, &SettingsError{fmt.Errorf("%s: %w", path, err)}
	}
	if r.Check != nil {
		if err := r.Check(home, &s); err != nil {
			return nil, &SettingsError{fmt.Errorf("%s: %w", path, err)}
		}
	}
	return &s, nil
}

// ErrSlow says that a role did not end within its time.
var ErrSlow = errors.New("it did not end in time")

// Start loads a home's settings, changes them as adjust says, and runs the role until ctx ends.
func (r *Role[S]) Start(ctx context.Context, home string, stderr io.Writer, adjust func(*S) error) error {
	s, err := r.Load(home)
	if err != nil {
		return err
	}
	if adjust != nil {
		if err := adjust(s); err != nil {
			return err
		}
	}
	common := r.Common(s)
	release, err := Lock(home)
	if err != nil {
		return err
	}
	defer release()
	log, closeLog, err := common.Log.Open(home, stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	p := NewProcess(r.Name, home, log)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if common.Listen != "" {
		l, err := Listen(r.Name+": status", common.Listen)
		if err != nil {
			return err
		}
		defer os.Remove(statusFile(home))
		if err := files.Replace(statusFile(home), []byte(l.Addr().String()), 0o600); err != nil {
			l.Close()
			return fmt.Errorf("%s: status: %w", r.Name, err)
		}
		served, unserve := context.WithCancel(context.Background()) // its health is told until it has ended
		defer unserve()
		go Door(served, l, handler(p.Health, p.Figures), log)
	}
	limits := disk.Limits{Warn: uint64(common.DiskWarn), Stop: uint64(common.DiskStop)}
	if err := disk.Least(limits.Stop, home); err != nil {
		return types.Refuse(types.DiskFull, "%s: home %s: %v", r.Name, home, err)
	}
	go func() {
		err := disk.Watch(ctx, limits, []string{home}, func(dir string, free uint64) {
			log.Error("a disk gets full", "folder", dir, "free", disk.Size(free), "stops_at", disk.Size(limits.Stop))
		})
		if err != nil {
			stop(err)
		}
	}()
	log.Info("running", "role", r.Name, "home", home)
	done := make(chan error, 1)
	work := r.Run
	go func() { done <- work(ctx, p, s) }()
	select {
	case err = <-done:
		if err == nil && ctx.Err() == nil {
			err = errors.New("it ended by itself")
		}
	case <-ctx.Done():
		log.Info("stopping", "role", r.Name)
		select {
		case err = <-done:
		case <-time.After(time.Duration(common.StopWithin)):
			err = ErrSlow
		}
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = errors.Join(cause, err)
		} else if errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	if err != nil {
		log.Error("ended", "role", r.Name, "error", err)
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

// statusFile holds, while a process runs, where it serves its health: host:port.
func statusFile(home string) string { return filepath.Join(home, "status.address") }

// StatusAddress returns where what runs in a home serves its health.
func StatusAddress(home string) (string, error) {
	raw, err := os.ReadFile(statusFile(home))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", home, ErrNotRunning)
	}
	return string(raw), err
}

func handler(h *Health, list ...prometheus.Collector) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", h)
	mux.Handle("GET /metrics", Metrics(append([]prometheus.Collector{h}, list...)...))
	return mux
}

// CheckAddress refuses what is no host:port. what names the setting; "" passes where it may.
func CheckAddress(what, address string, optional bool) error {
	if address == "" && optional {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return types.Refuse(types.BadArgument, "%s: %.80q: want host:port", what, address)
	}
	return nil
}
