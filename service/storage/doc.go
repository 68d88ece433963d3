// Package storage is category 3: devices keep shards of customers' files, prove every epoch that they still hold them, and serve
// them back.
//
// A shard is a run of masked, erasure-coded bytes. Its name is its BLAKE3 root, which is also the root that a challenge's answer
// leads to: one 1 KiB chunk and its siblings (ShardID, ProveChunk, VerifyChunk).
package storage
