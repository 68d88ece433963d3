package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/x/tally/types"
	core "github.com/cairn-network/cairn/core/types"
)

// InitGenesis takes a state in. Without epochs it is that of a new chain: its verifiers prove that they have
// their keys, and the first epoch opens, so validators must be bonded by then. With epochs the chain goes on at
// the height at which it was exported.
func (k Keeper) InitGenesis(c context.Context, g *types.GenesisState) error {
	ctx := sdk.UnwrapSDKContext(c)
	if err := errors.Join(g.Validate(), k.Params.Set(ctx, g.Params), k.Dust.Set(ctx, g.Dust)); err != nil {
		return err
	}
	for _, key := range g.Keys {
		raw, err := core.ParseKey(key.Key)
		if err != nil {
			return err
		}
		if err := k.Keys.Set(ctx, raw[:], key); err != nil {
			return err
		}
	}
	for i := range g.Verifiers {
		if err := k.importVerifier(ctx, g, &g.Verifiers[i]); err != nil {
			return err
		}
	}
	if len(g.Epochs) == 0 {
		return k.begin(ctx, 1, uint64(max(1, ctx.BlockHeight())))
	}
	if err := errors.Join(k.importRules(ctx, g), k.importEpochs(ctx, g), k.importBlocks(ctx, g)); err != nil {
		return err
	}
	if err := k.importMoney(ctx, g); err != nil {
		return err
	}
	return k.Audit(ctx)
}

func (k Keeper) importVerifier(ctx sdk.Context, g *types.GenesisState, v *types.Verifier) error {
	a, err := v.Attester()
	if err != nil {
		return err
	}
	if len(g.Epochs) > 0 {
		return k.Verifiers.Set(ctx, a.Owner[:], *v)
	}
	if err := types.CheckProofs(ctx.ChainID(), &a, v.KeyProof, v.VrfProof); err != nil {
		return err
	}
	rec := types.Verifier{Owner: v.Owner, Key: v.Key, Vrf: v.Vrf, Since: 1}
	return k.setVerifier(ctx, &a, rec)
}

// importEpochs takes epochs and headers in, and finds what follows from them: open tallies, the last header and
// the last closed epoch of each region, and where pruning goes on.
func (k Keeper) importEpochs(ctx context.Context, g *types.GenesisState) error {
	oldest, now := g.Epochs[0].Epoch, g.Epochs[len(g.Epochs)-1].Epoch
	headers, first := map[[2]uint64]types.Header{}, now
	var err error
	for _, h := range g.Headers {
		headers[[2]uint64{uint64(h.Region), h.Epoch}] = h
		first = min(first, h.Epoch)
		err = errors.Join(err, k.Headers.Set(ctx, collections.Join(h.Region, h.Epoch), h))
	}
	for _, e := range g.Epochs {
		err = errors.Join(err, k.Epochs.Set(ctx, e.Epoch, e))
	}
	for r := range g.Params.Regions {
		var tip, final uint64
		closed, walking := oldest-1, true
		for _, e := range g.Epochs {
			h := headers[[2]uint64{uint64(r), e.Epoch}]
			switch h.Status {
			case types.Status_STATUS_UNSPECIFIED:
				err = errors.Join(err, k.open.Set(ctx, collections.Join(e.Epoch, r)))
				walking = false
				continue
			case types.Status_STATUS_ACCEPTED, types.Status_STATUS_APPEALED:
				tip, walking = e.Epoch, false
			case types.Status_STATUS_FINAL:
				tip, final = e.Epoch, e.Epoch
			}
			// A voided or skipped epoch behind one that can still change waits for it.
			if walking {
				closed = e.Epoch
			}
		}
		err = errors.Join(err, k.tips.Set(ctx, r, tip), k.finals.Set(ctx, r, final), k.closed.Set(ctx, r, closed))
	}
	return errors.Join(err, k.Now.Set(ctx, now),
		k.pruned.Set(ctx, prunedAll, oldest-1), k.pruned.Set(ctx, prunedDaily, min(first, oldest)-1))
}

func (k Keeper) importMoney(ctx context.Context, g *types.GenesisState) (err error) {
	for _, e := range g.Escrows {
		err = errors.Join(err, k.Escrows.Set(ctx, collections.Join(e.Region, e.Epoch), e))
	}
	for _, s := range g.Settlements {
		err = errors.Join(err, k.Settlements.Set(ctx, s.Epoch, s))
	}
	for _, l := range g.Ledgers {
		err = errors.Join(err, k.Ledgers.Set(ctx, l.Region, l))
	}
	for _, c := range g.Claimed {
		key, bad := core.ParseKey(c.Device)
		err = errors.Join(err, bad, k.Claims.Set(ctx, key[:], c.Amount))
	}
	for _, a := range g.Appeals {
		err = errors.Join(err, k.setAppeal(ctx, a))
	}
	return err
}

// ExportGenesis writes the whole state.
func (k Keeper) ExportGenesis(ctx context.Context) (*types.GenesisState, error) {
	g := new(types.GenesisState)
	var err error
	if g.Params, err = k.Params.Get(ctx); err != nil {
		return nil, err
	}
	if g.Dust, err = k.dust(ctx); err != nil {
		return nil, err
	}
	err = errors.Join(
		walk(ctx, k.Verifiers, &g.Verifiers), walk(ctx, k.Epochs, &g.Epochs), walk(ctx, k.Headers, &g.Headers),
		walk(ctx, k.Escrows, &g.Escrows), walk(ctx, k.Settlements, &g.Settlements), walk(ctx, k.Ledgers, &g.Ledgers),
		walk(ctx, k.Appeals, &g.Appeals), walk(ctx, k.Keys, &g.Keys), walk(ctx, k.rules, &g.Rules),
		k.exportBlocks(ctx, g),
		k.Claims.Walk(ctx, nil, func(key []byte, amount uint64) (bool, error) {
			g.Claimed = append(g.Claimed, types.Claimed{Device: core.Key(key).String(), Amount: amount})
			return false, nil
		}),
	)
	return g, err
}

func walk[K, V any](ctx context.Context, m collections.Map[K, V], out *[]V) error {
	return m.Walk(ctx, nil, func(_ K, v V) (bool, error) {
		*out = append(*out, v)
		return false, nil
	})
}

// sums are what the module's account must hold.
type sums struct {
	bonds   uint64 // of appeals under way
	pending uint64 // escrows that are not matured
	owing   uint64 // what devices were allotted in matured escrows and have not claimed
	dust    uint64
}

func (s sums) total() uint64 { return s.bonds + s.pending + s.owing + s.dust }

// expected adds up what the module's account must hold. It reads what can still change, and one record per region.
func (k Keeper) expected(ctx context.Context) (s sums, err error) {
	p, err := k.Params.Get(ctx)
	if err != nil {
		return s, err
	}
	if s.dust, err = k.dust(ctx); err != nil {
		return s, err
	}
	if err := k.Appeals.Walk(ctx, nil, func(_ at, a types.Appeal) (bool, error) {
		s.bonds += a.Bond
		return false, nil
	}); err != nil {
		return s, err
	}
	for r := range p.Regions {
		closed, err := get(ctx, k.closed, r)
		if err != nil {
			return s, err
		}
		var waiting uint64 // devices' part of what is pending
		if err := k.Escrows.Walk(ctx, collections.NewPrefixedPairRange[uint32, uint64](r).StartExclusive(closed), func(_ at, e types.Escrow) (bool, error) {
			if !e.Matured {
				a := e.Allotment()
				s.pending += uint64(a.Total())
				waiting += uint64(a.Devices())
			}
			return false, nil
		}); err != nil {
			return s, err
		}
		l, err := get(ctx, k.Ledgers, r)
		if err != nil {
			return s, err
		}
		if l.Claimed+waiting > l.Allotted {
			return s, fmt.Errorf("region %d: claimed %d and pending %d of %d allotted", r, l.Claimed, waiting, l.Allotted)
		}
		s.owing += l.Allotted - waiting - l.Claimed
	}
	return s, nil
}

// Audit reports where tallies and money disagree: the account holds what it must, every region has claimed no
// more than its final headers say, which is no more than it was allotted, and what devices claimed makes that
// sum. It reads every claim.
func (k Keeper) Audit(ctx context.Context) error {
	s, err := k.expected(ctx)
	if err != nil {
		return err
	}
	if held := k.bank.GetBalance(ctx, moduleAddress, denom).Amount; !held.IsUint64() || held.Uint64() != s.total() {
		return fmt.Errorf("tally: the account holds %s ustone, it must hold %d (%+v)", held, s.total(), s)
	}
	var claimed uint64
	if err := k.Ledgers.Walk(ctx, nil, func(r uint32, l types.Ledger) (bool, error) {
		claimed += l.Claimed
		if l.Claimed > l.Amount || l.Amount > l.Allotted {
			return true, fmt.Errorf("tally: region %d: claimed %d, final amounts %d, allotted %d", r, l.Claimed, l.Amount, l.Allotted)
		}
		return false, nil
	}); err != nil {
		return err
	}
	var sum uint64
	if err := k.Claims.Walk(ctx, nil, func(_ []byte, amount uint64) (bool, error) {
		sum += amount
		return false, nil
	}); err != nil {
		return err
	}
	if sum != claimed {
		return fmt.Errorf("tally: devices claimed %d, regions paid %d", sum, claimed)
	}
	return nil
}
