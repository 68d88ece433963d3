package types

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Tally returns d as the registry view of core/tally has it.
func (d *Device) Tally(owner types.Account) (*tally.Device, error) {
	key, err := types.ParseKey(d.Device)
	if err != nil {
		return nil, err
	}
	cell, err := types.ParseCell(d.Cell)
	if err != nil {
		return nil, err
	}
	out := &tally.Device{
		Key: key, Owner: owner, Cell: cell, Model: d.Model,
		Bond: types.Ustone(d.Bond), Slashed: types.Ustone(d.Slashed), Suspended: types.Epoch(d.SuspendedUntil),
	}
	for _, c := range d.Categories {
		out.Categories = append(out.Categories, types.Category(c))
	}
	return out, nil
}

// Validate checks a device of a genesis state.
func (d *Device) Validate() error {
	if _, err := types.ParseKey(d.Device); err != nil {
		return fmt.Errorf("device %.80q: %w", d.Device, err)
	}
	if _, err := types.ParseAccount(d.Owner); err != nil {
		return fmt.Errorf("device %s: owner: %w", d.Device, err)
	}
	cell, err := types.ParseCell(d.Cell)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Device, err)
	}
	switch {
	case cell.Resolution() < types.RegionResolution:
		return fmt.Errorf("device %s: its cell is coarser than resolution %d", d.Device, types.RegionResolution)
	case !Ascending(d.Categories):
		return fmt.Errorf("device %s: categories are not ascending", d.Device)
	case d.Status < Status_STATUS_ACTIVE || d.Status > Status_STATUS_REMOVED:
		return fmt.Errorf("device %s: status %d", d.Device, d.Status)
	case d.Status == Status_STATUS_REMOVED && d.Bond != 0:
		return fmt.Errorf("device %s: removed with a bond", d.Device)
	case d.Region > 1<<16-1:
		return fmt.Errorf("device %s: region %d", d.Device, d.Region)
	}
	return nil
}

// Ascending reports whether categories are strictly ascending, from 1 to the most that a category's number can
// be, and neither none nor more than 16.
func Ascending(categories []uint32) bool {
	if len(categories) == 0 || len(categories) > 16 || categories[0] == 0 || categories[len(categories)-1] > 1<<16-1 {
		return false
	}
	return slices.IsSorted(categories) && len(slices.Compact(slices.Clone(categories))) == len(categories)
}
