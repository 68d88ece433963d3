package provider_test

import (
	"os"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// TestOldDisk: a device whose disk is replaced by an old copy, or by an empty one, is a revision behind its
// customer or knows nothing of it. The customer moves what is still there to a new session, counts the rest as
// lost, and goes on storing on the device.
func TestOldDisk(t *testing.T) {
	for name, kept := range map[string]bool{"an old copy": true, "an empty one": false} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 8)
			n.Next()
			first, second, third := random(30, 2<<20), random(31, 1<<20), random(32, 1<<20)
			ids := []string{n.put(first)}
			n.Next()
			n.Next()
			d, image := n.devices[7], t.TempDir()
			d.Stop()
			if kept {
				if err := os.CopyFS(image, os.DirFS(d.Dir())); err != nil {
					t.Fatal(err)
				}
			}
			d.Start(provider.New(config()))
			ids = append(ids, n.put(second))
			n.Next()
			n.Next()
			d.Stop()
			d.SetDir(image)
			d.Start(provider.New(config()))
			n.Next()
			ids = append(ids, n.put(third))
			if !n.holds(ids[2], 7) {
				t.Fatal("the device takes nothing more")
			}
			if got := n.holds(ids[0], 7); got != kept {
				t.Errorf("the device holds what it had: %v, want %v", got, kept)
			}
			for range 4 {
				n.Next()
			}
			s := n.state(7)
			passes := s.Passes
			n.Next()
			n.Next()
			if s = n.state(7); s.Streak != 0 || s.Passes != passes+2 {
				t.Errorf("%d passes, %d two epochs before; streak %d: %+v", s.Passes, passes, s.Streak, s.Sessions)
			}
			for i := range 4 {
				n.devices[i].Stop()
			}
			n.get(ids[2], third)
			if kept {
				n.get(ids[0], first)
			}
		})
	}
}

// TestRenew: sessions end, objects do not.
func TestRenew(t *testing.T) {
	t.Parallel()
	n := newNetOf(t, 8, customer.Config{Lifetime: 8})
	n.tend()
	n.Next()
	data := random(33, 3<<20)
	id := n.put(data)
	n.Next()
	held := n.state(0).Bytes()
	for range 24 {
		n.Next()
		time.Sleep(400 * time.Millisecond) // the customer looks four times a second whether there is a new epoch
		if got := n.state(0).Bytes(); got < held {
			t.Errorf("epoch %d: %d bytes in the tally, %d were stored", n.Epoch(), got, held)
		}
	}
	if s := n.state(0).Sessions; len(s) < 3 || s[len(s)-1].ID.Expiry() < n.Epoch() {
		t.Fatalf("in epoch %d, %d sessions: %+v", n.Epoch(), len(s), s)
	}
	// Sessions are renewed while epochs turn. Where one turns between a device's note that it hands in a
	// holding and the handing in, the next tally cannot show it yet, and it is handed in once more beside
	// itself: it counts once.
	n.clean(storage.HoldingStale)
	for i := range 4 {
		n.devices[2*i].Stop()
	}
	n.get(id, data)
}
