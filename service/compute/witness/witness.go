// Package witness is what compute does beside a verifier: it makes live checks (package live) and audits
// results (package audit).
package witness

import (
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/witness/audit"
	"github.com/cairn-network/cairn/service/compute/witness/live"
	"github.com/cairn-network/cairn/service/role"
)

// Config of a Witness. Its zero value means the defaults.
type Config struct {
	Live  live.Config
	Audit audit.Config
}

// Witness is a verifier's side of compute.
type Witness struct{ cfg Config }

// New returns the verifier's side of compute.
func New(cfg Config) *Witness { return &Witness{cfg} }

// Role returns w as a witness engine runs it.
func (w *Witness) Role() role.Witness {
	return role.Witness{Category: types.Compute, Run: live.New(w.cfg.Live).Run, Audit: audit.New(w.cfg.Audit).Run}
}
