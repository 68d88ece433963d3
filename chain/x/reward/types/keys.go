package types

const (
	// ModuleName is the module's name, and that of its account.
	ModuleName = "reward"
	// StoreKey names its store.
	StoreKey = ModuleName
)
