package role

import (
	"context"
	"encoding/json"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
)

// Maker makes a category's provider out of what the machine has and what its owner wants.
type Maker interface {
	Category() types.Category
	// Find looks at what the machine could provide, keeping data below dir, and proposes how: a JSON object of the category's own
	// with every setting written out, and a line that a person reads ("340 GiB of 500 GiB free on /"). Of what the machine does not
	// have at all, the object is nil and the line says what is missing.
	Find(ctx context.Context, dir string) (offer json.RawMessage, found string, err error)
	// New returns the provider that an offer describes. It refuses unknown fields and what cannot be provided.
	New(offer json.RawMessage) (Provider, error)
}

// Documented is a Maker whose settings say what they mean: it returns a pointer to a zero value of the struct that an offer is decoded into,
// whose fields have tags `json` with the setting's name and `doc` with a sentence for the owner. The settings file is written with these
// sentences, and read strictly by these names before New sees it.
type Documented interface {
	Settings() any
}

// Keeping is a Maker whose provider keeps files that say by themselves whether they are whole.
type Keeping interface {
	// Files lists them, by their paths below the provider's directory.
	Files(dir string) []health.File
}

// Searching is a Maker whose Find looks beyond this machine. It is called only for an owner who named the category without
// saying its settings, or said yes to Search, a question ("look for meters on the local network?").
type Searching interface {
	Search() string
}
