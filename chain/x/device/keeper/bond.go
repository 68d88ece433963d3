package keeper

import (
	"context"
	"encoding/binary"
	"fmt"

	"cosmossdk.io/collections"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

const (
	maxLeaf     = 256     // bytes of an encoded leaf
	siblingSize = 8 + 32  // sum and hash
	maxSiblings = 64 * 40 // bytes: no tree is deeper than its count has bits
)

// AddBond locks more for a device.
func (s server) AddBond(ctx context.Context, msg *types.MsgAddBond) (*types.MsgAddBondResponse, error) {
	sender, err := s.addresses.StringToBytes(msg.Sender)
	if err != nil {
		return nil, err
	}
	key, err := core.ParseKey(msg.Device)
	if err != nil {
		return nil, err
	}
	d, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if d.Status != types.Status_STATUS_ACTIVE {
		return nil, core.Refuse(core.UnknownAuthor, "device %s has left the registry", key)
	}
	amount, err := ustone(msg.Amount)
	if err != nil {
		return nil, err
	}
	if amount == 0 {
		return nil, fmt.Errorf("add a bond of nothing")
	}
	if err := s.take(ctx, sender, amount); err != nil {
		return nil, err
	}
	if err := s.lock(ctx, amount); err != nil {
		return nil, err
	}
	d.Bond += uint64(amount)
	if err := s.put(ctx, d, sender); err != nil {
		return nil, err
	}
	emit(ctx, "device_bonded", d, "bond", fmt.Sprint(d.Bond))
	return &types.MsgAddBondResponse{Bond: d.Bond}, nil
}

// UnbondDevice takes a device out of the next epoch's view. One that was registered in this epoch never was in
// a view, so no tally will have a line of it: its bond goes back at once.
func (s server) UnbondDevice(ctx context.Context, msg *types.MsgUnbondDevice) (*types.MsgUnbondDeviceResponse, error) {
	d, key, err := s.owned(ctx, msg.Device, msg.Owner)
	if err != nil {
		return nil, err
	}
	e, err := s.tally.clock.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if d.Status != types.Status_STATUS_ACTIVE {
		return nil, core.Refuse(core.WrongEpoch, "device %s is leaving already", key)
	}
	if d.Registered >= uint64(e) {
		if err := s.changes.Remove(ctx, collections.Join3(uint64(e)+1, d.Region, key[:])); err != nil {
			return nil, err
		}
		return &types.MsgUnbondDeviceResponse{Completes: uint64(e)}, s.remove(ctx, d, core.Ustone(d.Bond))
	}
	d.Status, d.Unbonding = types.Status_STATUS_UNBONDING, uint64(e)
	if err := s.put(ctx, d, nil); err != nil {
		return nil, err
	}
	owner, err := s.addresses.StringToBytes(msg.Owner)
	if err != nil {
		return nil, err
	}
	if err := s.log(ctx, d, key, &tally.Change{Remove: key}, owner); err != nil {
		return nil, err
	}
	emit(ctx, "device_unbonding", d, "owner", d.Owner)
	return &types.MsgUnbondDeviceResponse{Completes: uint64(e) + p.UnbondDelay}, nil
}

// CompleteUnbond returns the bond, less what the shown penalty takes.
func (s server) CompleteUnbond(ctx context.Context, msg *types.MsgCompleteUnbond) (*types.MsgCompleteUnbondResponse, error) {
	key, err := core.ParseKey(msg.Device)
	if err != nil {
		return nil, err
	}
	d, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if d.Status != types.Status_STATUS_UNBONDING {
		return nil, core.Refuse(core.AlreadyClaimed, "device %s is not unbonding", key)
	}
	if msg.Epoch < d.Unbonding+p.UnbondDelay {
		return nil, core.Refuse(core.NotFinal, "device %s unbonds with a header of epoch %d or later", key, d.Unbonding+p.UnbondDelay)
	}
	leaf, err := s.leaf(ctx, msg, d)
	if err != nil {
		return nil, err
	}
	burned, err := s.Penalize(ctx, key, leaf.Penalty)
	if err != nil {
		return nil, err
	}
	rest := d.Bond - uint64(burned)
	d.Slashed += uint64(burned)
	return &types.MsgCompleteUnbondResponse{Returned: rest, Burned: uint64(burned)}, s.remove(ctx, d, core.Ustone(rest))
}

// remove ends a device, and returns what is left of its bond.
func (s server) remove(ctx context.Context, d types.Device, rest core.Ustone) error {
	owner, err := s.addresses.StringToBytes(d.Owner)
	if err != nil {
		return err
	}
	if rest > 0 {
		if err := s.unlock(ctx, rest); err != nil {
			return err
		}
		if err := s.bank.SendCoinsFromModuleToAccount(ctx, types.ModuleName, owner, coins(rest)); err != nil {
			return fmt.Errorf("return the bond of device %s: %w", d.Device, err)
		}
	}
	d.Bond, d.Status = 0, types.Status_STATUS_REMOVED
	if err := s.put(ctx, d, nil); err != nil {
		return err
	}
	emit(ctx, "device_removed", d, "returned", fmt.Sprint(uint64(rest)))
	return nil
}

// leaf checks the device's line in a final header.
func (s server) leaf(ctx context.Context, msg *types.MsgCompleteUnbond, d types.Device) (*tally.Leaf, error) {
	h, err := s.tally.headers.FinalHeader(ctx, core.Epoch(msg.Epoch), core.Region(d.Region))
	if err != nil {
		return nil, err
	}
	leaf := new(tally.Leaf)
	if err := core.DecodeLimit(msg.Leaf, leaf, maxLeaf); err != nil {
		return nil, core.Refuse(core.BadEncoding, "leaf: %v", err)
	}
	if leaf.Device.String() != d.Device {
		return nil, core.Refuse(core.BadClaim, "the leaf is of device %s", leaf.Device)
	}
	proof := merkle.SumProof{Index: msg.Index, Count: h.Count}
	if proof.Siblings, err = siblings(msg.Siblings); err != nil {
		return nil, err
	}
	if _, err := proof.Verify(h.Devices, h.Count, leaf.Node()); err != nil {
		return nil, core.Refuse(core.BadClaim, "leaf of device %s: %v", leaf.Device, err)
	}
	return leaf, nil
}

// siblings reads the nodes of a proof: 8 bytes of sum, big endian, and 32 of hash each.
func siblings(raw []byte) ([]merkle.Node, error) {
	if len(raw)%siblingSize != 0 || len(raw) > maxSiblings {
		return nil, core.Refuse(core.BadEncoding, "siblings: %d bytes", len(raw))
	}
	var nodes []merkle.Node
	for ; len(raw) > 0; raw = raw[siblingSize:] {
		nodes = append(nodes, merkle.Node{Sum: binary.BigEndian.Uint64(raw), Hash: core.Hash(raw[8:siblingSize])})
	}
	return nodes, nil
}

// owned returns a device that owner owns.
func (s server) owned(ctx context.Context, device, owner string) (types.Device, core.Key, error) {
	key, err := core.ParseKey(device)
	if err != nil {
		return types.Device{}, key, err
	}
	d, err := s.Get(ctx, key)
	if err != nil {
		return types.Device{}, key, err
	}
	if d.Owner != owner || d.Status == types.Status_STATUS_REMOVED {
		return types.Device{}, key, core.Refuse(core.NotOwner, "device %s is of %s", key, d.Owner)
	}
	return d, key, nil
}

func (s server) authorized(authority string) error {
	if authority != s.authority {
		return fmt.Errorf("%w: want %s, have %s", govtypes.ErrInvalidSigner, s.authority, authority)
	}
	return nil
}

// requires and fee of a device, for those who ask before they register.
func (k Keeper) cost(ctx context.Context, categories []uint32) (bond, fee core.Ustone, err error) {
	p, err := k.economy.Economy(ctx)
	if err != nil {
		return 0, 0, err
	}
	band, err := k.market.Band(ctx)
	if err != nil {
		return 0, 0, err
	}
	if fee, err = econ.DeviceFee(&p, band.Lo); err != nil {
		return 0, 0, err
	}
	bond, err = k.required(ctx, &p, categories)
	return bond, fee, err
}
