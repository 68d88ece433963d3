package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/settings"
)

type sleeperSettings struct {
	Process Settings `json:"process" doc:"The process."`
	Bed     string   `json:"bed" doc:"Where it sleeps."`
}

// sleeper is a role that does what a test says.
func sleeper(run func(ctx context.Context, p *Process, s *sleeperSettings) error) Role[sleeperSettings] {
	return Role[sleeperSettings]{
		Name: "sleeper", About: "What sleeps.",
		Defaults: func() sleeperSettings {
			s := sleeperSettings{Process: Default("127.0.0.1:0"), Bed: "hay"}
			s.Process.DiskWarn, s.Process.DiskStop, s.Process.StopWithin = 0, 0, Duration(100*time.Millisecond)
			return s
		},
		Common: func(s *sleeperSettings) *Settings { return &s.Process }, Run: run,
	}
}

func home(t *testing.T, r Role[sleeperSettings]) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	if _, err := r.Init(dir, r.Defaults(), false); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSettings: Init writes every default with its sentence, Load reads it back, and a mistake names its line.
func TestSettings(t *testing.T) {
	r := sleeper(nil)
	dir := home(t, r)
	s, err := r.Load(dir)
	if want := r.Defaults(); err != nil || *s != want {
		t.Fatalf("%+v, want %+v: %v", s, want, err)
	}
	if list := settings.Undocumented(reflect.TypeFor[sleeperSettings]()); len(list) > 0 {
		t.Errorf("not documented: %v", list)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "sleeper.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# What sleeps.", "# Where it sleeps.\nbed: hay", "stop_within: 100ms", "level: INFO", "disk_stop: "} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in\n%s", want, raw)
		}
	}
	if _, err := r.Init(dir, r.Defaults(), false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("settings are written over: %v", err)
	}
	for text, says := range map[string]string{
		"bad: straw\n": `line 1: unknown setting "bad"`, "bed: a\nprocess:\n  stop_within: soon\n": "line 3: process.stop_within", "process: {log: {level: loud}}\n": "line 1",
		"process: {disk_stop: -1}\n": "line 1",
	} {
		if err := os.WriteFile(filepath.Join(dir, "sleeper.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var wrong *SettingsError
		if _, err := r.Load(dir); !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) || types.ReasonOf(err) != types.BadArgument {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sleeper.yaml"), []byte("bed: straw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Load(dir); err != nil || s.Bed != "straw" || s.Process != r.Defaults().Process {
		t.Errorf("what is not set is the default: %+v, %v", s, err)
	}
}

func get(t *testing.T, dir, path string) (int, string) {
	t.Helper()
	address, err := StatusAddress(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestRun: a role waits for what is away and says so, has its home to itself, and ends when it is told to.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	there, up, tried := make(chan struct{}), make(chan struct{}), make(chan struct{}, 100)
	r := sleeper(func(ctx context.Context, p *Process, _ *sleeperSettings) error {
		p.slow = time.Millisecond
		p.Figures.Gauge("sheep", "Counted.", func() float64 { return 7 })
		err := p.Try(ctx, "bus", func(context.Context) error {
			select {
			case tried <- struct{}{}:
			default:
			}
			select {
			case <-there:
				return nil
			default:
				return types.Refuse(types.BusUnavailable, "no bus at nowhere")
			}
		})
		if err != nil {
			return err
		}
		close(up)
		<-ctx.Done()
		return nil
	})
	dir := home(t, r)
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx, dir, &log, nil) }()
	<-tried
	<-tried // what the first try found is known
	code, body := get(t, dir, "/healthz")
	if code != 503 || !strings.Contains(body, "no bus at nowhere") || !strings.Contains(body, `"bus_unavailable"`) {
		t.Errorf("while the bus is away: %d %s", code, body)
	}
	if _, body := get(t, dir, "/metrics"); !strings.Contains(body, `cairn_healthy{check="bus"} 0`) || !strings.Contains(body, "cairn_sleeper_sheep 7") {
		t.Errorf("metrics:\n%s", body)
	}
	if err := r.Start(ctx, dir, io.Discard, nil); types.ReasonOf(err) != types.HomeBusy {
		t.Errorf("a second process in the home: %v", err)
	}
	close(there)
	<-up
	if code, body := get(t, dir, "/healthz"); code != 200 {
		t.Errorf("with the bus: %d %s", code, body)
	}
	if report, err := Ask(t.Context(), dir); err != nil || !report.Healthy || len(report.Checks) != 1 {
		t.Errorf("asked by its home: %+v, %v", report, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("told to stop: %v", err)
	}
	if _, err := StatusAddress(dir); types.ReasonOf(err) != types.NotRunning {
		t.Errorf("the address outlives the process: %v", err)
	}
}

// TestEnds: a role that does not end is left behind, one that ends by itself has failed, and what no waiting
// mends is not waited for.
func TestEnds(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	r := sleeper(func(context.Context, *Process, *sleeperSettings) error { <-hang; return nil })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Start(ctx, home(t, r), io.Discard, nil); !errors.Is(err, ErrSlow) {
		t.Errorf("one that hangs: %v", err)
	}
	r.Run = func(context.Context, *Process, *sleeperSettings) error { return nil }
	if err := r.Start(t.Context(), home(t, r), io.Discard, nil); err == nil {
		t.Error("one that ends by itself has done well")
	}
	tries := 0
	r.Run = func(ctx context.Context, p *Process, _ *sleeperSettings) error {
		return p.Try(ctx, "chain", func(context.Context) error { tries++; return types.Refuse(types.WrongChain, "another") })
	}
	if err := r.Start(t.Context(), home(t, r), io.Discard, nil); types.ReasonOf(err) != types.WrongChain || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

// TestLog: a log goes to a file and to standard error, as the settings say, above its level.
func TestLog(t *testing.T) {
	var stderr bytes.Buffer
	dir := t.TempDir()
	log, done, err := Log{File: "x.log", Stderr: true}.Open(dir, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("said")
	log.Debug("kept")
	if err := done(); err != nil {
		t.Error(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "x.log"))
	for _, got := range []string{stderr.String(), string(file)} {
		if err != nil || !strings.Contains(got, "said") || strings.Contains(got, "kept") {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, _, err := (Log{File: filepath.Join(dir, "x.log", "below")}).Open(dir, io.Discard); types.ReasonOf(err) != types.HomeUnwritable {
		t.Errorf("a log that cannot be: %v", err)
	}
}
