package gateway

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

const lineTimeout = 3 * time.Second

// Query implements role.Registry.
func (m *market) Query(ctx context.Context, method string, request, answer any) error {
	return m.ledger.Query(ctx, method, request, answer)
}

// Devices implements role.Registry.
func (m *categoryMarket) Devices(ctx context.Context, owner types.Account) ([]tally.Device, error) {
	var list []ledger.Device
	var err error
	if owner.IsZero() {
		devices, err := m.registry.get(ctx, m.Notice().Epoch, m.asks[m.category].anywhere.Devices(maxAnywhere))
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			list = append(list, *d)
		}
	} else if list, err = m.registry.of(ctx, m.Notice().Epoch, owner); err != nil {
		return nil, err
	}
	var out []tally.Device
	for i := range list {
		if d := &list[i]; d.Region == m.Region() && slices.Contains(d.Categories, m.category) {
			out = append(out, d.Device)
		}
	}
	slices.SortFunc(out, func(a, b tally.Device) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return out, nil
}

// Line implements role.Registry: it asks the verifiers, and takes what more than two thirds of power say.
func (m *categoryMarket) Line(ctx context.Context, device types.Key) (role.Line, error) {
	out := role.Line{Tallied: m.Notice().Tallied}
	if out.Tallied == 0 {
		return out, nil
	}
	q := m.agent.Quorum()
	q.Wait = lineTimeout
	line, err := q.Line(ctx, device, out.Tallied, m.category)
	if err != nil {
		return role.Line{}, err
	}
	for _, c := range line.Lines {
		if c.Category == m.category {
			out.State = c.State
		}
	}
	return out, nil
}
