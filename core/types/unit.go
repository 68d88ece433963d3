package types

import (
	"encoding/binary"
	"fmt"
)

// Epoch numbers the spans in which contributions are counted, from 1. An epoch is a fixed number of blocks (genesis).
type Epoch uint64

// Region numbers the parts that devices are split into by place, from 0.
type Region uint16

// RegionResolution is the H3 resolution whose cells are not split between regions, so that density per hex is
// known inside one region.
const RegionResolution = 3

// RegionOf returns the region of a device at cell, of so many: by the hash of the cell's parent. The cell is of
// RegionResolution or finer.
func RegionOf(cell Cell, regions uint16) Region {
	if regions <= 1 {
		return 0
	}
	h := Sum([]byte("cairn/region"), binary.BigEndian.AppendUint64(nil, uint64(cell.Parent(RegionResolution))))
	return Region(binary.BigEndian.Uint64(h[:8]) % uint64(regions))
}

// Category numbers the kinds of infrastructure.
type Category uint16

// The categories.
const (
	Wireless Category = 1
	Compute  Category = 2
	Storage  Category = 3
	Energy   Category = 4
	Mapping  Category = 5
	IoT      Category = 6
)

var categories = [...]string{Wireless: "wireless", Compute: "compute", Storage: "storage", Energy: "energy", Mapping: "mapping", IoT: "iot"}

// String returns the category's name, or category(N) for one that is not the protocol's own.
func (c Category) String() string {
	if int(c) < len(categories) && categories[c] != "" {
		return categories[c]
	}
	return fmt.Sprintf("category(%d)", uint16(c))
}

// ParseCategory returns the category of that name.
func ParseCategory(name string) (Category, error) {
	for c, n := range categories {
		if n != "" && n == name {
			return Category(c), nil
		}
	}
	return 0, fmt.Errorf("types: no category %q", name)
}

// Class numbers the services that one category tells apart, from 1; each has its own unit and price scale.
type Class uint16

// Ustone is an amount of money: 10⁻⁶ STONE.
type Ustone uint64

// Credit is an amount of prepaid service: micro-credits, 10⁻⁶ US dollar.
type Credit uint64

// Bp is a ratio in basis points: 10,000 is the whole.
type Bp uint32

// SessionID names a session of one payer key: u32 expiry epoch (big endian), then 12 random bytes.
type SessionID [16]byte

// NewSessionID makes an id that expires after epoch expiry.
func NewSessionID(expiry Epoch, random [12]byte) SessionID {
	var id SessionID
	e := uint32(min(expiry, 1<<32-1))
	id[0], id[1], id[2], id[3] = byte(e>>24), byte(e>>16), byte(e>>8), byte(e)
	copy(id[4:], random[:])
	return id
}

// Expiry is the last epoch in which the session can be paid.
func (s SessionID) Expiry() Epoch {
	return Epoch(uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3]))
}

// String returns s in hexadecimal.
func (s SessionID) String() string { return fmt.Sprintf("%x", s[:]) }
