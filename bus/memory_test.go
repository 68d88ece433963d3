package bus_test

import (
	"log/slog"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
)

type memory struct{ *bus.Memory }

func (m memory) Stop()  { m.SetDown(true) }
func (m memory) Start() { m.SetDown(false) }

func TestMemory(t *testing.T) {
	bustest.Run(t, func(t *testing.T, auth bus.Authorizer) bustest.Network {
		return memory{bus.NewMemory(auth, slog.New(slog.DiscardHandler))}
	})
}
