// Package app wires the Cosmos SDK application that is Cairn's ledger: who owns which device, who bought how many
// credits, which tally was accepted, and who is paid.
//
// New builds the application over a database; it is wired by hand, one keeper after another, so that what
// depends on what can be read from top to bottom in keepers.go. NewEncoding gives the codecs alone, without a
// database, to whoever only builds, signs or reads transactions. NewDefaultGenesis is the genesis state before
// accounts and validators are added.
//
// The packages below it: command mounts the chain's commands (`cairn init`, `start`, `tx` …), local runs one
// node inside the calling process, openapi holds the generated description of the REST interface.
//
// # Blocks
//
// A block holds at most MaxBlockBytes and MaxBlockGas. Messages by which validators agree on a tally travel in
// a lane of their own (Lane): a quarter of each block is kept for them, so a flood of ordinary transactions
// cannot make a header miss its round.
//
// Parameters live in each module and change by governance (MsgUpdateParams of each module, with the gov
// module's account as the authority). There is no x/params, no x/mint, and no sign mode textual.
package app
