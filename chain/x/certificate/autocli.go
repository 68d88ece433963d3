package certificate

import (
	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
)

// AutoCLIOptions names the module's commands.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.certificate.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Short: "Show the module's parameters"},
				{RpcMethod: "Certificate", Use: "certificate [did:key] [from-wh]", Short: "Show one certificate", PositionalArgs: args("device", "from_wh")},
				{RpcMethod: "ByOwner", Use: "owner [address]", Short: "List an owner's certificates", PositionalArgs: args("owner")},
				{RpcMethod: "ByDevice", Use: "device [did:key]", Short: "List the certificates over a device's register", PositionalArgs: args("device")},
				{RpcMethod: "Mark", Use: "mark [did:key]", Short: "Show up to where a device's register was issued", PositionalArgs: args("device")},
				{RpcMethod: "Totals", Short: "Show what was issued, and what of it is active, retired and expired"},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.certificate.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Issue", Skip: true}, // takes a proof, which a verifier serves
				{RpcMethod: "Split", Use: "split [id] [at-wh]", Short: "Cut a certificate in two", PositionalArgs: args("id", "at")},
				{RpcMethod: "Transfer", Use: "transfer [id] [address]", Short: "Give a certificate to a new owner", PositionalArgs: args("id", "to")},
				{RpcMethod: "Retire", Use: "retire [id]", Short: "Claim a certificate for somebody's consumption, for good", PositionalArgs: args("id")},
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
