package wireless

import (
	"fmt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Endpoint is the body of evidence of kind KindEndpoint: where a device's line is, and what it is said to carry. It
// takes effect with the epoch after its own. Without one a device earns no weight in that epoch.
type Endpoint struct {
	_      struct{} `cbor:",toarray"`
	Prefix pob.Prefix
	Claim  uint64 // bit/s that the line carries to the device
	Tests  bool   // whether it may be tested; a device that may not earns no weight
}

// maxEndpoint bounds an encoded Endpoint, in bytes.
const maxEndpoint = 32

// Encode returns the body of evidence that e makes.
func (e *Endpoint) Encode() []byte { return types.Encode(e) }

// DecodeEndpoint reads the body of an endpoint. What a claim may be the rules say.
func DecodeEndpoint(body []byte) (*Endpoint, error) {
	e := new(Endpoint)
	if err := types.DecodeLimit(body, e, maxEndpoint); err != nil {
		return nil, fmt.Errorf("wireless: endpoint: %w", err)
	}
	if !e.Prefix.Valid() {
		return nil, types.Refuse(types.BadEncoding, "wireless: endpoint in %x", e.Prefix[:])
	}
	return e, nil
}
