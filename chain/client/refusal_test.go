package client

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestFault: what a node answers to a query comes with the reason that a person can look up.
func TestFault(t *testing.T) {
	for says, want := range map[string]error{
		"CairnApp is not ready; please wait for first block: invalid height": types.ChainUnavailable,
		"x/tally: payer: unknown_key":                                        ledger.ErrNotFound,
	} {
		if err := fault("account", status.Error(codes.Unknown, says)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", says, err, want)
		}
	}
}
