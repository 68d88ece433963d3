package types

const (
	// ModuleName is the module's name. It has no account: it holds no money.
	ModuleName = "certificate"
	// StoreKey names its store.
	StoreKey = ModuleName
)
