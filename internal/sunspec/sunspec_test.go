package sunspec_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/internal/sunspec"
)

// TestLayout holds the tables to offsets and lengths of the published models.
func TestLayout(t *testing.T) {
	for id, words := range map[uint16]int{1: 68, 101: 52, 102: 52, 103: 52, 111: 62, 112: 62, 113: 62, 120: 28, 201: 107, 202: 107, 203: 107,
		204: 107, 211: 126, 212: 126, 213: 126, 214: 126, 701: 155, 702: 52} {
		if m := sunspec.ModelOf(id); m == nil || m.Words != words {
			t.Errorf("model %d: %+v, want %d words", id, m, words)
		}
	}
	for _, want := range []struct {
		model  *sunspec.Model
		point  string
		offset int
		of     sunspec.Type
		scale  string
	}{
		{sunspec.Common, "Mn", 2, sunspec.Text, ""}, {sunspec.Common, "Md", 18, sunspec.Text, ""}, {sunspec.Common, "SN", 50, sunspec.Text, ""},
		{sunspec.Inverter3, "W", 14, sunspec.Int16, "W_SF"}, {sunspec.Inverter3, "W_SF", 15, sunspec.Scale, ""},
		{sunspec.Inverter3, "WH", 24, sunspec.Acc32, "WH_SF"}, {sunspec.Inverter3, "WH_SF", 26, sunspec.Scale, ""},
		{sunspec.InverterFloat3, "WH", 32, sunspec.Float32, ""}, {sunspec.InverterFloat3, "W", 22, sunspec.Float32, ""},
		{sunspec.Meter3, "TotWhExp", 38, sunspec.Acc32, "TotWh_SF"}, {sunspec.Meter3, "TotWhImp", 46, sunspec.Acc32, "TotWh_SF"},
		{sunspec.Meter3, "TotWh_SF", 54, sunspec.Scale, ""}, {sunspec.Meter3, "W", 18, sunspec.Int16, "W_SF"},
		{sunspec.MeterFloat3, "TotWhExp", 60, sunspec.Float32, ""}, {sunspec.MeterFloat3, "TotWhImp", 68, sunspec.Float32, ""},
		{sunspec.Measure, "TotWhInj", 19, sunspec.Uint64, "TotWh_SF"}, {sunspec.Measure, "TotWh_SF", 120, sunspec.Scale, ""},
		{sunspec.Nameplate, "WRtg", 3, sunspec.Uint16, "WRtg_SF"}, {sunspec.Nameplate, "WHRtg", 19, sunspec.Uint16, "WHRtg_SF"},
		{sunspec.Capacity, "WMaxRtg", 2, sunspec.Uint16, "W_SF"}, {sunspec.Capacity, "W_SF", 45, sunspec.Scale, ""},
	} {
		p := want.model.Point(want.point)
		if p == nil || p.Offset != want.offset || p.Type != want.of || p.Scale != want.scale {
			t.Errorf("model %d: %s is %+v, want %v at %d scaled by %q", want.model.ID, want.point, p, want.of, want.offset, want.scale)
		}
	}
}

// TestAbsent: in a new block nothing is there, whatever its type.
func TestAbsent(t *testing.T) {
	for id := range uint16(1000) {
		m := sunspec.ModelOf(id)
		if m == nil {
			continue
		}
		b := m.New()
		for _, p := range m.Points {
			if n, ok := b.Number(p.Name); ok {
				t.Errorf("%d.%s of a new block is %v", id, p.Name, n)
			}
			if s, ok := b.Text(p.Name); ok {
				t.Errorf("%d.%s of a new block is %q", id, p.Name, s)
			}
		}
	}
}

func set(t *testing.T, b *sunspec.Block, values map[string]int64) *sunspec.Block {
	t.Helper()
	for name, v := range values {
		if err := b.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestNumbers: what is written is read; a point without its power of ten is absent; what a type cannot hold is
// refused.
func TestNumbers(t *testing.T) {
	b := set(t, sunspec.Inverter3.New(), map[string]int64{"W": -4200, "W_SF": -1, "WH": 1<<32 + 7, "WH_SF": 3, "Hz": 5000})
	for name, want := range map[string]sunspec.Number{"W": {Mantissa: -4200, Exp: -1}, "WH": {Mantissa: 7, Exp: 3}} {
		if got, ok := b.Number(name); !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	if n, ok := b.Number("Hz"); ok {
		t.Errorf("Hz without Hz_SF is %v", n)
	}
	b.Words[b.Model.Point("W_SF").Offset] = 11
	if n, ok := b.Number("W"); ok {
		t.Errorf("W scaled by 10¹¹ is %v", n)
	}
	b.Clear("WH")
	if n, ok := b.Number("WH"); ok {
		t.Errorf("cleared WH is %v", n)
	}
	for name, v := range map[string]int64{"W": -32768, "A": 65535, "W_SF": 11, "DCA": -1} {
		if err := b.Set(name, v); err == nil {
			t.Errorf("%s takes %d", name, v)
		}
	}
	if err := b.Set("Watts", 1); err == nil {
		t.Error("a point that is not there was set")
	}
	wide := set(t, sunspec.Measure.New(), map[string]int64{"TotWhInj": 1<<40 + 3, "TotWh_SF": 0, "Hz": 50_000, "Hz_SF": -3})
	if n, ok := wide.Number("TotWhInj"); !ok || n.Mantissa != 1<<40+3 {
		t.Errorf("TotWhInj is %v", n)
	}
	for i := range 4 {
		wide.Words[19+i] = 0xffff
	}
	wide.Words[22] = 0xfffe // beyond 63 bits, and yet not "not implemented"
	if n, ok := wide.Number("TotWhInj"); ok {
		t.Errorf("TotWhInj is %v", n)
	}
	f := set(t, sunspec.MeterFloat3.New(), map[string]int64{"TotWhExp": 123456})
	if n, ok := f.Number("TotWhExp"); !ok || n != (sunspec.Number{Mantissa: 123456000, Exp: -3}) {
		t.Errorf("TotWhExp is %v", n)
	}
	inf := math.Float32bits(float32(math.Inf(1)))
	f.Words[60], f.Words[61] = uint16(inf>>16), uint16(inf)
	if n, ok := f.Number("TotWhExp"); ok {
		t.Errorf("infinite TotWhExp is %v", n)
	}
	short := &sunspec.Block{Model: sunspec.Measure, Words: wide.Words[:120]} // without TotWh_SF
	if n, ok := short.Number("TotWhInj"); ok {
		t.Errorf("TotWhInj of a short block is %v", n)
	}
}

func TestText(t *testing.T) {
	b := sunspec.Common.New()
	for name, s := range map[string]string{"Mn": "Cairn", "SN": "0123456789abcdef0123456789abcdef"} {
		if err := b.SetText(name, s); err != nil {
			t.Fatal(err)
		}
		if got, ok := b.Text(name); !ok || got != s {
			t.Errorf("%s is %q, want %q", name, got, s)
		}
	}
	if err := b.SetText("SN", "0123456789abcdef0123456789abcdef0"); err == nil {
		t.Error("33 characters were taken")
	}
	b.Clear("Mn")
	if s, ok := b.Text("Mn"); ok {
		t.Errorf("cleared Mn is %q", s)
	}
}

func TestFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := sunspec.Number{Mantissa: rapid.Int64Range(-1<<40, 1<<40).Draw(t, "mantissa"), Exp: int8(rapid.IntRange(-10, 6).Draw(t, "exp"))}
		got, ok := n.Floor(0)
		power := func(e int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, 0))), nil) }
		want := new(big.Int).Mul(big.NewInt(n.Mantissa), power(int(n.Exp)))
		want.Div(want, power(-int(n.Exp))) // rounds down
		if !ok || !want.IsInt64() || got != want.Int64() {
			t.Fatalf("%v is %d (%v), want %d", n, got, ok, want)
		}
	})
	for _, c := range []struct {
		n    sunspec.Number
		want int64
	}{{sunspec.Number{Mantissa: -15, Exp: -1}, -2}, {sunspec.Number{Mantissa: -10, Exp: -1}, -1}, {sunspec.Number{Mantissa: 19, Exp: -1}, 1}, {sunspec.Number{Mantissa: -1, Exp: -9}, -1}} {
		if got, ok := c.n.Floor(0); !ok || got != c.want {
			t.Errorf("%v is %d, want %d", c.n, got, c.want)
		}
	}
	if v, ok := (sunspec.Number{Mantissa: math.MaxInt64, Exp: 1}).Floor(0); ok {
		t.Errorf("it fits: %d", v)
	}
}

// device reads out of a space; what lies outside is an exception.
type device struct {
	*sunspec.Space
	asked *int
}

func (d device) Read(address, count uint16) ([]uint16, error) {
	*d.asked++
	words, ok := d.Space.Read(address, count)
	if !ok || count > sunspec.MaxRead {
		return nil, fmt.Errorf("illegal data address %d+%d", address, count)
	}
	return words, nil
}

// TestWalk finds the same models wherever they begin, and reads each in one request.
func TestWalk(t *testing.T) {
	for _, base := range sunspec.Bases {
		meter := set(t, sunspec.Meter3.New(), map[string]int64{"TotWhExp": 5, "TotWh_SF": 2})
		wide := set(t, sunspec.Measure.New(), map[string]int64{"TotWhInj": 77, "TotWh_SF": 0})
		asked := 0
		d := device{sunspec.NewSpace(base, sunspec.Common.New(), meter, wide), &asked}
		got, err := sunspec.Walk(d)
		want := []sunspec.Place{{ID: 1, Address: base + 2, Length: 66}, {ID: 203, Address: base + 70, Length: 105}, {ID: 701, Address: base + 177, Length: 153}}
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("at %d: %v, %v", base, got, err)
		}
		asked = 0
		for i, p := range want {
			b, err := sunspec.ReadBlock(d, p)
			if err != nil || asked != i+1 {
				t.Fatalf("model %d: %v, after %d requests", p.ID, err, asked)
			}
			if n, ok := b.Number("TotWhInj"); p.ID == 701 && (!ok || n.Mantissa != 77) {
				t.Errorf("TotWhInj is %v", n)
			}
		}
		moved := want[1]
		moved.Address++
		if b, err := sunspec.ReadBlock(d, moved); err == nil {
			t.Errorf("read %v", b)
		}
	}
}

type words map[uint16]uint16

func (w words) Read(address, count uint16) ([]uint16, error) {
	var out []uint16
	for i := range count {
		v, ok := w[address+i]
		if !ok {
			return nil, errors.New("exception")
		}
		out = append(out, v)
	}
	return out, nil
}

// TestWalkFaults: a device without models, one that does not answer, chains that do not end. What was found
// before stays.
func TestWalkFaults(t *testing.T) {
	if _, err := sunspec.Walk(words{0: 1, 1: 2}); !errors.Is(err, sunspec.ErrNone) {
		t.Errorf("no mark: %v", err)
	}
	if _, err := sunspec.Walk(words{}); err == nil || errors.Is(err, sunspec.ErrNone) {
		t.Errorf("no answer: %v", err)
	}
	endless := words{}
	for a := uint16(2); a < 1000; a += 2 {
		endless[a], endless[a+1] = 7, 0
	}
	one := []sunspec.Place{{ID: 1, Address: 2, Length: 2}}
	for name, c := range map[string]struct {
		words words
		want  []sunspec.Place
	}{
		"an exception":    {words{2: 1, 3: 2}, one},
		"zeros":           {words{2: 1, 3: 2, 6: 0, 7: 0}, one},
		"half a head":     {words{2: 1, 3: 2, 6: 0}, one}, // one word can be read, two cannot
		"out of range":    {words{2: 1, 3: 2, 6: 5, 7: 65535}, one},
		"to the last":     {words{2: 1, 3: 65532}, []sunspec.Place{{ID: 1, Address: 2, Length: 65532}}},
		"not even one":    {words{2: 1, 3: 65535}, nil},
		"nothing at all":  {words{}, nil},
		"without an end":  {endless, nil},
		"of unknown kind": {words{2: 1, 3: 2, 6: 160, 7: 1, 9: 64999, 10: 0}, append(one, sunspec.Place{ID: 160, Address: 6, Length: 1}, sunspec.Place{ID: 64999, Address: 9})},
	} {
		c.words[0], c.words[1] = 0x5375, 0x6e53
		got, err := sunspec.Walk(c.words)
		if !errors.Is(err, sunspec.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "without an end" {
			if len(got) != sunspec.MaxModels {
				t.Errorf("%s: %d models", name, len(got))
			}
		} else if !cmp.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestWalkDevices: each block belongs to the Common before it.
func TestWalkDevices(t *testing.T) {
	space := sunspec.NewSpace(0, sunspec.Common.New(), sunspec.Inverter3.New(), sunspec.Nameplate.New(), sunspec.Common.New(), sunspec.Meter3.New())
	asked := 0
	got, err := sunspec.Walk(device{space, &asked})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 0, 0, 1, 1} {
		if got[i].Device != want {
			t.Errorf("model %d is of device %d, want %d", got[i].ID, got[i].Device, want)
		}
	}
}

// FuzzWalk: whatever a device's registers hold, Walk ends, and what it reads can be asked for every point.
func FuzzWalk(f *testing.F) {
	f.Add([]byte("SunS\xff\xff\x00\x00"))
	f.Add([]byte("SunS\x00\x67\x00\x32"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := words{}
		for i := 0; i+1 < len(raw); i += 2 {
			w[uint16(i/2)] = uint16(raw[i])<<8 | uint16(raw[i+1])
		}
		places, _ := sunspec.Walk(w)
		if len(places) > sunspec.MaxModels {
			t.Errorf("%d models", len(places))
		}
		for _, p := range places {
			b, err := sunspec.ReadBlock(w, p)
			if err != nil {
				continue
			}
			for _, point := range b.Model.Points {
				b.Number(point.Name)
				b.Text(point.Name)
			}
		}
	})
}
