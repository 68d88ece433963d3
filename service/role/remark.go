package role

import (
	"context"
	"encoding/json"

	"github.com/cairn-network/cairn/core/types"
)

// Remark is something about a provider that its owner should know: "grid: export never appears".
type Remark struct {
	Reason types.Reason `json:"reason"`
	Text   string       `json:"text"`
	Try    string       `json:"try,omitempty"` // what to do about it; the node fills it in from the reason where it is empty
}

// Speaking is a Provider that has something to say to its owner, which `cairn-node status` shows. A node shows at most MaxRemarks.
type Speaking interface {
	// Remarks returns what holds now, the most urgent first. It is called from any goroutine, and while Run does not run.
	Remarks() []Remark
}

// MaxRemarks bounds the remarks of a provider that are shown.
const MaxRemarks = 16

// Trying is a Maker that can try settings out before they are kept: it looks whether what they name is there, and returns lines that a
// person reads ("grid: import 2043 kWh, export 12 kWh"). It takes little more than a minute. What cannot be reached is said too: it
// is no reason to refuse the settings.
type Trying interface {
	Try(ctx context.Context, offer json.RawMessage) []string
}
