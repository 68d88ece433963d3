package server_test

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
)

// A stranger opens connections as fast as it can and says nothing on them. Without a bound for each address it
// soon holds all places, those of devices and verifiers too, and nobody logs on any more.
func TestStrangerTakesNoPlaces(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a second loopback address")
	}
	roles := new(bustest.Roles)
	n := &network{t: t, auth: roles, config: server.Config{
		Listen: "127.0.0.1:0", Dir: t.TempDir(), MaxClients: 16, Strangers: 256, PerAddress: 16, Near: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	}}
	n.Start()
	t.Cleanup(n.Stop)
	roles.Set(bustest.Key(1).Public(), bus.RoleVerifier)
	roles.Set(bustest.Key(2).Public(), bus.RoleDevice)

	stop, most := make(chan struct{}), 0
	var tried atomic.Int64
	var tasks sync.WaitGroup
	for range 2 { // one machine, which opens another whenever it loses one
		tasks.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: time.Second}
			var held []net.Conn
			defer func() {
				for _, c := range held {
					c.Close()
				}
			}()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := d.Dial("tcp", n.url[len("nats://"):])
				tried.Add(1)
				if err != nil {
					continue
				}
				if held = append(held, c); len(held) > 4000 {
					held[0].Close()
					held = held[1:]
				}
			}
		})
	}
	defer tasks.Wait()
	defer close(stop)
	on, refused := 0, 0
	for tried.Load() < 8000 {
		most = max(most, n.server.Clients())
		for _, k := range []int{1, 2} {
			b, err := n.Dial(t.Context(), bustest.Key(k))
			if err != nil {
				refused++
				continue
			}
			on++
			b.Close()
		}
	}
	t.Logf("%d log-ons, %d refused; at most %d connections of %d", on, refused, most, 16+2048+256)
	// Between two looks the server can be full, and who logs on then tries again. Without looks it is about
	// half of all.
	if refused > (on+refused)/4 || on == 0 {
		t.Errorf("%d of %d log-ons were refused", refused, on+refused)
	}
}
