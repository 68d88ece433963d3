package verifier

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Authorizer lets on the bus whom the chain knows: verifiers of the current epoch, bonded validators' keys that
// will count, registered devices, granted session keys, and the gateways that its operator lists.
type Authorizer struct {
	ledger   ledger.Reader
	gateways []types.Key

	mu    sync.Mutex // guards what follows
	epoch *ledger.Epoch
	asked time.Time
}

// epochStale is how old what is known of the epoch may be: so many log-ons at once ask the chain for it once.
const epochStale = time.Second

// now returns the current epoch.
func (a *Authorizer) now(ctx context.Context) (*ledger.Epoch, error) {
	a.mu.Lock()
	ep, asked := a.epoch, a.asked
	a.mu.Unlock()
	if ep != nil && time.Since(asked) < epochStale {
		return ep, nil
	}
	began := time.Now()
	head, err := a.ledger.Head(ctx)
	if err != nil {
		return nil, err
	}
	if ep == nil || ep.Epoch != head.Epoch {
		if ep, err = a.ledger.Epoch(ctx, head.Epoch); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch, a.asked = ep, began
	return ep, nil
}

var _ bus.Authorizer = (*Authorizer)(nil)

// NewAuthorizer returns one that reads l. gateways are customers' doors of the bus's own operator.
func NewAuthorizer(l ledger.Reader, gateways ...types.Key) *Authorizer {
	return &Authorizer{ledger: l, gateways: gateways}
}

// Authorize implements bus.Authorizer. What a key may keep on the bus costs something: a place among the
// verifiers, a bond, or credits. Keys that cost nothing, which one account can have as many of as it likes,
// share what is their account's.
func (a *Authorizer) Authorize(ctx context.Context, key types.Key) (bus.Pass, error) {
	if slices.Contains(a.gateways, key) {
		return bus.Full(bus.RoleGateway), nil
	}
	ep, err := a.now(ctx)
	if err != nil {
		return bus.Pass{}, err
	}
	if slices.ContainsFunc(ep.Verifiers, func(v tally.Attester) bool { return v.Key == key }) {
		return bus.Full(bus.RoleVerifier), nil // jailed ones too: they listen, and go on when they are back
	}
	switch d, err := a.ledger.Device(ctx, key); {
	case err == nil && d.Bond > 0:
		return bus.Full(bus.RoleDevice), nil
	case err == nil:
		return bus.Pass{Role: bus.RoleDevice, Account: d.Owner, Own: bus.DeviceKept, Keep: bus.DeviceKept}, nil
	case !notFound(err):
		return bus.Pass{}, err
	}
	switch g, err := a.ledger.Grant(ctx, key); {
	case err == nil && g.Expiry >= ep.Epoch:
		return a.payer(ctx, g, ep.MinOpening)
	case err != nil && !notFound(err):
		return bus.Pass{}, err
	}
	return a.pending(ctx, key)
}

// pending returns what a key may be that its validator has named and that does not count yet. It costs what a
// seat costs: bonded stake, and one of the places that the chain has for validators, each of which has one key;
// so nobody has a place for having registered.
func (a *Authorizer) pending(ctx context.Context, key types.Key) (bus.Pass, error) {
	switch v, err := a.ledger.Verifier(ctx, key); {
	case err == nil && v.Power > 0:
		return bus.Pass{Role: bus.RolePending}, nil
	case err != nil && !notFound(err):
		return bus.Pass{}, err
	}
	return bus.Pass{}, nil
}

// payer returns what a payer may keep: room for one receipt for each session that its account, and the key
// itself, could have opened.
func (a *Authorizer) payer(ctx context.Context, g *ledger.Grant, opening types.Credit) (bus.Pass, error) {
	var bought, here types.Credit // here: where the key spends
	switch account, err := a.ledger.Account(ctx, g.Account); {
	case err == nil:
		bought, here = account.Bought, account.In(g.Region)
	case !notFound(err):
		return bus.Pass{}, err
	}
	room := func(c types.Credit) int {
		return int(min(c/max(opening, 1), bus.MaxKeptBytes/bus.KeptPerCredit)) * bus.KeptPerCredit
	}
	return bus.Pass{Role: bus.RolePayer, Account: g.Account, Own: room(min(here, g.Limit)), Keep: room(bought)}, nil
}
