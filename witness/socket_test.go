package witness

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestSocket: a witness has a socket where its verifier's owner named an address that devices reach, and only there.
func TestSocket(t *testing.T) {
	for _, c := range []struct {
		listen, public string
		want           types.Reason
		at             string
	}{
		{listen: "127.0.0.1", at: "127.0.0.1"},
		{listen: "0.0.0.0", public: "198.51.100.7", at: "198.51.100.7"},
		{listen: "0.0.0.0", want: types.BadArgument},
		{want: types.BadArgument},
		{listen: "no address", want: types.BadArgument},
	} {
		cfg := Config{Listen: c.listen}
		if c.public != "" {
			cfg.Public = netip.MustParseAddr(c.public)
		}
		r := &runner{engine: &Engine{cfg: cfg}, log: slog.New(slog.DiscardHandler)}
		s, at, err := r.Socket()
		if types.ReasonOf(err) != c.want || err == nil && (at.Addr().String() != c.at || at.Port() == 0) {
			t.Errorf("%q, %q: %v, %v", c.listen, c.public, at, err)
		}
		if err != nil {
			continue
		}
		again := &runner{engine: &Engine{cfg: Config{Listen: c.listen, Public: cfg.Public, Port: at.Port()}}}
		if _, _, err := again.Socket(); types.ReasonOf(err) != types.PortInUse {
			t.Errorf("the same port again: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
