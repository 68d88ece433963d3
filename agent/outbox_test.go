package agent

import (
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

func set(n int) (s bus.Set) {
	for i := range n {
		s = append(s, bus.Member{Key: types.Key{byte(i + 1)}, Power: 1})
	}
	return s
}

// TestAcked: an item is done with once more than two thirds of power keep it, or so much refuses it for good
// that they no more can; nobody's second word, and no word of somebody without power, changes that.
func TestAcked(t *testing.T) {
	s := set(4)
	hash := bus.Item{Type: bus.Evidence, Raw: []byte("x")}.Hash()
	yes := &bus.Ack{Accepted: []types.Hash{hash}}
	no := func(why types.Reason) *bus.Ack { return &bus.Ack{Refused: []bus.Refusal{{Item: hash, Reason: why}}} }
	for what, c := range map[string]struct {
		acks          []*bus.Ack
		by            []byte
		kept, refused int
	}{
		"two of four":                  {[]*bus.Ack{yes, yes}, []byte{1, 2}, 0, 0},
		"three of four":                {[]*bus.Ack{yes, yes, yes}, []byte{1, 2, 3}, 1, 0},
		"one three times":              {[]*bus.Ack{yes, yes, yes}, []byte{1, 1, 1}, 0, 0},
		"two refuse for good":          {[]*bus.Ack{no(types.Oversize), no(types.StaleSeq)}, []byte{1, 2}, 0, 1},
		"two refuse for now":           {[]*bus.Ack{no(types.OverQuota), no(types.OverQuota)}, []byte{1, 2}, 0, 0},
		"who keeps it, refuses it":     {[]*bus.Ack{yes, no(types.Oversize), no(types.Oversize)}, []byte{1, 1, 2}, 0, 0},
		"who refuses for now keeps it": {[]*bus.Ack{no(types.OverQuota), yes, yes, yes}, []byte{1, 1, 2, 3}, 1, 0},
	} {
		o := NewOutbox[int]()
		o.Add(&Item[int]{Item: bus.Item{Type: bus.Evidence, Raw: []byte("x")}, Own: 5})
		kept, refused := 0, 0
		for i, a := range c.acks {
			k, r, err := o.Acked(a, types.Key{c.by[i]}, s)
			if err != nil {
				t.Fatal(err)
			}
			kept, refused = kept+len(k), refused+len(r)
			if len(k) > 0 && k[0].Own != 5 {
				t.Errorf("%s: another item is kept: %+v", what, k[0])
			}
		}
		if kept != c.kept || refused != c.refused || o.Has(hash) != (kept+refused == 0) {
			t.Errorf("%s: %d kept, %d refused", what, kept, refused)
		}
	}
	o := NewOutbox[int]()
	o.Add(&Item[int]{Item: bus.Item{Type: bus.Evidence, Raw: []byte("x")}})
	if _, _, err := o.Acked(yes, types.Key{77}, s); types.ReasonOf(err) != types.UnknownAuthor {
		t.Errorf("an ack of nobody: %v", err)
	}
}

// TestDue: what waits leaves in its order, packed, each receipt with its ask once in a message, and is then put
// off twice as long each time.
func TestDue(t *testing.T) {
	o := NewOutbox[int]()
	for i := range 2500 {
		o.Add(&Item[int]{Item: bus.Item{Type: bus.Evidence, Raw: []byte{byte(i), byte(i >> 8)}}, Order: uint64(2500 - i)})
	}
	ask := []byte("ask")
	for i := range 2 {
		o.Add(&Item[int]{Item: bus.Item{Type: bus.Receipt, Raw: []byte{1, 2, 3, byte(i)}}, With: ask, Order: ^uint64(0)})
	}
	now := time.Now()
	list := o.Due("c", now, time.Second)
	total, asks := 0, 0
	for _, s := range list {
		total += len(s.Items)
		for _, i := range s.Items {
			if i.Type == bus.Ask {
				asks++
			}
		}
		if len(s.Items) > bus.MaxItems {
			t.Errorf("%d items in a message", len(s.Items))
		}
	}
	if len(list) != 3 || total != 2503 || asks != 1 {
		t.Fatalf("%d messages of %d items, %d asks", len(list), total, asks)
	}
	if first := list[0].Items[0].Raw; first[0] != byte(2499&255) || first[1] != 2499>>8 {
		t.Errorf("the first is %v", first)
	}
	if again := o.Due("c", now.Add(900*time.Millisecond), time.Second); len(again) != 0 {
		t.Errorf("%d messages before their time", len(again))
	}
	if again := o.Due("c", now.Add(time.Second), time.Second); len(again) != 3 {
		t.Errorf("%d messages after a second", len(again))
	}
	if again := o.Due("c", now.Add(2500*time.Millisecond), time.Second); len(again) != 0 {
		t.Errorf("%d messages after half of two seconds", len(again))
	}
	o.Soon()
	if again := o.Due("c", now, time.Second); len(again) != 3 {
		t.Errorf("%d messages once the bus is back", len(again))
	}
}

// TestExpire: an item is handed in in its last epoch, and not after.
func TestExpire(t *testing.T) {
	o := NewOutbox[int]()
	o.Add(&Item[int]{Item: bus.Item{Type: bus.Order, Raw: []byte("x")}, Expiry: 7})
	if gone := o.Expire(7); len(gone) != 0 {
		t.Error("given up in its last epoch")
	}
	if gone := o.Expire(8); len(gone) != 1 {
		t.Error("not given up after its last epoch")
	}
	if n, bytes := o.Size(); n != 0 || bytes != 0 {
		t.Errorf("%d items, %d bytes", n, bytes)
	}
}
