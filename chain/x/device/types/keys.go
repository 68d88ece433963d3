package types

const (
	// ModuleName is the module's name, and that of its account.
	ModuleName = "device"
	// StoreKey names its store.
	StoreKey = ModuleName
)
