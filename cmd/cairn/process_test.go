package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestProcesses runs a small network in which each role is a process of its own, by the commands that docs/operate.md shows.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/process",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"field": field, "exactly": exactlyFields, "await": await, "awaitfail": awaitFail, "rpc": rpcOf, "freeport": freePorts, "metrics": metricsOf,
			"newheader": newHeader,
		},
	})
}

// rpcOf VAR sets a variable to the RPC address of the first validator of those that a command described.
func rpcOf(ts *testscript.TestScript, _ bool, args []string) {
	var list []struct{ RPC string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	ts.Setenv(args[0], list[0].RPC)
}

// freePorts VAR… sets variables to addresses of this machine that nobody listens on.
func freePorts(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close()
		ts.Setenv(name, l.Addr().String())
	}
}

// awaitFail TEXT PROGRAM ARG… is await for a command that fails.
func awaitFail(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err != nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("never: %q (%v)", args[0], err)
		}
	}
}

// metricsOf ADDRESS NAME… checks that figures are served there.
func metricsOf(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Get("http://" + args[0] + "/metrics")
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	for _, name := range args[1:] {
		if !strings.Contains(string(body), "\n"+name) {
			ts.Fatalf("no figure %s in\n%s", name, body)
		}
	}
}

// newHeader PROGRAM ARG… repeats a command that lists headers until a later epoch than the newest has one that is accepted.
func newHeader(ts *testscript.TestScript, _ bool, args []string) {
	newest := func() (epoch string) {
		ts.Check(ts.Exec(args[0], args[1:]...))
		var out struct {
			Headers []struct {
				Epoch  json.RawMessage `json:"epoch"`
				Status string          `json:"status"`
			}
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &out))
		for _, h := range out.Headers {
			if h.Status == "STATUS_ACCEPTED" || h.Status == "STATUS_FINAL" {
				return fmt.Sprint(string(h.Epoch))
			}
		}
		return ""
	}
	first := newest()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if now := newest(); now != "" && now != first {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no epoch after %s is accepted", first)
		}
	}
}
