package types

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/fleet"
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
	things := fleet.Fleet{Count: d.FleetCount}
	if !things.None() {
		if things.Root, err = types.ParseHash(d.FleetRoot); err != nil {
			return nil, err
		}
	}
	out := &tally.Device{
		Key: key, Owner: owner, Cell: cell, Model: d.Model,
		Bond: types.Ustone(d.Bond), Slashed: types.Ustone(d.Slashed), Suspended: types.Epoch(d.SuspendedUntil),
		Fleet: things,
	}
	for _, c := range d.Categories {
		out.Categories = append(out.Categories, types.Category(c))
	}
	return out, nil
}

// ParseFleet reads a fleet as messages and queries have it: no root and no things are no fleet.
func ParseFleet(root string, count uint64) (f fleet.Fleet, err error) {
	if root != "" {
		if f.Root, err = types.ParseHash(root); err != nil {
			return f, types.Refuse(types.BadEncoding, "fleet: root: %v", err)
		}
	}
	if root == "" != (count == 0) {
		return f, types.Refuse(types.BadEncoding, "fleet: %d things and root %q: both, or neither", count, root)
	}
	f.Count = count
	return f, fleet.Bound(&f)
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
	if _, err := types.ParseHash(d.FleetRoot); err != nil && d.FleetRoot != "" {
		return fmt.Errorf("device %s: fleet: %w", d.Device, err)
	}
	switch {
	case (d.FleetRoot == "") != (d.FleetCount == 0) || d.FleetCount > fleet.MaxCount:
		return fmt.Errorf("device %s: a fleet of %d things under root %q", d.Device, d.FleetCount, d.FleetRoot)
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
