package wireless

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Speeds are those that an ask may promise, in Mbit/s. 0 promises none.
var Speeds = [...]uint16{0, 10, 25, 50, 100, 250, 500, 1000}

// Terms is the category's part of an ask.
type Terms struct {
	_       struct{} `cbor:",toarray"`
	Speed   uint16   // one of Speeds; 0 for LoRa
	Address string   // host:port where customers connect; "" where they come by a bus or an access point
}

// Bounds of terms, in bytes.
const (
	maxTerms   = 300
	maxAddress = 262 // a name of 255 and a port
)

// Encode returns the terms as an ask has them.
func (t *Terms) Encode() []byte { return types.Encode(t) }

// DecodeTerms reads the terms of an ask of a class.
func DecodeTerms(raw []byte, class types.Class) (*Terms, error) {
	t := new(Terms)
	if err := types.DecodeLimit(raw, t, maxTerms); err != nil {
		return nil, fmt.Errorf("wireless: terms: %w", err)
	}
	known := class >= Tunnel && class <= Cell
	if !known || !slices.Contains(Speeds[:], t.Speed) || class == LoRa && t.Speed != 0 || len(t.Address) > maxAddress {
		return nil, types.Refuse(types.BadEncoding, "wireless: terms of class %d with %d Mbit/s and an address of %d bytes",
			class, t.Speed, len(t.Address))
	}
	return t, nil
}
