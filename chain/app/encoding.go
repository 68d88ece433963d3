package app

import (
	"fmt"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/std"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	txsigning "github.com/cosmos/cosmos-sdk/x/tx/signing"
	"github.com/cosmos/gogoproto/proto"
)

// Encoding is what it takes to build, sign, encode and decode this chain's transactions and queries.
type Encoding struct {
	InterfaceRegistry codectypes.InterfaceRegistry
	Codec             codec.Codec
	TxConfig          client.TxConfig
	Amino             *codec.LegacyAmino
}

// NewEncoding returns the codecs with the types of every module registered. It opens no database.
func NewEncoding() Encoding {
	registry, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{
		ProtoFiles: proto.HybridResolver,
		SigningOptions: txsigning.Options{
			AddressCodec:          addresscodec.NewBech32Codec(Prefix),
			ValidatorAddressCodec: addresscodec.NewBech32Codec(Prefix + "valoper"),
		},
	})
	if err != nil {
		panic(fmt.Errorf("app: interface registry: %w", err)) // constant input: only a programming error gets here
	}
	cdc := codec.NewProtoCodec(registry)
	e := Encoding{
		InterfaceRegistry: registry,
		Codec:             cdc,
		TxConfig:          authtx.NewTxConfig(cdc, authtx.DefaultSignModes),
		Amino:             codec.NewLegacyAmino(),
	}
	std.RegisterLegacyAminoCodec(e.Amino)
	std.RegisterInterfaces(registry)
	basics := Basics()
	basics.RegisterLegacyAminoCodec(e.Amino)
	basics.RegisterInterfaces(registry)
	return e
}
