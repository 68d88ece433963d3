package types

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// MaxItem bounds what Decode accepts, in bytes: an evidence body of 64 KiB and its envelope.
const MaxItem = 68 << 10

var (
	encMode = must(encOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		IntDec:            cbor.IntDecConvertNone,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   16,
		MaxArrayElements:  1 << 20,
		MaxMapPairs:       1 << 16,
	}.DecMode())
)

// encOptions are those of RFC 8949 §4.2.1; an empty list or string has one encoding, whether or not Go calls it nil.
func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ErrEncoding is what Decode returns for bytes that are not the one encoding of a value.
var ErrEncoding = errors.New("not deterministic CBOR")

// Encode returns the deterministic CBOR (RFC 8949 §4.2.1) of v. Struct fields are named by integer keys
// (`cbor:"1,keyasint"`) or by position (`cbor:",toarray"`). It panics on a type that CBOR cannot hold: a
// mistake in the program, never in its input.
func Encode(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("types: encode %T: %w", v, err))
	}
	return b
}

// Decode reads into v, a pointer, what Encode wrote, and nothing else: unknown fields, duplicate keys,
// indefinite lengths, trailing bytes and any longer form of the same value are refused with ErrEncoding. b is
// at most MaxItem long.
func Decode(b []byte, v any) error { return DecodeLimit(b, v, MaxItem) }

// DecodeLimit is Decode with a limit in bytes of the caller's own.
func DecodeLimit(b []byte, v any, limit int) error {
	if len(b) > limit {
		return fmt.Errorf("types: decode %T: %d bytes, at most %d are taken: %w", v, len(b), limit, Oversize)
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		var unknown *cbor.UnknownFieldError
		if errors.As(err, &unknown) {
			return fmt.Errorf("types: decode %T: %w: %w", v, err, UnknownField)
		}
		return fmt.Errorf("types: decode %T: %w: %w", v, err, BadEncoding)
	}
	again, err := encMode.Marshal(v)
	if err != nil || !bytes.Equal(b, again) {
		return fmt.Errorf("types: decode %T: %w: %w", v, ErrEncoding, BadEncoding)
	}
	return nil
}
