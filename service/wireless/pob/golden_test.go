package pob

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// golden is one of everything that has bytes or is drawn: enough to write another implementation against.
type golden struct {
	About                      string
	Start, Reply, Report, Mute string // in hexadecimal, as all that is text here
	Conductors                 [Halves]types.Key
	Number, T0                 [Halves]uint64
	ID, Tag                    string
	Secret                     types.Hash
	Packets                    uint32
	Drawn                      []Draw // 10.0.i.0/24, by the default rules, of every third i
	Bytes                      []uint64
	Capacity                   uint64
}

func hexa(b []byte) string { return hex.EncodeToString(b) }

func makeGolden(t *testing.T) *golden {
	w := newWorld(8, 10_000_000)
	start := w.start(0)
	test, err := w.clock.Test(&w.subject, &start)
	if err != nil {
		t.Fatal(err)
	}
	var said []Said
	for i := range w.subject.Members {
		said = append(said, w.said(t, i, 0, func(n uint32) bool { return n%7 != 3 && n%uint32(i+2) != 1 }))
	}
	r := said[0].Report
	tag := MakeTag((*[32]byte)(&r.Secret), test.ID, 5)
	mute := *r
	mute.Reply, mute.Arrival, mute.Prefix = nil, 0, Prefix{}
	who, _ := w.clock.Conductors.Of(start.Prefix)
	result := w.clock.Judge(&w.subject, said)
	g := &golden{
		About: "chain cairn-test-1, epoch 10, seed SHA-256(\"seed\"); keys are the Ed25519 keys of SHA-256(\"golden device\") and so on; verifiers 0 to 7 of power 1",
		Start: hexa(start.Encode()), Reply: hexa(r.Reply.Encode()), Report: hexa(r.Encode()), Mute: hexa(mute.Encode()),
		Conductors: [Halves]types.Key{who[0].Key, who[1].Key}, Number: [Halves]uint64{StartNumber(start.Prefix, 0), StartNumber(start.Prefix, 1)},
		ID: hexa(test.ID[:]), Tag: hexa(tag[:]), Secret: r.Secret, Packets: test.Packets, Bytes: result.Bytes, Capacity: result.Capacity,
	}
	second := w.start(1)
	at, err := w.clock.Begin(&second)
	if err != nil {
		t.Fatal(err)
	}
	g.T0 = [Halves]uint64{test.T0, at.T0}
	rules := DefaultRules()
	for i := 0; i < 256; i += 3 {
		g.Drawn = append(g.Drawn, rules.Drawn(w.clock.Seed, Prefix{4, 10, 0, byte(i)}))
	}
	return g
}

// TestGolden holds every byte format and draw against committed ones. They change only with the protocol.
func TestGolden(t *testing.T) {
	got := makeGolden(t)
	const file = "testdata/golden.json"
	if *update {
		raw, err := json.MarshalIndent(got, "", "\t")
		if err == nil {
			err = os.WriteFile(file, append(raw, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := new(golden)
	if err := json.Unmarshal(raw, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzDecode: whatever a decoder takes is the one encoding of what it read, what it refuses has a reason, and no report
// makes Judge fail.
func FuzzDecode(f *testing.F) {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		f.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{g.Start, g.Reply, g.Report, g.Mute} {
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	w := newWorld(8, 10_000_000)
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(encoded []byte, err error) {
			if err != nil && types.ReasonOf(err) == "" {
				t.Errorf("no reason: %v", err)
			}
			if err == nil && !bytes.Equal(encoded, b) {
				t.Errorf("%x is read, and written as %x", b, encoded)
			}
		}
		if s, err := DecodeStart(b); err != nil {
			check(nil, err)
		} else {
			check(s.Encode(), nil)
		}
		if s, err := DecodeReply(b); err != nil {
			check(nil, err)
		} else {
			check(s.Encode(), nil)
		}
		r, err := DecodeReport(b)
		if err != nil {
			check(nil, err)
			return
		}
		check(r.Encode(), nil)
		w.clock.Judge(&w.subject, []Said{{By: w.subject.Members[0], Report: r}})
	})
}
