package evidence

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// Statement is what a device signs to be claimed by its owner. The owner sends it to the chain with a bond; no
// transaction is ever signed on a device, and no device key ever holds money.
type Statement struct {
	_          struct{} `cbor:",toarray"`
	Chain      string
	Device     types.Key
	Owner      types.Account
	Nonce      [16]byte
	Categories []types.Category // ascending, at least one
	Model      uint64           // the registered model, 0 for none
	Cell       types.Cell
	Expiry     types.Epoch // the last epoch in which the statement can be used
}

// SignedStatement is a statement with its device's signature.
type SignedStatement struct {
	_         struct{} `cbor:",toarray"`
	Statement Statement
	Signature types.Signature
}

// codePrefix starts every claim code.
const codePrefix = "cairn-claim:"

// maxStatement bounds an encoded SignedStatement, in bytes.
const maxStatement = 512

// Sign returns s, signed by its device.
func (s Statement) Sign(device types.PrivateKey) *SignedStatement {
	return &SignedStatement{Statement: s, Signature: device.Sign("statement", s.Chain, types.Encode(&s))}
}

// Verify reports whether the device signed.
func (s *SignedStatement) Verify() bool {
	return s.Statement.Device.Verify("statement", s.Statement.Chain, types.Encode(&s.Statement), s.Signature)
}

// Encode returns the encoding of s.
func (s *SignedStatement) Encode() []byte { return types.Encode(s) }

// Code returns s as a claim code: text that fits a QR code and a line of a terminal.
func (s *SignedStatement) Code() string {
	return codePrefix + base64.RawURLEncoding.EncodeToString(s.Encode())
}

// DecodeStatement reads a signed statement of chain. It checks form, not the signature.
func DecodeStatement(raw []byte, chain string) (*SignedStatement, error) {
	s := new(SignedStatement)
	if err := types.DecodeLimit(raw, s, maxStatement); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if s.Statement.Chain != chain {
		return nil, types.Refuse(types.WrongChain, "statement: chain %.50q, want %q", s.Statement.Chain, chain)
	}
	c := s.Statement.Categories
	for i := range c {
		if c[i] == 0 || i > 0 && c[i] <= c[i-1] {
			return nil, types.Refuse(types.BadEncoding, "statement: categories are not ascending")
		}
	}
	if len(c) == 0 || len(c) > 16 {
		return nil, types.Refuse(types.BadEncoding, "statement: %d categories", len(c))
	}
	return s, nil
}

// ParseCode reads a claim code.
func ParseCode(code, chain string) (*SignedStatement, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(code), codePrefix)
	if !ok {
		return nil, types.Refuse(types.BadEncoding, "claim code: want %s…", codePrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, types.Refuse(types.BadEncoding, "claim code: %v", err)
	}
	return DecodeStatement(raw, chain)
}

// GrantBytes is what a session key signs, in the domain "grant", to agree to serve an account.
func GrantBytes(account types.Account) []byte { return types.Encode(account) }

// VerifierBytes is what an attestation key and a VRF key each sign, in the domain "verifier", to agree to serve
// a validator's account.
func VerifierBytes(account types.Account, key, vrf types.Key) []byte {
	return types.Encode([]any{account, key, vrf})
}

// VoteBytes is what an attestation key signs, in the domain "vote", about a header under appeal.
func VoteBytes(header types.Hash, yes bool) []byte { return types.Encode([]any{header, yes}) }
