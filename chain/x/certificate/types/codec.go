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
	legacy.RegisterAminoMsg(cdc, &MsgIssue{}, "cairn/certificate/MsgIssue")
	legacy.RegisterAminoMsg(cdc, &MsgSplit{}, "cairn/certificate/MsgSplit")
	legacy.RegisterAminoMsg(cdc, &MsgTransfer{}, "cairn/certificate/MsgTransfer")
	legacy.RegisterAminoMsg(cdc, &MsgRetire{}, "cairn/certificate/MsgRetire")
	legacy.RegisterAminoMsg(cdc, &MsgUpdateParams{}, "cairn/certificate/MsgUpdateParams")
}

// RegisterInterfaces makes the messages known to the codec.
func RegisterInterfaces(registry codectypes.InterfaceRegistry) {
	registry.RegisterImplementations((*sdk.Msg)(nil),
		&MsgIssue{},
		&MsgSplit{},
		&MsgTransfer{},
		&MsgRetire{},
		&MsgUpdateParams{},
	)
	msgservice.RegisterMsgServiceDesc(registry, &_Msg_serviceDesc)
}
