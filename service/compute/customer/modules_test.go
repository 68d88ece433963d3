package customer

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// TestModules: a module is looked at once, one of an account at a time, and no account takes more of the
// processor than it may; what others know already is not lost by it.
func TestModules(t *testing.T) {
	inputs, err := spool.OpenInputs(t.TempDir(), 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	add := func(b []byte) types.Hash {
		h, _, err := inputs.Add(bytes.NewReader(b), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	m, bad, good := newModules(16), types.Account{1}, types.Account{2}
	code := add(module)
	if err := m.check(good, code, inputs); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // each of another hash
		if err := m.check(bad, add(fmt.Appendf(nil, "no module %d", i)), inputs); types.ReasonOf(err) != compute.BadModule {
			t.Fatal(err)
		}
		if _, known := m.verdict(code); !known && i < 8 {
			t.Fatalf("a good module is forgotten after %d bad ones", i)
		}
	}
	if n := len(m.known) + len(m.before); n > 16 {
		t.Errorf("%d verdicts are kept", n)
	}
	now := time.Now()
	l, err := m.begin(bad, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.begin(bad, now); types.ReasonOf(err) != role.Busy {
		t.Errorf("two at a time: %v", err)
	}
	if _, err := m.begin(good, now); err != nil {
		t.Errorf("another account: %v", err)
	}
	// A million bad modules, each of which takes ten milliseconds: so many are looked at in an hour.
	l.busy, l.taken = false, 0
	looked := 0
	for range 1_000_000 {
		if l, err := m.begin(bad, now); err == nil {
			l.busy, l.taken = false, l.taken+10*time.Millisecond
			looked++
		}
		now = now.Add(3600 * time.Microsecond)
	}
	t.Logf("of a million, %d are looked at in an hour", looked)
	if most := int((lookTime + time.Hour/lookRefill) / (10 * time.Millisecond)); looked > most {
		t.Errorf("%d modules were looked at, want at most %d", looked, most)
	}
}

// TestPinned: the jobs of one account can't hold all of the room for inputs.
func TestPinned(t *testing.T) {
	w, m := newWorld(t)
	hold := make(chan struct{})
	newDevice(t, w, "a", 4, func(r *run) error {
		<-hold
		return honest(r)
	})
	g := newGateway(t, m, Config{Inputs: 16 << 20})
	g.sees(1)
	big := bytes.Repeat([]byte("b"), 3<<20)
	var in Input
	g.call("POST", "/inputs", big, &in)
	id := g.submit("stdin=" + in.Hash)
	big[0]++
	g.call("POST", "/inputs", big, &in)
	var p struct{ Reason types.Reason }
	if status := g.call("POST", "/jobs?stdin="+in.Hash, module, &p); status != http.StatusServiceUnavailable || p.Reason != role.Busy {
		t.Errorf("%d %+v", status, p)
	}
	close(hold)
	if r := g.result(id); r.State != Done {
		t.Errorf("%+v", r)
	}
	g.result(g.submit("stdin=" + in.Hash))
}
