// Package tally is the state transition that everybody can recompute: from the state after one epoch and the
// signed items of the next to the state after that, and to the header that verifiers sign.
//
//	Apply(state(e−1), frame(e), batch(e), registry changes, rules) → state(e), header(e)
//
// It is a pure function, and nothing that a later epoch depends on is outside the state that the header's hash
// covers. Its steps are those of docs/spec/tally.md:
//
//  1. fold the settlement of the header before this one: each device's share of what the chain settled and emitted;
//  2. check every item: form, author, epoch, anchor, signature, sequence, session, price; record each refusal;
//  3. run each category's Verify, device by device;
//  4. honour receipts within what their keys and accounts can pay, pro rata, and run each category's Cross; density and
//     quality turn verified units into weights;
//  5. build the devices tree and the outputs tree, hash the state, and sum up.
//
// # Splitting the work
//
// Apply runs on one goroutine. Pool.Apply cuts the same work into ranges of devices, and of payers and
// accounts, and hands them to a function that may run them at once; whatever it does, the bytes are the same.
// Signatures are checked by the caller, in batches; the tally takes its verdicts. Of a million devices with a
// receipt each, an epoch takes about ten seconds of one processor and less than 3 GiB; callers that tally so
// many set a memory limit (debug.SetMemoryLimit), as the benchmark does.
//
// # State
//
// State is a set of sorted tables, cut into pages where the keys say so; its hash is a Merkle root over pages,
// so a snapshot stores only pages that changed. It is immutable and safe to read from many goroutines.
// State.Tree gives the proofs that owners claim with.
//
// # Categories
//
// Categories plug in as Verifiers. The tally sees totals and amounts, never a price of STONE. What
// a category gets wrong costs that category's items, never the region's epoch.
package tally
