package types

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// Econ returns v as core/econ computes with it.
func (v Vault) Econ() econ.Vault {
	out := econ.Vault{
		Stone: types.Ustone(v.Stone), Allowance: types.Ustone(v.Allowance),
		Bought: types.Credit(v.Bought), Settled: types.Credit(v.Settled),
		Window: econ.Window{Day: v.Window.Day, Stone: types.Ustone(v.Window.Stone), Credits: types.Credit(v.Window.Credits)},
	}
	for _, d := range v.Demand {
		out.Demand = append(out.Demand, econ.Demand{Category: types.Category(d.Category), Spent: types.Credit(d.Spent)})
	}
	return out
}

// VaultOf returns v as it is stored.
func VaultOf(v econ.Vault) Vault {
	out := Vault{
		Stone: uint64(v.Stone), Allowance: uint64(v.Allowance), Bought: uint64(v.Bought), Settled: uint64(v.Settled),
		Window: Window{Day: v.Window.Day, Stone: uint64(v.Window.Stone), Credits: uint64(v.Window.Credits)},
	}
	for _, d := range v.Demand {
		out.Demand = append(out.Demand, Demand{Category: uint32(d.Category), Spent: uint64(d.Spent)})
	}
	return out
}
