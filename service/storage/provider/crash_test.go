package provider_test

import (
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// TestCrash cuts a device off at each step that could be half of something: what is on its disk at that moment
// is all that its successor has, and nothing that the old one would have said or handed in afterwards is heard.
// Whatever it countersigned is there afterwards, it goes on proving, and nothing that it hands in is refused.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"stored", "applied", "synced", "entered", "noted", "answered", "paid", "folded"} {
		t.Run(step, func(t *testing.T) { crash(t, step) })
	}
}

func crash(t *testing.T, step string) {
	n := newNet(t, 7)
	c := &cutter{step: step, hit: make(chan struct{}), release: make(chan struct{})}
	cfg := config()
	cfg.OnStep(c.at)
	d := n.Device("cut off")
	c.dir, c.image = d.Dir(), t.TempDir()
	n.devices = append(n.devices, d)
	d.Start(provider.New(cfg))
	n.Next()
	first, second := random(20, 1<<20), random(21, 2<<20)
	ids := map[string][]byte{}
	gone := n.put(random(22, 1<<20))
	ids[n.put(first)] = first
	n.Next()
	n.Next()
	c.arm()
	done := make(chan struct{})
	go func() { // the world goes on until the device is cut off, and the customer does not wait for it
		defer close(done)
		ids[n.put(second)] = second
		n.do("DELETE", "/objects/"+gone, nil)
		for range 6 {
			select {
			case <-c.hit:
				return
			default:
				n.Next()
			}
		}
	}()
	select {
	case <-c.hit:
	case <-done:
		t.Fatalf("no step %q", step)
	}
	stopped := make(chan error)
	go func() { stopped <- d.Stop() }()
	time.Sleep(50 * time.Millisecond) // it is told to end before it may go on
	close(c.release)
	<-stopped
	<-done
	d.SetDir(c.image)
	d.Start(provider.New(config()))
	before := n.state(7).Passes
	for range 6 {
		n.Next()
	}
	for _, r := range n.Refused() {
		// Whether an answer left before the crash, nobody knows. It is given again then: the first one counts.
		if step != "answered" || r.Reason != storage.AnswerDuplicate {
			t.Errorf("epoch %d: item of type %d refused with %s", r.Epoch, r.Type, r.Reason)
		}
	}
	s := n.state(7)
	if s.Streak != 0 || s.Passes < before+5 {
		t.Errorf("%d passes, %d before; streak %d", s.Passes, before, s.Streak)
	}
	third := random(23, 1<<20)
	ids[n.put(third)] = third
	n.Next()
	// Only it and three others are left: what it countersigned is needed.
	for i := range 4 {
		n.devices[i].Stop()
	}
	for id, data := range ids {
		if n.holds(id, 7) {
			n.get(id, data)
		} else if len(data) != len(second) {
			t.Errorf("object %s: the device holds nothing of it", id)
		}
	}
}

// holds reports whether the customer has a countersignature for every shard of a slot.
func (n *net) holds(id string, slot int) bool {
	n.t.Helper()
	w := n.do("GET", "/objects/"+id+"/placement", nil)
	var list []customer.Placement
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 8 {
		n.t.Fatalf("placement: %s", w.Body)
	}
	if list[slot].Device != n.devices[slot].Key() {
		n.t.Fatalf("slot %d is on %v", slot, list[slot].Device)
	}
	return list[slot].Absent == 0
}

// cutter stops a device at a step, once, with its disk as it is.
type cutter struct {
	step       string
	dir, image string
	hit        chan struct{}
	release    chan struct{}

	mu    sync.Mutex
	armed bool
	cut   bool // the image was taken: what happens from now on never did
}

func (c *cutter) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = true
}

func (c *cutter) at(step string) {
	c.mu.Lock()
	if c.armed && !c.cut && step == c.step {
		c.cut = true
		if err := os.CopyFS(c.image, os.DirFS(c.dir)); err != nil {
			panic(err)
		}
		close(c.hit)
	}
	cut := c.cut
	c.mu.Unlock()
	if !cut {
		return
	}
	// Whoever gets this far after the image was taken is dead: a second request must not be countersigned either.
	<-c.release
	switch step {
	case "stored", "applied", "synced", "entered":
		panic(http.ErrAbortHandler) // a request ends without an answer; what comes from elsewhere is ended by Run's context
	}
}
