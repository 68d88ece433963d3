package network

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"
)

// shared is one network that tests use which leave it whole; it is started when the first of them asks.
var shared struct {
	once    sync.Once
	network *Network
	summary *Summary
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.network != nil {
		shared.network.Stop()
		os.RemoveAll(shared.network.cfg.Home)
	}
	os.Exit(code)
}

// running returns a network whose first round is done.
func running(t *testing.T) *Network {
	t.Helper()
	if testing.Short() {
		t.Skip("a whole network takes a minute")
	}
	shared.once.Do(func() {
		home, err := os.MkdirTemp("", "cairn-network-")
		if err != nil {
			shared.err = err
			return
		}
		shared.network, shared.summary, shared.err = begin(context.Background(), Config{Home: home, Log: logTo(home)})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.network
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

// TestFirstRound shows the path from a stored file to claimed money.
func TestFirstRound(t *testing.T) {
	n := running(t)
	s := shared.summary
	if s.Claimed == 0 || s.Counted == 0 || s.Refused != 0 || s.Devices != 8 || s.Header.IsZero() {
		t.Errorf("%+v", s)
	}
	supply, err := n.Ledger().Supply(t.Context())
	if err != nil || !supply.Balanced {
		t.Errorf("%+v: %v", supply, err)
	}
	if supply.Claimed < s.Claimed {
		t.Errorf("claimed %d, the round says %d", supply.Claimed, s.Claimed)
	}
}
