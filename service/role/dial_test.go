package role

import (
	"net"
	"net/netip"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// An ask may name any address; a gateway knocks at none inside its own machine or network unless its owner said so.
func TestReachable(t *testing.T) {
	for address, want := range map[string]bool{
		"9.9.9.9": true, "2620:fe::fe": true, "::ffff:9.9.9.9": true, "192.0.1.1": true, "172.32.0.1": true, "100.128.0.1": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "::ffff:127.0.0.1": false, "::127.0.0.1": false, "0.0.0.0": false, "::": false,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "fd00::1": false, "::ffff:10.0.0.1": false,
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "224.0.0.1": false, "255.255.255.255": false, "ff02::1": false,
		"64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001:0:7f00:1::": false,
	} {
		if got := Reachable(netip.MustParseAddr(address), nil); got != want {
			t.Errorf("%s: reachable %v, want %v", address, got, want)
		}
	}
	if Reachable(netip.Addr{}, nil) {
		t.Error("no address is reachable")
	}
	mine := prefixes("192.168.1.0/24")
	if !Reachable(netip.MustParseAddr("::ffff:192.168.1.7"), mine) || Reachable(netip.MustParseAddr("192.168.2.7"), mine) {
		t.Error("the owner's list is not what counts")
	}
}

// A stranger's ask makes whoever looks at it connect to a service of its own machine: before there was a rule,
// all of these got through.
func TestDialPrivate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1"} {
		c, err := DialDevice(t.Context(), nil, "tcp", net.JoinHostPort(host, port))
		if err == nil {
			c.Close()
		}
		if types.ReasonOf(err) != PrivateAddress {
			t.Errorf("%s: %v, want %s", host, err, PrivateAddress)
		}
	}
	c, err := DialDevice(t.Context(), prefixes("127.0.0.0/8"), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("what the owner allows: %v", err)
	}
	c.Close()
}
