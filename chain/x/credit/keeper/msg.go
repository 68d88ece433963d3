package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"

	"github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
)

// signatureGas is what checking one Ed25519 signature costs, as much as one of secp256k1.
const signatureGas = 1000

type server struct{ Keeper }

// NewMsgServer returns what handles the module's messages.
func NewMsgServer(k Keeper) types.MsgServer { return server{k} }

// BuyCredits turns STONE into credits.
func (s server) BuyCredits(ctx context.Context, msg *types.MsgBuyCredits) (*types.MsgBuyCreditsResponse, error) {
	buyer, err := s.account(msg.Buyer)
	if err != nil {
		return nil, err
	}
	stone, err := ustone(msg.Amount)
	if err != nil {
		return nil, err
	}
	if err := s.region(ctx, msg.Region); err != nil {
		return nil, err
	}
	v, err := s.Vault.Get(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.economy.Economy(ctx)
	if err != nil {
		return nil, err
	}
	bid, err := s.bid(ctx, stone, core.Credit(msg.MinCredits))
	if err != nil {
		return nil, err
	}
	after, purchase, err := econ.Buy(v.Econ(), &p, bid)
	if err != nil {
		return nil, err
	}
	err = s.bank.SendCoinsFromAccountToModule(ctx, buyer[:], types.ModuleName, coins(stone))
	if errors.Is(err, sdkerrors.ErrInsufficientFunds) {
		return nil, core.Refuse(core.InsufficientFund, "pay %d ustone: %v", stone, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.Vault.Set(ctx, types.VaultOf(after)); err != nil {
		return nil, err
	}
	bought, err := s.hold(ctx, buyer, msg.Region, purchase.Credits)
	if err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("credits_bought",
		sdk.NewAttribute("account", msg.Buyer), sdk.NewAttribute("ustone", fmt.Sprint(uint64(stone))),
		sdk.NewAttribute("credits", fmt.Sprint(uint64(purchase.Credits)))))
	return &types.MsgBuyCreditsResponse{Credits: uint64(purchase.Credits), Bought: bought}, nil
}

// hold adds to what an account has bought in a region, and returns how much that is now.
func (k Keeper) hold(ctx context.Context, a core.Account, region uint32, credits core.Credit) (uint64, error) {
	key := collections.Join(a[:], region)
	bought, err := k.Holdings.Get(ctx, key)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return 0, err
	}
	bought += uint64(credits) // the vault's total holds it, so it cannot overflow
	if err := k.Holdings.Set(ctx, key, bought); err != nil {
		return 0, err
	}
	sold, err := k.Bought(ctx, core.Region(region))
	if err != nil {
		return 0, err
	}
	if err := k.sold.Set(ctx, region, uint64(sold+credits)); err != nil {
		return 0, err
	}
	return bought, k.log(ctx, a, region, accountSubject(a), &tally.Change{Holder: &tally.Holder{Account: a, Bought: core.Credit(bought)}})
}

// bid is what a purchase looks like now.
func (k Keeper) bid(ctx context.Context, stone core.Ustone, least core.Credit) (econ.Bid, error) {
	e, err := k.epoch(ctx)
	if err != nil {
		return econ.Bid{}, err
	}
	band, err := k.Band(ctx)
	return econ.Bid{Stone: stone, Least: least, Supply: k.Supply(ctx), Day: econ.DayOf(e), Band: band}, err
}

// GrantKey lets a session key spend, or changes what it may.
func (s server) GrantKey(ctx context.Context, msg *types.MsgGrantKey) (*types.MsgGrantKeyResponse, error) {
	account, err := s.account(msg.Account)
	if err != nil {
		return nil, err
	}
	key, err := core.ParseKey(msg.Key)
	if err != nil {
		return nil, err
	}
	if err := s.region(ctx, msg.Region); err != nil {
		return nil, err
	}
	e, err := s.epoch(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if msg.Expiry <= uint64(e) || msg.Expiry-uint64(e) > p.MaxKeyEpochs {
		return nil, core.Refuse(core.WrongEpoch, "key %s may expire %d epochs ahead at most, and not before the next one", key, p.MaxKeyEpochs)
	}
	old, err := s.Grants.Get(ctx, key[:])
	switch {
	case errors.Is(err, collections.ErrNotFound):
		if err := agrees(ctx, key, account, msg.Proof); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case old.Account != msg.Account:
		return nil, core.Refuse(core.KeyTaken, "key %s", key)
	case old.Region != msg.Region:
		return nil, core.Refuse(core.WrongRegion, "key %s spends in region %d", key, old.Region)
	}
	g := types.Grant{Key: key.String(), Account: msg.Account, Limit: msg.Limit, Expiry: msg.Expiry, Region: msg.Region}
	if err := s.grant(ctx, account, key, old, g); err != nil {
		return nil, err
	}
	if err := s.countLive(ctx, account, e, p.MaxKeys); err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("key_granted",
		sdk.NewAttribute("account", msg.Account), sdk.NewAttribute("key", g.Key)))
	return &types.MsgGrantKeyResponse{From: uint64(e) + 1}, nil
}

// agrees checks that a key has signed to serve the account.
func agrees(ctx context.Context, key core.Key, account core.Account, proof []byte) error {
	sdkCtx := sdk.UnwrapSDKContext(ctx)
	sdkCtx.GasMeter().ConsumeGas(signatureGas, "session key's signature")
	var sig core.Signature
	if len(proof) != len(sig) {
		return core.Refuse(core.BadSignature, "proof of key %s has %d bytes", key, len(proof))
	}
	copy(sig[:], proof)
	if !key.Verify("grant", sdkCtx.ChainID(), evidence.GrantBytes(account), sig) {
		return core.Refuse(core.BadSignature, "proof of key %s for account %s", key, account)
	}
	return nil
}

// grant stores a grant in place of an old one, which has no expiry if there is none, and logs how the next
// epoch's view differs from this epoch's. A key that is in neither is forgotten, and one that is expired in
// both stays as it was.
func (k Keeper) grant(ctx context.Context, account core.Account, key core.Key, old, g types.Grant) error {
	e, err := k.epoch(ctx)
	if err != nil {
		return err
	}
	if old.Expiry != 0 {
		if err := k.live.Remove(ctx, collections.Join3(account[:], old.Expiry, key[:])); err != nil {
			return err
		}
	}
	g.Changed, g.WasLimit, g.WasExpiry = uint64(e), old.Limit, old.Expiry
	if old.Changed == uint64(e) {
		g.WasLimit, g.WasExpiry = old.WasLimit, old.WasExpiry
	}
	over := g.Expiry <= uint64(e)
	if over && g.WasExpiry == 0 {
		return errors.Join(k.Grants.Remove(ctx, key[:]), k.unlog(ctx, e, g.Region, keySubject(key)))
	}
	if over && g.WasExpiry <= uint64(e) {
		g.Limit, g.Expiry = g.WasLimit, g.WasExpiry
	}
	if err := k.live.Set(ctx, collections.Join3(account[:], g.Expiry, key[:])); err != nil {
		return err
	}
	if err := k.Grants.Set(ctx, key[:], g); err != nil {
		return err
	}
	if g.Limit == g.WasLimit && g.Expiry == g.WasExpiry {
		return k.unlog(ctx, e, g.Region, keySubject(key))
	}
	return k.log(ctx, account, g.Region, keySubject(key), &tally.Change{Grant: &tally.Grant{
		Key: key, Account: account, Limit: core.Credit(g.Limit), Expiry: core.Epoch(g.Expiry),
	}})
}

// countLive refuses more than most keys of an account that have not expired, and forgets some that have.
func (k Keeper) countLive(ctx context.Context, account core.Account, e core.Epoch, most uint32) error {
	var expired []collections.Triple[[]byte, uint64, []byte]
	var live uint32
	err := k.live.Walk(ctx, collections.NewPrefixedTripleRange[[]byte, uint64, []byte](account[:]),
		func(key collections.Triple[[]byte, uint64, []byte]) (bool, error) {
			if key.K2() <= uint64(e) {
				expired = append(expired, key)
				return len(expired) == pruned, nil
			}
			live++
			return live > most, nil
		})
	if err != nil {
		return err
	}
	if live > most {
		return core.Refuse(core.OverQuota, "account %s has %d live keys, as many as it may", account, most)
	}
	for _, key := range expired {
		if err := k.live.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// RevokeKey ends a grant with the current epoch.
func (s server) RevokeKey(ctx context.Context, msg *types.MsgRevokeKey) (*types.MsgRevokeKeyResponse, error) {
	account, err := s.account(msg.Account)
	if err != nil {
		return nil, err
	}
	key, err := core.ParseKey(msg.Key)
	if err != nil {
		return nil, err
	}
	g, err := s.Grants.Get(ctx, key[:])
	if err != nil {
		return nil, missing(err, core.UnknownKey, "key %s", key)
	}
	if g.Account != msg.Account {
		return nil, core.Refuse(core.NotOwner, "key %s serves %s", key, g.Account)
	}
	e, err := s.epoch(ctx)
	if err != nil {
		return nil, err
	}
	if g.Expiry <= uint64(e) {
		return nil, core.Refuse(core.KeyExpired, "key %s", key)
	}
	was := g
	g.Expiry = uint64(e)
	if err := s.grant(ctx, account, key, was, g); err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).EventManager().EmitEvent(sdk.NewEvent("key_revoked",
		sdk.NewAttribute("account", msg.Account), sdk.NewAttribute("key", g.Key)))
	return &types.MsgRevokeKeyResponse{}, nil
}

// UpdateParams replaces the parameters; the fixed price stays what it was at genesis.
func (s server) UpdateParams(ctx context.Context, msg *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, fmt.Errorf("%w: want %s, have %s", govtypes.ErrInvalidSigner, s.authority, msg.Authority)
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, err
	}
	old, err := s.Params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if msg.Params.FixedPrice != old.FixedPrice {
		return nil, core.Refuse(core.ParamBound, "credit: fixed_price is set at genesis and stays %d", old.FixedPrice)
	}
	return &types.MsgUpdateParamsResponse{}, s.Params.Set(ctx, msg.Params)
}

func (s server) account(bech32 string) (a core.Account, err error) {
	raw, err := s.addresses.StringToBytes(bech32)
	if err == nil && copy(a[:], raw) != len(raw) {
		err = fmt.Errorf("account %s has %d bytes", bech32, len(raw))
	}
	return a, err
}

func (s server) region(ctx context.Context, region uint32) error {
	n, err := (*s.clock).Regions(ctx)
	if err != nil {
		return err
	}
	if region >= uint32(n) {
		return core.Refuse(core.WrongRegion, "region %d of %d", region, n)
	}
	return nil
}

// ustone reads an amount of a message: some, of the one denomination, and no more than can ever exist.
func ustone(c sdk.Coin) (core.Ustone, error) {
	if c.Denom != denom || c.Amount.IsNil() || !c.Amount.IsPositive() || c.Amount.GT(math.NewIntFromUint64(uint64(econ.MaxSupply))) {
		return 0, fmt.Errorf("%w: %s: want ustone", sdkerrors.ErrInvalidCoins, c)
	}
	return core.Ustone(c.Amount.Uint64()), nil
}
