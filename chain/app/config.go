package app

import (
	"time"

	"cosmossdk.io/math"
	cmtcfg "github.com/cometbft/cometbft/config"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/version"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
)

const (
	// Name is the application's name, as nodes report it.
	Name = "cairn"
	// Prefix starts every account address: cairn1…, cairnvaloper1…, cairnvalcons1….
	Prefix = "cairn"
	// Denom is the base denomination; 10⁶ of it are one STONE.
	Denom = "ustone"
	// DisplayDenom is the denomination that people read.
	DisplayDenom = "stone"
	// DenomExponent is the power of ten between Denom and DisplayDenom.
	DenomExponent = 6
	// CoinType is the SLIP-44 number in derivation paths (ATOM's, which every Cosmos wallet offers).
	CoinType = 118

	// MaxBlockBytes is the size of a block at genesis.
	MaxBlockBytes = 4 << 20
	// MaxBlockGas is the gas of a block at genesis: about 3,000 bank sends.
	MaxBlockGas = 300_000_000
	// MinGasPrice is what a node takes for 10⁶ gas at least, in ustone, unless its operator sets another: a
	// payment costs a two-thousandth of a STONE, and filling a block 1.5.
	MinGasPrice = 5_000
)

// GasPrice returns what is taken for 10⁶ gas as app.toml has it.
func GasPrice(million int64) string {
	return sdk.NewDecCoinFromDec(Denom, math.LegacyNewDecWithPrec(million, 6)).String()
}

// The SDK keeps the address prefixes in one process-wide setting that its own types read (AccAddress.String),
// so it is set before anything else can print an address.
func init() {
	c := sdk.GetConfig()
	c.SetBech32PrefixForAccount(Prefix, Prefix+"pub")
	c.SetBech32PrefixForValidator(Prefix+"valoper", Prefix+"valoperpub")
	c.SetBech32PrefixForConsensusNode(Prefix+"valcons", Prefix+"valconspub")
	c.SetCoinType(CoinType)
	sdk.DefaultBondDenom = Denom
	version.Name, version.AppName = Name, Name // the name in `version` and in genesis documents
}

// DenomMetadata describes STONE to wallets.
func DenomMetadata() banktypes.Metadata {
	return banktypes.Metadata{
		Description: "The token of the Cairn network.",
		Base:        Denom,
		Display:     DisplayDenom,
		Name:        "Stone",
		Symbol:      "STONE",
		DenomUnits: []*banktypes.DenomUnit{
			{Denom: Denom, Exponent: 0, Aliases: []string{"microstone"}},
			{Denom: DisplayDenom, Exponent: DenomExponent},
		},
	}
}

// ServerConfig is the default app.toml. No message is free, as each costs all who run the chain; a network on
// one machine sets the price low.
func ServerConfig() *serverconfig.Config {
	c := serverconfig.DefaultConfig()
	c.MinGasPrices = GasPrice(MinGasPrice)
	c.QueryGasLimit = 50_000_000
	c.IAVLCacheSize = 100_000
	c.Pruning = "custom"
	c.PruningKeepRecent = "10000" // more than an appeal window of a test network; queries may look back as far
	c.MinRetainBlocks = 500_000   // a month of blocks of five seconds; an archive sets 0
	c.PruningInterval = "10"      // the least: a commit prunes as much as ten blocks changed (Options)
	c.IndexEvents = []string{"message.action", "message.sender", "transfer.sender", "transfer.recipient"}
	c.StateSync.SnapshotInterval = 1000
	c.StateSync.SnapshotKeepRecent = 2
	c.API.Enable = true
	c.API.Swagger = true
	c.API.EnableUnsafeCORS = false
	c.GRPC.Enable = true
	c.GRPCWeb.Enable = true
	c.Telemetry.Enabled = true
	c.Telemetry.ServiceName = Name
	c.Telemetry.PrometheusRetentionTime = 600
	c.Mempool.MaxTxs = -1 // order and limits are CometBFT's; Lane adds what validators need
	return c
}

// CometConfig is the default config.toml with blocks about every blockTime. The time goes into waiting for late votes
// after a block; a proposer is waited for long enough on a slow machine.
func CometConfig(blockTime time.Duration) *cmtcfg.Config {
	c := cmtcfg.DefaultConfig()
	c.Consensus.TimeoutCommit = blockTime
	c.Consensus.TimeoutPropose = min(max(5*blockTime, time.Second), 3*time.Second)
	c.Mempool.MaxTxBytes = 512 << 10
	c.Mempool.Size = 5_000 // checked anew after each block; a quarter is the Lane's
	c.Mempool.MaxTxsBytes = 64 << 20
	return c
}
