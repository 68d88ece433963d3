package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/types/query"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/device/types"
	core "github.com/cairn-network/cairn/core/types"
)

// maxPage bounds a page of a list, and maxKeys how many devices are looked up at once.
const (
	maxPage = 1000
	maxKeys = 256
)

type querier struct{ Keeper }

// NewQueryServer returns what answers the module's queries.
func NewQueryServer(k Keeper) types.QueryServer { return querier{k} }

// Params returns the parameters.
func (q querier) Params(ctx context.Context, _ *types.QueryParamsRequest) (*types.QueryParamsResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	return &types.QueryParamsResponse{Params: p}, err
}

// Device returns one device.
func (q querier) Device(ctx context.Context, req *types.QueryDeviceRequest) (*types.QueryDeviceResponse, error) {
	key, err := core.ParseKey(req.Device)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	d, err := q.Keeper.Devices.Get(ctx, key[:])
	return &types.QueryDeviceResponse{Device: d}, found(err, "device "+req.Device)
}

// Devices lists all devices.
func (q querier) Devices(ctx context.Context, req *types.QueryDevicesRequest) (*types.QueryDevicesResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Devices, bounded(req.Pagination),
		func(_ []byte, d types.Device) (types.Device, error) { return d, nil })
	return &types.QueryDevicesResponse{Devices: list, Pagination: page}, err
}

// DevicesByOwner lists an owner's devices.
func (q querier) DevicesByOwner(ctx context.Context, req *types.QueryDevicesByOwnerRequest) (*types.QueryDevicesResponse, error) {
	owner, err := q.addresses.StringToBytes(req.Owner)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Devices.Indexes.Owner, bounded(req.Pagination),
		func(key collections.Pair[[]byte, []byte], _ collections.NoValue) (types.Device, error) {
			return q.Keeper.Devices.Get(ctx, key.K2())
		}, query.WithCollectionPaginationPairPrefix[[]byte, []byte](owner))
	return &types.QueryDevicesResponse{Devices: list, Pagination: page}, err
}

// DevicesByKey returns those of the devices that are registered.
func (q querier) DevicesByKey(ctx context.Context, req *types.QueryDevicesByKeyRequest) (*types.QueryDevicesByKeyResponse, error) {
	if len(req.Devices) > maxKeys {
		return nil, status.Errorf(codes.InvalidArgument, "%d devices, at most %d are looked up at once", len(req.Devices), maxKeys)
	}
	res := new(types.QueryDevicesByKeyResponse)
	for _, text := range req.Devices {
		key, err := core.ParseKey(text)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		d, err := q.Keeper.Devices.Get(ctx, key[:])
		if errors.Is(err, collections.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		res.Devices = append(res.Devices, d)
	}
	return res, nil
}

// RequiredBond returns what a device of some categories costs.
func (q querier) RequiredBond(ctx context.Context, req *types.QueryRequiredBondRequest) (*types.QueryRequiredBondResponse, error) {
	if !types.Ascending(req.Categories) {
		return nil, status.Error(codes.InvalidArgument, "categories: one to sixteen, ascending")
	}
	bond, fee, err := q.cost(ctx, req.Categories)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &types.QueryRequiredBondResponse{Bond: uint64(bond), Fee: uint64(fee)}, nil
}

// Bonds returns what is locked for all devices.
func (q querier) Bonds(ctx context.Context, _ *types.QueryBondsRequest) (*types.QueryBondsResponse, error) {
	locked, balance, err := q.bonds(ctx)
	if err != nil {
		return nil, err
	}
	return &types.QueryBondsResponse{Locked: locked, Balance: balance.Uint64()}, nil
}

// Maker returns one maker.
func (q querier) Maker(ctx context.Context, req *types.QueryMakerRequest) (*types.QueryMakerResponse, error) {
	m, err := q.Keeper.Makers.Get(ctx, req.Id)
	return &types.QueryMakerResponse{Maker: m}, found(err, "maker")
}

// Makers lists all makers.
func (q querier) Makers(ctx context.Context, req *types.QueryMakersRequest) (*types.QueryMakersResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Makers, bounded(req.Pagination),
		func(_ uint64, m types.Maker) (types.Maker, error) { return m, nil })
	return &types.QueryMakersResponse{Makers: list, Pagination: page}, err
}

// Model returns one model.
func (q querier) Model(ctx context.Context, req *types.QueryModelRequest) (*types.QueryModelResponse, error) {
	m, err := q.Keeper.Models.Get(ctx, req.Id)
	return &types.QueryModelResponse{Model: m}, found(err, "model")
}

// Models lists all models.
func (q querier) Models(ctx context.Context, req *types.QueryModelsRequest) (*types.QueryModelsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Models, bounded(req.Pagination),
		func(_ uint64, m types.Model) (types.Model, error) { return m, nil })
	return &types.QueryModelsResponse{Models: list, Pagination: page}, err
}

// bounded caps the size of a page.
func bounded(p *query.PageRequest) *query.PageRequest {
	if p == nil {
		return &query.PageRequest{Limit: query.DefaultLimit}
	}
	q := *p
	q.Limit = min(q.Limit, maxPage)
	return &q
}

// found gives "not found" its status.
func found(err error, what string) error {
	if errors.Is(err, collections.ErrNotFound) {
		return status.Error(codes.NotFound, what+" is not registered")
	}
	return err
}
