package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/storage"
)

// TestProcesses runs a small network in which each role is a process of its own, by the commands that
// docs/operate.md shows.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/process",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("HOME", env.WorkDir)
			c, end := newCrew(env.WorkDir)
			env.Values["crew"] = c
			env.Defer(end)
			env.Setenv("SITE", c.site)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"field": field, "exactly": exactlyFields, "await": await, "awaitfail": awaitFail, "rpc": rpcOf, "freeport": freePorts, "metrics": metricsOf,
			"newheader": newHeader, "handin": handIn, "inheader": inHeader,
			"devices": startDevices, "startdevice": startDevice, "awaitsame": awaitSame, "killdevice": func(ts *testscript.TestScript, _ bool, args []string) { crewOf(ts).kill(args[0]) },
		},
	})
}

func crewOf(ts *testscript.TestScript) *crew { return ts.Value("crew").(*crew) }

// startDevices COUNT GATEWAY makes a home of a customer, alice, and of as many owners, whom the first validator
// sends STONE, and starts a device of each.
func startDevices(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	names := []string{"alice"}
	for i := range n {
		names = append(names, fmt.Sprintf("owner-%d", i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := crewOf(ts)
	accounts, err := c.accounts(ctx, names...)
	ts.Check(err)
	var owners []string
	for _, name := range names[1:] {
		owners = append(owners, accounts[name])
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.customer(ctx, "alice", args[1]) })
	group.Go(func() error { return c.devices(ctx, owners...) })
	ts.Check(group.Wait())
}

// startDevice NAME starts a device again.
func startDevice(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(crewOf(ts).start(args[0]))
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
		at, err := testutil.FreeAddress()
		ts.Check(err)
		ts.Setenv(name, at)
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

// awaitSame FILE FILE waits until two files hold the same.
func awaitSame(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ts.ReadFile(args[0]) != ts.ReadFile(args[1]); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s never holds what %s does", args[1], args[0])
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

// newHeader PROGRAM ARG… repeats a command that lists headers until a later epoch than the newest has one that
// is accepted.
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

// handIn EPOCH RPC BUS KEYRING registers a device for the validator's account, and hands a piece of evidence in
// as that device until the verifier acknowledges it. It sets a variable to the epoch that it was acknowledged
// for.
func handIn(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	keys, err := local.Keyring(ts.MkAbs(args[3]), app.NewEncoding().Codec)
	ts.Check(err)
	l, err := client.New(ctx, client.Config{URL: "http://" + args[1], Keyring: keys})
	ts.Check(err)
	defer l.Close()
	owner, err := l.Lookup(local.KeyName)
	ts.Check(err)
	device := types.NewPrivateKey([32]byte{1, 2, 3})
	statement := evidence.Statement{Chain: l.Chain(), Device: device.Public(), Owner: owner, Categories: []types.Category{types.Storage}, Cell: 0x871fb4662ffffff, Expiry: 1 << 20}
	_, err = l.Submit(ctx, owner, ledger.Register{Statement: *statement.Sign(device)})
	ts.Check(err)
	link, err := bus.Dial(ctx, bus.Config{URLs: []string{"nats://" + args[2]}}, device, slog.New(slog.DiscardHandler))
	ts.Check(err)
	defer link.Close()
	acks := make(chan *bus.Ack, 16)
	ts.Check(link.Subscribe(ctx, bus.AckSubject(types.Key{}, device.Public()), func(m bus.Message) {
		if ack, _, err := bus.Open[bus.Ack](m.Data, l.Chain()); err == nil {
			acks <- ack
		}
	}))
	var last *evidence.Envelope
	for seq := uint64(1); ; seq++ { // a piece for each try: the device counts from the next epoch on, and evidence names its epoch
		head, err := l.Head(ctx)
		ts.Check(err)
		p := evidence.Payload{Chain: l.Chain(), Category: types.Storage, Kind: storage.KindRelease, Epoch: head.Epoch, Seq: seq,
			Anchor: evidence.Anchor{Height: head.Height, Hash: [16]byte(head.Hash[:16])}, Body: []byte{1}}
		last = evidence.Sign(device, p)
		submit := &bus.Submit{Chain: l.Chain(), Items: []bus.Item{{Type: bus.Evidence, Raw: last.Raw}}}
		ts.Check(link.Publish(ctx, bus.SubmitSubject(device.Public(), 0), bus.Encode(submit)))
		select {
		case ack := <-acks:
			if slices.Contains(ack.Accepted, last.Hash) {
				ts.Setenv(args[0], fmt.Sprint(ack.Epoch))
				return
			}
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			ts.Fatalf("nothing was acknowledged")
		}
	}
}

// inHeader EPOCH RPC waits for the accepted header of an epoch, in which something is counted or refused.
func inHeader(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l, err := client.New(ctx, client.Config{URL: "http://" + args[1]})
	ts.Check(err)
	defer l.Close()
	var epoch types.Epoch
	_, err = fmt.Sscan(args[0], &epoch)
	ts.Check(err)
	for range l.Watch(ctx) {
		h, err := l.Header(ctx, epoch, 0)
		if err != nil || h.Status == ledger.Open {
			continue
		}
		if h.Status == ledger.Skipped {
			epoch++ // what lasts counts in the next
			continue
		}
		decoded, err := tally.DecodeHeader(h.Raw)
		ts.Check(err)
		if decoded.Totals.Counted+decoded.Totals.Refused == 0 {
			ts.Fatalf("the header of epoch %d, which is %v, has no items; one was acknowledged", epoch, h.Status)
		}
		return
	}
	ts.Fatalf("epoch %d has no header", epoch)
}
