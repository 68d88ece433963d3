package types

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// DefaultParams are those of a new chain: half a dollar for a STONE.
func DefaultParams() Params {
	return Params{
		FixedPrice:      500_000_000,
		MinOpening:      10_000,
		MaxKeys:         64,
		MaxKeyEpochs:    econ.EpochsPerYear,
		ChangeRetention: 35 * econ.EpochsPerDay,
	}
}

// Validate checks bounds; a value outside is refused with types.ParamBound.
func (p Params) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint64
	}{
		{"fixed_price", p.FixedPrice, 1, 1_000_000_000_000_000}, // to a million dollars
		{"min_opening", p.MinOpening, 1, 1_000_000_000},
		{"max_keys", uint64(p.MaxKeys), 1, 1024},
		{"max_key_epochs", p.MaxKeyEpochs, 1, 10 * econ.EpochsPerYear},
		{"change_retention", p.ChangeRetention, 10, 10 * econ.EpochsPerYear},
	} {
		if r.value < r.low || r.value > r.high {
			return types.Refuse(types.ParamBound, "credit: %s is %d, from %d to %d are allowed", r.name, r.value, r.low, r.high)
		}
	}
	return nil
}

// DefaultGenesis has an empty vault.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks each part, and that what accounts bought adds up to what was sold.
func (g *GenesisState) Validate() error {
	if err := g.Params.Validate(); err != nil {
		return err
	}
	type place struct {
		account string
		region  uint32
	}
	holdings := map[place]bool{}
	var sum uint64
	for _, h := range g.Holdings {
		if _, err := types.ParseAccount(h.Account); err != nil {
			return fmt.Errorf("holding of %.80q: %w", h.Account, err)
		}
		p := place{h.Account, h.Region}
		if holdings[p] || h.Region > 1<<16-1 {
			return fmt.Errorf("holding of %s in region %d is there twice, or the region is none", h.Account, h.Region)
		}
		holdings[p] = true
		if sum += h.Bought; sum < h.Bought {
			return types.Refuse(types.EconRange, "holdings")
		}
	}
	if sum != g.Vault.Bought || g.Vault.Settled > g.Vault.Bought {
		return fmt.Errorf("accounts bought %d micro-credits, the vault sold %d and settled %d", sum, g.Vault.Bought, g.Vault.Settled)
	}
	keys := map[string]bool{}
	for _, grant := range g.Grants {
		if _, err := types.ParseKey(grant.Key); err != nil {
			return fmt.Errorf("grant of key %.80q: %w", grant.Key, err)
		}
		if _, err := types.ParseAccount(grant.Account); err != nil {
			return fmt.Errorf("grant of key %s: %w", grant.Key, err)
		}
		if keys[grant.Key] || grant.Region > 1<<16-1 {
			return fmt.Errorf("grant of key %s is there twice, or its region is none", grant.Key)
		}
		keys[grant.Key] = true
	}
	return nil
}
