package storage

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Classes of the category: one ask and one session serve one of them.
const (
	Hold   types.Class = 1 // unit byte·epoch: bytes held and proven for an epoch
	Egress types.Class = 2 // unit byte: bytes served
)

// Kinds of evidence.
const (
	KindHolding evidence.Kind = 1 // SignedHolding
	KindAnswer  evidence.Kind = 2 // Answer
	KindLoss    evidence.Kind = 3 // Loss
	KindRelease evidence.Kind = 4 // Release
)

// The reasons that Verify refuses with. Those that devices and gateways give are in wire.go.
const (
	HoldingSignature types.Reason = "storage.holding_signature"
	HoldingStale     types.Reason = "storage.holding_stale"
	HoldingTerms     types.Reason = "storage.holding_terms"
	SessionUnknown   types.Reason = "storage.session_unknown"
	SessionClosed    types.Reason = "storage.session_closed"
	SessionLimit     types.Reason = "storage.session_limit"
	AnswerMissing    types.Reason = "storage.answer_missing"
	AnswerDuplicate  types.Reason = "storage.answer_duplicate"
	AnswerPosition   types.Reason = "storage.answer_position"
	AnswerRevision   types.Reason = "storage.answer_revision"
	AnswerPath       types.Reason = "storage.answer_path"
	AnswerChunk      types.Reason = "storage.answer_chunk"
	LossRevision     types.Reason = "storage.loss_revision"
	LossPath         types.Reason = "storage.loss_path"
	UnitsBeyondProof types.Reason = "storage.units_beyond_proof"
	UnitsOverflow    types.Reason = "storage.units_overflow"
	PriceMismatch    types.Reason = "storage.price_mismatch"
)

// Reference is what a TiB held for an epoch is worth, in micro-credits: $1.50 for a TB·month, as Storj pays its
// operators.
const Reference = 2291

var spec = tally.Spec{
	Category: types.Storage,
	Name:     "storage",
	Classes: []tally.Class{
		{Class: Hold, Name: "hold", Unit: "byte·epoch", Scale: Scale},
		{Class: Egress, Name: "egress", Unit: "byte", Scale: Scale},
	},
	Kinds: []tally.Kind{
		{Kind: KindHolding, Name: "holding", Cumulative: true},
		{Kind: KindAnswer, Name: "answer"},
		{Kind: KindLoss, Name: "loss", Cumulative: true},
		{Kind: KindRelease, Name: "release", Cumulative: true},
	},
	// An answer of MaxDraws proofs, a change of each of many sessions, and losses.
	Quota: tally.Quota{Count: 1024, Bytes: 512 << 10},
	// Emission follows network-ordered units, and customers can invent stored bytes: there are none, so neither
	// quota nor bond.
	Economy:  tally.Economy{Reference: Reference, PriceUnit: Scale},
	MaxState: maxState,
	Reasons:  append(verifyReasons(), customerReasons()...),
}

// verifyReasons are the rows of the reasons that a tally records. A customer meets them where a device made the
// mistake: 502.
func verifyReasons() []types.ReasonInfo {
	return []types.ReasonInfo{
		{Reason: HoldingSignature, Status: 502, Sentence: "The holding is not signed by its payer for this device.", Try: "Hand in what the customer signed for this device, unchanged."},
		{Reason: HoldingStale, Status: 502, Sentence: "A holding of the same or a higher revision counts already.", Try: "Hand in the newest revision; older ones mean nothing any more."},
		{Reason: HoldingTerms, Status: 502, Sentence: "The holding's terms are out of bounds, or differ from those that the session opened with.", Try: "Open a new session for another payer, account, ask or price; let it end no later than its session."},
		{Reason: SessionUnknown, Status: 502, Sentence: "No holding that counted before this epoch opened the session.", Try: "Hand in the co-signed holding first; the session binds and pays from the next epoch on."},
		{Reason: SessionClosed, Status: 502, Sentence: "The session has ended: it can be paid, and cannot change any more.", Try: "Open a new session."},
		{Reason: SessionLimit, Status: 502, Sentence: "The device has 4,096 sessions already, ended ones included until they expire.", Try: "Offer longer sessions to fewer accounts, or run another device."},
		{Reason: AnswerMissing, Status: 502, Sentence: "The answer has fewer or more proofs than the epoch drew positions.", Try: "Prove every position, in the order drawn, in one envelope."},
		{Reason: AnswerDuplicate, Status: 502, Sentence: "The device answered twice in one epoch; the first answer counts.", Try: "Answer once."},
		{Reason: AnswerPosition, Status: 502, Sentence: "The proof is of another position than the epoch drew, or the epoch drew none.", Try: "Answer with this epoch's seed, from the holdings in the last tally."},
		{Reason: AnswerRevision, Status: 502, Sentence: "The proof is of another revision than the last tally holds.", Try: "Keep deleted shards until the revision without them is final, and answer from the revision in the last tally."},
		{Reason: AnswerPath, Status: 502, Sentence: "The path does not lead from the shard to the holding's root.", Try: "Apply the customer's operations in order; compare the root before countersigning."},
		{Reason: AnswerChunk, Status: 502, Sentence: "The chunk is not that of the shard.", Try: "Check the disk; declare shards that cannot be read as lost."},
		{Reason: LossRevision, Status: 502, Sentence: "The loss applies to another revision than the one that counts.", Try: "Declare the loss again, on top of the newest revision."},
		{Reason: LossPath, Status: 502, Sentence: "A path of the loss does not lead from its shard to the holding's root, or the shard is lost already.", Try: "Make each path from the tree that the slots before left."},
		{Reason: UnitsBeyondProof, Status: 502, Sentence: "The receipt is ahead of what the device has proven and may draw.", Try: "Hand in the highest rung of the ladder that is payable; this one counts later."},
		{Reason: UnitsOverflow, Status: 502, Sentence: "Units are 2⁸⁸ or more, the price is 2⁴⁰ or more, or the amount does not fit.", Try: "Open a new session, under a lower price."},
		{Reason: PriceMismatch, Status: 502, Sentence: "The amount is not units times price, rounded down, or ask and price are not the session's.", Try: "Sign ⌊units · price / 2⁴⁰⌋ at the price of the session's ask."},
	}
}
