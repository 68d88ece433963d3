package radius

import (
	"encoding/binary"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/cairn-network/cairn/core/types"
)

// Vendor is the enterprise number of the attributes that device and gateway tell each other: that of documentation
// (RFC 5612).
const Vendor = 32473

// The vendor's attributes.
const (
	vendorAsk     = 1 // of requests: the hash of the ask that the device serves under
	vendorReceipt = 2 // of an Accounting-Response: a signed receipt, in pieces that belong together in their order
	vendorReason  = 3 // of a refusal: its coded reason
)

const (
	vendorPiece = 247     // bytes of a vendor's attribute (RFC 2865 §5.26)
	maxReceipt  = 1 << 10 // of a receipt in pieces
	maxReason   = 100
)

// SetAsk says in a request which ask the device serves under.
func SetAsk(p *Packet, ask types.Hash) { setVendor(p, vendorAsk, ask[:]) }

// Ask returns the hash of the ask that a request names.
func Ask(p *Packet) (ask types.Hash, ok bool) {
	raw := getVendor(p, vendorAsk, len(ask))
	return types.Hash(append(raw, make([]byte, len(ask)-len(raw))...)), len(raw) == len(ask)
}

// SetReceipt puts a signed receipt into a reply.
func SetReceipt(p *Packet, receipt []byte) error {
	if len(receipt) > maxReceipt {
		return types.Refuse(types.Oversize, "a receipt of %d bytes, at most %d are taken", len(receipt), maxReceipt)
	}
	setVendor(p, vendorReceipt, receipt)
	return nil
}

// Receipt returns the receipt of a reply, nil if it has none. Nothing of it has been checked.
func Receipt(p *Packet) []byte { return getVendor(p, vendorReceipt, maxReceipt) }

// SetReason says in a reply why it refuses.
func SetReason(p *Packet, r types.Reason) {
	setVendor(p, vendorReason, []byte(r)[:min(len(r), maxReason)])
}

// Reason returns the coded reason of a refusal, "" if it names none that has a reason's form.
func Reason(p *Packet) types.Reason {
	raw := getVendor(p, vendorReason, maxReason)
	for _, c := range raw {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' {
			return ""
		}
	}
	return types.Reason(raw)
}

func setVendor(p *Packet, kind byte, value []byte) {
	p.Attributes = dropVendor(p.Attributes, kind)
	for first := true; first || len(value) > 0; first = false {
		n := min(len(value), vendorPiece)
		a := binary.BigEndian.AppendUint32(nil, Vendor)
		a = append(a, kind, byte(2+n))
		p.Add(rfc2865.VendorSpecific_Type, append(a, value[:n]...))
		value = value[n:]
	}
}

// getVendor returns the pieces of a vendor's attribute, joined; nil if they are more than most bytes.
func getVendor(p *Packet, kind byte, most int) (value []byte) {
	for _, a := range p.Attributes {
		for k, v := range vendorParts(a) {
			if k == kind {
				value = append(value, v...)
			}
		}
		if len(value) > most {
			return nil
		}
	}
	return value
}

// vendorParts are the vendor's attributes in one Vendor-Specific attribute, up to where it is malformed.
func vendorParts(a *radius.AVP) func(func(byte, []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		if !isVendor(a, Vendor) {
			return
		}
		for b := a.Attribute[4:]; len(b) >= 2; b = b[b[1]:] {
			if n := int(b[1]); n < 2 || n > len(b) || !yield(b[0], b[2:n]) {
				return
			}
		}
	}
}

// isVendor reports whether an attribute is one of a vendor's.
func isVendor(a *radius.AVP, vendor uint32) bool {
	return a.Type == rfc2865.VendorSpecific_Type && len(a.Attribute) >= 4 && binary.BigEndian.Uint32(a.Attribute) == vendor
}

// dropVendor leaves out what has a vendor's attribute first.
func dropVendor(list radius.Attributes, kind byte) radius.Attributes {
	kept := list[:0:0]
	for _, a := range list {
		if !isVendor(a, Vendor) || len(a.Attribute) < 5 || a.Attribute[4] != kind {
			kept = append(kept, a)
		}
	}
	return kept
}
