package types

const (
	// ModuleName is the module's name, and that of its account.
	ModuleName = "tally"
	// StoreKey names its store.
	StoreKey = ModuleName
)
