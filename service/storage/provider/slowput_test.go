package provider_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// pausing calls pause once after it gave so many bytes.
type pausing struct {
	io.Reader
	after int
	pause func()
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.after <= 0 && p.pause != nil {
		p.pause()
		p.pause = nil
	}
	n, err := p.Reader.Read(b)
	p.after -= n
	return n, err
}

// holdings counts the holdings that devices hand in.
func (n *net) holdings() <-chan types.Key {
	c := make(chan types.Key, 1024)
	n.Drop = func(author types.Key, item tally.ItemType, kind evidence.Kind) bool {
		if item == tally.Evidence && kind == storage.KindHolding {
			c <- author
		}
		return false
	}
	return c
}

// TestSlowPut: an upload that stands still for far longer than a device keeps what nobody holds goes on where
// it was, and one that breaks off leaves nothing on the devices.
func TestSlowPut(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]bool{"goes on": false, "breaks off": true} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 8)
			handed := n.holdings()
			n.Next()
			first := n.put(random(90, 1<<20))
			n.Next()
			for range n.devices {
				<-handed
			}
			before := n.state(0).Bytes()
			data, start := random(91, 13<<20), n.Epoch()
			body := &pausing{Reader: bytes.NewReader(data), after: 9 << 20, pause: func() {
				// What was staged is committed when the epoch has ended in which that began: this one, or the
				// next if it is only beginning.
				for held := map[types.Key]bool{}; len(held) < len(n.devices); {
					n.Next()
					for wait := time.After(3 * time.Second); wait != nil && len(held) < len(n.devices); {
						select {
						case key := <-handed:
							held[key] = true
						case <-wait:
							wait = nil
						}
					}
					if n.Epoch() > start+3 {
						t.Errorf("%d devices were asked to hold what they staged", len(held))
						return
					}
				}
				for range 5 {
					n.Next()
				}
			}}
			if broken {
				body.Reader = io.MultiReader(bytes.NewReader(data[:12<<20]), broke{})
			}
			w := n.do("PUT", "/objects?name=slow", body)
			if broken != (w.Code >= 400) {
				t.Fatalf("put: %d %s", w.Code, w.Body)
			}
			for range 4 {
				n.Next()
			}
			n.clean(storage.HoldingStale) // see TestRenew
			list := n.list()
			if broken {
				if after := n.state(0).Bytes(); len(list) != 1 || after != before {
					t.Errorf("%d objects; the device holds %d bytes, before the broken put %d", len(list), after, before)
				}
			} else {
				for _, o := range list {
					if o.ID != first {
						n.get(o.ID, data)
					}
				}
			}
			n.get(first, random(90, 1<<20))
		})
	}
}

// broke is a body that is cut off.
type broke struct{}

func (broke) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
