package pipeline

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/minio/sio"

	"github.com/cairn-network/cairn/core/types"
)

// SegmentID names a segment and selects its mask: 16 random bytes, never used twice.
type SegmentID [16]byte

// String returns the id in hexadecimal.
func (id SegmentID) String() string { return hex.EncodeToString(id[:]) }

// Manifest describes one object: all that is needed, with the keys, to read and to rebuild it. It grows with
// the object: about 66 bytes per MiB in std, 70 in lab, 96 in deep. It tells nobody the content, but names
// every shard, so it is kept sealed.
type Manifest struct {
	K        uint16    `cbor:"1,keyasint"`
	N        uint16    `cbor:"2,keyasint"`
	Size     uint64    `cbor:"3,keyasint"` // bytes of the object itself
	Key      []byte    `cbor:"4,keyasint"` // the object's key, wrapped by the bucket's: nonce, ciphertext, tag
	Segments []Segment `cbor:"5,keyasint"`
}

// Segment describes one run of the sealed object.
type Segment struct {
	_      struct{}     `cbor:",toarray"`
	ID     SegmentID    // selects the mask
	Length uint32       // bytes of the sealed object in it
	Shards []types.Hash // BLAKE3 roots, by slot
}

// ShardLength is the length in bytes of each of the segment's shards, k of which bring it back.
func (s Segment) ShardLength(k int) int { return shardLength(int(s.Length), k) }

// MaxManifest bounds an encoded manifest, in bytes: an object of more than a tebibyte.
const MaxManifest = 128 << 20

// ErrManifest: the manifest contradicts itself or its format.
var ErrManifest = errors.New("bad manifest")

// Encode returns the manifest's deterministic CBOR.
func (m *Manifest) Encode() []byte { return types.Encode(m) }

// DecodeManifest reads what Encode wrote, and checks it.
func DecodeManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := types.DecodeLimit(b, &m, MaxManifest); err != nil {
		return nil, fmt.Errorf("pipeline: %w: %w", ErrManifest, err)
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Check reports whether the manifest is consistent: code and lengths within bounds, all segments but the last
// full, together as long as the sealed object, each with n shards.
func (m *Manifest) Check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("pipeline: %w: %s", ErrManifest, fmt.Sprintf(format, args...))
	}
	k, n := int(m.K), int(m.N)
	if k < 1 || k >= n || n > maxTotal {
		return fail("code %d of %d", k, n)
	}
	if len(m.Key) != wrappedKey {
		return fail("wrapped key of %d bytes", len(m.Key))
	}
	want, err := sio.EncryptedSize(m.Size)
	if err != nil {
		return fail("size %d: %v", m.Size, err)
	}
	full := uint64(k * MaxShard)
	if uint64(len(m.Segments)) != (want+full-1)/full {
		return fail("%d segments for %d bytes", len(m.Segments), want)
	}
	for i, s := range m.Segments {
		if uint64(s.Length) != min(full, want-uint64(i)*full) {
			return fail("segment %d of %d bytes", i, s.Length)
		}
		if len(s.Shards) != n {
			return fail("segment %d with %d shards", i, len(s.Shards))
		}
	}
	return nil
}

// Profile returns the profile that the manifest's code belongs to, or one without a name that succeeds and
// repairs at n.
func (m *Manifest) Profile() Profile {
	for _, p := range Profiles() {
		if p.K == int(m.K) && p.N == int(m.N) {
			return p
		}
	}
	return Profile{K: int(m.K), N: int(m.N), Success: int(m.N), Repair: int(m.N)}
}

// Stored is how many bytes all devices together keep for the object.
func (m *Manifest) Stored() uint64 {
	var sum uint64
	for _, s := range m.Segments {
		sum += uint64(s.ShardLength(int(m.K))) * uint64(m.N)
	}
	return sum
}
