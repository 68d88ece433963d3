package network

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/verifier"
)

// seated gives n verifiers of the same power seats on a chain that is to begin.
func seated(t *testing.T, cfg *ledger.Config, n int, log *slog.Logger) (seats []verifier.Config) {
	for i := range byte(n) {
		v := verifier.Config{Dir: filepath.Join(t.TempDir(), "v"), Key: types.NewPrivateKey([32]byte{1, i}), VRF: types.NewPrivateKey([32]byte{2, i}),
			Account: types.Account{0xb, i}, Workers: 1, Log: log.With("verifier", i)}
		seats = append(seats, v)
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: v.Key.Public(), VRF: v.VRF.Public(), Owner: v.Account, Power: 1000})
		cfg.Balances[v.Account] = 1e9
	}
	return seats
}

// runSeated runs the verifier of a seat, on a bus in memory, until stop.
func runSeated(t *testing.T, ctx context.Context, seat verifier.Config, chain ledger.Ledger, memory *bus.Memory, rules tally.Verifier) (v *verifier.Verifier, stop func()) {
	t.Helper()
	link, err := memory.Dial(ctx, seat.Key)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = verifier.New(seat, chain, link, []tally.Verifier{rules}); err != nil {
		t.Fatal(err)
	}
	return v, engine(t, ctx, fmt.Sprint("verifier ", seat.Key.Public()), v.Run, func() { link.Close(); v.Close() })
}
