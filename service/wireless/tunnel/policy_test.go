package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

func TestPolicy(t *testing.T) {
	own := func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("9.9.9.1")}, nil }
	p := &Policy{Own: own, Deny: []netip.Prefix{netip.MustParsePrefix("8.8.4.0/24")}, DenyPorts: []uint16{6667}}
	for _, c := range []struct {
		network, to string
		ok          bool
	}{
		{"tcp", "8.8.8.8:443", true},
		{"udp", "[2606:4700::1]:53", true},
		{"udp", "8.8.8.8:25", true},
		{"tcp", "8.8.8.8:25", false},
		{"tcp4", "8.8.8.8:25", false},
		{"tcp6", "[2606:4700::1]:25", false},
		{"tcp", "8.8.8.8:0", false},
		{"tcp", "8.8.4.4:443", false},
		{"tcp", "[::ffff:8.8.4.4]:443", false},
		{"tcp", "8.8.8.8:6667", false},
		{"tcp", "9.9.9.1:22", false},
		{"tcp", "[::ffff:9.9.9.1]:22", false},
		{"tcp", "127.0.0.1:80", false},
		{"tcp", "127.9.9.9:80", false},
		{"tcp", "0.0.0.0:80", false},
		{"tcp", "10.0.0.1:80", false},
		{"tcp", "172.16.0.1:80", false},
		{"tcp", "192.168.1.1:80", false},
		{"tcp", "100.100.100.200:80", false},
		{"tcp", "169.254.169.254:80", false},
		{"tcp", "168.63.129.16:80", false},
		{"tcp", "192.0.0.192:80", false},
		{"udp", "224.0.0.251:5353", false},
		{"udp", "255.255.255.255:9", false},
		{"tcp", "[::1]:80", false},
		{"tcp", "[::]:80", false},
		{"tcp", "[::127.0.0.1]:80", false},
		{"tcp", "[::ffff:127.0.0.1]:80", false},
		{"tcp", "[::ffff:0:127.0.0.1]:80", false},
		{"tcp", "[::ffff:169.254.169.254]:80", false},
		{"tcp", "[::ffff:168.63.129.16]:80", false},
		{"tcp", "[64:ff9b::a9fe:a9fe]:80", false},
		{"tcp", "[64:ff9b:1::7f00:1]:80", false},
		{"tcp", "[2002:7f00:1::]:80", false},
		{"tcp", "[2001:0:1::]:80", false},
		{"tcp", "[2606:4700::5efe:127.0.0.1]:80", false},
		{"tcp", "[2606:4700::200:5efe:10.0.0.1]:80", false},
		{"tcp", "[fe80::1%eth0]:80", false},
		{"tcp", "[fd00:ec2::254]:80", false},
		{"tcp", "[ff02::1]:80", false},
		{"tcp", "[4000::1]:80", false},
	} {
		err := p.Check(c.network, netip.MustParseAddrPort(c.to))
		if (err == nil) != c.ok || err != nil && types.ReasonOf(err) != wireless.DestDenied {
			t.Errorf("%s %s: %v, want it allowed: %v", c.network, c.to, err, c.ok)
		}
	}

	p.Own = func() ([]netip.Addr, error) { return nil, errors.New("none") }
	if err := p.Check("tcp", netip.MustParseAddrPort("8.8.8.8:443")); types.ReasonOf(err) != wireless.DestDenied {
		t.Errorf("without its own addresses known: %v", err)
	}
	p.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := p.Check("tcp", netip.MustParseAddrPort("127.0.0.1:80")); err != nil {
		t.Errorf("loopback, which the owner allows: %v", err)
	}
	if err := p.Check("tcp", netip.MustParseAddrPort("127.0.0.1:25")); types.ReasonOf(err) != wireless.DestDenied {
		t.Errorf("mail, where the owner allows loopback: %v", err)
	}
}

// TestDial: a name is judged by the address that is dialled.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"} {
		if c, err := new(Policy).Dial(t.Context(), "tcp", net.JoinHostPort(host, port)); types.ReasonOf(err) != wireless.DestDenied {
			t.Errorf("%s: %v, %v", host, c, err)
		}
	}
	p := &Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	c, err := p.Dial(t.Context(), "tcp4", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
