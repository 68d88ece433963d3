package types

import (
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/legacy"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"
)

// RegisterLegacyAminoCodec names the messages for wallets that sign Amino JSON.
func RegisterLegacyAminoCodec(cdc *codec.LegacyAmino) {
	legacy.RegisterAminoMsg(cdc, &MsgRegisterDevice{}, "cairn/MsgRegisterDevice")
	legacy.RegisterAminoMsg(cdc, &MsgTransferDevice{}, "cairn/MsgTransferDevice")
	legacy.RegisterAminoMsg(cdc, &MsgAddBond{}, "cairn/MsgAddBond")
	legacy.RegisterAminoMsg(cdc, &MsgUnbondDevice{}, "cairn/MsgUnbondDevice")
	legacy.RegisterAminoMsg(cdc, &MsgCompleteUnbond{}, "cairn/MsgCompleteUnbond")
	legacy.RegisterAminoMsg(cdc, &MsgSetFleet{}, "cairn/MsgSetFleet")
	legacy.RegisterAminoMsg(cdc, &MsgSuspendDevice{}, "cairn/MsgSuspendDevice")
	legacy.RegisterAminoMsg(cdc, &MsgRegisterMaker{}, "cairn/MsgRegisterMaker")
	legacy.RegisterAminoMsg(cdc, &MsgRegisterModel{}, "cairn/MsgRegisterModel")
	legacy.RegisterAminoMsg(cdc, &MsgUpdateParams{}, "cairn/device/MsgUpdateParams")
}

// RegisterInterfaces makes the messages known to the codec.
func RegisterInterfaces(registry codectypes.InterfaceRegistry) {
	registry.RegisterImplementations((*sdk.Msg)(nil),
		&MsgRegisterDevice{},
		&MsgTransferDevice{},
		&MsgAddBond{},
		&MsgUnbondDevice{},
		&MsgCompleteUnbond{},
		&MsgSetFleet{},
		&MsgSuspendDevice{},
		&MsgRegisterMaker{},
		&MsgRegisterModel{},
		&MsgUpdateParams{},
	)
	msgservice.RegisterMsgServiceDesc(registry, &_Msg_serviceDesc)
}
