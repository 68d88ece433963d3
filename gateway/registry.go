package gateway

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

const (
	lineTimeout = 3 * time.Second
	maxLine     = 8 << 20 // bytes of a category's line
)

// Certificates implements role.Registry.
func (m *market) Certificates() ledger.Certificates { return m.ledger }

// Devices implements role.Registry.
func (v *view) Devices(_ context.Context, owner types.Account) ([]tally.Device, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var list []tally.Device
	for _, d := range v.devices {
		if slices.Contains(d.Categories, v.category) && (owner.IsZero() || d.Owner == owner) {
			list = append(list, *d)
		}
	}
	slices.SortFunc(list, func(a, b tally.Device) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return list, nil
}

// Line implements role.Registry: it asks the verifiers, and takes what more than two thirds of power say.
func (v *view) Line(ctx context.Context, device types.Key) (role.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	tallied, err := v.tallied(ctx)
	if err != nil || tallied == 0 {
		return role.Line{}, err
	}
	line, err := v.askLine(ctx, device, tallied)
	if err != nil {
		return role.Line{}, err
	}
	out := role.Line{Tallied: tallied}
	for i := range line.Lines {
		c := &line.Lines[i]
		if c.Category != v.category {
			continue
		}
		if out.State = c.State; c.Blob.Size > bus.MaxInline {
			if out.State, err = bus.FetchBlob(ctx, v.bus, c.Blob.Hash, min(c.Blob.Size, maxLine)); err != nil {
				return role.Line{}, fmt.Errorf("gateway: line of %v: %w", device, err)
			}
		}
	}
	return out, nil
}

// tallied returns the epoch of the newest header that stands; 0 for none.
func (m *market) tallied(ctx context.Context) (types.Epoch, error) {
	headers, err := m.ledger.Headers(ctx, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("gateway: headers: %w", err)
	}
	for _, h := range headers { // newest first
		if h.Status == ledger.Accepted || h.Status == ledger.Appealed || h.Status == ledger.Final {
			return h.Epoch, nil
		}
	}
	return 0, nil
}

// askLine gathers verifiers' answers until more than two thirds of power gave the same one.
func (m *market) askLine(ctx context.Context, device types.Key, tallied types.Epoch) (*bus.Line, error) {
	query := &bus.LineQuery{Chain: m.chain, Device: device, Tallied: tallied}
	said, sums, found := map[types.Key]bool{}, map[types.Hash]uint64{}, (*bus.Line)(nil)
	err := m.bus.Gather(ctx, bus.QuerySubject(m.key.Public(), 0, bus.QueryLine), bus.Encode(query), func(raw []byte) bool {
		line, from, err := bus.Open[bus.Line](raw, m.chain)
		if err != nil || line.Region != query.Region || line.Device != device || line.Tallied != tallied || said[from] {
			return true
		}
		m.mu.RLock()
		power, total := m.verifier[from], uint64(0)
		for _, p := range m.verifier {
			total += p
		}
		m.mu.RUnlock()
		said[from] = true
		hash := types.Sum(types.Encode(line))
		if sums[hash] += power; bus.TwoThirds(sums[hash], total) {
			found = line
		}
		return found == nil
	})
	if found == nil && err == nil {
		err = ctx.Err()
	}
	if found == nil {
		return nil, fmt.Errorf("gateway: line of %v: no two thirds of power say the same: %w: %w", device, err, types.BusUnavailable)
	}
	return found, nil
}
