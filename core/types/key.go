package types

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cosmos/btcutil/bech32"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/mr-tron/base58"
)

// Key is an Ed25519 public key (RFC 8032): a device, a session key or a verifier. It prints as a did:key
// (multicodec 0xed01, multibase base58btc; W3C did:key method): `did:key:z6Mk…`.
type Key [32]byte

const didPrefix = "did:key:z"

// String returns k as a did:key.
func (k Key) String() string {
	return didPrefix + base58.Encode(append([]byte{0xed, 0x01}, k[:]...))
}

// IsZero reports whether k is unset.
func (k Key) IsZero() bool { return k == Key{} }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err == nil {
		*k = parsed
	}
	return err
}

// ParseKey reads a did:key.
func ParseKey(s string) (Key, error) {
	var k Key
	rest, ok := strings.CutPrefix(s, didPrefix)
	if !ok || len(rest) > 64 {
		return k, fmt.Errorf("types: key %q: want did:key:z6Mk…", s)
	}
	b, err := base58.Decode(rest)
	if err != nil || len(b) != 34 || b[0] != 0xed || b[1] != 0x01 {
		return k, fmt.Errorf("types: key %q: not an Ed25519 did:key", s)
	}
	copy(k[:], b[2:])
	return k, nil
}

// Signature is an Ed25519 signature.
type Signature [64]byte

// String returns s in hexadecimal.
func (s Signature) String() string { return hex.EncodeToString(s[:]) }

// IsZero reports whether s is unset.
func (s Signature) IsZero() bool { return s == Signature{} }

// PrivateKey is the private half of a Key. It never prints itself.
type PrivateKey struct{ key ed25519.PrivateKey }

// NewPrivateKey makes a private key from a 32-byte seed (RFC 8032 §5.1.5).
func NewPrivateKey(seed [32]byte) PrivateKey {
	return PrivateKey{ed25519.NewKeyFromSeed(seed[:])}
}

// Seed returns the 32 bytes that the key was made from.
func (p PrivateKey) Seed() [32]byte { return [32]byte(p.key.Seed()) }

// Public returns the key that p signs for.
func (p PrivateKey) Public() Key { return Key(p.key[32:]) }

// Ed25519 returns p for use by the standard library (TLS, NATS).
func (p PrivateKey) Ed25519() ed25519.PrivateKey { return p.key }

// String hides the key.
func (p PrivateKey) String() string { return "private key of " + p.Public().String() }

// SignMessage signs message as it is. Callers outside the packages that define signed types want Sign.
func (p PrivateKey) SignMessage(message []byte) Signature {
	return Signature(ed25519.Sign(p.key, message))
}

// Sign signs payload in the domain of kind on chain: see SigningBytes.
func (p PrivateKey) Sign(kind, chain string, payload []byte) Signature {
	return p.SignMessage(SigningBytes(kind, chain, payload))
}

// SigningBytes is what is signed for every type but evidence: "cairn/" ‖ kind ‖ 0x00 ‖ chain id ‖ 0x00 ‖
// payload. Neither kind nor chain holds a zero byte, so no two (kind, chain, payload) share their bytes.
// Evidence carries the same prefix as the external data of its COSE signature.
func SigningBytes(kind, chain string, payload []byte) []byte {
	b := make([]byte, 0, len(kind)+len(chain)+len(payload)+8)
	b = append(b, "cairn/"...)
	b = append(b, kind...)
	b = append(b, 0)
	b = append(b, chain...)
	b = append(b, 0)
	return append(b, payload...)
}

// VerifyOptions are the rules under which every signature is checked, single or batched: ZIP-215, so that no
// two verifiers disagree about one.
var VerifyOptions = &voi.Options{Verify: voi.VerifyOptionsZIP_215}

// VerifyMessage reports whether sig is k's signature over message (ZIP-215).
func (k Key) VerifyMessage(message []byte, sig Signature) bool {
	return voi.VerifyWithOptions(voi.PublicKey(k[:]), message, sig[:], VerifyOptions)
}

// Verify reports whether sig is k's signature over payload in the domain of kind on chain.
func (k Key) Verify(kind, chain string, payload []byte, sig Signature) bool {
	return k.VerifyMessage(SigningBytes(kind, chain, payload), sig)
}

// Account is the address of an account on the chain: RIPEMD-160 of SHA-256 of its secp256k1 public key. It prints in
// Bech32 (BIP 173) with the prefix "cairn".
type Account [20]byte

// Bech32Prefix is the human-readable part of an account's address.
const Bech32Prefix = "cairn"

// String returns a in Bech32: cairn1….
func (a Account) String() string {
	five, err := bech32.ConvertBits(a[:], 8, 5, true)
	if err != nil {
		panic(err) // 8 to 5 bits with padding cannot fail
	}
	s, err := bech32.Encode(Bech32Prefix, five)
	if err != nil {
		panic(err) // nor can a prefix and five-bit groups
	}
	return s
}

// IsZero reports whether a is unset.
func (a Account) IsZero() bool { return a == Account{} }

// MarshalText implements encoding.TextMarshaler.
func (a Account) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Account) UnmarshalText(text []byte) error {
	parsed, err := ParseAccount(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}

// ParseAccount reads cairn1….
func ParseAccount(s string) (Account, error) {
	var a Account
	prefix, five, err := bech32.Decode(s, 90)
	if err != nil {
		return a, fmt.Errorf("types: account %q: %w", s, err)
	}
	b, err := bech32.ConvertBits(five, 5, 8, false)
	if err != nil || prefix != Bech32Prefix || len(b) != len(a) {
		return a, fmt.Errorf("types: account %q: want %s1…", s, Bech32Prefix)
	}
	copy(a[:], b)
	return a, nil
}
