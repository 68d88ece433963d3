package bus

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Sealed is a signed message on the wire.
type Sealed struct {
	_         struct{} `cbor:",toarray"`
	Body      []byte   // the encoding of the message
	Signer    types.Key
	Signature types.Signature // over Body, in the domain of its kind
}

// signed is implemented by messages that speak for their sender.
type signed interface {
	domain() string  // of the signature
	chainID() string // for which the message is meant
	check() error    // bounds and order
}

// Seal signs v with key and encodes it.
func Seal(key types.PrivateKey, v signed) []byte {
	body := types.Encode(v)
	return types.Encode(&Sealed{Body: body, Signer: key.Public(), Signature: key.Sign(v.domain(), v.chainID(), body)})
}

// Open reads a message of chain that somebody sealed, and returns it with its signer:
//
//	ack, verifier, err := bus.Open[bus.Ack](m.Data, chain)
//
// It refuses every other encoding, another chain, whatever is out of bounds, and a wrong signature. Whether the
// signer has a say is the caller's question.
func Open[T any, P interface {
	*T
	signed
}](raw []byte, chain string) (P, types.Key, error) {
	v := P(new(T))
	s := new(Sealed)
	if err := types.DecodeLimit(raw, s, MaxMessage); err != nil {
		return nil, types.Key{}, fmt.Errorf("bus: %s: %w", v.domain(), err)
	}
	if err := decode(s.Body, v, chain); err != nil {
		return nil, types.Key{}, fmt.Errorf("bus: %s: %w", v.domain(), err)
	}
	if !s.Signer.Verify(v.domain(), chain, s.Body, s.Signature) {
		return nil, types.Key{}, types.Refuse(types.BadSignature, "bus: %s: not signed by %v", v.domain(), s.Signer)
	}
	return v, s.Signer, nil
}

// plain is implemented by messages that prove themselves, or need no proof.
type plain interface {
	chainID() string
	check() error
}

// Encode encodes a message that needs no signature.
func Encode(v plain) []byte { return types.Encode(v) }

// Decode reads a message of chain that needs no signature:
//
//	submit, err := bus.Decode[bus.Submit](m.Data, chain)
func Decode[T any, P interface {
	*T
	plain
}](raw []byte, chain string) (P, error) {
	v := P(new(T))
	if err := decode(raw, v, chain); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	return v, nil
}

func decode(raw []byte, v plain, chain string) error {
	if err := types.DecodeLimit(raw, v, MaxMessage); err != nil {
		return err
	}
	if got := v.chainID(); got != chain {
		return types.Refuse(types.WrongChain, "chain %.50q, want %q", got, chain)
	}
	return v.check()
}

func tooMany(what string, n, limit int) error {
	return types.Refuse(types.Oversize, "%d %s, at most %d are taken", n, what, limit)
}

func misplaced(what string) error {
	return types.Refuse(types.BadEncoding, "%s are not in ascending order, each once", what)
}
