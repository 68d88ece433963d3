package credit

import (
	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
)

// AutoCLIOptions names the module's commands.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.credit.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Short: "Show the module's parameters"},
				{RpcMethod: "Account", Use: "account [address]", Short: "Show what an account has bought", PositionalArgs: args("account")},
				{RpcMethod: "Accounts", Short: "List what all accounts have bought"},
				{RpcMethod: "Grant", Use: "grant [did:key]", Short: "Show a session key's grant", PositionalArgs: args("key")},
				{RpcMethod: "Grants", Use: "grants [address]", Short: "List an account's session keys", PositionalArgs: args("account")},
				{RpcMethod: "Vault", Short: "Show the vault and how well it backs what is owed"},
				{RpcMethod: "Price", Short: "Show the band of prices"},
				{RpcMethod: "Quote", Use: "quote [ustone]", Short: "Show what an amount buys now", PositionalArgs: args("amount")},
				{RpcMethod: "Supply", Short: "Show what was minted and burned since genesis, by module"},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cairn.credit.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "BuyCredits", Use: "buy [amount] [min-credits]", Short: "Buy credits", PositionalArgs: args("amount", "min_credits")},
				{RpcMethod: "GrantKey", Use: "grant [did:key] [limit] [expiry] [proof]", Short: "Let a session key spend your credits", PositionalArgs: args("key", "limit", "expiry", "proof")},
				{RpcMethod: "RevokeKey", Use: "revoke [did:key]", Short: "End a session key's grant", PositionalArgs: args("key")},
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
