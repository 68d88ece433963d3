package fleet

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

const chain = "cairn-test-1"

var update = flag.Bool("update", false, "write testdata")

func private(n uint64) types.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], n)
	return types.NewPrivateKey(seed)
}

// hub is the device whose fleet tests make.
var hub = private(1 << 40).Public()

// things returns n things, and their roster.
func things(t testing.TB, n int) ([]Thing, *Roster) {
	var list []Thing
	for i := range n {
		list = append(list, Thing{Key: private(uint64(i)).Public(), Attributes: []byte{byte(i % 3)}})
	}
	r, err := NewRoster(list)
	if err != nil {
		t.Fatal(err)
	}
	return list, r
}

// member returns thing i, which agrees to be behind the hub until epoch 20.
func member(r *Roster, i int) *Member {
	m := r.Member(i)
	m.Agree(private(uint64(i)), chain, hub, 20)
	return m
}

// TestMembers: every thing of a fleet of any size belongs to it, at its own place alone.
func TestMembers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(r, "things")
		_, roster := things(t, n)
		roll := NewRoll(chain, hub, roster.Fleet(), 10)
		for i := range n {
			if err := roll.Admit(member(roster, i)); err != nil {
				t.Fatalf("thing %d of %d: %v", i, n, err)
			}
		}
		m := member(roster, rapid.IntRange(0, n-1).Draw(r, "which"))
		m.Index += rapid.Uint64Range(1, 1<<21).Draw(r, "further")
		if err := roll.Admit(m); !errors.Is(err, types.NotInFleet) {
			t.Fatalf("a thing at another place: %v", err)
		}
	})
}

// TestAttacks is what somebody may try to show as a thing of its fleet, and what is said.
func TestAttacks(t *testing.T) {
	_, roster := things(t, 6)
	own := roster.Fleet()
	// The thief commits to the same things, which never agreed to be behind its device: a root needs nobody's leave.
	thief := private(1 << 41).Public()
	for name, c := range map[string]struct {
		device types.Key
		fleet  Fleet
		epoch  types.Epoch
		spoil  func(m *Member)
		want   types.Reason
	}{
		"as it is":             {hub, own, 10, func(*Member) {}, ""},
		"in its last epoch":    {hub, own, 20, func(*Member) {}, ""},
		"no fleet":             {hub, Fleet{}, 10, func(*Member) {}, types.NoFleet},
		"others' things":       {thief, own, 10, func(*Member) {}, types.NoConsent},
		"signed by the thief":  {thief, own, 10, func(m *Member) { m.Agree(private(1<<41), chain, thief, 20) }, types.NoConsent},
		"of another chain":     {hub, own, 10, func(m *Member) { m.Agree(private(2), "other-1", hub, 20) }, types.NoConsent},
		"consent of another":   {hub, own, 10, func(m *Member) { m.Agree(private(3), chain, hub, 20) }, types.NoConsent},
		"no consent":           {hub, own, 10, func(m *Member) { m.Consent = types.Signature{} }, types.NoConsent},
		"over":                 {hub, own, 21, func(*Member) {}, types.ConsentEnded},
		"stretched":            {hub, own, 21, func(m *Member) { m.Until = 30 }, types.NoConsent},
		"for ever":             {hub, own, 10, func(m *Member) { m.Agree(private(2), chain, hub, 11+MaxConsent) }, types.ConsentEnded},
		"for a year":           {hub, own, 10, func(m *Member) { m.Agree(private(2), chain, hub, 10+MaxConsent) }, ""},
		"better attributes":    {hub, own, 10, func(m *Member) { m.Thing.Attributes = []byte{9} }, types.NotInFleet},
		"long attributes":      {hub, own, 10, func(m *Member) { m.Thing.Attributes = make([]byte, MaxAttributes+1) }, types.Oversize},
		"another key":          {hub, own, 10, func(m *Member) { m.Thing.Key = private(77).Public() }, types.NotInFleet},
		"another index":        {hub, own, 10, func(m *Member) { m.Index ^= 1 }, types.NotInFleet},
		"index beyond":         {hub, own, 10, func(m *Member) { m.Index = 6 }, types.NotInFleet},
		"short path":           {hub, own, 10, func(m *Member) { m.Siblings = m.Siblings[1:] }, types.NotInFleet},
		"long path":            {hub, own, 10, func(m *Member) { m.Siblings = append(m.Siblings, types.Hash{}) }, types.NotInFleet},
		"an inner node":        {hub, Fleet{Root: own.Root, Count: 3}, 10, func(m *Member) { m.Siblings = m.Siblings[1:]; m.Index /= 2 }, types.NotInFleet},
		"another count":        {hub, Fleet{Root: own.Root, Count: 3}, 10, func(*Member) {}, types.NotInFleet},
		"a fleet replaced":     {hub, Fleet{Root: types.Hash{1}, Count: 6}, 10, func(*Member) {}, types.NotInFleet},
		"attributes it denies": {hub, relabelled(t), 10, func(m *Member) { *m = *relabelledMember(t, m) }, types.NoConsent},
	} {
		m := member(roster, 2)
		c.spoil(m)
		if got := types.ReasonOf(NewRoll(chain, c.device, c.fleet, c.epoch).Admit(m)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// relabelledThings are the hub's things, of which its owner says more than they do.
func relabelledThings(t testing.TB) *Roster {
	list, _ := things(t, 6)
	list[2].Attributes = []byte("calibrated")
	r, err := NewRoster(list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func relabelled(t testing.TB) Fleet { return relabelledThings(t).Fleet() }

func relabelledMember(t testing.TB, consented *Member) *Member {
	m := relabelledThings(t).Member(2)
	m.Until, m.Consent = consented.Until, consented.Consent
	return m
}

// TestTwice: a thing that a fleet lists twice is one thing. NewRoster refuses to make such a fleet, but nobody has
// to use it.
func TestTwice(t *testing.T) {
	list, _ := things(t, 4)
	list[3] = list[1]
	if _, err := NewRoster(list); !errors.Is(err, types.ThingTwice) || !strings.Contains(err.Error(), "things 1 and 3") {
		t.Fatalf("a roster with one thing twice: %v", err)
	}
	var leaves []types.Hash
	for i := range list {
		leaves = append(leaves, list[i].leaf())
	}
	twice := &Roster{things: list, tree: merkle.NewTree(leaves)}
	roll := NewRoll(chain, hub, twice.Fleet(), 10)
	first, second := member(twice, 1), twice.Member(3)
	second.Agree(private(1), chain, hub, 20)
	if err := roll.Admit(first); err != nil {
		t.Fatal(err)
	}
	if err := roll.Admit(second); !errors.Is(err, types.ThingTwice) {
		t.Fatalf("the second place: %v", err)
	}
	if err := roll.Admit(first); err != nil {
		t.Fatalf("the first place again: %v", err)
	}
	first.Agree(private(1), chain, hub, 19) // a consent renewed within the epoch
	if err := roll.Admit(first); err != nil {
		t.Fatalf("with another consent: %v", err)
	}
	first.Consent[0] ^= 1
	if err := roll.Admit(first); !errors.Is(err, types.NoConsent) {
		t.Fatalf("with a broken consent: %v", err)
	}
}

// TestBounds: what is too much is refused before it costs anything.
func TestBounds(t *testing.T) {
	if _, err := NewRoster(make([]Thing, MaxCount+1)); !errors.Is(err, types.Oversize) {
		t.Errorf("too many things: %v", err)
	}
	if _, err := NewRoster([]Thing{{Attributes: make([]byte, MaxAttributes+1)}}); !errors.Is(err, types.Oversize) {
		t.Errorf("long attributes: %v", err)
	}
	for _, c := range []struct {
		fleet Fleet
		want  types.Reason
	}{
		{Fleet{}, ""}, {Fleet{Root: types.Hash{1}, Count: 1}, ""}, {Fleet{Root: types.Hash{1}, Count: MaxCount}, ""},
		{Fleet{Root: types.Hash{1}, Count: MaxCount + 1}, types.Oversize}, {Fleet{Root: types.Hash{1}, Count: 0}, types.BadEncoding},
	} {
		if got := types.ReasonOf(Bound(&c.fleet)); got != c.want {
			t.Errorf("%v: %q, want %q", c.fleet, got, c.want)
		}
	}
	_, empty := things(t, 0)
	if f := empty.Fleet(); !f.None() || Bound(&f) != nil {
		t.Errorf("no things: %+v", f)
	}
}

// TestGolden holds the bytes of a fleet, of its members and of what they sign.
func TestGolden(t *testing.T) {
	list, roster := things(t, 5)
	var b strings.Builder
	line := func(name string, raw []byte) { b.WriteString(name + " " + hex.EncodeToString(raw) + "\n") }
	f := roster.Fleet()
	line("hub", hub[:])
	line("fleet", types.Encode(&f))
	for i := range list {
		leaf := list[i].leaf()
		line("thing", types.Encode(&list[i]))
		line("leaf", leaf[:])
		line("signed", types.SigningBytes("consent", chain, list[i].ConsentBytes(hub, 20)))
		line("member", types.Encode(member(roster, i)))
	}
	if *update {
		if err := os.WriteFile("testdata/fleet.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/fleet.txt")
	if err != nil || string(want) != b.String() {
		t.Fatalf("%v\nhave\n%swant\n%s", err, b.String(), want)
	}
}
