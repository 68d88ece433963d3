package compute

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// testCall is a call whose job reads a module, standard input and two files.
func testCall() *Call {
	c := &Call{Job: *testJob(), Files: Files{{Path: "a/b.txt", Size: 2, Hash: types.Sum([]byte("ab"))}, {Path: "empty", Hash: Nothing}}}
	c.Job.Input = c.Files.Root()
	for _, p := range [][]byte{[]byte("module"), []byte("b\na\n"), []byte("ab")} {
		c.Inputs = append(c.Inputs, Input{Hash: types.Sum(p), Size: uint64(len(p)), Data: p})
	}
	slices.SortFunc(c.Inputs, func(a, b Input) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	c.seal()
	return c
}

func (c *Call) seal() {
	c.Order.Order = Order{Job: c.Job.Hash(), Class: Wasm, Slots: 1, Mode: Public, Price: 5, Ceiling: 5}
}

// TestCall: a call is whole and bounded, or refused with its reason.
func TestCall(t *testing.T) {
	if c, err := DecodeCall(testCall().Encode()); err != nil || len(c.Inputs) != 3 {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want types.Reason
		cut  func(*Call)
	}{
		{"another job", ClassMismatch, func(c *Call) { c.Job.Limit++ }},
		{"another class", ClassMismatch, func(c *Call) { c.Order.Order.Class = OCI }},
		{"no module", InputMissing, func(c *Call) {
			c.Inputs = slices.DeleteFunc(c.Inputs, func(i Input) bool { return i.Hash == c.Job.Code })
		}},
		{"an input too many", InputMissing, func(c *Call) { c.Job.Stdin = Nothing; c.seal() }},
		{"an input twice", types.BadEncoding, func(c *Call) { c.Inputs = append(c.Inputs, c.Inputs[2]) }},
		{"wrong bytes", DigestMismatch, func(c *Call) { c.Inputs[0].Data = []byte("x"); c.Inputs[0].Size = 1 }},
		{"a shorter file", DigestMismatch, func(c *Call) { c.Files[0].Size = 1; c.Job.Input = c.Files.Root(); c.seal() }},
		{"other files", InputMissing, func(c *Call) { c.Files = c.Files[:1] }},
		{"a price above the ceiling", types.BadEncoding, func(c *Call) { c.Order.Order.Price = 6 }},
		{"a huge module", TooLarge, func(c *Call) {
			for i := range c.Inputs {
				if in := &c.Inputs[i]; in.Hash == c.Job.Code {
					in.Data, in.Size = []byte{}, MaxModule+1
				}
			}
		}},
		{"more than a job may read", TooLarge, func(c *Call) {
			big := Input{Hash: types.Hash{0xff, 0xff}, Size: MaxInputs, Data: []byte{}}
			c.Files = append(c.Files, File{Path: "z", Size: big.Size, Hash: big.Hash})
			c.Inputs = append(c.Inputs, big)
			c.Job.Input = c.Files.Root()
			c.seal()
		}},
	} {
		call := testCall()
		c.cut(call)
		if _, err := DecodeCall(call.Encode()); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// TestPaths: no path leads out of a job's files, or is two paths.
func TestPaths(t *testing.T) {
	for path, want := range map[string]bool{
		"a": true, "a/b": true, "...": true, "a b/ü.txt": true,
		"": false, "/a": false, "a/": false, "a//b": false, ".": false, "a/./b": false, "..": false, "a/../../b": false, "a\x00": false, "a\nb": false,
		`a\b`: false, strings.Repeat("x", MaxPath+1): false,
	} {
		err := Files{{Path: path, Hash: Nothing}}.Check()
		if (err == nil) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
	two := Files{{Path: "a", Hash: Nothing}, {Path: "a", Hash: Nothing}}
	if two.Check() == nil {
		t.Error("one path twice")
	}
}
