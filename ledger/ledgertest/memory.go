package ledgertest

import (
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Memory starts the twin in memory, with the modules that categories add.
func Memory(verifiers, regions int, modules map[string]ledger.Module) *Network {
	cfg := ledger.Config{
		Econ:     econ.Default(),
		Regions:  uint16(regions),
		Params:   []tally.Params{{Category: Category, Bond: 1_000_000, Penalty: 700_000}},
		Balances: map[types.Account]types.Ustone{},
		Modules:  modules,
	}
	n := &Network{}
	for i := range 3 {
		a := types.Account{0xa, byte(i)}
		cfg.Balances[a] = 100_000_000_000_000
		n.Accounts = append(n.Accounts, a)
	}
	for i := range verifiers {
		v := NewVerifier(types.Account{0xb, byte(i)}, byte(i))
		n.Verifiers = append(n.Verifiers, v)
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: v.Key.Public(), VRF: v.VRF.Public(), Owner: v.Owner, Power: 1_000_000})
	}
	m := ledger.New(cfg)
	n.Ledger = m
	n.AdvanceTo = func(_ *testing.T, height uint64) { m.AdvanceTo(height) }
	return n
}
