package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/types/query"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	core "github.com/cairn-network/cairn/core/types"
)

// maxPage bounds a page of a list.
const maxPage = 1000

type querier struct{ Keeper }

// NewQueryServer returns what answers the module's queries.
func NewQueryServer(k Keeper) types.QueryServer { return querier{k} }

// Params returns the parameters.
func (q querier) Params(ctx context.Context, _ *types.QueryParamsRequest) (*types.QueryParamsResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	return &types.QueryParamsResponse{Params: p}, err
}

// Account returns what an account has bought; an account that bought nothing is not an error.
func (q querier) Account(ctx context.Context, req *types.QueryAccountRequest) (*types.QueryAccountResponse, error) {
	account, err := q.addresses.StringToBytes(req.Account)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	res := &types.QueryAccountResponse{}
	if err := q.Holdings.Walk(ctx, collections.NewPrefixedPairRange[[]byte, uint32](account),
		func(key collections.Pair[[]byte, uint32], bought uint64) (bool, error) {
			res.Bought += bought
			res.Holdings = append(res.Holdings, types.Holding{Account: req.Account, Region: key.K2(), Bought: bought})
			return false, nil
		}); err != nil {
		return nil, err
	}
	e, err := q.epoch(ctx)
	if err != nil {
		return nil, err
	}
	err = q.live.Walk(ctx, collections.NewPrefixedTripleRange[[]byte, uint64, []byte](account),
		func(key collections.Triple[[]byte, uint64, []byte]) (bool, error) {
			if key.K2() > uint64(e) {
				res.LiveKeys++
			}
			return false, nil
		})
	return res, err
}

// Accounts lists what all accounts have bought.
func (q querier) Accounts(ctx context.Context, req *types.QueryAccountsRequest) (*types.QueryAccountsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Holdings, bounded(req.Pagination),
		func(key collections.Pair[[]byte, uint32], bought uint64) (types.Holding, error) {
			account, err := q.addresses.BytesToString(key.K1())
			return types.Holding{Account: account, Region: key.K2(), Bought: bought}, err
		})
	return &types.QueryAccountsResponse{Holdings: list, Pagination: page}, err
}

// Grant returns one key's grant.
func (q querier) Grant(ctx context.Context, req *types.QueryGrantRequest) (*types.QueryGrantResponse, error) {
	key, err := core.ParseKey(req.Key)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	g, err := q.Keeper.Grants.Get(ctx, key[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Error(codes.NotFound, "no account granted key "+req.Key)
	}
	return &types.QueryGrantResponse{Grant: g}, err
}

// Grants lists an account's keys.
func (q querier) Grants(ctx context.Context, req *types.QueryGrantsRequest) (*types.QueryGrantsResponse, error) {
	account, err := q.addresses.StringToBytes(req.Account)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Grants.Indexes.Account, bounded(req.Pagination),
		func(key collections.Pair[[]byte, []byte], _ collections.NoValue) (types.Grant, error) {
			return q.Keeper.Grants.Get(ctx, key.K2())
		}, query.WithCollectionPaginationPairPrefix[[]byte, []byte](account))
	return &types.QueryGrantsResponse{Grants: list, Pagination: page}, err
}

// Vault returns the vault.
func (q querier) Vault(ctx context.Context, _ *types.QueryVaultRequest) (*types.QueryVaultResponse, error) {
	v, err := q.Keeper.Vault.Get(ctx)
	if err != nil {
		return nil, err
	}
	band, err := q.Band(ctx)
	if err != nil {
		return nil, err
	}
	ev := v.Econ()
	return &types.QueryVaultResponse{Vault: v, Backing: ev.Backing(band.Lo)}, nil
}

// Price returns the band.
func (q querier) Price(ctx context.Context, _ *types.QueryPriceRequest) (*types.QueryPriceResponse, error) {
	b, err := q.Band(ctx)
	return &types.QueryPriceResponse{Lo: b.Lo, Hi: b.Hi, Paused: b.Paused, Fixed: true}, err
}

// Quote returns what an amount would buy now, or why it would be refused.
func (q querier) Quote(ctx context.Context, req *types.QueryQuoteRequest) (*types.QueryQuoteResponse, error) {
	if req.Amount == 0 || req.Amount > uint64(econ.MaxSupply) {
		return nil, status.Error(codes.InvalidArgument, "amount in ustone: some, and no more than can exist")
	}
	v, err := q.Keeper.Vault.Get(ctx)
	if err != nil {
		return nil, err
	}
	p, err := q.economy.Economy(ctx)
	if err != nil {
		return nil, err
	}
	bid, err := q.bid(ctx, core.Ustone(req.Amount), 0)
	if err != nil {
		return nil, err
	}
	ev := v.Econ()
	quote, err := econ.Quote(&ev, &p, bid)
	if err != nil && core.ReasonOf(err) == "" {
		return nil, err
	}
	return &types.QueryQuoteResponse{
		Credits: uint64(quote.Credits), Backing: quote.Backing, Warning: quote.Warning, Rationed: quote.Rationed,
		Refusal: string(core.ReasonOf(err)),
	}, nil
}

// Supply returns what was minted and burned.
func (q querier) Supply(ctx context.Context, _ *types.QuerySupplyRequest) (*types.QuerySupplyResponse, error) {
	return q.supply(ctx)
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
