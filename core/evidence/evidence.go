// Package evidence is the signed envelope in which a device or a verifier speaks.
//
// An envelope is a COSE_Sign1 message (RFC 9052 §4.2) with EdDSA (RFC 9053 §2.2): tag 18, the protected header
// {1: -8, 4: author's key}, an empty unprotected header, the payload, and the signature. Its external data is
// "cairn/evidence" ‖ 0x00 ‖ chain id ‖ 0x00, so an envelope signed for one chain means nothing on another. The
// payload is deterministic CBOR with integer keys (Payload). There is exactly one encoding of an envelope;
// Decode refuses every other.
//
// Decode checks form and bounds, not the signature: signatures are checked in batches by whoever takes evidence
// in, over Message. What an envelope means is the category's affair.
package evidence

import (
	"github.com/cairn-network/cairn/core/types"
)

// MaxBody bounds a body, in bytes. Larger things travel by hash.
const MaxBody = 64 << 10

// MaxAnchorAge is how many blocks old an anchor may be when a verifier acknowledges the envelope.
const MaxAnchorAge = 100

// Kind numbers the kinds of evidence that one category defines, from 1.
type Kind uint16

// Anchor names a recent block, which shows that the envelope was not made before it.
type Anchor struct {
	_      struct{} `cbor:",toarray"`
	Height uint64
	Hash   [16]byte // the first 16 bytes of the block's hash
}

// Payload is what an author signs.
type Payload struct {
	Chain    string         `cbor:"1,keyasint"`
	Category types.Category `cbor:"2,keyasint"`
	Kind     Kind           `cbor:"3,keyasint"`
	Epoch    types.Epoch    `cbor:"4,keyasint"`
	Seq      uint64         `cbor:"5,keyasint"` // greater than the author's last; a gap is recorded, never refused
	Prev     types.Hash     `cbor:"6,keyasint"` // Hash of the author's previous envelope
	Anchor   Anchor         `cbor:"7,keyasint"`
	Body     []byte         `cbor:"8,keyasint"` // the kind's own CBOR, at most MaxBody
}

// Envelope is a decoded envelope. Its fields are read-only: Raw is the truth.
type Envelope struct {
	Author types.Key
	Payload
	Signature types.Signature
	Raw       []byte     // the encoding
	Hash      types.Hash // SHA-256 of Raw

	message []byte
}
