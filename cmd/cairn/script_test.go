package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
)

// TestNetwork runs what users type against one running network.
func TestNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole network takes a minute")
	}
	t.Parallel()
	home := newHome(t)
	_, wait := start(t, home)
	t.Run("commands", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script",
			Setup: func(env *testscript.Env) error {
				env.Setenv("CAIRN_HOME", home)
				env.Setenv("CAIRN_NODE_HOME", filepath.Join(env.WorkDir, "node"))
				env.Setenv("NO_COLOR", "1")
				env.Setenv("STRANGER", types.Account{7}.String()) // nobody here has its key
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"fields": fields, "exactly": exactlyFields, "network": func(ts *testscript.TestScript, _ bool, args []string) { networkFile(ts, home, args) },
				"field": field, "largest": largest, "second": second, "await": await, "rest": func(ts *testscript.TestScript, neg bool, args []string) { rest(ts, home, args) },
			},
		})
	})
	t.Run("doctor", func(t *testing.T) {
		for _, f := range parse[[]health.Finding](t, cairn(t, home, "doctor", "--json", "--disk-warn", "0", "--disk-stop", "0")) {
			if f.Level != health.OK {
				t.Errorf("beside a running network: %+v", f)
			}
		}
	})
	t.Run("refusals", func(t *testing.T) {
		os.Unsetenv("CAIRN_NODE_HOME")
		os.Setenv("CAIRN_HOME", home) // t.Setenv is not for tests beside others; these name their homes themselves
		defer os.Unsetenv("CAIRN_HOME")
		at, err := network.ReadAddresses(home)
		if err != nil {
			t.Fatal(err)
		}
		check(t, online, "--node", strings.Replace(at.RPC, "http:", "tcp:", 1))
	})
	t.Run("verify", func(t *testing.T) { recompute(t, home) })
	t.Run("busy", func(t *testing.T) { busy(t, home) })
	settled(t, home)
	cairn(t, home, "down")
	if err := wait(); err != nil {
		t.Errorf("up, after down: %v", err)
	}
	if _, err := os.Stat(filepath.Join(home, "network.json")); err == nil {
		t.Error("network.json is still there")
	}
}

// lastJSON decodes the JSON that a command printed last: the object, or the first of a list.
func lastJSON(ts *testscript.TestScript) map[string]any {
	var one map[string]any
	if json.Unmarshal(lastLine(ts), &one) == nil {
		return one
	}
	return lastList(ts)[0]
}

func lastLine(ts *testscript.TestScript) []byte {
	out := strings.TrimSpace(ts.ReadFile("stdout"))
	return []byte(out[strings.LastIndexByte(out, '\n')+1:])
}

func lastList(ts *testscript.TestScript) (list []map[string]any) {
	ts.Check(json.Unmarshal(lastLine(ts), &list))
	if len(list) == 0 {
		ts.Fatalf("an empty list")
	}
	return list
}

// largest VAR NAME BY sets a variable to a field of that element of the list printed last whose field BY is the
// greatest number.
func largest(ts *testscript.TestScript, _ bool, args []string) {
	by := func(a, b map[string]any) int { return cmp.Compare(a[args[2]].(float64), b[args[2]].(float64)) }
	ts.Setenv(args[0], fmt.Sprint(slices.MaxFunc(lastList(ts), by)[args[1]]))
}

// second VAR sets a variable to the id of the second certificate that a command printed.
func second(ts *testscript.TestScript, _ bool, args []string) {
	var out struct{ Certificates []certificate.Certificate }
	ts.Check(json.Unmarshal(lastLine(ts), &out))
	ts.Setenv(args[0], out.Certificates[1].ID.String())
}

// fields NAME… checks that the JSON printed last has those fields.
func fields(ts *testscript.TestScript, _ bool, args []string) {
	have := lastJSON(ts)
	for _, name := range args {
		if _, ok := have[name]; !ok {
			ts.Fatalf("no field %q in %v", name, have)
		}
	}
}

// exactlyFields NAME… checks that the JSON printed last has those fields and no others.
func exactlyFields(ts *testscript.TestScript, _ bool, args []string) {
	if have := slices.Sorted(maps.Keys(lastJSON(ts))); !slices.Equal(have, slices.Sorted(slices.Values(args))) {
		ts.Fatalf("fields %v, want %v", have, args)
	}
}

// networkFile NAME… checks that network.json has those fields; categories add addresses of their own.
func networkFile(ts *testscript.TestScript, home string, args []string) {
	raw, err := os.ReadFile(filepath.Join(home, "network.json"))
	ts.Check(err)
	var have map[string]any
	ts.Check(json.Unmarshal(raw, &have))
	for _, name := range args {
		if _, ok := have[name]; !ok {
			ts.Fatalf("network.json has no %q: %s", name, raw)
		}
	}
}

// field VAR NAME sets a variable to a field of the JSON printed last.
func field(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], fmt.Sprint(lastJSON(ts)[args[1]]))
}

// await TEXT PROGRAM ARG… repeats a command until it succeeds and its output holds a text.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("never: %q (%v)", args[0], err)
		}
	}
}

// rest FILE STATUS PATH [RANGE] fetches a path of the API as the home's customer, into a file.
func rest(ts *testscript.TestScript, home string, args []string) {
	at, err := network.ReadAddresses(home)
	ts.Check(err)
	customer, err := network.ReadCustomer(home)
	ts.Check(err)
	req, err := http.NewRequest("GET", at.API+args[2], nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+customer.APIKey)
	if len(args) > 3 {
		req.Header.Set("Range", args[3])
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if fmt.Sprint(res.StatusCode) != args[1] {
		ts.Fatalf("%s: %s, want %s\n%s", args[2], res.Status, args[1], body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o600))
}

// recompute takes a tally's bundle to a home that has nothing else: what it gives is the header that the chain
// took, and with one byte flipped, anywhere, it is not.
func recompute(t *testing.T, home string) {
	tallies := parse[[]explorer.Tally](t, cairn(t, home, "tally", "list", "--json"))
	i := slices.IndexFunc(tallies, func(x explorer.Tally) bool { return x.Status == ledger.Final && x.Counted > 0 })
	if i < 0 {
		t.Fatalf("no final tally counted anything: %+v", tallies)
	}
	epoch := fmt.Sprint(tallies[i].Epoch)
	cairn(t, home, "tally", "verify", "--epoch", epoch) // fetches the bundle
	files, err := filepath.Glob(filepath.Join(home, "bundles", "*-"+epoch+".bundle"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	bundle := filepath.Join(elsewhere, "bundles", filepath.Base(files[0]))
	if err := os.Mkdir(filepath.Dir(bundle), 0o700); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Header, Expected, Verdict string
		Equal, Consistent         bool
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(bundle, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// here recomputes in this process.
	here := func() (outcome, error) {
		t.Helper()
		root := newRoot(nil)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs([]string{"tally", "verify", "--home", elsewhere, "--epoch", epoch, "--header", tallies[i].Header, "--json"})
		err := root.ExecuteContext(t.Context())
		return parse[outcome](t, out.Bytes()), err
	}
	write(good)
	want := outcome{tallies[i].Header, tallies[i].Header, "equal", true, true}
	if got, err := here(); got != want || err != nil {
		t.Errorf("here: %+v, want %+v: %v", got, want, err)
	}
	// Without a chain and without a header it is consistent with itself, whoever made it up, and that is not
	// status 0.
	alone := outcome{tallies[i].Header, types.Hash{}.String(), "consistent", false, true}
	if got, err := status(t, elsewhere, 3, "tally", "verify", "--epoch", epoch, "--json"); err != nil || parse[outcome](t, got) != alone {
		t.Errorf("elsewhere: %s, want %+v: %v", got, alone, err)
	}
	provenElsewhere(t, home, elsewhere, epoch)
	rng := rand.New(rand.NewPCG(5, 6))
	positions := []int{0, len(good) / 2, len(good) - 1}
	for range 30 {
		positions = append(positions, rng.IntN(len(good)))
	}
	for _, at := range positions {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << rng.IntN(8)
		write(bad)
		if got, err := here(); got.Equal || err == nil {
			t.Errorf("byte %d of %d flipped: %+v, %v", at, len(good), got, err)
		}
	}
	write(good[:len(good)-1])
	if _, err := try(t, elsewhere, "tally", "verify", "--epoch", epoch, "--json"); err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "not equal") {
		t.Errorf("a bundle cut short: %v", err)
	}
}

// provenElsewhere holds a bundle against a node that is named: at first on that node's word, then on the block
// that was kept, then on one that is named, then on one that is none of the chain's.
func provenElsewhere(t *testing.T, home, elsewhere, epoch string) {
	t.Helper()
	at, err := network.ReadAddresses(home)
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		Verdict string
		Checked []string
		Trusted []trusted
	}
	for _, c := range []struct {
		args []string
		code int
		from string
	}{
		{nil, 0, "first use"}, {nil, 0, "earlier verify"}, {[]string{"--trust", at.Trust}, 0, "you named it"},
		{[]string{"--trust", "1:" + strings.Repeat("ab", 32)}, 1, ""},
	} {
		raw, err := status(t, elsewhere, c.code, append([]string{"tally", "verify", "--epoch", epoch, "--json", "--node", at.RPC}, c.args...)...)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if c.code != 0 {
			continue
		}
		got := parse[found](t, raw)
		i := slices.IndexFunc(got.Trusted, func(x trusted) bool { return strings.HasPrefix(x.What, "block ") })
		if got.Verdict != "equal" || len(got.Checked) != 11 || i < 0 || !strings.Contains(got.Trusted[i].Why, c.from) {
			t.Errorf("%v: %+v", c, got)
		}
	}
	if err := os.Remove(filepath.Join(elsewhere, "trust.json")); err != nil {
		t.Error(err)
	}
}

// status runs a command that must end with that exit status, and returns what it printed.
func status(t *testing.T, home string, want int, args ...string) ([]byte, error) {
	t.Helper()
	cmd := program(t.Context(), home, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil && want == 0, errors.As(err, &exit) && exit.ExitCode() == want:
		return out, nil
	}
	return out, fmt.Errorf("cairn %s: %w, want exit status %d\n%s", strings.Join(args, " "), err, want, stderr.Bytes())
}

// busy starts what cannot start beside a running network: one in the same home, one on the same port.
func busy(t *testing.T, home string) {
	at, err := network.ReadAddresses(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		home, listen string
		want         []string
	}{
		{home, "127.0.0.1:0", []string{": home_busy\n", "\ntry: "}},
		{t.TempDir(), strings.TrimPrefix(at.API, "http://"), []string{": port_in_use\n", "\ntry: "}},
	} {
		_, err := try(t, c.home, "up", "--listen", c.listen, "--once", "--json")
		if err == nil || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
	if still, err := network.ReadAddresses(home); err != nil || !reflect.DeepEqual(still, at) {
		t.Errorf("the running network's addresses: %+v: %v", still, err)
	}
}
