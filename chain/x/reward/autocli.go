package reward

import (
	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
)

// AutoCLIOptions names the module's commands.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.reward.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Short: "Show the economy's parameters, and a change that waits"},
				{RpcMethod: "Category", Use: "category [number]", Short: "Show a category's parameters and target", PositionalArgs: args("category")},
				{RpcMethod: "Day", Short: "Show the state of the day"},
				{RpcMethod: "Emission", Use: "emission [epoch]", Short: "Show what was minted for an epoch", PositionalArgs: args("epoch")},
				{RpcMethod: "Emissions", Short: "List what was minted"},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.reward.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
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
