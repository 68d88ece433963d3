// Package client is the adapter from ledger.Ledger to the chain: it reads through queries, and writes by
// building, signing and sending transactions with keys of a keyring. It is the only place outside chain/ that
// knows the Cosmos SDK's forms.
//
//	c, err := client.New(ctx, client.Config{URL: "http://127.0.0.1:26657", Keyring: kb})
//	defer c.Close()
//	receipt, err := c.Submit(ctx, account, ledger.Buy{Amount: 5_000_000})
//
// Inside the process of a node, Config.RPC takes the node's own client and nothing crosses a socket:
//
//	c, err := client.New(ctx, client.Config{RPC: node.Client().Client, Keyring: kb})
//
// A process that has no node of its own has a list of them (Config.URLs), and goes on to the next where one
// does not answer.
//
// # Reading
//
// Every read is a query of the newest committed state; those that put several queries together (Supply) ask all
// of them at one height. What the chain does not have is ledger.ErrNotFound.
//
// # Writing
//
// Submit simulates the transaction first, which finds out most refusals without a block and tells how much gas
// it takes, then signs, sends and waits for the block. Transactions of one account are ordered by Submit; the
// sequence is kept here and asked for anew when the chain disagrees. A refusal carries the chain's coded reason
// (types.ReasonOf), whether it was found by simulation, at the mempool's door or in the block.
//
// # Keys
//
// Accounts, Lookup and CreateAccount manage the keyring. Names and addresses are both understood.
package client
