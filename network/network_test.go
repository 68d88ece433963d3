package network

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/node/command"
	"github.com/cairn-network/cairn/service/all/provider"
)

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		os.Exit(command.Run(context.Background(), command.New(provider.Devices()), os.Args[1:], os.Stderr))
	}
	flag.Set("test.parallel", fmt.Sprint(max(4, runtime.GOMAXPROCS(0)))) // networks wait most of the time; -parallel overrides it
	os.Exit(m.Run())
}

// TestNetwork is what is shown on one network, one after the other, by tests that leave it whole. Tests that
// have a network of their own run beside them.
func TestNetwork(t *testing.T) {
	whole(t)
	home, f := t.TempDir(), new(foreign)
	n, s, err := begin(t.Context(), Config{Home: home, Log: logTo(home), Simulators: f.simulators(), Customers: f.customers()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	t.Run("FirstRound", func(t *testing.T) { testFirstRound(t, n, s) })
	for _, test := range []struct {
		name string
		run  func(*testing.T, *Network)
	}{
		{"FirstRoundAgain", testFirstRoundAgain}, {"Wallet", testWallet}, {"Home", func(t *testing.T, n *Network) { testHome(t, n, f) }},
		{"KillHome", func(t *testing.T, n *Network) { testKillHome(t, n, f) }}, {"Losses", testLosses},
		{"SelfPayment", testSelfPayment}, {"TrustMovesOn", testTrustMovesOn}, {"CertificateWallet", testCertificateWallet},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, n) })
	}
}

// quick is the time between blocks of networks without homes: those have meters to read at each boundary of a
// clock that goes as fast.
const quick = 250 * time.Millisecond

// whole is for tests that start a whole network: it waits for epochs most of the time, so they run beside one
// another.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a whole network takes a minute")
	}
	t.Parallel()
}

// begin starts a network on free ports and does its first round.
func begin(ctx context.Context, cfg Config) (*Network, *Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	n, err := Start(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	ctx, fail := context.WithCancelCause(ctx)
	go func() {
		select {
		case err := <-n.Failed():
			fail(err)
		case <-ctx.Done():
		}
	}()
	s, err := n.FirstRound(ctx)
	if err != nil {
		n.Stop()
		return nil, nil, errors.Join(err, context.Cause(ctx))
	}
	fail(nil)
	return n, s, nil
}

// logTo writes a log that stays when CAIRN_TEST_LOG names a folder.
func logTo(string) *slog.Logger {
	path := os.Getenv("CAIRN_TEST_LOG")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testFirstRound shows the path from a stored file to claimed money.
func testFirstRound(t *testing.T, n *Network, s *Summary) {
	// A home's first readings may come before the tally knows what the home is, and are then handed in again.
	if s.Claimed == 0 || s.Counted == 0 || s.Refused > s.Counted || s.Devices != 18 || s.Header.IsZero() {
		t.Errorf("%+v", s)
	}
	// Everybody who served is paid in the first round already; which homes sell is decided in the market.
	for i := range 8 {
		if claimed, err := n.Ledger().Claimed(t.Context(), n.Node(i).Key()); err != nil || claimed == 0 {
			t.Errorf("device %d has served, and its owner claimed %d: %v", i, claimed, err)
		}
	}
	supply, err := n.Ledger().Supply(t.Context())
	if err != nil || !supply.Balanced {
		t.Errorf("%+v: %v", supply, err)
	}
	if supply.Claimed < s.Claimed {
		t.Errorf("claimed %d, the round says %d", supply.Claimed, s.Claimed)
	}
}

// testFirstRoundAgain: a first round finds what an earlier one stored, so that a home does not grow by
// starting; what was deleted it stores anew.
func testFirstRoundAgain(t *testing.T, n *Network) {
	customer, err := n.EnsureCustomer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wallet, err := n.gateway.Wallet(t.Context(), customer.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	d := doorOf(t, n)
	first := func() (ids []string) {
		t.Helper()
		res := d.do(t.Context(), "GET", "/storage/v1/objects", nil)
		defer res.Body.Close()
		var list []struct{ ID, Name string }
		if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.Name == "first.bin" {
				ids = append(ids, o.ID)
			}
		}
		return ids
	}
	round := func(want string) {
		t.Helper()
		for _, c := range n.cfg.Customers {
			if c.Category == types.Storage {
				if did, err := c.FirstRound(t.Context(), wallet); err != nil || !strings.HasPrefix(did, want) {
					t.Fatalf("%q, want %q…: %v", did, want, err)
				}
			}
		}
	}
	before := first()
	if len(before) != 1 {
		t.Fatalf("the first round left %v", before)
	}
	round("storage: 16 MiB still on 8 devices")
	if after := first(); !slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
	d.do(t.Context(), "DELETE", "/storage/v1/objects/"+before[0], nil).Body.Close()
	if left := first(); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	round("storage: 16 MiB on 8 devices")
	if after := first(); len(after) != 1 {
		t.Errorf("%v became %v", before, after)
	}
}
