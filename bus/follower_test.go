package bus_test

import (
	"math"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

func follower(powers ...uint64) *bus.Follower {
	return bus.NewFollower(bus.Pin{Chain: chain, Epoch: 3, Set: set(powers...)})
}

// say has verifier i say n.
func say(t *testing.T, f *bus.Follower, i int, n *bus.Notice) *bus.Notice {
	t.Helper()
	got, err := f.Take(bus.Seal(bustest.Key(i), n))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFollowerBelievesTwoThirds(t *testing.T) {
	f := follower(1, 1, 1, 1)
	n := notice(3, 107)
	for i := range 2 {
		for range 3 { // repeating oneself does not count
			if got := say(t, f, i, n); got != nil {
				t.Fatalf("believed after %d of 4", i+1)
			}
		}
	}
	if got := say(t, f, 2, n); got == nil || got.Height != 107 || f.Newest() != got {
		t.Fatalf("three of four are not believed: %v", got)
	}
	if got := say(t, f, 3, n); got != nil {
		t.Fatal("one notice was news twice")
	}
	// Exactly two thirds are not more than two thirds.
	f = follower(1, 1, 1)
	if say(t, f, 0, n) != nil || say(t, f, 1, n) != nil || say(t, f, 2, n) == nil {
		t.Fatal("two of three are two thirds, not more")
	}
}

func TestFollowerAtDifferentPaces(t *testing.T) {
	f := follower(1, 1, 1, 1)
	say(t, f, 0, notice(3, 107))
	say(t, f, 0, notice(3, 108))
	say(t, f, 0, notice(3, 109))
	say(t, f, 1, notice(3, 107))
	say(t, f, 1, notice(3, 108))
	if got := say(t, f, 2, notice(3, 107)); got == nil || got.Height != 107 {
		t.Fatal("107 has three of four")
	}
	if got := say(t, f, 2, notice(3, 108)); got == nil || got.Height != 108 {
		t.Fatal("108 has three of four")
	}
	if got := say(t, f, 3, notice(3, 107)); got != nil {
		t.Fatal("the past came back")
	}
}

// TestFollowerIgnoresLiars has a quarter of power lie in every way it can.
func TestFollowerIgnoresLiars(t *testing.T) {
	f := follower(1, 1, 1, 1)
	lie := notice(3, 500)
	lie.Set = set(0, 0, 0, 1) // itself alone
	for h := range uint64(100) {
		lie.Height = 500 + h // also: it cannot fill the memory or crowd others out
		if got := say(t, f, 3, lie); got != nil {
			t.Fatal("a quarter was believed")
		}
	}
	for i := range 3 {
		forged := bus.Seal(bustest.Key(3), lie)
		var sealed bus.Sealed
		if err := types.Decode(forged, &sealed); err != nil {
			t.Fatal(err)
		}
		sealed.Signer = bustest.Key(i).Public()
		if _, err := f.Take(types.Encode(&sealed)); types.ReasonOf(err) != types.BadSignature {
			t.Fatalf("forged: %v", err)
		}
	}
	if _, err := f.Take(bus.Seal(bustest.Key(9), notice(3, 107))); types.ReasonOf(err) != types.UnknownAuthor {
		t.Fatalf("a stranger: %v", err)
	}
	other := notice(3, 107)
	other.Chain = "other"
	if _, err := f.Take(bus.Seal(bustest.Key(0), other)); types.ReasonOf(err) != types.WrongChain {
		t.Fatalf("another chain: %v", err)
	}
	other = notice(3, 107)
	other.Region = 1
	if _, err := f.Take(bus.Seal(bustest.Key(0), other)); types.ReasonOf(err) != types.WrongRegion {
		t.Fatalf("another region: %v", err)
	}
	for _, garbage := range [][]byte{nil, {0}, {0x83}, make([]byte, 1000)} {
		if _, err := f.Take(garbage); types.ReasonOf(err) != types.BadEncoding {
			t.Fatalf("garbage: %v", err)
		}
	}
	truth := notice(3, 107)
	say(t, f, 0, truth)
	say(t, f, 1, truth)
	if got := say(t, f, 2, truth); got == nil || got.Height != 107 {
		t.Fatal("the honest three were not believed beside the liar")
	}
}

func TestFollowerFollowsTheSet(t *testing.T) {
	f := follower(1, 1, 1, 0, 0)
	next := notice(4, 127)
	next.Set = set(0, 0, 1, 1, 1)
	for i := range 3 {
		say(t, f, i, next)
	}
	if f.Pin().Epoch != 4 || f.Pin().Set.Power(bustest.Key(4).Public()) != 1 {
		t.Fatalf("pin: %+v", f.Pin())
	}
	if _, err := f.Take(bus.Seal(bustest.Key(0), notice(4, 128))); types.ReasonOf(err) != types.UnknownAuthor {
		t.Fatalf("the old set still speaks: %v", err)
	}
	for i := 2; i < 5; i++ {
		say(t, f, i, notice(4, 128))
	}
	if f.Newest().Height != 128 {
		t.Fatal("the new set is not believed")
	}
	// An old set cannot take it back.
	old := bus.NewFollower(f.Pin())
	if got := say(t, old, 2, notice(3, 999)); got != nil {
		t.Fatal("an earlier epoch was believed")
	}
}

func TestFollowerRefusesEmptySet(t *testing.T) {
	f := follower(1)
	n := notice(3, 107)
	n.Set = nil
	if _, err := f.Take(bus.Seal(bustest.Key(0), n)); err == nil {
		t.Fatal("a set without power was adopted: nothing could be believed any more")
	}
}

func TestTwoThirds(t *testing.T) {
	for _, c := range []struct {
		power, total uint64
		want         bool
	}{
		{0, 0, false}, {2, 3, false}, {3, 3, true}, {3, 4, true}, {1, 1, true}, {0, 1, false},
		{math.MaxUint64 / 3 * 2, math.MaxUint64, false}, {math.MaxUint64/3*2 + 1, math.MaxUint64, true}, {math.MaxUint64, math.MaxUint64, true},
	} {
		if got := bus.TwoThirds(c.power, c.total); got != c.want {
			t.Errorf("%d of %d: %v", c.power, c.total, got)
		}
	}
}

func TestProofCheck(t *testing.T) {
	device := bustest.Key(1).Public()
	leaf := tally.Leaf{Device: device, Amount: 5}
	tree, err := merkle.NewSumTree([]merkle.Node{leaf.Node(), merkle.SumLeaf(3, sum("another"))})
	if err != nil {
		t.Fatal(err)
	}
	root := bus.Root{Epoch: 3, Devices: tree.Root(), Count: 2}
	p := bus.Proof{Chain: chain, Epoch: 3, Leaf: leaf, Proof: tree.Proof(0)}
	if err := p.Check(device, root); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*bus.Proof){
		"amount": func(p *bus.Proof) { p.Leaf.Amount++ },
		"device": func(p *bus.Proof) { p.Leaf.Device[0]++ },
		"epoch":  func(p *bus.Proof) { p.Epoch++ },
	} {
		bad := p
		spoil(&bad)
		if err := bad.Check(device, root); types.ReasonOf(err) != types.BadClaim {
			t.Errorf("another %s: %v", name, err)
		}
	}
}
