package storage

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of how many positions one device is asked for in one epoch.
// KeepFree is how many bytes of its disk a device leaves to others, unless its owner says otherwise.
const KeepFree = 2 << 30

const (
	MinDraws = 2
	MaxDraws = 20
)

// The evidence of a region per epoch is kept near proofBudget bytes: a proof takes about proofSize.
const (
	proofBudget = 1 << 26
	proofSize   = 2400
)

// challengeDomain starts what a device's challenge is hashed from.
const challengeDomain = "cairn/storage/challenge"

// Draws returns c: how many positions each device of a region with that many storing devices is asked for.
// totals are those of the last tally (Input.Totals, role.Notice.Totals).
func Draws(totals []uint64) int {
	devices := uint64(1)
	if len(totals) > 0 && totals[0] > 1 {
		devices = totals[0]
	}
	c := proofBudget / proofSize / devices
	return int(max(MinDraws, min(MaxDraws, c)))
}

// Challenge returns D, from which a device's positions of an epoch follow: SHA-256 of challengeDomain ‖ seed ‖
// device.
func Challenge(seed types.Hash, device types.Key) types.Hash {
	return types.Sum([]byte(challengeDomain), seed[:], device[:])
}

// Position returns position number j of a challenge among total bytes, which is not 0: the first 128 bits of
// SHA-256(D ‖ u32 j), big endian, mod total.
func Position(challenge types.Hash, j uint32, total uint64) uint64 {
	h := types.Sum(challenge[:], binary.BigEndian.AppendUint32(nil, j))
	_, rem := bits.Div64(binary.BigEndian.Uint64(h[:8])%total, binary.BigEndian.Uint64(h[8:16]), total)
	return rem
}

// Draw is one position that a device is asked for.
type Draw struct {
	Session  *Session // of the state that was drawn from
	Position uint64   // below Session.Bytes
}

// Draw returns what device is asked for in the epoch of seed: Draws(totals) positions in its sessions, as they
// stand in s, the state after the epoch before. A device that holds nothing is asked for nothing.
func (s *State) Draw(seed types.Hash, device types.Key, totals []uint64) []Draw {
	total := s.Bytes()
	if total == 0 {
		return nil
	}
	d := Challenge(seed, device)
	draws := make([]Draw, Draws(totals))
	for j := range draws {
		pos := Position(d, uint32(j), total)
		for i := range s.Sessions {
			session := &s.Sessions[i]
			if pos < session.Bytes {
				draws[j] = Draw{Session: session, Position: pos}
				break
			}
			pos -= session.Bytes
		}
	}
	return draws
}

// Prove answers draws. shards returns a session's list, which must still know the revision drawn from; prove
// reads a chunk of a shard and its siblings (ProveChunk). The first error of either ends it: an incomplete
// answer is a wrong one.
func Prove(draws []Draw, shards func(types.SessionID) (*Shards, error),
	prove func(session types.SessionID, shard Shard, chunk uint64) (data []byte, siblings []types.Hash, err error)) (Answer, error) {
	answer := make(Answer, 0, len(draws))
	for j, d := range draws {
		list, err := shards(d.Session.ID)
		if err != nil {
			return nil, fmt.Errorf("storage: position %d: session %s: %w", j, d.Session.ID, err)
		}
		proof := Proof{Session: d.Session.ID, Revision: d.Session.Revision}
		var chunk uint64
		err = list.AsOf(d.Session.Revision, func() error {
			if list.Root() != d.Session.Node() {
				return fmt.Errorf("root is %s, the tally has %s: %w", list.Root().Hash, d.Session.Root, RootMismatch)
			}
			slot, start, _ := list.tree.Find(d.Position)
			proof.Slot, proof.Shard = uint64(slot), list.At(slot)
			proof.Path = NewSumPath(list.tree.Proof(slot))
			chunk = (d.Position - start) / ChunkSize
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("storage: position %d: session %s: %w", j, d.Session.ID, err)
		}
		data, siblings, err := prove(d.Session.ID, proof.Shard, chunk)
		if err != nil {
			return nil, fmt.Errorf("storage: position %d: chunk %d of shard %s: %w", j, chunk, proof.Shard.ID, err)
		}
		proof.Chunk, proof.Siblings = append([]byte{}, data...), NewChunkPath(siblings)
		answer = append(answer, proof)
	}
	return answer, nil
}
