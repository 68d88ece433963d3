package pob

import (
	"net/netip"

	"github.com/cairn-network/cairn/core/types"
)

// Prefix is where a line is: the /24 of an IPv4 address, or the /48 of an IPv6 one, never the address. Its first byte
// is 4 or 6, and behind the prefix's own bytes it is zero. The zero Prefix is none.
type Prefix [7]byte

// Net is a larger piece of the network, in which two challengers are not independent: a /16, or a /32 of IPv6. It is
// laid out as Prefix is.
type Net [5]byte

// PrefixOf returns the prefix of an address; that of an invalid one is zero.
func PrefixOf(a netip.Addr) (p Prefix) {
	a = a.Unmap()
	switch {
	case a.Is4():
		b := a.As4()
		p[0] = 4
		copy(p[1:], b[:3])
	case a.Is6():
		b := a.As16()
		p[0] = 6
		copy(p[1:], b[:6])
	}
	return p
}

// NetOf returns the net of an address; that of an invalid one is zero.
func NetOf(a netip.Addr) Net { return PrefixOf(a).Net() }

// Net returns the net that a prefix is in.
func (p Prefix) Net() (n Net) {
	n[0] = p[0]
	copy(n[1:], p[1:1+bytesOfNet(p[0])])
	return n
}

func bytesOfNet(family byte) int {
	switch family {
	case 4:
		return 2
	case 6:
		return 4
	}
	return 0
}

// Valid reports whether p is a prefix.
func (p Prefix) Valid() bool {
	return p[0] == 6 || p[0] == 4 && [3]byte(p[4:]) == [3]byte{}
}

// Valid reports whether n is a net.
func (n Net) Valid() bool {
	return n[0] == 6 || n[0] == 4 && [2]byte(n[3:]) == [2]byte{}
}

// IsZero reports whether p is none.
func (p Prefix) IsZero() bool { return p == Prefix{} }

// String returns the prefix as networks are written: 192.0.2.0/24.
func (p Prefix) String() string {
	switch {
	case !p.Valid():
		return "none"
	case p[0] == 4:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(p[1:5])), 24).String()
	}
	var a [16]byte
	copy(a[:], p[1:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48).String()
}

// String returns the net as networks are written: 192.0.0.0/16.
func (n Net) String() string {
	switch {
	case !n.Valid():
		return "none"
	case n[0] == 4:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(n[1:])), 16).String()
	}
	var a [16]byte
	copy(a[:], n[1:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 32).String()
}

// MarshalText implements encoding.TextMarshaler.
func (p Prefix) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return nil, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Prefix) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Prefix{}
		return nil
	}
	n, err := netip.ParsePrefix(string(text))
	if err != nil {
		return types.Refuse(types.BadEncoding, "wireless: prefix %.40q: %v", text, err)
	}
	if got := PrefixOf(n.Addr()); got.String() == string(text) {
		*p = got
		return nil
	}
	return types.Refuse(types.BadEncoding, "wireless: prefix %.40q: want a /24 or a /48", text)
}
