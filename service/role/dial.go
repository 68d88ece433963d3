package role

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/cairn-network/cairn/core/types"
)

// special are the addresses that are not of the public internet: the IANA registries of special-purpose
// addresses (RFC 6890), and what carries an IPv4 address inside (RFC 6052, RFC 3056, RFC 4380).
var special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// Reachable reports whether an address that a stranger named may be dialled: a public one, or one in the
// owner's list.
func Reachable(addr netip.Addr, private []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	return addr.IsValid() && (!slices.ContainsFunc(special, in) || slices.ContainsFunc(private, in))
}

// Private reports whether none of a network's addresses is of the public internet.
func Private(network netip.Prefix) bool {
	return slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Contains(network.Addr()) })
}

// DialDevice connects to an address that a device's ask names. An ask is a stranger's: without a list of
// private addresses it could have whoever dials knock at doors of its own machine and network. The address is
// judged after its name was looked up, so no name hides one. The reason is private_address.
func DialDevice(ctx context.Context, private []netip.Prefix, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, at string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		if !Reachable(to.Addr(), private) {
			return types.Refuse(PrivateAddress, "a device says it is at %s", to.Addr())
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}
