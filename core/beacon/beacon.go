// Package beacon makes randomness that nobody chooses: the seed of each epoch, the leaders of its tally, and
// samples drawn from it.
//
// Seeds form a chain. The leader whose header is accepted proves, with a verifiable random function over the
// epoch's seed (ECVRF, RFC 9381, suite ECVRF-EDWARDS25519-SHA512-ELL2), one value that it could neither choose
// nor predict before it knew that seed; the next seed hashes the values of all regions. A leader can withhold
// its header, which hands the turn to the next leader and costs it its share; it cannot pick among seeds. A
// block hash can be ground by a proposer, and is never a seed.
package beacon

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	"github.com/cairn-network/cairn/core/types"
)

// ProofSize is the length of an ECVRF proof, in bytes.
const ProofSize = ecvrf.ProofSize

// alpha is the input of the VRF for one region of one epoch.
func alpha(chain string, seed types.Hash, region types.Region) []byte {
	return types.SigningBytes("vrf", chain, binary.BigEndian.AppendUint16(seed[:], uint16(region)))
}

// Prove returns the leader's proof over the epoch's seed.
func Prove(key types.PrivateKey, chain string, seed types.Hash, region types.Region) []byte {
	return ecvrf.Prove(ed25519.PrivateKey(key.Ed25519()), alpha(chain, seed, region))
}

// Output checks proof and returns the value that it proves. A wrong proof is refused with bad_signature.
func Output(key types.Key, chain string, seed types.Hash, region types.Region, proof []byte) ([64]byte, error) {
	return output(key, proof, alpha(chain, seed, region))
}

func output(key types.Key, proof, alpha []byte) ([64]byte, error) {
	if len(proof) != ProofSize {
		return [64]byte{}, types.Refuse(types.BadSignature, "beacon: a proof of %d bytes, want %d", len(proof), ProofSize)
	}
	ok, beta := ecvrf.Verify(ed25519.PublicKey(key[:]), proof, alpha)
	if !ok {
		return [64]byte{}, types.Refuse(types.BadSignature, "beacon: the proof is not %v's over this seed", key)
	}
	return [64]byte(beta), nil
}

// alphaAt is the input of the VRF for one number of a purpose. No two purposes share one, nor does any with a
// region's.
func alphaAt(chain, purpose string, seed types.Hash, n uint64) []byte {
	return types.SigningBytes("vrf/"+purpose, chain, binary.BigEndian.AppendUint64(seed[:], n))
}

// ProveAt returns key's proof over a number of a purpose in the epoch of seed: what only its owner knows until
// it is shown.
func ProveAt(key types.PrivateKey, chain, purpose string, seed types.Hash, n uint64) []byte {
	return ecvrf.Prove(ed25519.PrivateKey(key.Ed25519()), alphaAt(chain, purpose, seed, n))
}

// OutputAt checks what ProveAt returned, and returns the value that it proves. A wrong proof is refused with
// bad_signature.
func OutputAt(key types.Key, chain, purpose string, seed types.Hash, n uint64, proof []byte) ([64]byte, error) {
	return output(key, proof, alphaAt(chain, purpose, seed, n))
}

// Next returns the seed after seed: SHA-256("cairn/seed" ‖ seed ‖ outputs by ascending region). A region that
// skipped contributes nothing; with no output at all the seed still moves.
func Next(seed types.Hash, outputs [][64]byte) types.Hash {
	parts := make([][]byte, 0, 2+len(outputs))
	parts = append(parts, []byte("cairn/seed"), seed[:])
	for i := range outputs {
		parts = append(parts, outputs[i][:])
	}
	return types.Sum(parts...)
}

// Genesis returns the seed of epoch 1, from the chain's id and its genesis time (Unix seconds).
func Genesis(chain string, unix int64) types.Hash {
	return types.Sum([]byte("cairn/genesis seed\x00"), []byte(chain), binary.BigEndian.AppendUint64(nil, uint64(unix)))
}

// Stream is a deterministic sequence of numbers from a seed and a purpose: the blocks SHA-256(seed ‖ purpose ‖
// u64 counter), read as big-endian 64-bit words.
type Stream struct {
	key     []byte
	counter uint64
	block   types.Hash
	used    int
}

// NewStream starts the sequence of a purpose.
func NewStream(seed types.Hash, purpose string) *Stream {
	return &Stream{key: append(seed[:], purpose...), used: len(types.Hash{})}
}

// Uint64 returns the next number.
func (s *Stream) Uint64() uint64 {
	if s.used == len(s.block) {
		s.block = types.Sum(s.key, binary.BigEndian.AppendUint64(nil, s.counter))
		s.counter++
		s.used = 0
	}
	v := binary.BigEndian.Uint64(s.block[s.used:])
	s.used += 8
	return v
}

// Below returns the next number below n, without bias (Lemire 2019, doi:10.1145/3230636). It panics if n is zero.
func (s *Stream) Below(n uint64) uint64 {
	if n == 0 {
		panic("beacon: Below(0)")
	}
	for {
		hi, lo := bits.Mul64(s.Uint64(), n)
		if lo >= n || lo >= -n%n {
			return hi
		}
	}
}

// Draw returns count distinct indices into powers, each drawn in proportion to its power among those left: the
// leaders of a tally, in the order of their rounds. With fewer than count members of positive power, the
// drawing starts over, so that every round has a leader; with none at all it returns nil. The sum of powers
// must fit 64 bits.
func Draw(s *Stream, powers []uint64, count int) ([]int, error) {
	var total uint64
	for _, p := range powers {
		sum, carry := bits.Add64(total, p, 0)
		if carry != 0 {
			return nil, fmt.Errorf("beacon: draw: the sum of powers leaves 64 bits")
		}
		total = sum
	}
	if total == 0 {
		return nil, nil
	}
	drawn := make([]int, 0, count)
	left, taken := total, map[int]bool{}
	for len(drawn) < count {
		if left == 0 {
			left = total
			clear(taken)
		}
		at := s.Below(left)
		for i, p := range powers {
			if taken[i] {
				continue
			}
			if at < p {
				drawn, taken[i], left = append(drawn, i), true, left-p
				break
			}
			at -= p
		}
	}
	return drawn, nil
}

// Leaders draws the leaders of the four rounds of a region's tally.
func Leaders(seed types.Hash, region types.Region, powers []uint64) ([]int, error) {
	return Draw(NewStream(seed, fmt.Sprintf("leaders/%d", region)), powers, 4)
}
