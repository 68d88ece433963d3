package testutil

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreePort is a port of 127.0.0.1 that nobody listens on, for "tcp" or "udp". It is below those that systems give to
// whoever names none: such a one may be somebody's by the time it is used.
func FreePort(network string) (port int, err error) {
	for range 100 {
		port = 10_000 + rand.IntN(22_000)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		if network == "udp" {
			var c net.PacketConn
			if c, err = net.ListenPacket(network, at); err == nil {
				return port, c.Close()
			}
			continue
		}
		var l net.Listener
		if l, err = net.Listen(network, at); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// Port is FreePort for a test.
func Port(t testing.TB, network string) int {
	t.Helper()
	port, err := FreePort(network)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FreeAddress is FreePort for TCP, as host:port.
func FreeAddress() (string, error) {
	port, err := FreePort("tcp")
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
