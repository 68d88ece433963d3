// Package provider is what a storage device does: it keeps shards, serves them, proves every epoch that it has
// them, and collects its pay.
//
// # Serving
//
// Customers reach it over HTTP/2 and TLS 1.3 (the transfer protocol stands in package storage). A shard that
// arrives is staged. A commit names staged shards, and says with the payer's signature what the whole session
// then holds. The device applies it to its own list, compares the roots, has the shards and then its books
// fsynced, and only then countersigns. What was countersigned survives any crash.
//
// # Proving
//
// The newest holding of each session is handed in as evidence. What the tally holds, the device reads from its
// line in the epoch's notice, and never guesses: from there it draws the positions of the epoch's challenge,
// reads each shard whole, and hands in one answer. A shard that turns out to be gone or damaged, there or in
// the scrub that reads everything every fourteen days, is declared lost at once: that costs its part of what is
// retained, hiding it costs more. Shards that a customer deleted stay on disk until a tally without them is
// final, since a header can be voided and older revisions be asked for again.
//
// A file that is removed can be read for as long as it is open, and would be proven until the device stops. So
// it is the names in the folder that count: before each answer and each countersignature, and every ten
// seconds, the device looks whether they lead to what it has open. What a log held that is gone is declared all
// together; where the folder itself is gone, the device does nothing more, and gives up its sessions when it is
// not back in the next epoch. Remarks says so to the owner.
//
// # Being paid
//
// For what is held, ladders: of each session the highest receipt that is payable after the epoch's pass. For
// what is read, a receipt each MiB; an account that has not paid is served 4 MiB, and twice as much each time
// it has paid for as much as it may owe, to 256 MiB.
//
// # On disk
//
// In the directory that the host gives: shards/ (package shardlog), keyed by {shard, account}, and books.db
// (bbolt): sessions with their lists, the operations that are not final yet, references from sessions to
// shards, ladders, receipts and asks. A shard's bytes go when nothing refers to them any more; what a crash
// left without a reference goes two epochs after the next start.
//
// # Bounds
//
// Connections, streams, staged bytes (per account and in all), memory of transfers, sessions
// (storage.MaxSessions), ladders of a session, and lists in memory are bounded; each limit says at its place
// what happens there.
package provider
