package keeper

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/types/query"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/lot"
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

// Certificate returns one certificate.
func (q querier) Certificate(ctx context.Context, req *types.QueryCertificateRequest) (*types.QueryCertificateResponse, error) {
	device, err := core.ParseKey(req.Device)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c, err := q.Get(ctx, lot.ID{Device: device, From: req.FromWh})
	if errors.Is(err, core.UnknownCertificate) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return &types.QueryCertificateResponse{Certificate: c}, err
}

// byOwner is the type of keys in owners' lists.
type byOwner = collections.Triple[[]byte, uint32, []byte]

// ByOwner lists an owner's certificates.
func (q querier) ByOwner(ctx context.Context, req *types.QueryByOwnerRequest) (*types.QueryCertificatesResponse, error) {
	owner, err := q.addresses.StringToBytes(req.Owner)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	prefix := collections.TriplePrefix[[]byte, uint32, []byte](owner)
	if req.State == types.State_STATE_ACTIVE || req.State == types.State_STATE_RETIRED {
		prefix = collections.TripleSuperPrefix[[]byte, uint32, []byte](owner, shelf(req.State))
	}
	list, page, err := query.CollectionPaginate(ctx, q.owners, bounded(req.Pagination),
		func(key byOwner, _ collections.NoValue) (types.Certificate, error) { return q.Get(ctx, idOf(key.K3())) },
		func(o *query.CollectionsPaginateOptions[byOwner]) { o.Prefix = &prefix })
	return &types.QueryCertificatesResponse{Certificates: list, Pagination: page}, err
}

// ByDevice lists the certificates over a device's register.
func (q querier) ByDevice(ctx context.Context, req *types.QueryByDeviceRequest) (*types.QueryCertificatesResponse, error) {
	device, err := core.ParseKey(req.Device)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	time := now(ctx)
	list, page, err := query.CollectionPaginate(ctx, q.Certificates, bounded(req.Pagination),
		func(_ collections.Pair[[]byte, uint64], c types.Certificate) (types.Certificate, error) {
			c.State = c.At(time)
			return c, nil
		}, query.WithCollectionPaginationPairPrefix[[]byte, uint64](device[:]))
	return &types.QueryCertificatesResponse{Certificates: list, Pagination: page}, err
}

// Mark returns up to where a device's register was issued.
func (q querier) Mark(ctx context.Context, req *types.QueryMarkRequest) (*types.QueryMarkResponse, error) {
	device, err := core.ParseKey(req.Device)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	wh, err := q.Keeper.Mark(ctx, device)
	return &types.QueryMarkResponse{Wh: wh}, err
}

// Totals returns what was ever issued, and where that stands.
func (q querier) Totals(ctx context.Context, _ *types.QueryTotalsRequest) (*types.QueryTotalsResponse, error) {
	t, err := q.Keeper.Totals(ctx)
	return &types.QueryTotalsResponse{Issued: t.Issued, Active: t.Active, Retired: t.Retired, Expired: t.Expired}, err
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
