// Package verifier is the engine of a verifier: it takes in what devices and customers sign, agrees with the other
// verifiers on one tally per epoch, and watches over the headers that the chain took.
//
// # Parts
//
// A Verifier is put together from parts. Each has its own state and its own lock, and only its own methods touch what
// the lock guards (TestParts). Between parts go calls, and values that never change once made.
//
//	clock      follows the chain and makes a head view of each block (epoch, newest blocks, registry):
//	           intake is told first, then all others
//	intake     takes in what authors hand in, judged by the head view, and acknowledges what is on disk
//	mempools   what was acknowledged, by epoch: intake writes them, agreement reads them
//	rounds     make the tally of the epoch that was cut last, together with the other verifiers
//	watch      looks at what the chain took: adopts, votes, appeals, signs late, reports, and has old data deleted
//	agreement  what rounds and watch have in common: peer messages, transactions on their way (sender),
//	           abstentions, what was computed
//	archive    what is kept of tallies: states, batches and frames on disk by hash, what was signed;
//	           in memory the newest states
//	query      answers whoever asks on the bus, out of archive and head view; what it loads or draws for
//	           that it keeps for itself
//	notices    tells devices and gateways what the chain says
//
// Calls go one way. No part calls another while it holds its lock, but intake, which writes a mempool under its own:
//
//	clock → intake → mempools ← rounds, watch → archive ← query, notices
//
// So an answer that takes long, a batch that nobody shows, or a slow chain node holds up whoever waits for it, and
// not intake.
//
// # Intake
//
// What authors hand in on the bus is decoded, checked against the registry view of the epoch, its signatures are
// checked many at once, and what passes is written to a log and synced before it is acknowledged: killing the process
// at any moment loses nothing that was. Each author has a quota per epoch; every queue is bounded, and what does not
// fit is not acknowledged, so that the author sends it again. What is refused is refused with a coded reason.
//
// # Agreement
//
// After an epoch's cut the verifier closes its mempool of that epoch and goes through the rounds that the chain's
// blocks mark. When it leads, it says what it holds (its inventory), takes in what others acknowledged and it lacks
// (the missing items), computes the tally, and proposes the header. Otherwise it sends what the leader lacks,
// recomputes what the leader proposes, and signs only if its own header is the same and everything that it
// acknowledged and sent in time is in the batch. Whoever collects signatures of more than two thirds of power
// commits. An epoch without a header in four rounds is skipped; its cumulative items count in the next.
//
// The mempool of an epoch closes with the first block of the next, and what is sent after a block is in the one after
// it. So epochs need at least ten blocks: with fewer, round 0 is over before a leader can act.
//
// # Watching
//
// Every header that the chain took is recomputed from its batch. One that comes out differently, or whose batch
// nobody can show while its window is open, is appealed if Config.Appeal allows it, and voted on in any case. Two
// headers that one verifier signed for one round are reported. What a verifier cannot check for a reason of its own
// (its chain node, its link, its disk) it neither signs nor votes on, and Abstained says why.
//
// # Memory
//
// States, batches, frames and registry changes stay on disk, by hash, for the appeal window and Config.Keep epochs
// more, and are served over the bus. A verifier that was away reads the headers that it missed from the chain,
// fetches their batches and recomputes; a new one, and one that was away for longer, starts from the state of the
// last final header. Recompute does the same for one epoch on anybody's machine, from a bundle that holds all of it;
// Compare holds each input in the bundle against the chain.
package verifier
