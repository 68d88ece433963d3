// Package local runs ledger nodes inside the calling process: consensus, application, RPC, gRPC and REST.
//
// Init writes the homes of a new chain's validators, one genesis document for all. Start runs one node from
// such a home (or from one that `cairn init` and `cairn genesis` made) and returns when its servers answer:
//
//	validators, err := local.Init(local.Genesis{ChainID: "cairn-local", Homes: []string{dir}, Stake: stone(1_000_000)})
//	node, err := local.Start(ctx, local.Config{Home: dir})
//	defer node.Stop()
//
// A node may be stopped and started again in one process, as often as wanted: Stop closes every listener and
// database. After a crash (kill -9) Start replays what the write-ahead log holds beyond the last committed
// block. A home serves one node at a time; its databases hold a lock.
package local
