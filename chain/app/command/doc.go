// Package command is the chain's part of the command line: what people who know Cosmos SDK chains expect, under
// the names they expect.
//
//	init, genesis, testnet     make a chain, or a validator's part of one
//	start, status, comet       run a node, ask it, and look at its consensus keys
//	keys, tx, query            accounts, transactions, state
//	export, renew, snapshots, prune, rollback   care for a node's state
//
// Chain makes them ready to be added to any cobra root: each brings its own flags and reads its own
// configuration, so commands that have nothing to do with a chain home neither need one nor leave files in it.
// Queries and transactions of every module come from their protobuf services, once a command line is for one of
// them.
package command
