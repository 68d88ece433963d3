package server

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// peer is another server that would log on: it has nothing that a client has.
type peer struct {
	server.ClientAuthentication
	kind int
}

func (p peer) Kind() int { return p.kind }

// TestOnlyClients: what is no client has no business at the clients' door.
func TestOnlyClients(t *testing.T) {
	for _, kind := range []int{server.ROUTER, server.GATEWAY, server.LEAF, server.SYSTEM} {
		if new(Server).Check(peer{kind: kind}) {
			t.Errorf("a peer of kind %d is in", kind)
		}
	}
}
