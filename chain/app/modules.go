package app

import (
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/auth"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/auth/vesting"
	vestingtypes "github.com/cosmos/cosmos-sdk/x/auth/vesting/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	authzmodule "github.com/cosmos/cosmos-sdk/x/authz/module"
	"github.com/cosmos/cosmos-sdk/x/bank"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/consensus"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	"github.com/cosmos/cosmos-sdk/x/distribution"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	"github.com/cosmos/cosmos-sdk/x/evidence"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	feegrantmodule "github.com/cosmos/cosmos-sdk/x/feegrant/module"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	"github.com/cosmos/cosmos-sdk/x/upgrade"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/cairn-network/cairn/chain/x/certificate"
	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/chain/x/credit"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	"github.com/cairn-network/cairn/chain/x/device"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/chain/x/reward"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/chain/x/tally"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
)

// Basics lists what each module offers without its keeper: codecs, default genesis, REST routes. The categories are
// those that a new chain starts with; whoever makes none needs none.
func Basics(categories ...econ.Category) module.BasicManager {
	rewards := reward.Basic
	rewards.Default = func() *rewardtypes.GenesisState { return rewardtypes.DefaultGenesis(categories...) }
	return module.NewBasicManager(
		auth.AppModuleBasic{},
		vesting.AppModuleBasic{},
		bankBasic{},
		stakingBasic{},
		slashing.AppModuleBasic{},
		distribution.AppModuleBasic{},
		govBasic{gov.NewAppModuleBasic(nil)},
		feegrantmodule.AppModuleBasic{},
		authzmodule.AppModuleBasic{},
		evidence.NewAppModuleBasic(),
		upgrade.AppModuleBasic{},
		consensus.AppModuleBasic{},
		genutil.NewAppModuleBasic(genutiltypes.DefaultMessageValidator),
		device.Basic,
		credit.Basic,
		rewards,
		tally.Basic,
		certificate.Basic,
	)
}

// storeKeys names the persistent stores; adding one to a running chain takes an upgrade (upgrade.go).
var storeKeys = []string{
	authtypes.StoreKey, banktypes.StoreKey, stakingtypes.StoreKey, slashingtypes.StoreKey, distrtypes.StoreKey,
	govtypes.StoreKey, feegrant.StoreKey, authz.ModuleName, evidencetypes.StoreKey, upgradetypes.StoreKey,
	consensustypes.StoreKey, devicetypes.StoreKey, credittypes.StoreKey, rewardtypes.StoreKey,
	tallytypes.StoreKey, certificatetypes.StoreKey,
}

// moduleAccounts are the accounts that modules own, with what each may do to the supply.
var moduleAccounts = map[string][]string{
	authtypes.FeeCollectorName:     nil,
	distrtypes.ModuleName:          nil,
	stakingtypes.BondedPoolName:    {authtypes.Burner, authtypes.Staking},
	stakingtypes.NotBondedPoolName: {authtypes.Burner, authtypes.Staking},
	govtypes.ModuleName:            {authtypes.Burner},
	devicetypes.ModuleName:         {authtypes.Burner},                   // bonds
	credittypes.ModuleName:         {authtypes.Minter, authtypes.Burner}, // the vault
	rewardtypes.ModuleName:         {authtypes.Minter},                   // on its way to devices and validators
	tallytypes.ModuleName:          {authtypes.Minter, authtypes.Burner}, // escrows and appeals' bonds
}

// Orders in which modules act. Distribution comes before slashing so that a slash finds nothing left in the fee
// pool; slashing before evidence, which jails through it; genutil after staking, whose pools its transactions
// fill; this chain's own modules after all that moves coins at genesis, and before staking at a block's end,
// which tells CometBFT of jailed ones.
var (
	preBlockers   = []string{upgradetypes.ModuleName, authtypes.ModuleName}
	beginBlockers = []string{
		distrtypes.ModuleName, slashingtypes.ModuleName, evidencetypes.ModuleName, stakingtypes.ModuleName,
		genutiltypes.ModuleName, authz.ModuleName, tallytypes.ModuleName,
	}
	endBlockers = []string{
		banktypes.ModuleName, govtypes.ModuleName, tallytypes.ModuleName, credittypes.ModuleName, rewardtypes.ModuleName, devicetypes.ModuleName,
		stakingtypes.ModuleName, genutiltypes.ModuleName, feegrant.ModuleName,
	}
	initGenesis = []string{
		consensustypes.ModuleName, authtypes.ModuleName, banktypes.ModuleName, distrtypes.ModuleName,
		stakingtypes.ModuleName, slashingtypes.ModuleName, govtypes.ModuleName,
		genutiltypes.ModuleName, evidencetypes.ModuleName, authz.ModuleName, feegrant.ModuleName,
		upgradetypes.ModuleName, vestingtypes.ModuleName,
		rewardtypes.ModuleName, credittypes.ModuleName, devicetypes.ModuleName, tallytypes.ModuleName,
		certificatetypes.ModuleName,
	}
)

// Modules returns the modules without their keepers, by name: what each offers the command line. Nothing else
// of them may be called.
func Modules(enc Encoding) map[string]any {
	a := &App{cdc: enc.Codec, encoding: enc}
	a.AccountKeeper = authkeeper.NewAccountKeeper(enc.Codec, runtime.NewKVStoreService(nil), authtypes.ProtoBaseAccount, moduleAccounts,
		enc.InterfaceRegistry.SigningContext().AddressCodec(), Prefix, Authority()) // modules take from it how addresses are read
	return a.newModuleManager().Modules
}

func (a *App) newModuleManager() *module.Manager {
	m := module.NewManager(
		genutil.NewAppModule(a.AccountKeeper, a.StakingKeeper, a, a.encoding.TxConfig),
		auth.NewAppModule(a.cdc, a.AccountKeeper, nil, nil),
		vesting.NewAppModule(a.AccountKeeper, a.BankKeeper),
		bank.NewAppModule(a.cdc, a.BankKeeper.BaseKeeper, a.AccountKeeper, nil),
		staking.NewAppModule(a.cdc, a.StakingKeeper, a.AccountKeeper, a.BankKeeper, nil),
		slashing.NewAppModule(a.cdc, a.SlashingKeeper, a.AccountKeeper, a.BankKeeper, a.StakingKeeper, nil, a.encoding.InterfaceRegistry),
		distribution.NewAppModule(a.cdc, a.DistributionKeeper, a.AccountKeeper, a.BankKeeper, a.StakingKeeper, nil),
		gov.NewAppModule(a.cdc, a.GovKeeper, a.AccountKeeper, a.BankKeeper, nil),
		feegrantmodule.NewAppModule(a.cdc, a.AccountKeeper, a.BankKeeper, a.FeeGrantKeeper, a.encoding.InterfaceRegistry),
		authzmodule.NewAppModule(a.cdc, a.AuthzKeeper, a.AccountKeeper, a.BankKeeper, a.encoding.InterfaceRegistry),
		evidence.NewAppModule(a.EvidenceKeeper),
		upgrade.NewAppModule(a.UpgradeKeeper, a.AccountKeeper.AddressCodec()),
		consensus.NewAppModule(a.cdc, a.ConsensusKeeper),
		reward.NewAppModule(a.RewardKeeper),
		credit.NewAppModule(a.CreditKeeper),
		device.NewAppModule(a.DeviceKeeper),
		tally.NewAppModule(a.TallyKeeper),
		certificate.NewAppModule(a.CertificateKeeper),
	)
	m.SetOrderPreBlockers(preBlockers...)
	m.SetOrderBeginBlockers(beginBlockers...)
	m.SetOrderEndBlockers(endBlockers...)
	m.SetOrderInitGenesis(initGenesis...)
	m.SetOrderExportGenesis(initGenesis...)
	return m
}
