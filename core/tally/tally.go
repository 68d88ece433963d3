// Package tally is the state transition that everybody can recompute: from the state after one epoch and the signed items of
// the next to the state after that, and to the header that verifiers sign.
//
//	Apply(state(e−1), frame(e), batch(e), registry changes, rules) → state(e), header(e)
//
// It is a pure function, and nothing that a later epoch depends on is outside the state that the header's hash covers. Its
// steps are those of docs/spec/tally.md:
//
//  1. fold the settlement of the header before this one: each device's share of what the chain settled and emitted;
//  2. check every item: form, author, epoch, anchor, signature, sequence, session, price; record each refusal;
//  3. run each category's Verify, device by device;
//  4. honour receipts within what their keys and accounts can pay, pro rata, and run each category's Cross; density and
//     quality turn verified units into weights;
//  5. build the devices tree and the outputs tree, hash the state, and sum up.
//
// The work splits by device: Apply runs on one goroutine, and the functions it is made of work on ranges of devices, so that a
// verifier may run them in parallel and merge in order, to the same bytes. Signatures are checked by the caller, in batches;
// the tally takes its verdicts.
//
// Categories plug in through Verifier (and Crosser, Reporter). The tally sees totals and amounts, never a price of STONE.
package tally
