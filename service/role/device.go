package role

import (
	"context"
	"encoding/json"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
)

// Device is a category on a device: how a machine is found fit for it, what its owner sets, and what runs then.
type Device struct {
	Category types.Category
	// Settings is a zero value of the struct that an owner's settings are decoded into. Its fields have tags `json`
	// with the setting's name and `doc` with a sentence for the owner: the settings file is written with these
	// sentences, and read strictly by these names before New sees it.
	Settings any
	// Find looks at what the machine could provide, keeping data below dir, and proposes how: settings with every one
	// written out, and a line that a person reads ("340 GiB of 500 GiB free on /"). Of what the machine does not have
	// at all, the settings are nil and the line says what is missing.
	Find func(ctx context.Context, dir string) (settings json.RawMessage, found string, err error)
	// New returns what runs with an owner's settings. It refuses unknown fields and what cannot be provided.
	New func(settings json.RawMessage) (Provider, error)

	// Search is a question, "" where Find looks at this machine only: "look for meters on the local network?". Find
	// is called then only for an owner who named the category without saying its settings, or who said yes.
	Search string
	// Try is optional. It tries settings out before they are kept: it looks whether what they name is there, and
	// returns lines that a person reads ("grid: import 2043 kWh, export 12 kWh"). It takes little more than a minute.
	// What cannot be reached is said too: it is no reason to refuse the settings.
	Try func(ctx context.Context, settings json.RawMessage) []string
	// Files is optional. It lists the files that say by themselves whether they are whole, by their paths below the
	// provider's directory, which it is given.
	Files func(dir string) []health.File
	// Example are flags of `cairn-node init` for its help, "" for none.
	Example string
}

// Provider is a category at work on one device.
type Provider struct {
	Category types.Category
	// Run provides the service until ctx ends. It returns nil then, and an error only if it cannot go on; then it is
	// run again.
	Run func(ctx context.Context, host Host) error

	// Witness is optional, for categories that draw devices as witnesses (tally.Peers): it looks at those that
	// this device was drawn for, until ctx ends, as a Witness's Run does.
	Witness func(ctx context.Context, host WitnessHost) error
	// Requests is optional: what others may ask this device over the bus, by kind (Question).
	Requests map[string]RequestHandler
	// Blobs is optional: larger things that the device holds for others, by their hashes (Fetch). They are
	// requests of the kind "blob", which Requests has no handler for.
	Blobs *Blobs
	// Remarks is optional. It returns what the owner should know now, the most urgent first: `cairn-node status`
	// shows MaxRemarks of them. It is called from any goroutine, and while Run does not run.
	Remarks func() []Remark
	// Serves is optional. It returns what is sold now, a line for each thing that a person reads, at most
	// MaxRemarks of them; called as Remarks is.
	Serves func() []string
	// Figures is optional. It returns numbers for /metrics, as they are: from any goroutine, and while Run does
	// not run.
	Figures func() []Figure
	// Reasons are the category's, so that a node says what each means and what to do.
	Reasons []types.ReasonInfo
	// Folders are those below Host.Dir that hold what can't be made anew, and that may be disks of their own. A
	// device does not start while one that it used is missing.
	Folders []string
}

// Remark is something about a provider that its owner should know: "grid: export never appears".
type Remark struct {
	Reason types.Reason `json:"reason"`
	Text   string       `json:"text"`
	Try    string       `json:"try,omitempty"` // what to do about it; the node fills it in from the reason where it is empty
}

// MaxRemarks bounds the remarks of a provider that are shown.
const MaxRemarks = 16
