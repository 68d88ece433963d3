// Package compute is category 2: devices run jobs for strangers, show against the verifiers' own clocks how
// fast they are, and have their results run again by chance. SPEC.md has every rule and every byte.
//
// # Jobs
//
// A customer's session key signs an Order for one Job; the device accepts it with an ask of its own, at the
// order's price (Answer, Terms). When the job has ended the device replies with its Result and signs a Leaf
// (SignedLeaf): which job it was, the digest of the result, and what it costs. Each epoch it commits to the
// leaves of a session in one Results, the root of a sum tree (Tree), and receipts of class Wasm count up to the
// fuel that this shows.
//
// # Checks
//
// At moments that nobody foresees (SlotProof, Fires) all devices of a network are checked at once. Drawn
// verifiers each send a signed nonce (SignedNonce); all nonces make the seed (Seed) from which the device
// computes round after round, each from the one before (Step). Witnesses count the rounds that arrive within
// Window, then look into some of them, and say what they saw (Sighting); the device hands in what it did
// (Check). Together they make a rate (Count, Rate), and rates the network-ordered units.
//
// Package mac has the rounds of accelerators, and mix, the round of processors.
//
// # Audits and faults
//
// Two epochs after a result was committed to, the seed draws some (Drawn). Drawn verifiers run these jobs again
// and say what came out (Audit). What a device signed and cannot be true is a Fault, which proves itself.
//
// Verifier.Verify judges all of it and keeps a State of less than 150 bytes for each device.
package compute
