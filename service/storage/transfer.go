package storage

import (
	"fmt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// The transfer protocol between a customer (or its gateway) and a device: HTTP/2 over TLS 1.3, both sides with
// a self-signed certificate of their Ed25519 key. The customer pins the device's key, which its ask names; the
// device knows the payer by the client's key, so no request carries a signature of its own. Bodies other than
// shards are deterministic CBOR; refusals are role.Problem with a coded reason.
//
//	PUT  /v1/shard/{id}                 the masked bytes, length known; staged until a commit names them, two epochs at most, in bounded room
//	GET  /v1/shard/{id}?session=S       the masked bytes; S is an egress session, and what was served counts against it
//	GET  …&offset=O&length=L            a slice with its proof (ExtractSlice)
//	POST /v1/commit                     Commit → Committed
//	POST /v1/ladder                     Ladder → nothing
//	POST /v1/receipt                    receipt.Signed of an egress session, with the ask → nothing
//	GET  /v1/session/{S}                → SessionStatus
//	GET  /v1/session/{S}/losses?after=R → Losses
//	GET  /v1/session/{S}/receipt        → receipt.Signed: the newest of an egress session of the payer's, with the payer's signature alone
const (
	PathShard   = "/v1/shard/"
	PathCommit  = "/v1/commit"
	PathLadder  = "/v1/ladder"
	PathReceipt = "/v1/receipt"
	PathSession = "/v1/session/"
	PathLosses  = "/losses"  // below a session's path
	PathNewest  = "/receipt" // likewise
)

// Bounds of a commit.
const (
	MaxCommitOps = 8192
	MaxJournal   = 1 << 20 // bytes of the journal shard that rides along
	MaxCommit    = MaxJournal + 128*MaxCommitOps + 8192
)

// Commit asks a device to hold what its operations leave: staged shards appended, slots deleted. The device
// applies them, compares the root with the holding's, makes everything durable, and only then countersigns.
// Sent again, it answers the same.
type Commit struct {
	_       struct{}           `cbor:",toarray"`
	Ask     *receipt.SignedAsk // the first time in a session; else nil
	Ops     []Op               // at most MaxCommitOps; appends and deletes
	Holding SignedHolding
	Journal []byte // a journal shard to keep under the revision's number; may be empty
}

// Committed is the device's countersignature of the holding, in DomainHeld.
type Committed struct {
	_         struct{} `cbor:",toarray"`
	Revision  uint64
	Signature types.Signature
}

// SessionStatus is what a device says of a session: where it stands, for a customer that lost track.
type SessionStatus struct {
	_        struct{} `cbor:",toarray"`
	Revision uint64   // the newest that it countersigned; 0 for an unknown session
	Root     types.Hash
	Shards   uint64
	Bytes    uint64
	Units    types.U128   // of the newest receipt that the device handed in
	Amount   types.Credit // of it
	Unused   uint64       // rungs of its ladders above what is payable now
	Served   uint64       // bytes served in the session, ever (egress)
	Promised types.U128   // units of the newest receipt that the device has (egress); of a session that holds, those that are payable now
}

// Losses are what a device declared lost in a session after a revision that the customer knows, in the order of
// revisions, at most MaxLosses of them; whoever got that many asks again. The customer has to apply them to its
// own list before it can commit again, since the tally has done so.
type Losses []Revision

// Revision is one revision that a device's loss made.
type Revision struct {
	_        struct{} `cbor:",toarray"`
	Revision uint64
	Ops      []Op // OpLose, at most MaxLost
}

// MaxLosses is how many revisions Losses lists.
const MaxLosses = 256

// Encode returns the encoding of l.
func (l Losses) Encode() []byte { return types.Encode(l) }

// DecodeLosses reads a list of losses, and checks that there is nothing else in it.
func DecodeLosses(raw []byte) (Losses, error) {
	var l Losses
	if err := types.DecodeLimit(raw, &l, 128*MaxLosses*MaxLost); err != nil {
		return nil, fmt.Errorf("storage: losses: %w", err)
	}
	if len(l) > MaxLosses {
		return nil, types.Refuse(types.Oversize, "storage: losses: %d revisions", len(l))
	}
	for _, r := range l {
		if len(r.Ops) == 0 || len(r.Ops) > MaxLost {
			return nil, types.Refuse(types.BadEncoding, "storage: losses: revision %d has %d slots", r.Revision, len(r.Ops))
		}
		for _, op := range r.Ops {
			if op.Kind != OpLose {
				return nil, types.Refuse(types.BadEncoding, "storage: losses: revision %d has an operation of kind %d", r.Revision, op.Kind)
			}
		}
	}
	return l, nil
}

// Encode returns the encoding of c.
func (c *Commit) Encode() []byte { return types.Encode(c) }

// DecodeCommit reads a commit and checks its bounds, not its signatures.
func DecodeCommit(raw []byte) (*Commit, error) {
	c := new(Commit)
	if err := types.DecodeLimit(raw, c, MaxCommit); err != nil {
		return nil, fmt.Errorf("storage: commit: %w", err)
	}
	if len(c.Ops) > MaxCommitOps || len(c.Journal) > MaxJournal {
		return nil, types.Refuse(types.Oversize, "storage: commit: %d operations and %d bytes of journal", len(c.Ops), len(c.Journal))
	}
	for _, op := range c.Ops {
		if op.Kind != OpAppend && op.Kind != OpDelete {
			return nil, types.Refuse(types.BadEncoding, "storage: commit: an operation of kind %d", op.Kind)
		}
	}
	if err := c.Holding.Holding.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// Encode returns the encoding of c.
func (c *Committed) Encode() []byte { return types.Encode(c) }

// DecodeCommitted reads a countersignature.
func DecodeCommitted(raw []byte) (*Committed, error) {
	c := new(Committed)
	if err := types.Decode(raw, c); err != nil {
		return nil, fmt.Errorf("storage: committed: %w", err)
	}
	return c, nil
}

// Encode returns the encoding of s.
func (s *SessionStatus) Encode() []byte { return types.Encode(s) }

// DecodeSessionStatus reads a session's status.
func DecodeSessionStatus(raw []byte) (*SessionStatus, error) {
	s := new(SessionStatus)
	if err := types.Decode(raw, s); err != nil {
		return nil, fmt.Errorf("storage: session status: %w", err)
	}
	return s, nil
}
