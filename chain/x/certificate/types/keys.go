package types

import "github.com/cairn-network/cairn/core/types"

// Category is the one whose outputs are sheets.
const Category = types.Energy

const (
	// ModuleName is the module's name. It has no account: it holds no money.
	ModuleName = "certificate"
	// StoreKey names its store.
	StoreKey = ModuleName
)
