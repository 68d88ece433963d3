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
func (v *view) Devices(ctx context.Context, owner types.Account) ([]tally.Device, error) {
	var list []ledger.Device
	var err error
	if owner.IsZero() {
		lines, err := v.lines.get(ctx, v.Notice().Epoch, v.offers[v.category].anywhere.Devices(maxAnywhere))
		if err != nil {
			return nil, err
		}
		for _, d := range lines {
			list = append(list, *d)
		}
	} else if list, err = v.lines.of(ctx, v.Notice().Epoch, owner); err != nil {
		return nil, err
	}
	var out []tally.Device
	for i := range list {
		if d := &list[i]; d.Region == v.Region() && slices.Contains(d.Categories, v.category) {
			out = append(out, d.Device)
		}
	}
	slices.SortFunc(out, func(a, b tally.Device) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return out, nil
}

// Line implements role.Registry: it asks the verifiers, and takes what more than two thirds of power say.
func (v *view) Line(ctx context.Context, device types.Key) (role.Line, error) {
	out := role.Line{Tallied: v.Notice().Tallied}
	if out.Tallied == 0 {
		return out, nil
	}
	q := v.agent.Quorum()
	q.Wait = lineTimeout
	line, err := q.Line(ctx, device, out.Tallied, v.category)
	if err != nil {
		return role.Line{}, err
	}
	for _, c := range line.Lines {
		if c.Category == v.category {
			out.State = c.State
		}
	}
	return out, nil
}
