package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"cosmossdk.io/collections"
	"github.com/cosmos/cosmos-sdk/types/query"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// maxPage bounds a page of a list.
const maxPage = 1000

type querier struct{ Keeper }

// NewQueryServer returns what answers the module's queries.
func NewQueryServer(k Keeper) types.QueryServer { return querier{k} }

// found turns what a map does not hold into an error that says so to who asked.
func found[T any](v T, err error) func(format string, args ...any) (T, error) {
	return func(format string, args ...any) (T, error) {
		if errors.Is(err, collections.ErrNotFound) {
			return v, status.Errorf(codes.NotFound, format, args...)
		}
		return v, err
	}
}

func bounded(p *query.PageRequest) *query.PageRequest {
	if p != nil && p.Limit > maxPage {
		p.Limit = maxPage
	}
	return p
}

// Params returns the parameters.
func (q querier) Params(ctx context.Context, _ *types.QueryParamsRequest) (*types.QueryParamsResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	return &types.QueryParamsResponse{Params: p}, err
}

// Epoch returns an epoch's timetable; 0 for the current one.
func (q querier) Epoch(ctx context.Context, req *types.QueryEpochRequest) (*types.QueryEpochResponse, error) {
	if req.Epoch == 0 {
		now, err := q.Now.Get(ctx)
		if err != nil {
			return nil, err
		}
		req.Epoch = now
	}
	e, err := found(q.Epochs.Get(ctx, req.Epoch))("epoch %d", req.Epoch)
	if err != nil {
		return nil, err
	}
	e.View = nil
	err = q.fillRules(ctx, &e)
	return &types.QueryEpochResponse{Epoch: e}, err
}

// Next returns what a region's verifiers sign next.
func (q querier) Next(ctx context.Context, req *types.QueryNextRequest) (*types.QueryNextResponse, error) {
	now, err := q.Now.Get(ctx)
	if err != nil {
		return nil, err
	}
	res := new(types.QueryNextResponse)
	tip, last, err := q.tip(ctx, core.Region(req.Region))
	if err != nil {
		return nil, err
	}
	if tip != nil {
		res.Previous, res.PreviousEpoch, res.PreviousRound = tip.Hash, tip.Epoch, uint32(last.Round)
		if s, err := q.Settlements.Get(ctx, tip.Epoch); err == nil {
			res.Fold = &s
		}
	}
	if now < 2 {
		return res, nil
	}
	open, err := q.open.Has(ctx, collections.Join(now-1, req.Region))
	if err != nil || !open {
		return res, err
	}
	e, err := q.Epochs.Get(ctx, now-1)
	if err != nil {
		return nil, err
	}
	res.Epoch, res.Cut = e.Epoch, e.Cut
	round, ok := roundAt(&e, height(ctx)+1)
	if !ok {
		return res, nil
	}
	res.Round, res.Until = uint32(round), e.Cut+(round+1)*e.RoundBlocks
	for _, l := range e.Leaders {
		if l.Region == req.Region && int(round) < len(l.Keys) {
			res.Leader = l.Keys[round]
		}
	}
	return res, nil
}

// Header returns what is kept of an epoch in a region; one that has begun and has no header is open.
func (q querier) Header(ctx context.Context, req *types.QueryHeaderRequest) (*types.QueryHeaderResponse, error) {
	h, err := q.Keeper.Headers.Get(ctx, collections.Join(req.Region, req.Epoch))
	if errors.Is(err, collections.ErrNotFound) {
		open, err := q.open.Has(ctx, collections.Join(req.Epoch, req.Region))
		if err != nil {
			return nil, err
		}
		e, err := get(ctx, q.Epochs, req.Epoch)
		if err != nil || !open || e.Time == 0 {
			return nil, status.Errorf(codes.NotFound, "header of epoch %d, region %d", req.Epoch, req.Region)
		}
		h = types.Header{Epoch: req.Epoch, Region: req.Region, Status: types.Status_STATUS_OPEN}
		return &types.QueryHeaderResponse{Header: h}, nil
	}
	return &types.QueryHeaderResponse{Header: h}, err
}

// Headers lists a region's headers, newest first.
func (q querier) Headers(ctx context.Context, req *types.QueryHeadersRequest) (*types.QueryHeadersResponse, error) {
	page := bounded(req.Pagination)
	if page == nil {
		page = new(query.PageRequest)
	}
	page.Reverse = true
	list, next, err := query.CollectionPaginate(ctx, q.Keeper.Headers, page, func(_ at, h types.Header) (types.Header, error) { return h, nil },
		query.WithCollectionPaginationPairPrefix[uint32, uint64](req.Region))
	return &types.QueryHeadersResponse{Headers: list, Pagination: next}, err
}

// Settlement returns what the chain made of an epoch.
func (q querier) Settlement(ctx context.Context, req *types.QuerySettlementRequest) (*types.QuerySettlementResponse, error) {
	s, err := found(q.Settlements.Get(ctx, req.Epoch))("settlement of epoch %d", req.Epoch)
	return &types.QuerySettlementResponse{Settlement: s}, err
}

// Verifier returns one verifier, by its attestation key, as it stands now.
func (q querier) Verifier(ctx context.Context, req *types.QueryVerifierRequest) (*types.QueryVerifierResponse, error) {
	key, err := core.ParseKey(req.Key)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	taken, err := found(q.Keys.Get(ctx, key[:]))("verifier %s", req.Key)
	if err != nil {
		return nil, err
	}
	owner, err := q.addresses.StringToBytes(taken.Owner)
	if err != nil {
		return nil, err
	}
	v, err := found(q.Keeper.Verifiers.Get(ctx, owner))("verifier %s", req.Key)
	if err != nil {
		return nil, err
	}
	if v.Key != req.Key {
		return nil, status.Errorf(codes.NotFound, "verifier %s", req.Key)
	}
	v.Power, err = q.powerOf(ctx, v.Owner)
	return &types.QueryVerifierResponse{Verifier: v}, err
}

// Verifiers lists all verifiers, by owner, as they stand now.
func (q querier) Verifiers(ctx context.Context, req *types.QueryVerifiersRequest) (*types.QueryVerifiersResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Verifiers, bounded(req.Pagination),
		func(_ []byte, v types.Verifier) (types.Verifier, error) {
			var err error
			v.Power, err = q.powerOf(ctx, v.Owner)
			return v, err
		})
	return &types.QueryVerifiersResponse{Verifiers: list, Pagination: page}, err
}

// Escrow returns what waits for one region of one epoch.
func (q querier) Escrow(ctx context.Context, req *types.QueryEscrowRequest) (*types.QueryEscrowResponse, error) {
	e, err := found(q.Escrows.Get(ctx, collections.Join(req.Region, req.Epoch)))("escrow of epoch %d, region %d", req.Epoch, req.Region)
	return &types.QueryEscrowResponse{Escrow: e}, err
}

// Ledgers lists what each region has taken in and paid out, ever; a region without a header yet has zeros.
func (q querier) Ledgers(ctx context.Context, _ *types.QueryLedgersRequest) (*types.QueryLedgersResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	res := new(types.QueryLedgersResponse)
	for r := range p.Regions {
		l, err := get(ctx, q.Keeper.Ledgers, r)
		if err != nil {
			return nil, err
		}
		l.Region = r
		res.Ledgers = append(res.Ledgers, l)
	}
	sums, err := q.expected(ctx)
	if err != nil {
		return nil, err
	}
	res.Balance = q.bank.GetBalance(ctx, moduleAddress, denom).Amount.Uint64()
	res.Expected, res.Bonds, res.Dust = sums.total(), sums.bonds, sums.dust
	return res, nil
}

// Claimed returns what a device has been paid, ever.
func (q querier) Claimed(ctx context.Context, req *types.QueryClaimedRequest) (*types.QueryClaimedResponse, error) {
	key, err := core.ParseKey(req.Device)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	amount, err := get(ctx, q.Claims, key[:])
	return &types.QueryClaimedResponse{Amount: amount}, err
}

// Appeal returns a vote under way, with the power on either side now.
func (q querier) Appeal(ctx context.Context, req *types.QueryAppealRequest) (*types.QueryAppealResponse, error) {
	a, err := found(q.Keeper.Appeals.Get(ctx, collections.Join(req.Region, req.Epoch)))("vote on epoch %d, region %d", req.Epoch, req.Region)
	if err != nil {
		return nil, err
	}
	voters, err := q.electorate(ctx)
	if err != nil {
		return nil, err
	}
	res := &types.QueryAppealResponse{Appeal: a}
	res.Yes, res.No, res.Power = count(&a, voters)
	return res, nil
}

// Appeals lists the votes under way.
func (q querier) Appeals(ctx context.Context, req *types.QueryAppealsRequest) (*types.QueryAppealsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.Keeper.Appeals, bounded(req.Pagination),
		func(_ at, a types.Appeal) (types.Appeal, error) { return a, nil })
	return &types.QueryAppealsResponse{Appeals: list, Pagination: page}, err
}

// Changes returns one page of by what a region's registry view in an epoch differs from the one before.
func (q querier) Changes(ctx context.Context, req *types.QueryChangesRequest) (*types.QueryChangesResponse, error) {
	p, err := q.Keeper.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := get(ctx, q.Epochs, req.Epoch)
	if err != nil {
		return nil, err
	}
	if rec.Time == 0 || req.Region >= p.Regions {
		return nil, status.Errorf(codes.NotFound, "registry changes of epoch %d, region %d", req.Epoch, req.Region)
	}
	part := ofDevices
	if len(req.After) > 0 {
		part = uint32(req.After[0])
	}
	if part > ofVerifiers {
		return nil, status.Error(codes.InvalidArgument, "after: what the page before named as next")
	}
	list, next, err := q.changesAfter(ctx, &rec, core.Region(req.Region), part, req.After[min(1, len(req.After)):], maxPage)
	if err != nil {
		return nil, err
	}
	res := &types.QueryChangesResponse{Epoch: req.Epoch, Next: next}
	for i := range list {
		res.Changes = append(res.Changes, core.Encode(&list[i]))
	}
	if int(req.Region) < len(rec.Changes) {
		res.Sum = fmt.Sprintf("%x", rec.Changes[req.Region])
	}
	return res, nil
}

// changesAfter returns at most limit of an epoch's changes, from a part on and in it after one (empty: from the
// first), and where the rest begins: part and the last change of it; nil if there is no rest.
func (k Keeper) changesAfter(ctx context.Context, rec *types.Epoch, r core.Region, part uint32, after []byte, limit int) (out []tally.Change, next []byte, err error) {
	for ; part <= ofVerifiers; part, after = part+1, nil {
		if len(after) == 0 {
			after = nil
		}
		var list []tally.Change
		left := limit - len(out)
		switch part {
		case ofDevices:
			list, after, err = k.late.registry.ChangesAfter(ctx, core.Epoch(rec.Epoch), r, after, left)
		case ofCredits:
			list, after, err = k.late.credits.ChangesAfter(ctx, core.Epoch(rec.Epoch), r, after, left)
		default:
			list, err = k.verifierChanges(ctx, rec)
			list = slices.DeleteFunc(list, func(c tally.Change) bool { return bytes.Compare(c.Attester.Key[:], after) <= 0 })
			if list = list[:min(left, len(list))]; len(list) > 0 {
				after = list[len(list)-1].Attester.Key[:]
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if out = append(out, list...); len(out) == limit {
			return out, append([]byte{byte(part)}, after...), nil
		}
	}
	return out, nil, nil
}

// verifierChanges returns by what the view of verifiers of an epoch differs from the one before.
func (k Keeper) verifierChanges(ctx context.Context, rec *types.Epoch) ([]tally.Change, error) {
	var before []types.Verifier
	if rec.Epoch > 1 {
		last, err := found(k.Epochs.Get(ctx, rec.Epoch-1))("view of epoch %d", rec.Epoch-1)
		if err != nil {
			return nil, err
		}
		before = last.View
	}
	return diff(before, rec.View)
}

// diff returns what leads from one view of verifiers to another, by key: power 0 removes.
func diff(before, after []types.Verifier) ([]tally.Change, error) {
	old := map[string]types.Verifier{}
	for _, v := range before {
		old[v.Key] = v
	}
	var list []types.Verifier
	for _, v := range after {
		if was, ok := old[v.Key]; !ok || was.Power != v.Power || was.Vrf != v.Vrf || was.Owner != v.Owner {
			list = append(list, v)
		}
		delete(old, v.Key)
	}
	for _, v := range old {
		v.Power = 0
		list = append(list, v)
	}
	if err := sortByKey(list); err != nil {
		return nil, err
	}
	var out []tally.Change
	for i := range list {
		a, err := list[i].Attester()
		if err != nil {
			return nil, err
		}
		out = append(out, tally.Change{Attester: &a})
	}
	return out, nil
}
