package role_test

import (
	"log/slog"
	"net"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/role"
)

// stand is a market that has a directory, and nothing else.
type stand struct {
	role.Market
	dir string
}

func (s stand) Dir() string       { return s.dir }
func (s stand) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestPlaceListens: a listener stays where it was, goes where the place names a port, and says under which name
// others reach it; a port that is named and taken is refused, and not another one taken.
func TestPlaceListens(t *testing.T) {
	market := stand{dir: t.TempDir()}
	open := func(p role.Place) (net.Listener, string) {
		t.Helper()
		p.IP = "127.0.0.1"
		l, at, err := p.Listen(market, "it", conns.Limits{Total: 1, PerAddress: 1})
		if err != nil {
			t.Fatal(err)
		}
		return l, at
	}
	l, first := open(role.Place{})
	l.Close()
	l, again := open(role.Place{})
	if again != first {
		t.Errorf("it was at %s, and is at %s", first, again)
	}
	other, elsewhere := open(role.Place{}) // l has the port of before
	if elsewhere == first {
		t.Errorf("two at %s", first)
	}
	other.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	fixed := role.Place{Public: "gateway.example.org", Ports: map[string]uint16{"it": port}}
	fixed.IP = "127.0.0.1"
	if _, _, err := fixed.Listen(market, "it", conns.Limits{Total: 1, PerAddress: 1}); types.ReasonOf(err) != types.PortInUse {
		t.Errorf("a port that is taken: %v", err)
	}
	l.Close()
	l, at := open(fixed)
	defer l.Close()
	_, want, _ := net.SplitHostPort(first)
	if at != net.JoinHostPort("gateway.example.org", want) {
		t.Errorf("reached at %s, want port %s of the public name", at, want)
	}
}
