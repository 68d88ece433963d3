package compute

import (
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestEnded: what a device says of a job's end is one of the ends that there are.
func TestEnded(t *testing.T) {
	whole := func(mode Mode, fuel uint64) *SignedLeaf {
		l := &SignedLeaf{Epoch: 1, Leaf: Leaf{Fuel: fuel, Mode: mode, Result: testResult().Hash()}}
		if mode == Cut {
			l.Leaf.Result = types.Hash{}
		}
		return l
	}
	for _, c := range []struct {
		name string
		e    Ended
		ok   bool
	}{
		{"ran", Ended{Result: testResult(), Leaf: whole(Public, 9)}, true},
		{"cancelled", Ended{Leaf: whole(Cut, 9)}, true},
		{"not run", Ended{Reason: BadModule, Message: "byte 7"}, true},
		{"not run, with its number", Ended{Reason: InputMissing, Leaf: whole(Cut, 0)}, true},
		{"nothing", Ended{}, false},
		{"a result without a leaf", Ended{Result: testResult()}, false},
		{"a leaf without a result", Ended{Leaf: whole(Public, 9)}, false},
		{"cancelled with a result", Ended{Result: testResult(), Leaf: whole(Cut, 9)}, false},
		{"not run, and charged", Ended{Reason: BadModule, Leaf: whole(Cut, 1)}, false},
		{"not run, with a result", Ended{Reason: BadModule, Result: testResult(), Leaf: whole(Public, 1)}, false},
		{"a long message", Ended{Reason: BadModule, Message: strings.Repeat("x", MaxMessage+1)}, false},
	} {
		if _, err := DecodeEnded(c.e.Encode()); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
