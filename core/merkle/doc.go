// Package merkle holds the two trees that Cairn commits to things with, and their proofs.
//
// The plain tree (Root, Prove, Proof, Tree) covers digests: readings under one signature, pages of the state,
// things of a fleet. The sum tree (SumRoot, SumProve, SumProof, SumTree) also adds up an amount per leaf: money
// of the devices in a tally, bytes of the shards in a holding. Its root shows the total, and a proof shows how
// much lies to the left of a leaf, so that a position drawn below the total names exactly one leaf.
//
// # Shape
//
// Both have the shape of RFC 9162, section 2.1: leaves are paired from the left, level by level, and an odd
// last node is promoted unchanged. The shape follows from the number of leaves alone. That number is not inside
// the root: who signs a root signs the count beside it (a tally header, a holding, a bundle do), and every
// verification demands that trusted count. With it, index and direction of every step are fixed, a proof has
// one valid length, and no inner node can pass as a leaf.
//
// # Hashes
//
// SHA-256 throughout, ‖ is concatenation, u64 is eight bytes, big endian:
//
//	plain leaf   SHA-256(0x00 ‖ digest)
//	plain node   SHA-256(0x01 ‖ left ‖ right)
//	sum leaf     SHA-256(0x00 ‖ u64 sum ‖ digest)
//	sum node     SHA-256(0x01 ‖ u64 left sum ‖ left hash ‖ u64 right sum ‖ right hash)
//	no leaves    SHA-256 of nothing, sum 0
//
// A sum node's own sum is that of its children; it must stay below 2⁶⁴ or the tree is refused. Because a node
// commits to both children's sums and not only to the total, no proof can move an amount from one side to the
// other.
//
// # Large trees
//
// SumRoot of a million leaves allocates nothing. It may be split: the roots of consecutive ranges, each of the
// same power-of-two length but the last, which may be shorter, are the nodes of one level, and SumRoot over
// them is the root of all.
package merkle
