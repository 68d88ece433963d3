package tally

import (
	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
)

// AutoCLIOptions names the module's commands.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.tally.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Short: "Show the module's parameters"},
				{RpcMethod: "Epoch", Use: "epoch [number]", Short: "Show an epoch's timetable, verifiers and leaders; 0 for the current one", PositionalArgs: args("epoch")},
				{RpcMethod: "Next", Use: "next [region]", Short: "Show what a region's verifiers sign next", PositionalArgs: args("region")},
				{RpcMethod: "Header", Use: "header [region] [epoch]", Short: "Show a header", PositionalArgs: args("region", "epoch")},
				{RpcMethod: "Headers", Use: "headers [region]", Short: "List a region's headers, newest first", PositionalArgs: args("region")},
				{RpcMethod: "Settlement", Use: "settlement [epoch]", Short: "Show what the chain made of an epoch", PositionalArgs: args("epoch")},
				{RpcMethod: "Verifier", Use: "verifier [did:key]", Short: "Show a verifier", PositionalArgs: args("key")},
				{RpcMethod: "Verifiers", Short: "List all verifiers"},
				{RpcMethod: "Escrow", Use: "escrow [region] [epoch]", Short: "Show what waits for an epoch's devices and signers", PositionalArgs: args("region", "epoch")},
				{RpcMethod: "Ledgers", Short: "Show what each region has taken in and paid out"},
				{RpcMethod: "Claimed", Use: "claimed [did:key]", Short: "Show what a device has been paid, ever", PositionalArgs: args("device")},
				{RpcMethod: "Appeal", Use: "appeal [region] [epoch]", Short: "Show a vote under way", PositionalArgs: args("region", "epoch")},
				{RpcMethod: "Appeals", Short: "List the votes under way"},
				{RpcMethod: "Changes", Use: "changes [epoch] [region]", Short: "Show what an epoch's registry view changed", PositionalArgs: args("epoch", "region")},
				{RpcMethod: "Blocks", Use: "blocks [from]", Short: "Show the hashes of blocks that a tally may name, from one on", PositionalArgs: args("from")},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.tally.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "SetVerifier", Use: "set-verifier [did:key] [vrf did:key] [key-proof] [vrf-proof]", Short: "Name a validator's attestation and VRF keys", PositionalArgs: args("key", "vrf", "key_proof", "vrf_proof")},
				{RpcMethod: "Appeal", Use: "appeal [region] [epoch] [bond]", Short: "Open a vote on a header", PositionalArgs: args("region", "epoch", "bond")},
				{RpcMethod: "VoteAppeal", Use: "vote-appeal [region] [epoch] [did:key] [yes] [signature]", Short: "Hand in a verifier's vote", PositionalArgs: args("region", "epoch", "key", "yes", "signature")},
				{RpcMethod: "UpdateParams", Use: "update-params-proposal [params]", Short: "Propose other parameters", PositionalArgs: args("params"), GovProposal: true},
			},
		},
	}
}

func args(fields ...string) (list []*autocliv1.PositionalArgDescriptor) {
	for _, f := range fields {
		list = append(list, &autocliv1.PositionalArgDescriptor{ProtoField: f})
	}
	return list
}
