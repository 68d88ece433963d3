package keeper_test

import (
	"context"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/testbank"
	core "github.com/cairn-network/cairn/core/types"
)

// Accounts beside: where stake lies, and the community's.
const (
	bondedPool = stakingtypes.BondedPoolName
	pool       = "distribution"
)

// bonded stands for x/staking and x/slashing: validators with their stake, of which a slash burns as much as
// the real one would.
type bonded struct {
	f          *fixture
	list       []*stakingtypes.Validator
	tombstoned map[string]bool
	slashed    []math.Int // each slash
}

func newBonded(f *fixture) *bonded { return &bonded{f: f, tombstoned: map[string]bool{}} }

func (b *bonded) bond(owner core.Account) {
	key, err := codectypes.NewAnyWithValue(ed25519.GenPrivKeyFromSecret(owner[:]).PubKey())
	b.f.must(err)
	b.list = append(b.list, &stakingtypes.Validator{
		OperatorAddress: sdk.ValAddress(owner[:]).String(), ConsensusPubkey: key, Status: stakingtypes.Bonded, Tokens: math.NewInt(stake),
	})
	b.f.must(b.f.bank.Fund(b.f.ctx, owner[:], stake))
	b.f.must(b.f.bank.SendCoinsFromAccountToModule(b.f.ctx, owner[:], bondedPool, sdk.NewCoins(coin(stake))))
}

func (b *bonded) at(consensus sdk.ConsAddress) *stakingtypes.Validator {
	for _, v := range b.list {
		if a, err := v.GetConsAddr(); err == nil && consensus.Equals(sdk.ConsAddress(a)) {
			return v
		}
	}
	b.f.t.Fatalf("no validator %v", consensus)
	return nil
}

// of returns a seat's validator.
func (b *bonded) of(seat int) *stakingtypes.Validator { return b.list[seat] }

func (b *bonded) GetValidator(_ context.Context, a sdk.ValAddress) (stakingtypes.Validator, error) {
	for _, v := range b.list {
		if v.OperatorAddress == a.String() {
			return *v, nil
		}
	}
	return stakingtypes.Validator{}, stakingtypes.ErrNoValidatorFound
}

func (b *bonded) IterateBondedValidatorsByPower(_ context.Context, do func(int64, stakingtypes.ValidatorI) bool) error {
	for i, v := range b.list {
		if v.IsBonded() && !v.Jailed && do(int64(i), *v) {
			break
		}
	}
	return nil
}

func (b *bonded) PowerReduction(context.Context) math.Int { return math.NewInt(stone) }

func (b *bonded) Slash(ctx context.Context, consensus sdk.ConsAddress, _, power int64, fraction math.LegacyDec) (math.Int, error) {
	v := b.at(consensus)
	amount := math.MinInt(math.LegacyNewDec(power*stone).Mul(fraction).TruncateInt(), v.Tokens)
	if err := b.f.bank.BurnCoins(ctx, bondedPool, sdk.NewCoins(sdk.NewCoin(testbank.Denom, amount))); err != nil {
		return math.Int{}, err
	}
	v.Tokens = v.Tokens.Sub(amount)
	b.slashed = append(b.slashed, amount)
	return amount, nil
}

func (b *bonded) Jail(_ context.Context, consensus sdk.ConsAddress) error {
	b.at(consensus).Jailed = true
	return nil
}

func (b *bonded) JailUntil(context.Context, sdk.ConsAddress, time.Time) error { return nil }

func (b *bonded) Tombstone(_ context.Context, consensus sdk.ConsAddress) error {
	b.tombstoned[consensus.String()] = true
	return nil
}

func (b *bonded) IsTombstoned(_ context.Context, consensus sdk.ConsAddress) bool {
	return b.tombstoned[consensus.String()]
}

// community stands for x/distribution's pool.
type community struct{ *testbank.Bank }

func (c community) FundCommunityPool(ctx context.Context, amount sdk.Coins, from sdk.AccAddress) error {
	return c.SendCoinsFromAccountToModule(ctx, from, pool, amount)
}
