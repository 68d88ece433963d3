package role

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
)

// ListenAgain listens at an address of this machine for a category's own protocol (Customer.Listen), on the port that it
// had before, which is kept in the market's directory under a name, or on a free one. Its connections are bounded.
func ListenAgain(market Market, ip, name string, limits conns.Limits) (net.Listener, error) {
	path := filepath.Join(market.Dir(), name+".port")
	port := "0"
	if raw, err := os.ReadFile(path); err == nil {
		port = strings.TrimSpace(string(raw))
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
	if err != nil && port != "0" {
		market.Log().Warn("the port of before is taken", "listener", name, "port", port, "err", err)
		l, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	l = conns.Limit(l, limits, market.Log())
	_, port, _ = net.SplitHostPort(l.Addr().String())
	if err := os.WriteFile(path, []byte(port+"\n"), 0o600); err != nil {
		return nil, errors.Join(types.Refuse(types.HomeUnwritable, "%v", err), l.Close())
	}
	return l, nil
}
