package verifier

import (
	"context"
	"slices"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Authorizer lets on the bus whom the chain knows: verifiers of the current epoch, registered devices, granted session keys,
// and the gateways that its operator lists.
type Authorizer struct {
	ledger   ledger.Reader
	gateways []types.Key
}

var _ bus.Authorizer = (*Authorizer)(nil)

// NewAuthorizer returns one that reads l. gateways are customers' doors of the bus's own operator.
func NewAuthorizer(l ledger.Reader, gateways ...types.Key) *Authorizer {
	return &Authorizer{l, gateways}
}

// Authorize implements bus.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, key types.Key) (bus.Role, error) {
	if slices.Contains(a.gateways, key) {
		return bus.RoleGateway, nil
	}
	head, err := a.ledger.Head(ctx)
	if err != nil {
		return bus.Nobody, err
	}
	ep, err := a.ledger.Epoch(ctx, head.Epoch)
	if err != nil {
		return bus.Nobody, err
	}
	if slices.ContainsFunc(ep.Verifiers, func(v tally.Attester) bool { return v.Key == key }) {
		return bus.RoleVerifier, nil // jailed ones too: they listen, and go on when they are back
	}
	switch _, err := a.ledger.Device(ctx, key); {
	case err == nil:
		return bus.RoleDevice, nil
	case !notFound(err):
		return bus.Nobody, err
	}
	switch g, err := a.ledger.Grant(ctx, key); {
	case err == nil && g.Expiry >= ep.Epoch:
		return bus.RolePayer, nil
	case err != nil && !notFound(err):
		return bus.Nobody, err
	}
	return bus.Nobody, nil
}
