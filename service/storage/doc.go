// Package storage is category 3: devices keep shards of customers' files, prove every epoch that they still
// hold them, and serve them back. SPEC.md has every rule and every byte.
//
// A shard is a run of masked, erasure-coded bytes. Its name is its BLAKE3 root, which is also the root that a
// challenge's answer leads to: one 1 KiB chunk and its siblings (ShardID, ProveChunk, VerifyChunk).
//
// What one account has on one device is a session. Both sides keep the list of its shards (Shards) and sign its
// root (Holding); the device hands that in as evidence. Each epoch draws positions among all bytes of a device
// (State.Draw); the device shows the chunks there (Prove, Answer). A Loss admits to shards that are gone, a
// Release ends a session. Verify judges all of it and keeps a State for each device, from which Session.Payable
// says how much a receipt may show. A Ladder is how a customer signs such receipts ahead.
package storage
