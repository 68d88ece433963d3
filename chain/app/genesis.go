package app

import (
	"encoding/json"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/bank"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cairn-network/cairn/core/econ"

	sdkmath "cosmossdk.io/math"
)

// State is a genesis state by module.
type State = map[string]json.RawMessage

// NewDefaultGenesis is the state of a chain without accounts: every module's default, in ustone, with STONE
// described to wallets, and the categories that it starts with.
func NewDefaultGenesis(cdc codec.JSONCodec, categories []econ.Category) State {
	return Basics(categories...).DefaultGenesis(cdc)
}

// The SDK's modules with this chain's defaults in place of theirs.
type (
	bankBasic    struct{ bank.AppModuleBasic }
	stakingBasic struct{ staking.AppModuleBasic }
	govBasic     struct{ gov.AppModuleBasic }
)

// DefaultGenesis describes STONE to wallets.
func (bankBasic) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := banktypes.DefaultGenesisState()
	g.DenomMetadata = []banktypes.Metadata{DenomMetadata()}
	return cdc.MustMarshalJSON(g)
}

// DefaultGenesis bonds STONE.
func (stakingBasic) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := stakingtypes.DefaultGenesisState()
	g.Params.BondDenom = Denom
	return cdc.MustMarshalJSON(g)
}

// DefaultGenesis asks 500 STONE for a proposal, 2,500 for an expedited one.
func (govBasic) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := govv1.DefaultGenesisState()
	g.Params.MinDeposit = sdk.NewCoins(sdk.NewCoin(Denom, sdkmath.NewInt(500_000_000)))
	g.Params.ExpeditedMinDeposit = sdk.NewCoins(sdk.NewCoin(Denom, sdkmath.NewInt(2_500_000_000)))
	return cdc.MustMarshalJSON(g)
}

// ConsensusParams are the consensus parameters at genesis: blocks bounded in bytes and gas, and evidence of
// double signing accepted as long as a validator's stake can still be taken (unbonding).
func ConsensusParams(unbonding time.Duration) *cmttypes.ConsensusParams {
	p := cmttypes.DefaultConsensusParams()
	p.Block.MaxBytes = MaxBlockBytes
	p.Block.MaxGas = MaxBlockGas
	p.Evidence.MaxAgeDuration = unbonding
	p.Evidence.MaxAgeNumBlocks = max(1, int64(unbonding/(2*time.Second)))
	p.Evidence.MaxBytes = 64 << 10
	return p
}
