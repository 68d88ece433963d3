package bus_test

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/bus"
)

// TestFair reaches each bound of a queue, and takes what is in it in turn.
func TestFair(t *testing.T) {
	put := func(q *bus.Fair[int], by string, size, times int) (in int) {
		for range times {
			if q.Put(by, size, in) {
				in++
			}
		}
		return in
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	t.Run("of one", func(t *testing.T) {
		q := bus.NewFair[int](3)
		want("entries of one", put(q, "a", 1, 10), 3)
		want("entries of another", put(q, "b", 1, 10), 3)
		var turns string
		for {
			v, ok := q.Take()
			if !ok {
				break
			}
			turns += fmt.Sprint(v)
		}
		if turns != "001122" {
			t.Errorf("taken in the order %s, want both in turn", turns)
		}
		want("entries of one who has none any more", put(q, "a", 1, 10), 3)
	})
	t.Run("a quarter of the entries", func(t *testing.T) {
		q := bus.NewFair[int](bus.Pending)
		in := put(q, "a", 0, bus.Pending)
		want("of one who has all", in, bus.Pending/5+1) // which is a quarter of what it leaves
		if more := put(q, "b", 0, bus.Pending); more < bus.Pending/8 || more > in {
			t.Errorf("another has %d after one had %d", more, in)
		}
		for i := range 4 * bus.Pending {
			q.Put(fmt.Sprint(i), 0, 0)
		}
		want("in all", q.Len(), bus.Pending)
	})
	t.Run("a quarter of the bytes", func(t *testing.T) {
		const size = bus.PendingBytes / 100
		q := bus.NewFair[int](bus.Pending)
		want("of one who has all", put(q, "a", size, 100), 20)
		in := 20
		for i := range 400 {
			in += put(q, fmt.Sprint(i), size, 1)
		}
		want("in all", in, 100)
		for range in {
			q.Take()
		}
		want("when all were taken", put(q, "a", size, 100), 20)
		want("one entry of any size, beside those", put(q, "b", bus.PendingBytes-20*size, 1), 1)
		want("beyond", put(q, "c", 1+bus.PendingBytes%100, 1), 0)
	})
	t.Run("of one that is taken from", func(t *testing.T) {
		const size = bus.PendingBytes / 100
		q := bus.NewFair[int](bus.Pending)
		put(q, "a", size, 100)
		for range 50 {
			q.Take()
			want("in the place of one that was taken", put(q, "a", size, 1), 1)
		}
	})
}
