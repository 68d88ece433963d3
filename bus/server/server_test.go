package server_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/types"
)

var quiet = slog.New(slog.DiscardHandler)

type network struct {
	t      *testing.T
	auth   bus.Authorizer
	config server.Config
	server *server.Server
	url    string
}

func newNetwork(t *testing.T, auth bus.Authorizer) *network {
	n := &network{t: t, auth: auth, config: server.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

func (n *network) Start() {
	s, err := server.Serve(n.config, n.auth, quiet)
	if err != nil {
		n.t.Fatal(err)
	}
	n.server, n.url = s, s.URL()
	n.config.Listen = n.url[len("nats://"):]
}

func (n *network) Stop() {
	if n.server != nil {
		n.server.Close()
		n.server = nil
	}
}

func (n *network) Dial(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
	return bus.Dial(ctx, bus.Config{URLs: []string{n.url}, Timeout: 2 * time.Second, Slowest: 200 * time.Millisecond}, key, quiet)
}

func TestNATS(t *testing.T) {
	bustest.Run(t, func(t *testing.T, auth bus.Authorizer) bustest.Network { return newNetwork(t, auth) })
}
