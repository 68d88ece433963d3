package compute

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Offer is the body of evidence of kind KindOffer: how many quotas of its capacity a device holds ready for
// whoever comes, in this epoch.
type Offer struct {
	_    struct{} `cbor:",toarray"`
	Free uint16   // slots of the registered model that are free; 0 says that the device is not to be checked in the next epoch either
}

// maxOffer bounds an encoded Offer, in bytes.
const maxOffer = 8

// Encode returns the body of evidence that o makes.
func (o *Offer) Encode() []byte { return types.Encode(o) }

// DecodeOffer reads the body of an offer.
func DecodeOffer(body []byte) (*Offer, error) {
	o := new(Offer)
	if err := types.DecodeLimit(body, o, maxOffer); err != nil {
		return nil, fmt.Errorf("compute: offer: %w", err)
	}
	return o, nil
}
