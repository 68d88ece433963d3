package role

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
)

// Place says where a gateway serves protocols of its categories' own (Customer.Listen).
type Place struct {
	IP     string            // the address of this machine at which it listens
	Public string            // the name or address under which others reach it; "" for IP
	Ports  map[string]uint16 // the ports that are not left to chance, by the listeners' names
}

// Listen listens for one of them: on the port that the place names for it, else on the one that it had before, which
// is kept in the market's directory, else on a free one. Its connections are bounded. It returns the address under
// which others reach it, which nobody can dial where IP stands for all addresses of the machine and none is public.
func (p Place) Listen(market Market, name string, limits conns.Limits) (net.Listener, string, error) {
	path := filepath.Join(market.Dir(), name+".port")
	port := "0"
	if raw, err := os.ReadFile(path); err == nil {
		port = strings.TrimSpace(string(raw))
	}
	set, fixed := p.Ports[name]
	if fixed {
		port = strconv.Itoa(int(set))
	}
	l, err := net.Listen("tcp", net.JoinHostPort(p.IP, port))
	if err != nil && port != "0" && !fixed {
		market.Log().Warn("the port of before is taken", "listener", name, "port", port, "err", err)
		l, err = net.Listen("tcp", net.JoinHostPort(p.IP, "0"))
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, "", types.Refuse(types.PortInUse, "%s: listen on %s", name, net.JoinHostPort(p.IP, port))
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: listen: %w", name, err)
	}
	l = conns.Limit(l, limits, market.Log())
	_, port, _ = net.SplitHostPort(l.Addr().String())
	if err := os.WriteFile(path, []byte(port+"\n"), 0o600); err != nil {
		return nil, "", errors.Join(types.Refuse(types.HomeUnwritable, "%v", err), l.Close())
	}
	if p.Public != "" {
		return l, net.JoinHostPort(p.Public, port), nil
	}
	return l, l.Addr().String(), nil
}
