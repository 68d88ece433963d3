package agent

import (
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// hears hands on an ask as the bus would: under the subject of whoever publishes it.
func hears(a *Asks, by types.Key, ask receipt.Ask, device types.PrivateKey) {
	a.Hear(chain, bus.Message{Subject: bus.AskSubject(by, ask.Category, ask.Class), Data: ask.Sign(device).Encode()})
}

// TestAskFlood: whoever can publish under its own name neither makes up devices that offer something, nor brings back what a device offered
// before, nor has so many offers that those of others have to go.
func TestAskFlood(t *testing.T) {
	m := NewAsks(100)
	flooder, honest := bustest.Key(3), bustest.Key(4)
	ask := func(k types.PrivateKey, class types.Class, price uint64, until types.Epoch) receipt.Ask {
		return receipt.Ask{Chain: chain, Device: k.Public(), Category: types.Storage, Class: class, Price: price, Until: until}
	}
	cheap := ask(honest, 1, 1, 9)
	hears(m, honest.Public(), cheap, honest)
	hears(m, honest.Public(), ask(honest, 1, 50, 9), honest)
	hears(m, flooder.Public(), cheap, honest)
	at := Offered{honest.Public(), types.Storage, 1}
	if got := m.known[at]; got == nil || got.Ask.Price != 50 {
		t.Fatalf("somebody else brought back an old ask: %+v", got)
	}
	for i := range byte(200) {
		made := types.NewPrivateKey([32]byte{7, i})
		hears(m, flooder.Public(), ask(made, 1, 1, 1<<60), made)
	}
	if m.known[at] == nil || m.Len() != 1 {
		t.Fatalf("%d asks after those of made-up devices; the honest one is there: %v", m.Len(), m.known[at] != nil)
	}
	for class := range types.Class(200) {
		hears(m, flooder.Public(), ask(flooder, class+1, 1, 1<<60), flooder)
	}
	if m.known[at] == nil {
		t.Fatalf("one device's %d asks push another's out", m.Len()-1)
	}
}
