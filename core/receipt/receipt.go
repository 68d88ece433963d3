// Package receipt holds what customers and devices sign about money: asks, receipts and orders.
//
// A device publishes an Ask: what it offers, and the price. A customer opens a session under one ask and signs
// Receipts, each cumulative since the session began, so older ones can be thrown away and one counts that was
// lost on the way. The device countersigns the receipt that it hands in. An Order is the second form, for what
// is priced only after it is measured: the payer alone signs a ceiling for one region, whose tally computes
// units and amount. A receipt's region is its device's and its payer's.
//
// All three are deterministic CBOR arrays; each signature is over types.SigningBytes of its kind ("ask",
// "receipt", "countersignature", "order") and the bytes of the statement without signatures. Decoders refuse
// every other encoding.
package receipt

import (
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// Limits of the protocol.
const (
	MaxExpiry = 8760 // epochs ahead that a session may expire
	MaxTerms  = 4096 // bytes of an ask's terms, and of an order's selector
	MaxOrders = 64   // live orders per account
	MaxFresh  = 24   // epochs after its first one in which an order can begin a session: one that was refused does not act much later
)

// Receipt is a customer's statement of what it has received and owes, in total, since its session began.
type Receipt struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Category types.Category
	Session  types.SessionID
	Payer    types.Key // a session key that an account granted
	Device   types.Key
	Terms    types.Hash   // the hash of the device's Ask
	Units    types.U128   // in the unit of the ask's class, cumulative
	Amount   types.Credit // micro-credits, cumulative; at most ⌊Units · price / scale⌋
	Seq      uint64
	First    types.Epoch // the session's first epoch
}

// Bytes returns the encoding that both sides sign.
func (r *Receipt) Bytes() []byte { return r.append(make([]byte, 0, 256)) }

// fields are the elements of a receipt's array.
const fields = 10

// append and read are Encode and Decode by hand: there are as many receipts as devices.
func (r *Receipt) append(b []byte) []byte {
	b = types.AppendText(append(b, types.MajorArray|fields), r.Chain)
	b = types.AppendUint(b, r.Category)
	b = types.AppendBytes(b, r.Session[:])
	b = types.AppendBytes(b, r.Payer[:])
	b = types.AppendBytes(b, r.Device[:])
	b = types.AppendBytes(b, r.Terms[:])
	b = types.AppendU128(b, r.Units)
	return types.AppendUint(types.AppendUint(types.AppendUint(b, r.Amount), r.Seq), r.First)
}

// read reads a receipt but for its chain, which it returns.
func (r *Receipt) read(c *types.Cursor) (chain []byte) {
	if c.Array(fields) != fields {
		c.Fail()
	}
	chain = c.Text(MaxSigned)
	r.Category = types.Category(c.Uint(1<<16 - 1))
	c.Fixed(r.Session[:])
	c.Fixed(r.Payer[:])
	c.Fixed(r.Device[:])
	c.Fixed(r.Terms[:])
	r.Units = c.U128()
	r.Amount, r.Seq, r.First = types.Credit(c.U64()), c.U64(), types.Epoch(c.U64())
	return chain
}

// Sign returns the payer's signature.
func (r *Receipt) Sign(payer types.PrivateKey) types.Signature {
	return payer.Sign("receipt", r.Chain, r.Bytes())
}

// Countersign returns the device's signature.
func (r *Receipt) Countersign(device types.PrivateKey) types.Signature {
	return device.Sign("countersignature", r.Chain, r.Bytes())
}

// Signed is a receipt with its payer's signature, and with its device's when it is handed in.
type Signed struct {
	_         struct{} `cbor:",toarray"`
	Receipt   Receipt
	PayerSig  types.Signature
	DeviceSig types.Signature // zero until the device countersigns
}

// MaxSigned bounds an encoded Signed, in bytes.
const MaxSigned = 512

// Encode returns the encoding of s.
func (s *Signed) Encode() []byte {
	b := s.Receipt.append(append(make([]byte, 0, MaxSigned), types.MajorArray|3))
	return types.AppendBytes(types.AppendBytes(b, s.PayerSig[:]), s.DeviceSig[:])
}

// Decode reads a Signed of chain. It checks form, not signatures.
func Decode(raw []byte, chain string) (*Signed, error) {
	s := new(Signed)
	if err := s.Decode(raw, chain); err != nil {
		return nil, err
	}
	return s, nil
}

// Decode is the function Decode, into s. After an error s is undefined.
func (s *Signed) Decode(raw []byte, chain string) error {
	if len(raw) > MaxSigned {
		return types.Refuse(types.Oversize, "receipt: %d bytes, at most %d are taken", len(raw), MaxSigned)
	}
	c := types.NewCursor(raw)
	if c.Array(3) != 3 {
		c.Fail()
	}
	of := s.Receipt.read(&c)
	c.Fixed(s.PayerSig[:])
	c.Fixed(s.DeviceSig[:])
	if err := c.End(); err != nil || !utf8.Valid(of) {
		return types.Refuse(types.BadEncoding, "receipt: %v", types.ErrEncoding)
	}
	if string(of) != chain {
		return types.Refuse(types.WrongChain, "receipt: chain %.50q, want %q", of, chain)
	}
	s.Receipt.Chain = chain
	return nil
}

// VerifyPayer reports whether the payer signed.
func (s *Signed) VerifyPayer() bool {
	return s.Receipt.Payer.Verify("receipt", s.Receipt.Chain, s.Receipt.Bytes(), s.PayerSig)
}

// Verify reports whether both sides signed.
func (s *Signed) Verify() bool {
	return s.VerifyPayer() && s.Receipt.Device.Verify("countersignature", s.Receipt.Chain, s.Receipt.Bytes(), s.DeviceSig)
}

// Messages returns what the payer and the device sign, for checking many signatures at once.
func (s *Signed) Messages() (payer, device []byte) {
	b := s.Receipt.Bytes()
	return types.SigningBytes("receipt", s.Receipt.Chain, b), types.SigningBytes("countersignature", s.Receipt.Chain, b)
}
