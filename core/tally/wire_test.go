package tally

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// record is what the hand-written codecs of the state's records have in common.
type record interface {
	append([]byte) []byte
	parse([]byte) error
}

func drawWord(t *rapid.T) uint64 {
	return rapid.Uint64().Draw(t, "word") >> rapid.IntRange(0, 63).Draw(t, "shift")
}

func drawHash(t *rapid.T) (h types.Hash) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	return h
}

// TestRecords: records written by hand are the deterministic CBOR of their structs, and read back.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func() uint64 { return drawWord(t) }
		u := types.U128{Lo: n(), Hi: n() * uint64(rapid.IntRange(0, 1).Draw(t, "high"))}
		h := drawHash(t)
		line := &Line{Amount: types.Ustone(n()), Penalty: types.Ustone(n()), Owner: types.Account(h[:20]),
			Categories: []types.Category{}, Cell: types.Cell(n()), Model: n(), Bond: types.Ustone(n()),
			Slashed: types.Ustone(n()), Suspended: types.Epoch(n()), Removed: types.Epoch(n()), Settled: types.Credit(n()), Seq: n(), Last: h,
			Shares: []LineShare{}}
		for i := range rapid.IntRange(0, 3).Draw(t, "categories") {
			line.Categories = append(line.Categories, types.Category(i*300+1))
			line.Shares = append(line.Shares, LineShare{Category: types.Category(i*200 + 2), Paid: types.Credit(n()), Weight: types.U64(n() | 1)})
		}
		for _, c := range []struct{ in, out record }{
			{&Balance{Bought: types.Credit(n()), Spent: types.Credit(n())}, &Balance{}},
			{&KeyState{Account: types.Account(h[:20]), Limit: types.Credit(n()), Expiry: types.Epoch(n()), Spent: types.Credit(n()), Ordered: types.Credit(n())}, &KeyState{}},
			{&attester{VRF: types.Key(h), Owner: types.Account(h[:20]), Power: n(), Seq: n(), Last: h}, &attester{}},
			{&Session{Device: types.Key(h), Category: types.Category(n()), Terms: h, Class: types.Class(n()), Price: n(), Units: u,
				Amount: types.Credit(n()), Seq: n(), Closed: rapid.Bool().Draw(t, "closed")}, &Session{}},
			{&OrderState{Raw: types.Encode(&receipt.Order{Cap: types.Credit(n())}), Category: types.Category(n() % 9), Seq: n(), Since: types.Epoch(n()), Units: u, Amount: types.Credit(n())}, &OrderState{}},
			{line, &Line{}},
		} {
			raw := c.in.append(nil)
			if want := types.Encode(c.in); !bytes.Equal(raw, want) {
				t.Fatalf("%T: %x, want %x", c.in, raw, want)
			}
			if err := c.out.parse(raw); err != nil || !bytes.Equal(c.out.append(nil), raw) {
				t.Fatalf("%T: %x reads as %+v, %v", c.in, raw, c.out, err)
			}
			if c.out.parse(append(raw, 0)) == nil || c.out.parse(raw[:len(raw)-1]) == nil {
				t.Fatalf("%T: reads what it did not write", c.in)
			}
		}
		d := types.Key(drawHash(t))
		if got, want := leafNode(&d, line, nil), leafOf(line, d); got != want {
			t.Fatalf("leaf %v, want %v", got, want)
		}
		if want := types.Encode(line); !bytes.Equal(line.Rest()[1:], want[len(want)-len(line.Rest())+1:]) {
			t.Fatal("the rest is not the line's")
		}
		fleeted := *line
		fleeted.Fleet = fleet.Fleet{Root: h, Count: 1 + n()%fleet.MaxCount}
		want := append(types.Encode(line), types.Encode(&fleeted.Fleet)...)
		want[0]++
		if got := fleeted.append(nil); !bytes.Equal(got, want) {
			t.Fatalf("a line with a fleet: %x, want %x", got, want)
		}
		if want := types.AppendHead(nil, types.MajorArray, lineFields-1); !bytes.HasPrefix(fleeted.Rest(), want) || !bytes.HasSuffix(want, fleeted.Rest()[:1]) {
			t.Fatalf("the rest of a line with a fleet begins with %x", fleeted.Rest()[:1])
		}
		back := Line{Fleet: fleet.Fleet{Root: types.Hash{1}, Count: 9}} // of the line that was read before
		for _, l := range []*Line{&fleeted, line} {
			if err := back.parse(l.append(nil)); err != nil || back.Fleet != l.Fleet || !bytes.Equal(back.append(nil), l.append(nil)) {
				t.Fatalf("%+v reads as %+v, %v", l, back, err)
			}
			if got, want := leafNode(&d, l, nil), leafOf(l, d); got != want {
				t.Fatalf("leaf %v, want %v", got, want)
			}
		}
		if leafOf(line, d) == leafOf(&fleeted, d) {
			t.Fatal("a leaf does not hold the fleet")
		}
	})
}

// TestDevices: a registry line without a fleet is the array that it was before there were any; a fleet is one
// more element.
func TestDevices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type bare struct {
			_          struct{} `cbor:",toarray"`
			Key        types.Key
			Owner      types.Account
			Categories []types.Category
			Cell       types.Cell
			Model      uint64
			Bond       types.Ustone
			Slashed    types.Ustone
			Suspended  types.Epoch
		}
		h := drawHash(t)
		d := Device{Key: types.Key(h), Owner: types.Account(h[:20]), Categories: []types.Category{}, Cell: types.Cell(drawWord(t)), Model: drawWord(t),
			Bond: types.Ustone(drawWord(t)), Slashed: types.Ustone(drawWord(t)), Suspended: types.Epoch(drawWord(t))}
		for i := range rapid.IntRange(0, 30).Draw(t, "categories") {
			d.Categories = append(d.Categories, types.Category(i*300+1))
		}
		want := types.Encode(&bare{Key: d.Key, Owner: d.Owner, Categories: d.Categories, Cell: d.Cell, Model: d.Model, Bond: d.Bond,
			Slashed: d.Slashed, Suspended: d.Suspended})
		if got := types.Encode(&d); !bytes.Equal(got, want) {
			t.Fatalf("%x, want %x", got, want)
		}
		fleeted := d
		fleeted.Fleet = fleet.Fleet{Root: h, Count: 1 + drawWord(t)%fleet.MaxCount}
		want = append(want, types.Encode(&fleeted.Fleet)...)
		want[0]++
		if got := types.Encode(&fleeted); !bytes.Equal(got, want) {
			t.Fatalf("with a fleet %x, want %x", got, want)
		}
		if more := len(types.Encode(&fleeted)) - len(types.Encode(&d)); more > 40 {
			t.Fatalf("a fleet takes %d bytes", more)
		}
		for _, in := range []Device{d, fleeted} {
			var out Device
			raw := types.Encode(&in)
			if err := types.Decode(raw, &out); err != nil || !cmp.Equal(in, out, cmpopts.IgnoreUnexported(fleet.Fleet{})) {
				t.Fatalf("%+v reads as %+v, %v", in, out, err)
			}
			if types.Decode(raw[:len(raw)-1], &out) == nil || types.Decode(append(raw, 0), &out) == nil {
				t.Fatal("reads what it did not write")
			}
		}
		// No other form of none, and nothing beyond the bound.
		for _, count := range []uint64{0, fleet.MaxCount + 1, 1 << 63} {
			raw := types.AppendUint(want[:len(want)-len(types.AppendUint(nil, fleeted.Fleet.Count))], count)
			if err := types.Decode(raw, new(Device)); types.ReasonOf(err) != types.BadEncoding {
				t.Fatalf("a fleet of %d things: %v", count, err)
			}
		}
	})
}

// corpus are real encodings to start fuzzing from.
func corpus(f *testing.F, pick func(*golden) []string) {
	for _, g := range goldenEpochs(f) {
		for _, s := range pick(&g) {
			b, err := hex.DecodeString(s)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
}

func FuzzDecodeHeader(f *testing.F) {
	corpus(f, func(g *golden) []string { return []string{g.Header} })
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := DecodeHeader(b); err == nil && !bytes.Equal(h.Encode(), b) {
			t.Fatalf("%x is another encoding of %+v", b, h)
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	corpus(f, func(g *golden) []string { return []string{g.Frame} })
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := DecodeFrame(b); err == nil && !bytes.Equal(h.Encode(), b) {
			t.Fatalf("%x is another encoding of %+v", b, h)
		}
	})
}

func FuzzDecodeChanges(f *testing.F) {
	corpus(f, func(g *golden) []string { return []string{g.Registry} })
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeChanges(b); err == nil && !bytes.Equal(EncodeChanges(c), b) {
			t.Fatalf("%x is another encoding of %+v", b, c)
		}
	})
}

// FuzzDecodeBatch holds both readers against each other, and what they read against an Apply that must not fail
// on it.
func FuzzDecodeBatch(f *testing.F) {
	corpus(f, func(g *golden) []string { return []string{g.Batch} })
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := DecodeBatch(b)
		stream, serr := ReadBatch(bytes.NewReader(b))
		if (err == nil) != (serr == nil) {
			t.Fatalf("in one piece: %v, as a stream: %v", err, serr)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(batch.Encode(), b) || !bytes.Equal(stream.Encode(), b) || batch.Hash() != types.Sum(b) {
			t.Fatalf("%x is another encoding of a batch", b)
		}
		w := newWorld(t)
		w.device(1)
		w.items = batch.Items
		w.tally()
	})
}

// FuzzPage reads pages of a state: what is read is canonical.
func FuzzPage(f *testing.F) {
	corpus(f, func(g *golden) []string { return g.Pages })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 || b[0] >= byte(tables) {
			return
		}
		if _, err := checkPage(tableID(b[0]), b, nil); err != nil {
			return
		}
		out := []byte{b[0]}
		for w := (table{newPage(b)}).walk(nil, nil); w.next(); {
			out = types.AppendBytes(types.AppendBytes(out, w.key), w.val)
		}
		if !bytes.Equal(out, b) {
			t.Fatalf("%x is another encoding of %x", b, out)
		}
	})
}

func leafOf(l *Line, d types.Key) merkle.Node {
	leaf := l.Leaf(d)
	return leaf.Node()
}
