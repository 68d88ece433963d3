package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/node"
	"github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service/role"
)

// bytes are the settings of what provides nothing.
type bytes struct {
	Bytes uint64 `json:"bytes" doc:"How much is shared, in bytes."`
}

// complains makes providers say something to their owner.
var complains atomic.Bool

// part is a category of which Find finds some, or nothing.
func part(c types.Category, found, line string) role.Device {
	return role.Device{
		Category: c, Settings: bytes{},
		Find: func(context.Context, string) (json.RawMessage, string, error) {
			if found == "" {
				return nil, line, nil
			}
			return json.RawMessage(found), line, nil
		},
		New: func(settings json.RawMessage) (role.Provider, error) {
			var b bytes
			if err := json.Unmarshal(settings, &b); err != nil {
				return role.Provider{}, err
			}
			if b.Bytes == 0 {
				return role.Provider{}, errors.New("no bytes are offered")
			}
			return role.Provider{
				Category: c,
				Run:      func(ctx context.Context, _ role.Host) error { <-ctx.Done(); return nil },
				Serves:   func() []string { return []string{"1000 bytes"} },
				Remarks: func() []role.Remark {
					if !complains.Load() {
						return nil
					}
					return []role.Remark{{Reason: types.DiskFull, Text: "it fills up"}}
				},
			}, nil
		},
		Try: func(_ context.Context, settings json.RawMessage) []string {
			return []string{"tried " + string(settings)}
		},
	}
}

// gpu is something this machine does not have; meters are found on other machines.
func gpu() role.Device  { return part(types.Compute, "", "no GPU") }
func disk() role.Device { return part(types.Storage, `{"bytes":1000}`, "1000 bytes free") }
func meters() role.Device {
	d := part(types.Energy, `{"bytes":3}`, "looked beyond this machine")
	d.Search = "look beyond this machine?"
	return d
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cairn-node": func() {
		root := command.New([]role.Device{gpu(), disk(), meters()})
		root.Use = "cairn-node"
		os.Exit(command.Run(context.Background(), root, os.Args[1:], os.Stderr))
	}})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			other := network("nats://127.0.0.1:1", bustest.Key(8), 1)
			joins := network("nats://127.0.0.1:1", publisher, 1)
			env.Setenv("OWNER", types.Account{7}.String())
			env.Setenv("CAIRN_NODE_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("PUBLISHER", publisher.Public().String())
			return errors.Join(os.WriteFile(filepath.Join(env.WorkDir, "manifest.json"), joins, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "two.json"), networkOf(2, "nats://127.0.0.1:1", publisher, 1), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "newer.json"), network("nats://127.0.0.1:1", publisher, 2), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "other.json"), other, 0o600))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// appendto FILE LINE adds a line.
			"appendto": func(ts *testscript.TestScript, _ bool, args []string) {
				path := ts.MkAbs(args[0])
				ts.Check(os.WriteFile(path, []byte(ts.ReadFile(args[0])+args[1]+"\n"), 0o600))
			},
			// await COMMAND PATTERN repeats a command until its output holds a text.
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					err := ts.Exec(args[1], args[2:]...)
					if err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
						return
					}
					if time.Now().After(end) {
						ts.Fatalf("never: %s (%v)", args[0], err)
					}
				}
			},
		},
	})
}

var verifier, publisher = bustest.Key(1), bustest.Key(2)

// network is a manifest of a network with one bus.
func network(bus string, by types.PrivateKey, published manifest.Time) []byte {
	return networkOf(1, bus, by, published)
}

// networkOf is network with so many regions.
func networkOf(regions uint64, bus string, by types.PrivateKey, published manifest.Time) []byte {
	m, err := manifest.Manifest{Format: manifest.Format, Chain: pin().Chain, Published: published, Genesis: types.Hash{1},
		Block: manifest.Block{Height: 1, Hash: types.Hash{2}}, Epoch: pin().Epoch, Verifiers: pin().Set, Regions: regions, Buses: []string{bus}}.Sign(by)
	if err != nil {
		panic(err)
	}
	return m.Encode()
}

func pin() bus.Pin {
	return bus.Pin{Chain: "cairn-test", Epoch: 1, Set: bus.Set{{Key: verifier.Public(), Power: 1}}}
}

// TestRun takes a device from init over the claim code to work, with a real bus.
func TestRun(t *testing.T) {
	roles := new(bustest.Roles)
	s, err := server.Serve(server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, roles, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	home := filepath.Join(t.TempDir(), "home")
	joins := network(s.URL(), publisher, 1)
	cairn := func(ctx context.Context, stdin string, args ...string) (int, string, string) {
		root := command.New([]role.Device{disk()})
		var stdout, stderr strings.Builder
		root.SetIn(strings.NewReader(stdin))
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		code := command.Run(ctx, root, append(args, "--home", home), &stderr)
		return code, stdout.String(), stderr.String()
	}
	code, out, errs := cairn(t.Context(), string(joins), "init", "--network", "-", "--owner", types.Account{7}.String(), "--cell", "871fb4662ffffff", "--yes", "--listen", "127.0.0.1:0", "--json")
	if code != 0 {
		t.Fatalf("init: %s", errs)
	}
	if !strings.Contains(errs, `tried {"bytes":1000}`) {
		t.Errorf("init says %s", errs)
	}
	var claim struct {
		Device types.Key `json:"device"`
	}
	if err := json.Unmarshal([]byte(out), &claim); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan string, 1)
	go func() {
		code, _, errs := cairn(ctx, "", "run")
		done <- fmt.Sprint(code, errs)
	}()
	await := func(what string, ok func(node.Status) bool) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			var status node.Status
			if code, out, _ := cairn(t.Context(), "", "status", "--json"); code == 0 && json.Unmarshal([]byte(out), &status) == nil && ok(status) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	await("it asks to be registered", func(s node.Status) bool { return strings.Contains(s.Next, "claim code") })
	roles.Set(claim.Device, bus.RoleDevice)
	roles.Set(verifier.Public(), bus.RoleVerifier)
	v, err := bus.Dial(t.Context(), bus.Config{URLs: []string{s.URL()}}, verifier, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	notice := &bus.Notice{Chain: "cairn-test", Epoch: 7, Height: 140, Time: uint64(time.Now().Unix()), Set: pin().Set}
	if err := v.PublishLast(t.Context(), bus.NoticeSubject(v.Key(), 0), bus.Seal(verifier, notice)); err != nil {
		t.Fatal(err)
	}
	await("it follows", func(s node.Status) bool {
		return s.Online && s.Epoch == 7 && s.Height == 140 && len(s.Providers) == 1 && s.Providers[0].State == "running"
	})
	code, out, _ = cairn(t.Context(), "", "status")
	if code != 0 || !strings.Contains(out, "online, epoch 7, block 140") || !strings.Contains(out, "storage: running") || !strings.Contains(out, "serves") || !strings.Contains(out, "1000 bytes") || !strings.Contains(out, "Nothing needs to be done") {
		t.Errorf("status %d:\n%s", code, out)
	}
	complains.Store(true)
	code, out, _ = cairn(t.Context(), "", "status")
	if code != 0 || !strings.Contains(out, "note") || !strings.Contains(out, "it fills up (disk_full)") || !strings.Contains(out, "storage (disk_full): ") {
		t.Errorf("status %d:\n%s", code, out)
	}
	complains.Store(false)
	cancel()
	if end := <-done; !strings.HasPrefix(end, "0") {
		t.Errorf("run ended with %s", end)
	}
}
