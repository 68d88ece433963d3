package wireless

import "github.com/cairn-network/cairn/core/types"

// LoRaStep is what the bytes of each bought copy of a LoRaWAN frame are rounded up to.
const LoRaStep = 24

// LoRaUnits returns how many units a bought copy of so many bytes is.
func LoRaUnits(phy int) uint64 { return (uint64(max(phy, 0)) + LoRaStep - 1) / LoRaStep * LoRaStep }

// Amount is what so many bytes cost at a price for Scale of them, rounded down.
func Amount(bytes, price uint64) (types.Credit, error) {
	v, err := types.U64(bytes).MulDiv(price, Scale)
	if err != nil {
		return 0, err
	}
	n, ok := v.Uint64()
	if !ok {
		return 0, types.ErrOverflow
	}
	return types.Credit(n), nil
}

// Limit is W of a class, in bytes: how much a payer's account may leave unpaid at a device.
type Limit struct{ First, Most uint64 }

// LimitOf returns the limit of a class: zero, which is no credit at all, for a class that there is not.
func LimitOf(c types.Class) Limit {
	switch c {
	case Tunnel:
		return Limit{1 << 20, 64 << 20}
	case WiFi, Cell:
		return Limit{16 << 20, 512 << 20}
	case LoRa:
		return Limit{2_400, 240_000}
	}
	return Limit{}
}

// Next returns W after a receipt for W/2 or more was paid: a third more, within First and Most.
func (l Limit) Next(w uint64) uint64 { return min(max(min(w, l.Most)/3*4, l.First), l.Most) }
