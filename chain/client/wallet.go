package client

import (
	"cmp"
	"encoding/json"
	"strings"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/core/types"
)

// Endpoints are where wallets reach a chain.
type Endpoints struct {
	Chain string // the chain's id
	Name  string // as wallets show it; empty: Cairn
	RPC   string // http://host:26657
	REST  string // http://host:1317
	GRPC  string // host:9090
	// GasPrice is the least that the node takes for 10⁶ gas, in ustone; 0: what nodes take by default.
	GasPrice types.Ustone
}

func (e Endpoints) name() string {
	if e.Name == "" {
		return "Cairn"
	}
	return e.Name
}

// step returns what wallets offer for a unit of gas, in ustone: so many times the least.
func (e Endpoints) step(times types.Ustone) json.Number {
	least := cmp.Or(e.GasPrice, app.MinGasPrice)
	text := math.LegacyNewDecFromIntWithPrec(math.NewIntFromUint64(uint64(least*times)), 6).String()
	return json.Number(strings.TrimRight(strings.TrimRight(text, "0"), "."))
}

// What wallets offer where there is more or less of a hurry, in multiples of the least.
const low, average, high = 1, 2, 5

type object map[string]any

// KeplrChainInfo returns what Keplr (and wallets that follow it) takes in experimentalSuggestChain, as JSON:
// type ChainInfo of @keplr-wallet/types.
func KeplrChainInfo(e Endpoints) []byte {
	prefix := app.Prefix
	stone := object{"coinDenom": "STONE", "coinMinimalDenom": app.Denom, "coinDecimals": app.DenomExponent}
	fee := object{"gasPriceStep": object{"low": e.step(low), "average": e.step(average), "high": e.step(high)}}
	for k, v := range stone {
		fee[k] = v
	}
	return indent(object{
		"chainId": e.Chain, "chainName": e.name(), "rpc": e.RPC, "rest": e.REST,
		"bip44": object{"coinType": app.CoinType},
		"bech32Config": object{
			"bech32PrefixAccAddr": prefix, "bech32PrefixAccPub": prefix + "pub",
			"bech32PrefixValAddr": prefix + "valoper", "bech32PrefixValPub": prefix + "valoperpub",
			"bech32PrefixConsAddr": prefix + "valcons", "bech32PrefixConsPub": prefix + "valconspub",
		},
		"currencies": []object{stone}, "feeCurrencies": []object{fee}, "stakeCurrency": stone, "features": []string{},
	})
}

// ChainRegistry returns chain.json and assetlist.json as the registry of Cosmos chains
// (github.com/cosmos/chain-registry) has them.
func ChainRegistry(e Endpoints) (chain, assets []byte) {
	const name = "cairn"
	at := func(address string) []object {
		if address == "" {
			return []object{}
		}
		return []object{{"address": address, "provider": e.name()}}
	}
	chain = indent(object{
		"$schema": "../chain.schema.json", "chain_name": name, "chain_id": e.Chain, "pretty_name": e.name(), "chain_type": "cosmos",
		"status": "live", "network_type": "devnet", "bech32_prefix": app.Prefix, "daemon_name": app.Name, "node_home": "$HOME/.cairn",
		"key_algos": []string{"secp256k1"}, "slip44": app.CoinType,
		"fees": object{"fee_tokens": []object{{
			"denom": app.Denom, "fixed_min_gas_price": e.step(low), "low_gas_price": e.step(low), "average_gas_price": e.step(average), "high_gas_price": e.step(high),
		}}},
		"staking": object{"staking_tokens": []object{{"denom": app.Denom}}},
		"apis":    object{"rpc": at(e.RPC), "rest": at(e.REST), "grpc": at(e.GRPC)},
	})
	meta := app.DenomMetadata()
	units := []object{}
	for _, u := range meta.DenomUnits {
		units = append(units, object{"denom": u.Denom, "exponent": u.Exponent})
	}
	assets = indent(object{
		"$schema": "../assetlist.schema.json", "chain_name": name,
		"assets": []object{{
			"description": meta.Description, "denom_units": units, "base": meta.Base, "display": meta.Display, "name": meta.Name,
			"symbol": meta.Symbol, "type_asset": "sdk.coin",
		}},
	})
	return chain, assets
}

func indent(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // constants and strings
	}
	return b
}
