package tunnel

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless"
)

// DialTime is how long a connection to a destination may take to come about.
const DialTime = 10 * time.Second

const smtp = 25 // nobody's exit sends mail: its address would be listed within hours

var (
	global = netip.MustParsePrefix("2000::/3") // all of IPv6 that is given out
	// clouds are public addresses at which a provider's machines get their own secrets.
	clouds = []netip.Addr{netip.MustParseAddr("168.63.129.16")}
)

// Policy says which destinations a device connects to. The zero Policy is the public internet.
type Policy struct {
	Allow     []netip.Prefix // that would be refused otherwise: the owner's own networks, or loopback in a test
	Deny      []netip.Prefix // refused whatever Allow says
	DenyPorts []uint16
	// Own returns the addresses of this machine, whose servers trust it; nil asks the system. They are refused but for
	// those in Allow.
	Own func() ([]netip.Addr, error)
}

// Check refuses a destination with dest_denied. network is "tcp" or "udp", or one of their forms.
func (p *Policy) Check(network string, to netip.AddrPort) error {
	addr := to.Addr().Unmap().WithZone("")
	in := func(n netip.Prefix) bool { return n.Contains(addr) }
	refuse := func(why string) error { return types.Refuse(wireless.DestDenied, "%s: %s", to, why) }
	switch {
	case !addr.IsValid() || to.Port() == 0:
		return refuse("no address and port")
	case slices.ContainsFunc(p.Deny, in) || slices.Contains(p.DenyPorts, to.Port()):
		return refuse("the device's owner denies it")
	case to.Port() == smtp && len(network) >= 3 && network[:3] == "tcp":
		return refuse("mail is not sent from here")
	case slices.ContainsFunc(p.Allow, in):
		return nil
	case !role.Reachable(addr, nil) || slices.Contains(clouds, addr) || addr.Is6() && (!global.Contains(addr) || isatap(addr)):
		return refuse("not of the public internet")
	}
	own := p.Own
	if own == nil {
		own = interfaces
	}
	mine, err := own()
	if err != nil {
		return refuse("the device does not know its own addresses: " + err.Error())
	}
	if slices.Contains(mine, addr) {
		return refuse("the device itself")
	}
	return nil
}

// isatap reports whether an address carries an IPv4 address of a site behind it (RFC 5214).
func isatap(addr netip.Addr) bool {
	b := addr.As16()
	return b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

func interfaces() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	var out []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, addr.Unmap())
			}
		}
	}
	return out, err
}

// Dial connects to a name or an address and a port. Each address that a name has is judged as it is dialled, so what
// the name says a moment later changes nothing.
func (p *Policy) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: DialTime, Control: func(network, at string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(at)
		if err != nil {
			return types.Refuse(wireless.DestDenied, "%.80q is no address: %v", at, err)
		}
		return p.Check(network, to)
	}}
	return d.DialContext(ctx, network, address)
}
