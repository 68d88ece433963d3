package device

import (
	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
)

// AutoCLIOptions names the module's commands.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.device.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Short: "Show the registry's parameters"},
				{RpcMethod: "Device", Use: "device [did:key]", Short: "Show one device", PositionalArgs: args("device")},
				{RpcMethod: "Devices", Short: "List all devices"},
				{RpcMethod: "DevicesByOwner", Use: "owner [address]", Short: "List an owner's devices", PositionalArgs: args("owner")},
				{RpcMethod: "DevicesByKey", Use: "devices-by-key [did:key]...", Short: "Show those of some devices that are registered",
					PositionalArgs: []*autocliv1.PositionalArgDescriptor{{ProtoField: "devices", Varargs: true}}},
				{RpcMethod: "RequiredBond", Short: "Show what a device of some categories must bond, and what registering burns"},
				{RpcMethod: "Bonds", Short: "Show what is locked for all devices"},
				{RpcMethod: "Maker", Use: "maker [id]", Short: "Show one maker", PositionalArgs: args("id")},
				{RpcMethod: "Makers", Short: "List all makers"},
				{RpcMethod: "Model", Use: "model [id]", Short: "Show one model", PositionalArgs: args("id")},
				{RpcMethod: "Models", Short: "List all models"},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.device.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "RegisterDevice", Use: "register [statement] [bond]", Short: "Register a device whose claim code you hold", PositionalArgs: args("statement", "bond")},
				{RpcMethod: "TransferDevice", Skip: true}, // two signers: made with --generate-only tools
				{RpcMethod: "AddBond", Use: "add-bond [did:key] [amount]", Short: "Lock more for a device", PositionalArgs: args("device", "amount")},
				{RpcMethod: "UnbondDevice", Use: "unbond [did:key]", Short: "Take a device out of the registry for good", PositionalArgs: args("device")},
				{RpcMethod: "CompleteUnbond", Skip: true}, // takes a proof, which a verifier serves
				{RpcMethod: "SetFleet", Use: "set-fleet [did:key] [root] [count]", Short: "Say which things are behind a device (cairn device fleet makes the root)",
					PositionalArgs: args("device", "root", "count")},
				{RpcMethod: "SuspendDevice", Use: "suspend-proposal [did:key] [epochs] [reason]", Short: "Propose to suspend a device", PositionalArgs: args("device", "epochs", "reason"), GovProposal: true},
				{RpcMethod: "RegisterMaker", Use: "register-maker [name] [url]", Short: "Register as a maker of devices", PositionalArgs: args("name", "url")},
				{RpcMethod: "RegisterModel", Use: "register-model [maker] [name]", Short: "Register a model of yours", PositionalArgs: args("maker", "name")},
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
