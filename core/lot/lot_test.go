package lot

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

// quarters are lots that touch, from interval k on.
func quarters(k, from uint64, wh ...uint64) Lots {
	var out Lots
	for i, n := range wh {
		out = append(out, Lot{K: k + uint64(i), From: from, To: from + n})
		from += n
	}
	return out
}

func TestRuns(t *testing.T) {
	const k = 4 * 490_000 // an hour begins
	second := func(k uint64) uint64 { return k * Interval }
	for what, c := range map[string]struct {
		lots Lots
		want []Run
	}{
		"an hour":              {quarters(k, 10, 1, 2, 3, 4), []Run{{10, 20, second(k), second(k + 4)}}},
		"across an hour":       {quarters(k+3, 10, 1, 2), []Run{{10, 11, second(k + 3), second(k + 4)}, {11, 13, second(k + 4), second(k + 5)}}},
		"a gap in the range":   {Lots{{K: k, From: 0, To: 5}, {K: k, From: 6, To: 8}}, []Run{{0, 5, second(k), second(k + 1)}, {6, 8, second(k), second(k + 1)}}},
		"a quarter of nothing": {Lots{{K: k, From: 0, To: 5}, {K: k + 2, From: 5, To: 8}}, []Run{{0, 8, second(k), second(k + 3)}}},
		"the same hour's next day": {
			Lots{{K: k, From: 0, To: 5}, {K: k + 96, From: 5, To: 8}}, []Run{{0, 5, second(k), second(k + 1)}, {5, 8, second(k + 96), second(k + 97)}},
		},
		"two of one quarter": {Lots{{K: k, From: 0, To: 5}, {K: k, From: 5, To: 8}}, []Run{{0, 8, second(k), second(k + 1)}}},
	} {
		if err := c.lots.Check(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(c.want, c.lots.Runs()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// TestRunsCover: whatever the lots, runs rise, hold exactly their watt-hours, and no run leaves its hour.
func TestRunsCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lots Lots
		k, at := rapid.Uint64Range(0, maxK-1000).Draw(t, "k"), rapid.Uint64Range(0, 1<<60).Draw(t, "at")
		for range rapid.IntRange(1, MaxLots).Draw(t, "lots") {
			at += rapid.Uint64Range(0, 1).Draw(t, "gap")
			n := rapid.Uint64Range(1, 1000).Draw(t, "wh")
			lots = append(lots, Lot{K: k, From: at, To: at + n})
			at, k = at+n, k+rapid.Uint64Range(0, 5).Draw(t, "intervals")
		}
		if err := lots.Check(); err != nil {
			t.Fatal(err)
		}
		held := map[uint64]bool{}
		for _, l := range lots {
			held[l.From] = true
		}
		var sum uint64
		last := Run{}
		for i, r := range lots.Runs() {
			sum += r.To - r.From
			if r.From >= r.To || i > 0 && r.From < last.To || !held[r.From] || r.Begin >= r.End || Hour(r.Begin) != Hour(r.End-1) {
				t.Fatalf("run %+v after %+v", r, last)
			}
			last = r
		}
		if sum != lots.Total() {
			t.Fatalf("runs hold %d of %d Wh", sum, lots.Total())
		}
	})
}

func TestCheck(t *testing.T) {
	good := quarters(100, 10, 5, 5, 5)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string]Lots{
		"none":            {},
		"too many":        make(Lots, MaxLots+1),
		"an empty one":    {{K: 1, From: 5, To: 5}},
		"one upside down": {{K: 1, From: 6, To: 5}},
		"an overlap":      {{K: 1, From: 0, To: 5}, {K: 2, From: 4, To: 8}},
		"out of time":     {{K: 2, From: 0, To: 5}, {K: 1, From: 5, To: 8}},
		"beyond all time": {{K: math.MaxUint64, From: 0, To: 5}},
	} {
		if bad.Check() == nil {
			t.Errorf("%s: passed", what)
		}
	}
	full := quarters(0, 0, make([]uint64, MaxLots)...)
	for i := range full { // the longest that can be
		full[i] = Lot{K: maxK, From: math.MaxUint64 - uint64(MaxLots-i), To: math.MaxUint64 - uint64(MaxLots-i-1)}
	}
	if got, err := DecodeLots(full.Encode()); err != nil || !cmp.Equal(got, full, cmp.AllowUnexported(Lot{})) {
		t.Errorf("%d lots of the largest numbers, %d bytes: %v", len(full), len(full.Encode()), err)
	}
}

func TestID(t *testing.T) {
	device := types.NewPrivateKey([32]byte{1}).Public()
	for _, id := range []ID{{device, 0}, {device, 120_000}, {types.Key{}, math.MaxUint64}} {
		got, err := ParseID(id.String())
		if err != nil || got != id {
			t.Errorf("%v came back as %v, %v", id, got, err)
		}
		text, err := id.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if got = (ID{}); got.UnmarshalText(text) != nil || got != id {
			t.Errorf("%s is read as %v", text, got)
		}
	}
	for _, bad := range []string{
		"", "/", "120000", device.String(), device.String() + "/", device.String() + "/01", device.String() + "/+1", device.String() + "/-1",
		device.String() + "/1 ", device.String() + "/1/2", device.String() + "/18446744073709551616", device.String() + ":1", "did:key:zzz/1",
		strings.Repeat("x", 1<<20),
	} {
		if id, err := ParseID(bad); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.50q is read as %v, with an error of %d bytes", bad, id, len(err.Error()))
		}
	}
	a, b, c := ID{types.Key{1}, 5}, ID{types.Key{1}, 6}, ID{types.Key{2}, 0}
	if a.Compare(b) >= 0 || b.Compare(c) >= 0 || c.Compare(a) <= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
		t.Error("ids are not in order")
	}
}

func TestBeneficiary(t *testing.T) {
	for _, good := range []string{"", "Bäckerei Müller & Söhne", "面包店", "חברה", strings.Repeat("x", MaxBeneficiary)} {
		if err := CheckBeneficiary(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]types.Reason{
		strings.Repeat("é", 65): types.Oversize, "\xff": types.BadEncoding, "a\nb": types.BadEncoding, "a\x00": types.BadEncoding,
		"a\u202eb": types.BadEncoding, "a\u200bb": types.BadEncoding, "a\u009bb": types.BadEncoding, "\ufeffa": types.BadEncoding,
		"a\u2028b": types.BadEncoding, "a\U000e0041": types.BadEncoding,
	} {
		if got := types.ReasonOf(CheckBeneficiary(bad)); got != want {
			t.Errorf("%q: %q, want %q", bad, got, want)
		}
	}
}

func golden() (*Sheet, Lots) {
	lots := quarters(1_960_001, 123_456, 17, 250, 1_000, 3)
	return &Sheet{
		Device: types.NewPrivateKey([32]byte{1}).Public(), Day: 20_416, Zone: types.Cell(0x891f8d7a49bffff).Parent(3), Technology: 1, Power: 5_000,
		Stored: 125, Total: lots.Total(), Digest: lots.Digest(),
	}, lots
}

// TestGolden holds the bytes of a sheet and its lots: what other implementations must make of them.
func TestGolden(t *testing.T) {
	sheet, lots := golden()
	raw, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := "sheet " + hex.EncodeToString(sheet.Encode()) + "\nlots " + hex.EncodeToString(lots.Encode()) + "\ndigest " + lots.Digest().String() + "\n"
	if diff := cmp.Diff(string(raw), got); diff != "" {
		t.Error(diff)
	}
	back, err := Decode(sheet.Encode())
	if err != nil || !cmp.Equal(sheet, back, cmp.AllowUnexported(Sheet{})) || !back.Matches(lots) {
		t.Errorf("decoded %+v, %v", back, err)
	}
	if !bytes.HasPrefix(sheet.Encode(), Prefix(sheet.Device)) || bytes.HasPrefix(sheet.Encode(), Prefix(types.Key{1})) {
		t.Error("the prefix is not how a device's sheets begin")
	}
	for what, spoil := range map[string]func(*Sheet, Lots){
		"a watt-hour moved": func(_ *Sheet, l Lots) { l[1].To++; l[2].From++ },
		"another total":     func(s *Sheet, _ Lots) { s.Total++ },
		"another digest":    func(s *Sheet, _ Lots) { s.Digest[0] ^= 1 },
	} {
		s, l := golden()
		if spoil(s, l); s.Matches(l) {
			t.Errorf("%s: it still matches", what)
		}
	}
}

func TestDecodeRefused(t *testing.T) {
	for what, spoil := range map[string]func(*Sheet){
		"a zone that is no cell": func(s *Sheet) { s.Zone = 5 },
		"more than the whole":    func(s *Sheet) { s.Stored = 10_001 },
	} {
		s, _ := golden()
		spoil(s)
		if _, err := Decode(s.Encode()); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%s: %v", what, err)
		}
	}
	s, _ := golden()
	s.Encode()
	s.Tag = 1
	if _, err := Decode(types.Encode(s)); types.ReasonOf(err) != types.BadEncoding {
		t.Errorf("another tag: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	sheet, lots := golden()
	f.Add(sheet.Encode())
	f.Add(lots.Encode())
	f.Add((&Sheet{}).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := Decode(raw); err == nil && !bytes.Equal(s.Encode(), raw) {
			t.Errorf("%x is read as %+v, which is %x", raw, s, s.Encode())
		}
	})
}

func FuzzDecodeLots(f *testing.F) {
	sheet, lots := golden()
	f.Add(lots.Encode())
	f.Add(sheet.Encode())
	f.Add(Lots{}.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := DecodeLots(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(l.Encode(), raw) {
			t.Errorf("%x is read as %v, which is %x", raw, l, l.Encode())
		}
		var sum uint64
		for _, r := range l.Runs() {
			sum += r.To - r.From
		}
		if sum != l.Total() {
			t.Errorf("runs of %v hold %d of %d", l, sum, l.Total())
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add(ID{types.Key{1}, 120_000}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && id.String() != s {
			t.Errorf("%q is read as %v", s, id)
		}
	})
}
