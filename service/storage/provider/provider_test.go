package provider_test

import (
	"testing"
)

// TestHonest stores, proves, is paid and reads, for twenty epochs, and nothing that an honest device hands in is refused.
func TestHonest(t *testing.T) {
	n := newNet(t, 8)
	n.Next()
	data := random(1, 9<<20+123)
	id := n.put(data)
	n.get(id, data)
	for range 20 {
		n.Next()
	}
	n.get(id, data)
	n.clean()
	for i := range n.devices {
		s := n.state(i)
		if s.Passes < 18 || s.Streak != 0 || len(s.Sessions) != 1 {
			t.Errorf("device %d: %d passes, streak %d, %d sessions", i, s.Passes, s.Streak, len(s.Sessions))
			continue
		}
		line := &s.Sessions[0]
		t.Logf("device %d: %d bytes, %d passes, units %s of payable %s, paid %d", i, line.Bytes, s.Passes, line.Units, line.Payable(s.Passes), n.State().Line(n.devices[i].Key()).Paid())
	}
}
