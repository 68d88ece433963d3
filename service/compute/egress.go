package compute

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what a device lets containers reach.
const (
	MaxEgress = 32  // rules
	maxReach  = 112 // bytes of one
)

// Reach is one rule of what containers may reach: HOST:PORT, *.DOMAIN:PORT (all names below it) or NETWORK:PORT,
// a network like 203.0.113.0/24 or [2001:db8::/32]; * stands for all ports.
type Reach struct {
	name string       // lower case; of names below it with its dot before; "" for a network
	net  netip.Prefix // valid of a network alone
	port uint16       // 0 for all
}

func badReach(text, why string) error {
	return types.Refuse(types.BadArgument, "compute: reach %.150q: %s", text, why)
}

// ParseReach reads a rule.
func ParseReach(text string) (r Reach, err error) {
	host, port, ok := cutPort(text)
	if !ok || len(text) > maxReach {
		return r, badReach(text, "want HOST:PORT, *.DOMAIN:PORT or NETWORK:PORT, * for all ports")
	}
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return r, badReach(text, "want a port from 1 to 65535, or *")
		}
		r.port = uint16(n)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		r.net = netip.PrefixFrom(addr, addr.BitLen())
		return r, nil
	}
	if strings.Contains(host, "/") {
		p, err := netip.ParsePrefix(host)
		if err != nil || p.Addr().Is4In6() {
			return r, badReach(text, "want a network like 203.0.113.0/24")
		}
		r.net = p.Masked()
		return r, nil
	}
	r.name = fold(strings.TrimPrefix(host, "*"))
	if !validName(strings.TrimPrefix(r.name, ".")) || strings.HasPrefix(host, "*") != strings.HasPrefix(r.name, ".") {
		return r, badReach(text, "what stands before the port is no name")
	}
	return r, nil
}

// cutPort splits HOST:PORT; an IPv6 address or network is in brackets.
func cutPort(text string) (host, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 1 {
		return "", "", false
	}
	host, port = text[:i], text[i+1:]
	if inner, yes := strings.CutPrefix(host, "["); yes {
		return strings.TrimSuffix(inner, "]"), port, strings.HasSuffix(inner, "]")
	}
	return host, port, !strings.ContainsAny(host, ":[]")
}

func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// validName reports whether a name could be a host's (RFC 1123).
func validName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return len(name) <= 253
}

// String returns the rule as it is written in one way.
func (r Reach) String() string {
	host, port := r.name, "*"
	switch {
	case r.net.IsValid() && r.net.IsSingleIP():
		host = r.net.Addr().String()
	case r.net.IsValid():
		host = r.net.String()
	case strings.HasPrefix(host, "."):
		host = "*" + host
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if r.port != 0 {
		port = strconv.Itoa(int(r.port))
	}
	return host + ":" + port
}

// Named reports whether the rule lets a name be reached at a port.
func (r Reach) Named(name string, port uint16) bool {
	return r.name != "" && (r.port == 0 || r.port == port) && r.below(fold(name))
}

// below reports whether a name is the rule's, or below it where the rule means that.
func (r Reach) below(name string) bool {
	return name == r.name || r.name[0] == '.' && strings.HasSuffix(name, r.name)
}

// Network returns the network that the rule lets be reached at a port; an invalid one for none.
func (r Reach) Network(port uint16) netip.Prefix {
	if r.port != 0 && r.port != port {
		return netip.Prefix{}
	}
	return r.net
}

// Covers reports whether rules let a destination, HOST:PORT, be reached, as far as that can be told without looking
// up a name: a name that no rule has may be in a network of all addresses alone.
func Covers(rules []Reach, destination Reach) bool {
	return slices.ContainsFunc(rules, func(r Reach) bool {
		switch {
		case r.port != 0 && r.port != destination.port:
			return false
		case destination.net.IsValid():
			return r.net.IsValid() && r.net.Bits() <= destination.net.Bits() && r.net.Contains(destination.net.Addr())
		case r.net.IsValid():
			return r.net.Bits() == 0
		}
		return r.below(destination.name)
	})
}

// ParseEgress reads rules as terms and settings have them, at most MaxEgress.
func ParseEgress(list []string) ([]Reach, error) {
	if len(list) > MaxEgress {
		return nil, types.Refuse(types.BadArgument, "compute: %d rules of what is reached, at most %d", len(list),
			MaxEgress)
	}
	var rules []Reach
	for _, text := range list {
		r, err := ParseReach(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// Egress is rules as terms have them: each in its one way, ascending.
func Egress(rules []Reach) (list []string) {
	for _, r := range rules {
		list = append(list, r.String())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// checkEgress says what is wrong with the rules of terms.
func checkEgress(list []string) error {
	rules, err := ParseEgress(list)
	if err != nil || !slices.Equal(Egress(rules), list) {
		return types.Refuse(types.BadEncoding, "compute: terms: %d rules of what is reached, not in their one way: %v", len(list), err)
	}
	return nil
}
