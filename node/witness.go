package node

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Dial implements role.WitnessHost.
func (r *runner) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return role.DialDevice(ctx, r.node.config.Private, network, address)
}

// Drawn implements role.WitnessHost. A device knows no registry: it asks the verifiers whom it was drawn for,
// and the bus what those offer.
func (r *runner) Drawn(ctx context.Context, purpose string) ([]role.Subject, error) {
	n, q := r.node.agent.Notice(), r.node.agent.Quorum()
	if n == nil || n.Seed.IsZero() || q.Bus == nil {
		return nil, types.Refuse(types.BusUnavailable, "node: whom this device was drawn for is not known yet")
	}
	devices, err := q.Drawn(ctx, n.Epoch, r.provider.Category, purpose, r.Key())
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	subjects := make([]role.Subject, len(devices))
	for i, d := range devices {
		asks, err := r.asksOf(ctx, q.Bus, &d)
		if err != nil {
			return nil, err
		}
		subjects[i] = role.Subject{Device: d, Asks: asks}
	}
	return subjects, nil
}

// Panel implements role.Host.
func (r *runner) Panel(ctx context.Context, purpose string) ([]types.Key, error) {
	n, q := r.node.agent.Notice(), r.node.agent.Quorum()
	if n == nil || n.Seed.IsZero() || q.Bus == nil {
		return nil, types.Refuse(types.BusUnavailable, "node: who was drawn for this device is not known yet")
	}
	drawn, err := q.Panel(ctx, n.Epoch, r.provider.Category, purpose, r.Key())
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return drawn, nil
}

// asksOf returns what the bus keeps of a device's asks in the category, one of each class.
func (r *runner) asksOf(ctx context.Context, b bus.Bus, d *tally.Device) ([]*receipt.SignedAsk, error) {
	asks, err := agent.FindAsks(ctx, b, r.Chain(), bus.AskSubject(d.Key, r.provider.Category, 0, 0), 1, bus.MaxKept) // a page has one message at least
	if err != nil {
		return nil, fmt.Errorf("node: what %v offers: %w", d.Key, err)
	}
	slices.SortFunc(asks, func(a, b *receipt.SignedAsk) int { return int(a.Ask.Class) - int(b.Ask.Class) })
	return asks, nil
}
