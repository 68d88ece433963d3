//go:build soak

package client_test

import (
	"testing"

	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// TestLedgerNodes plays the suite on real validators, in real time: it takes minutes.
func TestLedgerNodes(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T, verifiers, regions int) *ledgertest.Network {
		c := madeOf(t, verifiers, regions, 80, nil).run(t)
		return &ledgertest.Network{
			Ledger: c.open(t, c.nodes[0].Client().Client), Verifiers: c.verifiers, Accounts: c.accounts,
			AdvanceTo: func(t *testing.T, height uint64) { c.advance(t, height) },
		}
	})
}
