package app

import (
	"github.com/cosmos/cosmos-sdk/baseapp"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	authzkeeper "github.com/cosmos/cosmos-sdk/x/authz/keeper"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	consensuskeeper "github.com/cosmos/cosmos-sdk/x/consensus/keeper"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	evidencekeeper "github.com/cosmos/cosmos-sdk/x/evidence/keeper"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	feegrantkeeper "github.com/cosmos/cosmos-sdk/x/feegrant/keeper"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	govv1beta1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1beta1"
	slashingkeeper "github.com/cosmos/cosmos-sdk/x/slashing/keeper"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	certificatekeeper "github.com/cairn-network/cairn/chain/x/certificate/keeper"
	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	creditkeeper "github.com/cairn-network/cairn/chain/x/credit/keeper"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicekeeper "github.com/cairn-network/cairn/chain/x/device/keeper"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	rewardkeeper "github.com/cairn-network/cairn/chain/x/reward/keeper"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	tallykeeper "github.com/cairn-network/cairn/chain/x/tally/keeper"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"

	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"
)

// Keepers are the modules' keepers, for what runs beside the application in one process and for tests. Nothing
// outside a block may write through them.
type Keepers struct {
	AccountKeeper      authkeeper.AccountKeeper
	BankKeeper         Bank
	StakingKeeper      *stakingkeeper.Keeper
	SlashingKeeper     slashingkeeper.Keeper
	DistributionKeeper distrkeeper.Keeper
	GovKeeper          *govkeeper.Keeper
	FeeGrantKeeper     feegrantkeeper.Keeper
	AuthzKeeper        authzkeeper.Keeper
	EvidenceKeeper     evidencekeeper.Keeper
	UpgradeKeeper      *upgradekeeper.Keeper
	ConsensusKeeper    consensuskeeper.Keeper
	DeviceKeeper       devicekeeper.Keeper
	CreditKeeper       creditkeeper.Keeper
	RewardKeeper       rewardkeeper.Keeper
	TallyKeeper        tallykeeper.Keeper
	CertificateKeeper  certificatekeeper.Keeper
}

// Authority is the account in whose name governance changes parameters.
func Authority() string {
	return authtypes.NewModuleAddress(govtypes.ModuleName).String()
}

func (a *App) newKeepers(logger log.Logger, keys map[string]*storetypes.KVStoreKey, home string, skip map[int64]bool) {
	kv := func(name string) store.KVStoreService { return runtime.NewKVStoreService(keys[name]) }
	var (
		authority  = Authority()
		accounts   = a.encoding.InterfaceRegistry.SigningContext().AddressCodec()
		validators = a.encoding.InterfaceRegistry.SigningContext().ValidatorAddressCodec()
		consensus  = address.Codec(addresscodec.NewBech32Codec(Prefix + "valcons"))
	)
	a.ConsensusKeeper = consensuskeeper.NewKeeper(a.cdc, kv(consensustypes.StoreKey), authority, runtime.EventService{})
	a.SetParamStore(a.ConsensusKeeper.ParamsStore)
	a.AccountKeeper = authkeeper.NewAccountKeeper(a.cdc, kv(authtypes.StoreKey), authtypes.ProtoBaseAccount,
		moduleAccounts, accounts, Prefix, authority)
	a.BankKeeper = Bank{
		bankkeeper.NewBaseKeeper(a.cdc, kv(banktypes.StoreKey), a.AccountKeeper, blockedAddresses(), authority, logger), new(ledger),
	}
	a.StakingKeeper = stakingkeeper.NewKeeper(a.cdc, kv(stakingtypes.StoreKey), a.AccountKeeper, a.BankKeeper, authority, validators, consensus)
	a.DistributionKeeper = distrkeeper.NewKeeper(a.cdc, kv(distrtypes.StoreKey), a.AccountKeeper, a.BankKeeper, a.StakingKeeper,
		authtypes.FeeCollectorName, authority)
	a.SlashingKeeper = slashingkeeper.NewKeeper(a.cdc, a.encoding.Amino, kv(slashingtypes.StoreKey), a.StakingKeeper, authority)
	a.FeeGrantKeeper = feegrantkeeper.NewKeeper(a.cdc, kv(feegrant.StoreKey), a.AccountKeeper)
	a.AuthzKeeper = authzkeeper.NewKeeper(kv(authz.ModuleName), a.cdc, a.MsgServiceRouter(), a.AccountKeeper)
	a.UpgradeKeeper = upgradekeeper.NewKeeper(skip, kv(upgradetypes.StoreKey), a.cdc, home, a.BaseApp, authority)
	a.EvidenceKeeper = *evidencekeeper.NewKeeper(a.cdc, kv(evidencetypes.StoreKey), a.StakingKeeper, a.SlashingKeeper,
		accounts, runtime.ProvideCometInfoService())
	a.GovKeeper = a.newGovKeeper(kv(govtypes.StoreKey), a.MsgServiceRouter(), authority)
	a.StakingKeeper.SetHooks(stakingtypes.NewMultiStakingHooks(a.DistributionKeeper.Hooks(), a.SlashingKeeper.Hooks()))
	a.newEconomy(kv, accounts, authority)
}

// newEconomy makes this chain's own keepers. x/tally comes after those that it tells of epochs, x/certificate
// after all it asks.
func (a *App) newEconomy(kv func(string) store.KVStoreService, accounts address.Codec, authority string) {
	var err error
	if a.RewardKeeper, err = rewardkeeper.New(a.cdc, kv(rewardtypes.StoreKey), authority, tallytypes.ModuleName, a.BankKeeper); err != nil {
		panic(err)
	}
	if a.CreditKeeper, err = creditkeeper.New(a.cdc, kv(credittypes.StoreKey), accounts, authority, tallytypes.ModuleName,
		a.BankKeeper, a.RewardKeeper); err != nil {
		panic(err)
	}
	if a.DeviceKeeper, err = devicekeeper.New(a.cdc, kv(devicetypes.StoreKey), accounts, authority,
		a.BankKeeper, a.RewardKeeper, a.CreditKeeper); err != nil {
		panic(err)
	}
	a.BankKeeper.ledger.recorder = a.CreditKeeper
	if a.TallyKeeper, err = tallykeeper.New(a.cdc, kv(tallytypes.StoreKey), accounts, authority,
		a.BankKeeper, a.DistributionKeeper, a.StakingKeeper, a.SlashingKeeper); err != nil {
		panic(err)
	}
	a.TallyKeeper.Connect(a.DeviceKeeper, a.CreditKeeper, a.RewardKeeper)
	a.RewardKeeper.SetClock(a.TallyKeeper)
	a.CreditKeeper.SetClock(a.TallyKeeper)
	a.DeviceKeeper.SetTally(a.TallyKeeper, a.TallyKeeper)
	if a.CertificateKeeper, err = certificatekeeper.New(a.cdc, kv(certificatetypes.StoreKey), accounts, authority, a.TallyKeeper, a.DeviceKeeper); err != nil {
		panic(err)
	}
}

func (a *App) newGovKeeper(kv store.KVStoreService, router baseapp.MessageRouter, authority string) *govkeeper.Keeper {
	k := govkeeper.NewKeeper(a.cdc, kv, a.AccountKeeper, a.BankKeeper, a.DistributionKeeper, router, govtypes.DefaultConfig(),
		authority, govkeeper.NewDefaultCalculateVoteResultsAndVotingPower(a.StakingKeeper))
	k.SetLegacyRouter(govv1beta1.NewRouter().AddRoute(govtypes.RouterKey, govv1beta1.ProposalHandler))
	return k
}

// blockedAddresses are the module accounts that nobody may send to by mistake. Governance may be sent to: a
// proposal that spends needs a balance.
func blockedAddresses() map[string]bool {
	blocked := map[string]bool{}
	for name := range moduleAccounts {
		blocked[authtypes.NewModuleAddress(name).String()] = name != govtypes.ModuleName
	}
	return blocked
}
