package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/types/query"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// maxPage bounds a page of a list.
const maxPage = 1000

type querier struct{ Keeper }

// NewQueryServer returns what answers the module's queries.
func NewQueryServer(k Keeper) types.QueryServer { return querier{k} }

// Params returns the parameters in force, and a change that waits.
func (q querier) Params(ctx context.Context, _ *types.QueryParamsRequest) (*types.QueryParamsResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	res := &types.QueryParamsResponse{Params: p}
	pending, err := q.Pending.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return res, nil
	}
	res.Pending = &pending
	return res, err
}

// Category returns one category's parameters and its target now.
func (q querier) Category(ctx context.Context, req *types.QueryCategoryRequest) (*types.QueryCategoryResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range p.Categories {
		if row.Category != req.Category {
			continue
		}
		k0, err := core.ParseU128(row.Target)
		if err != nil {
			return nil, err
		}
		e, err := (*q.clock).Epoch(ctx)
		if err != nil {
			return nil, err
		}
		k, err := econ.Target(k0, e)
		return &types.QueryCategoryResponse{Category: row, Target: k.String()}, err
	}
	return nil, status.Errorf(codes.NotFound, "category %d", req.Category)
}

// Day returns the state of the day.
func (q querier) Day(ctx context.Context, _ *types.QueryDayRequest) (*types.QueryDayResponse, error) {
	d, err := q.Keeper.Day.Get(ctx)
	return &types.QueryDayResponse{Day: d}, err
}

// Emission returns what was minted for an epoch.
func (q querier) Emission(ctx context.Context, req *types.QueryEmissionRequest) (*types.QueryEmissionResponse, error) {
	e, err := q.Keeper.Emissions.Get(ctx, req.Epoch)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "emission of epoch %d", req.Epoch)
	}
	return &types.QueryEmissionResponse{Emission: e}, err
}

// Emissions lists what was minted, by epoch.
func (q querier) Emissions(ctx context.Context, req *types.QueryEmissionsRequest) (*types.QueryEmissionsResponse, error) {
	if req.Pagination != nil && req.Pagination.Limit > maxPage {
		req.Pagination.Limit = maxPage
	}
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Emissions, req.Pagination,
		func(_ uint64, e types.Emission) (types.Emission, error) { return e, nil })
	return &types.QueryEmissionsResponse{Emissions: list, Pagination: page}, err
}
