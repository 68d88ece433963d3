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
	legacy.RegisterAminoMsg(cdc, &MsgSetVerifier{}, "cairn/MsgSetVerifier")
	legacy.RegisterAminoMsg(cdc, &MsgCommitTally{}, "cairn/MsgCommitTally")
	legacy.RegisterAminoMsg(cdc, &MsgAddSignatures{}, "cairn/MsgAddSignatures")
	legacy.RegisterAminoMsg(cdc, &MsgAppeal{}, "cairn/MsgAppeal")
	legacy.RegisterAminoMsg(cdc, &MsgVoteAppeal{}, "cairn/MsgVoteAppeal")
	legacy.RegisterAminoMsg(cdc, &MsgClaim{}, "cairn/MsgClaim")
	legacy.RegisterAminoMsg(cdc, &MsgClaimBatch{}, "cairn/MsgClaimBatch")
	legacy.RegisterAminoMsg(cdc, &MsgReportEquivocation{}, "cairn/MsgReportEquivocation")
	legacy.RegisterAminoMsg(cdc, &MsgUpdateParams{}, "cairn/tally/MsgUpdateParams")
}

// RegisterInterfaces makes the messages known to the codec.
func RegisterInterfaces(registry codectypes.InterfaceRegistry) {
	registry.RegisterImplementations((*sdk.Msg)(nil),
		&MsgSetVerifier{},
		&MsgCommitTally{},
		&MsgAddSignatures{},
		&MsgAppeal{},
		&MsgVoteAppeal{},
		&MsgClaim{},
		&MsgClaimBatch{},
		&MsgReportEquivocation{},
		&MsgUpdateParams{},
	)
	msgservice.RegisterMsgServiceDesc(registry, &_Msg_serviceDesc)
}
