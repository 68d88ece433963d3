package pob

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Tag is what shows that a packet came: SHA-256(secret ‖ test ‖ u32 number)[:16], one block of SHA-256.
type Tag [TagSize]byte

// MakeTag returns the tag of a packet of a test.
func MakeTag(secret *[32]byte, test ID, number uint32) Tag {
	var b [52]byte
	copy(b[:32], secret[:])
	copy(b[32:48], test[:])
	binary.BigEndian.PutUint32(b[48:], number)
	h := sha256.Sum256(b[:])
	return Tag(h[:TagSize])
}

// DomainReply is the domain in which a device signs Reply.
const DomainReply = "wireless/reply"

// Reply is what a device says to one challenger: what of its packets came.
type Reply struct {
	_          struct{} `cbor:",toarray"`
	Test       ID
	Challenger types.Key
	Net        Net        // in which the device found the challenger
	Got        []byte     // bit number%8 of byte number/8 is 1 for each packet that came; as long as all packets take
	Tags       types.Hash // SHA-256 over the tags of those, ascending by number
}

// SignedReply is a reply with its device's signature.
type SignedReply struct {
	_         struct{} `cbor:",toarray"`
	Reply     Reply
	Signature types.Signature
}

// MaxReply bounds an encoded SignedReply, in bytes.
const MaxReply = MaxBitmap + 256

// Payload returns what is signed, in the domain DomainReply.
func (r *Reply) Payload() []byte { return types.Encode(r) }

// Verify reports whether device signed.
func (s *SignedReply) Verify(chain string, device types.Key) bool {
	return device.Verify(DomainReply, chain, s.Reply.Payload(), s.Signature)
}

// Encode returns the encoding of s.
func (s *SignedReply) Encode() []byte { return types.Encode(s) }

// DecodeReply reads a reply, and checks its form: not its signature.
func DecodeReply(raw []byte) (*SignedReply, error) {
	s := new(SignedReply)
	if err := types.DecodeLimit(raw, s, MaxReply); err != nil {
		return nil, fmt.Errorf("wireless: reply: %w", err)
	}
	return s, s.check()
}

func (s *SignedReply) check() error {
	if !s.Reply.Net.Valid() || len(s.Reply.Got) == 0 || len(s.Reply.Got) > MaxBitmap {
		return types.Refuse(types.BadEncoding, "wireless: reply from %v with a bitmap of %d bytes", s.Reply.Net, len(s.Reply.Got))
	}
	return nil
}

// Received is what a device keeps of one challenger's packets while they come.
type Received struct {
	got  []byte
	tags []Tag
	n    uint32
}

// NewReceived returns one for so many packets.
func NewReceived(packets uint32) *Received {
	packets = min(packets, 8*MaxBitmap)
	return &Received{got: make([]byte, (packets+7)/8), tags: make([]Tag, packets)}
}

// Add takes a packet: of one number the first. It reports whether it was new.
func (r *Received) Add(number uint32, tag Tag) bool {
	if number >= uint32(len(r.tags)) || r.got[number/8]&(1<<(number%8)) != 0 {
		return false
	}
	r.got[number/8] |= 1 << (number % 8)
	r.tags[number] = tag
	r.n++
	return true
}

// Count returns how many packets came, and whether that is all.
func (r *Received) Count() (n uint32, all bool) { return r.n, r.n == uint32(len(r.tags)) }

// Reply returns what the device has to sign.
func (r *Received) Reply(test ID, challenger types.Key, net Net) Reply {
	h := newTags()
	for number := range r.tags {
		if r.got[number/8]&(1<<(number%8)) != 0 {
			h.add(r.tags[number])
		}
	}
	return Reply{Test: test, Challenger: challenger, Net: net, Got: append([]byte{}, r.got...), Tags: h.sum()}
}

// tags hashes tags, many at a time.
type tags struct {
	hash hash.Hash
	buf  []byte
}

func newTags() *tags { return &tags{hash: sha256.New(), buf: make([]byte, 0, 256*TagSize)} }

func (t *tags) add(tag Tag) {
	if t.buf = append(t.buf, tag[:]...); len(t.buf) == cap(t.buf) {
		t.hash.Write(t.buf)
		t.buf = t.buf[:0]
	}
}

func (t *tags) sum() (h types.Hash) {
	t.hash.Write(t.buf)
	t.hash.Sum(h[:0])
	return h
}

// count returns how many bytes a reply shows that came, if its tags are those of the secret: pob_tag_mismatch else.
func (r *Reply) count(secret *[32]byte, packets uint32) (uint64, error) {
	if uint32(len(r.Got)) != (packets+7)/8 || packets%8 != 0 && r.Got[len(r.Got)-1]>>(packets%8) != 0 {
		return 0, types.Refuse(BadReply, "wireless: a bitmap of %d bytes for %d packets", len(r.Got), packets)
	}
	h, n := newTags(), 0
	for i, b := range r.Got {
		n += bits.OnesCount8(b)
		for ; b != 0; b &= b - 1 {
			h.add(MakeTag(secret, r.Test, uint32(8*i+bits.TrailingZeros8(b))))
		}
	}
	if h.sum() != r.Tags {
		return 0, types.Refuse(TagMismatch, "wireless: the tags of %d packets are not those that were sent", n)
	}
	return uint64(n) * Payload, nil
}
