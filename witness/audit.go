package witness

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Ledger is what a witness knows of tallies from the verifier beside it, for the verifier's region: its methods
// are those of role.AuditHost, of any category and epoch.
type Ledger interface {
	Line(ctx context.Context, e types.Epoch, c types.Category, device types.Key) ([]byte, error)
	Counted(ctx context.Context, e types.Epoch, c types.Category, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error)
	Reported(e types.Epoch, c types.Category, kind evidence.Kind, from int) (reports []*evidence.Envelope, next int, more bool, err error)
}

var _ role.AuditHost = (*runner)(nil)

// Line implements role.VerifierHost and role.AuditHost.
func (r *runner) Line(ctx context.Context, e types.Epoch, device types.Key) ([]byte, error) {
	if r.engine.cfg.Ledger == nil {
		return nil, types.Refuse(types.UnknownBlob, "witness: no verifier is asked for tallies")
	}
	return r.engine.cfg.Ledger.Line(ctx, e, r.spec.Category, device)
}

// Counted implements role.AuditHost.
func (r *runner) Counted(ctx context.Context, e types.Epoch, kind evidence.Kind, devices []types.Key) (map[types.Key][]*evidence.Envelope, error) {
	return r.engine.cfg.Ledger.Counted(ctx, e, r.spec.Category, kind, devices)
}

// Reported implements role.AuditHost.
func (r *runner) Reported(_ context.Context, kind evidence.Kind, from int) ([]*evidence.Envelope, int, bool, error) {
	n := r.engine.agent.Notice()
	if n == nil {
		return nil, from, false, types.Refuse(types.BusUnavailable, "witness: no notice yet: the epoch is not known")
	}
	return r.engine.cfg.Ledger.Reported(n.Epoch, r.spec.Category, kind, from)
}

// SubmitOnce implements role.AuditHost.
func (r *runner) SubmitOnce(ctx context.Context, e types.Epoch, kind evidence.Kind, name types.Hash, body []byte) error {
	p, err := r.payload(ctx, kind, body)
	if err != nil {
		return err
	}
	if p.Epoch != e {
		return types.Refuse(types.WrongEpoch, "witness: a report of epoch %d in epoch %d", e, p.Epoch)
	}
	_, err = r.engine.spool.EvidenceOnce(p, r.named(name))
	return err
}

// Submitted implements role.AuditHost.
func (r *runner) Submitted(name types.Hash) (bool, error) {
	known, err := r.engine.spool.Named(r.named(name))
	if err != nil {
		return false, fmt.Errorf("witness: %w", err)
	}
	return known, nil
}

// named is a category's name among those of all.
func (r *runner) named(name types.Hash) types.Hash {
	return types.Sum([]byte(r.spec.Category.String()), name[:])
}
