package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Answer is the body of evidence of kind KindAnswer: one proof for each position that the epoch draws, in the
// order drawn.
type Answer []Proof

// Proof shows one chunk of one shard: that the shard covers the position drawn, and that the device can read it.
type Proof struct {
	_        struct{} `cbor:",toarray"`
	Session  types.SessionID
	Revision uint64 // of the session in the last tally
	Slot     uint64
	Shard    Shard
	Path     SumPath   // from the slot to the holding's root
	Chunk    []byte    // ChunkSize bytes, or fewer at the shard's end
	Siblings ChunkPath // from the chunk to the shard's id
}

// Loss is the body of evidence of kind KindLoss: slots whose shards the device cannot read any more. Each path
// leads to the root that the slots before left behind. The session moves up by one revision.
type Loss struct {
	_        struct{} `cbor:",toarray"`
	Session  types.SessionID
	Revision uint64 // that the loss applies to
	Slots    []Lost // 1 to MaxLost
}

// Lost is one slot of a Loss.
type Lost struct {
	_     struct{} `cbor:",toarray"`
	Slot  uint64
	Shard Shard // what it held
	Path  SumPath
}

// MaxLost is how many slots one Loss declares.
const MaxLost = 16

// SumPath is a merkle.SumProof's siblings, leaf upwards: for each, u64 sum (big endian) and hash. Index and
// count stand elsewhere.
type SumPath []byte

const (
	sumStep  = 8 + 32
	maxDepth = 32 // of a tree of MaxShards
)

// NewSumPath returns the path of a proof.
func NewSumPath(p merkle.SumProof) SumPath {
	path := make(SumPath, 0, len(p.Siblings)*sumStep)
	for _, n := range p.Siblings {
		path = binary.BigEndian.AppendUint64(path, n.Sum)
		path = append(path, n.Hash[:]...)
	}
	return path
}

// proof returns p as the proof of a slot among count.
func (p SumPath) proof(slot, count uint64) merkle.SumProof {
	proof := merkle.SumProof{Index: slot, Count: count, Siblings: make([]merkle.Node, len(p)/sumStep)}
	for i := range proof.Siblings {
		step := p[i*sumStep:]
		proof.Siblings[i] = merkle.Node{Sum: binary.BigEndian.Uint64(step), Hash: types.Hash(step[8:sumStep])}
	}
	return proof
}

func (p SumPath) check() error {
	if len(p)%sumStep != 0 || len(p) > maxDepth*sumStep {
		return types.Refuse(types.BadEncoding, "storage: a sum path of %d bytes, want at most %d steps of %d", len(p), maxDepth, sumStep)
	}
	return nil
}

// ChunkPath is the siblings that ProveChunk returns, one after the other.
type ChunkPath []byte

const (
	chunkStep     = 32
	maxChunkDepth = 10 // of a shard of MaxShard
)

// NewChunkPath returns the path of siblings.
func NewChunkPath(siblings []types.Hash) ChunkPath {
	path := make(ChunkPath, 0, len(siblings)*chunkStep)
	for _, h := range siblings {
		path = append(path, h[:]...)
	}
	return path
}

// siblings is the reverse of NewChunkPath.
func (p ChunkPath) siblings() []types.Hash {
	hashes := make([]types.Hash, len(p)/chunkStep)
	for i := range hashes {
		hashes[i] = types.Hash(p[i*chunkStep:][:chunkStep])
	}
	return hashes
}

func (p ChunkPath) check() error {
	if len(p)%chunkStep != 0 || len(p) > maxChunkDepth*chunkStep {
		return types.Refuse(types.BadEncoding, "storage: a chunk path of %d bytes, want at most %d steps of %d", len(p), maxChunkDepth, chunkStep)
	}
	return nil
}

// Encode returns the body of evidence that a makes. MaxDraws proofs fit into one envelope.
func (a Answer) Encode() []byte { return types.Encode(a) }

// DecodeAnswer reads the body of an answer.
func DecodeAnswer(body []byte) (Answer, error) {
	var a Answer
	if err := types.DecodeLimit(body, &a, evidence.MaxBody); err != nil {
		return nil, fmt.Errorf("storage: answer: %w", err)
	}
	if len(a) == 0 || len(a) > MaxDraws {
		return nil, types.Refuse(types.BadEncoding, "storage: answer: %d proofs, want 1 to %d", len(a), MaxDraws)
	}
	for i := range a {
		p := &a[i]
		if len(p.Chunk) > ChunkSize {
			return nil, types.Refuse(types.BadEncoding, "storage: answer: proof %d: a chunk of %d bytes, want at most %d", i, len(p.Chunk), ChunkSize)
		}
		if err := p.Path.check(); err != nil {
			return nil, fmt.Errorf("storage: answer: proof %d: %w", i, err)
		}
		if err := p.Siblings.check(); err != nil {
			return nil, fmt.Errorf("storage: answer: proof %d: %w", i, err)
		}
	}
	return a, nil
}

// Encode returns the body of evidence that l makes.
func (l *Loss) Encode() []byte { return types.Encode(l) }

// DecodeLoss reads the body of a loss.
func DecodeLoss(body []byte) (*Loss, error) {
	l := new(Loss)
	if err := types.DecodeLimit(body, l, evidence.MaxBody); err != nil {
		return nil, fmt.Errorf("storage: loss: %w", err)
	}
	if len(l.Slots) == 0 || len(l.Slots) > MaxLost {
		return nil, types.Refuse(types.BadEncoding, "storage: loss: %d slots, want 1 to %d", len(l.Slots), MaxLost)
	}
	for i := range l.Slots {
		if err := l.Slots[i].Path.check(); err != nil {
			return nil, fmt.Errorf("storage: loss: slot %d: %w", i, err)
		}
	}
	return l, nil
}

// NewLoss declares slots of a session lost: it changes shards as the tally will change the holding, to one
// revision more, and returns the evidence to hand in.
func NewLoss(session types.SessionID, shards *Shards, slots []int) (*Loss, error) {
	if len(slots) == 0 || len(slots) > MaxLost {
		return nil, fmt.Errorf("storage: loss of %d slots, want 1 to %d", len(slots), MaxLost)
	}
	l := &Loss{Session: session, Revision: shards.Revision()}
	var ops []Op
	// Each path needs the tree that the slots before left: work on it and commit all at once afterwards.
	for i, slot := range slots {
		if slot < 0 || slot >= shards.Len() {
			shards.undo(ops)
			return nil, fmt.Errorf("storage: loss of slot %d of %d: %w", slot, shards.Len(), ErrOp)
		}
		op := Op{Kind: OpLose, Slot: uint64(slot), Shard: shards.At(slot)}
		path := NewSumPath(shards.tree.Proof(slot))
		if err := shards.apply(op); err != nil {
			shards.undo(ops)
			return nil, fmt.Errorf("storage: loss %d of %d: %w", i+1, len(slots), err)
		}
		ops = append(ops, op)
		l.Slots = append(l.Slots, Lost{Slot: op.Slot, Shard: op.Shard, Path: path})
	}
	shards.undo(ops)
	if err := shards.Commit(l.Revision+1, ops); err != nil {
		return nil, err
	}
	return l, nil
}
