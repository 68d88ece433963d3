package evidence

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// MaxEnvelope bounds an encoded envelope, in bytes: a body of MaxBody and what goes around it.
const MaxEnvelope = MaxBody + 512

// MaxChain bounds the length of a chain id, as CometBFT does.
const MaxChain = 50

// prefix is the head of every envelope: tag 18, an array of 4, and the protected header, a byte string of 38
// bytes that holds {1: -8, 4: bstr 32}. The author's key follows.
var prefix = []byte{0xd2, 0x84, 0x58, 38, 0xa2, 0x01, 0x27, 0x04, 0x58, 32}

const (
	protectedAt = 4                    // where the protected header starts
	keyAt       = 10                   // where the author's key starts
	payloadAt   = keyAt + 32 + 1       // after the key and the empty unprotected header
	sigHead     = 2                    // 0x58 0x40, the head of the signature
	tail        = sigHead + 64         // what follows the payload
	shortest    = payloadAt + tail     // of an envelope with an empty payload
	context     = "cairn/evidence\x00" // the external data before the chain id
)

// Sign returns the envelope of p, signed by author. It panics on a payload that no decoder would take (a body beyond
// MaxBody, a chain id that is empty or beyond MaxChain): a mistake in the program.
func Sign(author types.PrivateKey, p Payload) *Envelope {
	if len(p.Body) > MaxBody || len(p.Chain) == 0 || len(p.Chain) > MaxChain {
		panic(fmt.Sprintf("evidence: sign: body of %d bytes, chain id %q", len(p.Body), p.Chain))
	}
	key := author.Public()
	payload := types.Encode(p)
	raw := make([]byte, 0, shortest+9+len(payload))
	raw = append(raw, prefix...)
	raw = append(raw, key[:]...)
	raw = append(raw, 0xa0)
	raw = appendHead(raw, payload)
	body := raw[payloadAt:]
	message := toSign(raw[protectedAt:payloadAt-1], p.Chain, body)
	sig := author.SignMessage(message)
	raw = append(raw, 0x58, 64)
	raw = append(raw, sig[:]...)
	return &Envelope{Author: key, Payload: p, Signature: sig, Raw: raw, Hash: types.Sum(raw), message: message}
}

// appendHead appends payload as a byte string.
func appendHead(b, payload []byte) []byte {
	switch n := len(payload); {
	case n < 24:
		b = append(b, 0x40|byte(n))
	case n < 1<<8:
		b = append(b, 0x58, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x59), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0x5a), uint32(n))
	}
	return append(b, payload...)
}

// toSign returns the Sig_structure of RFC 9052 §4.4; protected and payload come with their heads.
func toSign(protected []byte, chain string, payload []byte) []byte {
	const signature1 = "\x84\x6aSignature1"
	b := make([]byte, 0, len(signature1)+len(protected)+len(payload)+len(context)+len(chain)+8)
	b = append(b, signature1...)
	b = append(b, 0x58, 38)
	b = append(b, protected...)
	b = appendHead(b, []byte(context+chain+"\x00"))
	return append(b, payload...)
}

// Decode reads one envelope and keeps raw, which the caller must not change afterwards. It refuses what is
// oversize, not the one encoding, or of another chain, each with its reason; it does not check the signature.
func Decode(raw []byte, chain string) (*Envelope, error) {
	if len(raw) > MaxEnvelope {
		return nil, types.Refuse(types.Oversize, "evidence: %d bytes, at most %d are taken", len(raw), MaxEnvelope)
	}
	if len(raw) < shortest || string(raw[:keyAt]) != string(prefix) || raw[payloadAt-1] != 0xa0 {
		return nil, types.Refuse(types.BadEncoding, "evidence: not a COSE_Sign1 of one EdDSA author")
	}
	e := &Envelope{Author: types.Key(raw[keyAt:]), Raw: raw, Hash: types.Sum(raw)}
	head := raw[payloadAt : len(raw)-tail]
	r := &reader{b: head}
	payload := r.take(r.head(bytesType))
	if r.bad || len(r.b) != 0 {
		return nil, types.Refuse(types.BadEncoding, "evidence: the payload is not one byte string")
	}
	if at := len(raw) - tail; raw[at] != 0x58 || raw[at+1] != 64 {
		return nil, types.Refuse(types.BadEncoding, "evidence: the signature is not a byte string of 64")
	}
	e.Signature = types.Signature(raw[len(raw)-64:])
	if err := decodePayload(payload, &e.Payload); err != nil {
		return nil, err
	}
	if len(e.Body) > MaxBody {
		return nil, types.Refuse(types.Oversize, "evidence: a body of %d bytes, at most %d are taken", len(e.Body), MaxBody)
	}
	if e.Chain != chain {
		return nil, types.Refuse(types.WrongChain, "evidence: chain %.50q, want %q", e.Chain, chain)
	}
	e.message = toSign(raw[protectedAt:payloadAt-1], e.Chain, head)
	return e, nil
}

// Message returns the bytes under the signature, for checking many at once.
func (e *Envelope) Message() []byte { return e.message }

// Verify reports whether the author signed the envelope (ZIP-215).
func (e *Envelope) Verify() bool { return e.Author.VerifyMessage(e.message, e.Signature) }
