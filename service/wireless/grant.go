package wireless

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// DomainGrant is the domain in which an issuer signs a grant.
const DomainGrant = "wireless/grant"

// Bounds of a grant.
const (
	MaxGrant   = 720 // epochs that it may last from when it is handed in
	maxGrantID = 64  // bytes
	maxGranted = 320 // bytes of an encoded Grant
)

// Permit is what an issuer says: that a device may transmit. Verify reads the device and the end; the rest is for people.
type Permit struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	ID     string // that the spectrum administrator gave it, 1 to 64 bytes
	Low    uint64 // of the band, in kHz
	High   uint64 // above Low
	EIRP   uint16 // the most, in tenths of dBm
	Until  types.Epoch
}

// Grant is the body of evidence of kind KindGrant: a permit with its issuer's signature.
type Grant struct {
	_         struct{} `cbor:",toarray"`
	Permit    Permit
	Issuer    types.Key
	Signature types.Signature
}

// Sign returns the permit, signed by its issuer.
func (p Permit) Sign(chain string, issuer types.PrivateKey) *Grant {
	return &Grant{Permit: p, Issuer: issuer.Public(), Signature: issuer.Sign(DomainGrant, chain, types.Encode(&p))}
}

// Verify reports whether the issuer signed. Whether anybody listens to that issuer the rules say.
func (g *Grant) Verify(chain string) bool {
	return g.Issuer.Verify(DomainGrant, chain, types.Encode(&g.Permit), g.Signature)
}

// Encode returns the body of evidence that g makes.
func (g *Grant) Encode() []byte { return types.Encode(g) }

// DecodeGrant reads the body of a grant. It checks form, not the signature.
func DecodeGrant(body []byte) (*Grant, error) {
	g := new(Grant)
	if err := types.DecodeLimit(body, g, maxGranted); err != nil {
		return nil, fmt.Errorf("wireless: grant: %w", err)
	}
	if p := &g.Permit; len(p.ID) == 0 || len(p.ID) > maxGrantID || p.Low >= p.High {
		return nil, types.Refuse(types.BadEncoding, "wireless: grant %.70q of %d to %d kHz", p.ID, p.Low, p.High)
	}
	return g, nil
}
