package types

import (
	"encoding/json"
	"math"
	"math/big"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

//go:generate go run ./testdata/vertices
//go:generate npm --prefix testdata/h3 ci --silent
//go:generate node testdata/h3/golden.mjs

// goldenCells is testdata/h3/cells.json, made by h3-js.
type goldenCells struct {
	Cells  []goldenCell
	Maybe  []goldenMaybe
	Points []goldenPoint
}

type goldenCell struct {
	cell, parent                Cell
	res, base, pentagon, coarse int
	lat, lng                    float64
}

type goldenMaybe struct {
	index string
	valid int
}

type goldenPoint struct {
	lat, lng float64
	cell     Cell
}

func (g *goldenCell) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&g.cell, &g.res, &g.base, &g.pentagon, &g.coarse, &g.parent, &g.lat, &g.lng})
}
func (g *goldenMaybe) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&g.index, &g.valid})
}
func (g *goldenPoint) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&g.lat, &g.lng, &g.cell})
}

func golden(t testing.TB) (g goldenCells) {
	t.Helper()
	raw, err := os.ReadFile("testdata/h3/cells.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cells) < 1900 || len(g.Maybe) < 300 || len(g.Points) < 1400 {
		t.Fatalf("%d cells, %d indexes, %d points", len(g.Cells), len(g.Maybe), len(g.Points))
	}
	return g
}

// vector is the direction of a latitude and longitude in degrees, as good as double precision is (some nanometres).
func vector(lat, lng float64) Vector {
	s, c := math.Sincos(lat * math.Pi / 180)
	sl, cl := math.Sincos(lng * math.Pi / 180)
	return Vector{int64(math.Round(c * cl * One)), int64(math.Round(c * sl * One)), int64(math.Round(s * One))}
}

// micrometres is the distance on the ground.
func micrometres(v, w Vector) float64 {
	c, _ := new(big.Float).SetInt(v.Chord2(w).big()).Float64()
	return math.Sqrt(c) / One * EarthRadius * 1e6
}

func TestCellGolden(t *testing.T) {
	worst := 0.0
	for _, g := range golden(t).Cells {
		c := g.cell
		if !c.Valid() || c.Resolution() != g.res || c.BaseCell() != g.base || c.IsPentagon() != (g.pentagon == 1) {
			t.Errorf("%s: valid %t, resolution %d, base cell %d, pentagon %t, want %+v", c, c.Valid(), c.Resolution(), c.BaseCell(), c.IsPentagon(), g)
		}
		if p := c.Parent(g.coarse); p != g.parent || !p.Contains(c) {
			t.Errorf("%s: parent at %d is %s, want %s", c, g.coarse, p, g.parent)
		}
		off := micrometres(c.Center(), vector(g.lat, g.lng))
		worst = max(worst, off)
		if off > 1 {
			t.Errorf("%s: centre is %.3g m from %.9f, %.9f", c, off/1e6, g.lat, g.lng)
		}
		if got := CellAt(c.Center(), g.res); got != c {
			t.Errorf("%s: its centre is in %s", c, got)
		}
	}
	t.Logf("centres within %.4f µm of h3-js", worst)
}

func TestCellValidity(t *testing.T) {
	counts := [2]int{}
	for _, g := range golden(t).Maybe {
		x, err := strconv.ParseUint(g.index, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[g.valid]++
		if Cell(x).Valid() != (g.valid == 1) {
			t.Errorf("%s: valid %t, h3-js says %d", g.index, Cell(x).Valid(), g.valid)
		}
		if _, err := ParseCell(g.index); (err == nil) != (g.valid == 1) {
			t.Errorf("%s: parse: %v", g.index, err)
		}
		if !Cell(x).Valid() && Cell(x).Center() != (Vector{}) {
			t.Errorf("%s: an invalid cell has a centre", g.index)
		}
	}
	if counts[0] < 100 || counts[1] < 100 {
		t.Errorf("%d invalid and %d valid indexes", counts[0], counts[1])
	}
}

func TestCellAtGolden(t *testing.T) {
	for _, g := range golden(t).Points {
		if got := CellAt(vector(g.lat, g.lng), g.cell.Resolution()); got != g.cell {
			t.Errorf("%.9f, %.9f is in %s, want %s: %.3g m and %.3g m from the centres", g.lat, g.lng, got, g.cell,
				micrometres(got.Center(), vector(g.lat, g.lng))/1e6, micrometres(g.cell.Center(), vector(g.lat, g.lng))/1e6)
		}
	}
}

func TestParseCell(t *testing.T) {
	c, err := ParseCell("8928308280fffff")
	if err != nil || c.Resolution() != 9 || c.String() != "8928308280fffff" {
		t.Fatalf("%v, %v", c, err)
	}
	for _, s := range []string{"", "0", "8928308280FFFFF", "08928308280fffff", "0x8928308280fffff", "+8928308280fffff", " 8928308280fffff", "8928308280ffffg", "18928308280fffff0"} {
		if c, err := ParseCell(s); err == nil {
			t.Errorf("%q parses to %s", s, c)
		}
	}
	text, err := json.Marshal(map[Cell]Cell{c: 0})
	if err != nil || string(text) != `{"8928308280fffff":"0"}` {
		t.Errorf("JSON: %s, %v", text, err)
	}
	var back map[Cell]Cell
	if err := json.Unmarshal(text, &back); err != nil || back[c] != 0 || len(back) != 1 {
		t.Errorf("from JSON: %v, %v", back, err)
	}
	if b := Encode(c); len(b) != 9 || b[0] != 0x1b {
		t.Errorf("CBOR: %x", b)
	}
	for _, res := range []int{-1, 10, 16} {
		if p := c.Parent(res); p != 0 {
			t.Errorf("parent at %d: %s", res, p)
		}
	}
	if Cell(0).Contains(c) || c.Contains(c.Parent(8)) || !c.Contains(c) {
		t.Error("contains")
	}
}

var pentagonBases = []int{4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117}

func drawCell(t *rapid.T) Cell {
	base := rapid.IntRange(0, baseCells-1).Draw(t, "base")
	if rapid.Bool().Draw(t, "around a pentagon") {
		base = pentagonBases[base%len(pentagonBases)]
	}
	c := newCell(base, rapid.IntRange(0, MaxResolution).Draw(t, "resolution"))
	for r := 1; r <= c.Resolution(); r++ {
		c.setDigit(r, rapid.IntRange(0, 6).Draw(t, "digit"))
	}
	if !c.Valid() {
		t.Skip("deleted")
	}
	return c
}

// TestCellLaws are what holds for every cell, h3-js at hand or not.
func TestCellLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCell(t)
		v := c.Center()
		if n := (Vector{}).Chord2(v).Sqrt(); n < One-4 || n > One+4 {
			t.Fatalf("%s: length %d", c, n)
		}
		if !v.isUnit() {
			t.Fatalf("%s: not a unit vector", c)
		}
		if got := CellAt(v, c.Resolution()); got != c {
			t.Fatalf("%s: its centre is in %s", c, got)
		}
		if back, err := ParseCell(c.String()); err != nil || back != c {
			t.Fatalf("%s: parsed %s, %v", c, back, err)
		}
		for res := range c.Resolution() + 1 {
			p := c.Parent(res)
			if !p.Valid() || p.Resolution() != res || p.Parent(0) != c.Parent(0) || !p.Contains(c) {
				t.Fatalf("%s: parent %s", c, p)
			}
			// A centre is never further from its ancestor's centre than 0.7 times that one's step.
			if far, step := v.Distance(p.Center()), 2_500_000_000/math.Pow(7, float64(res)/2); float64(far) > 0.75*step {
				t.Fatalf("%s: %d mm from %s", c, far, p)
			}
		}
		// Every invalid digit is found.
		bad := c
		bad.setDigit(rapid.IntRange(1, MaxResolution).Draw(t, "at"), noDigit)
		if bad != c && bad.Valid() {
			t.Fatalf("%s is valid", bad)
		}
	})
}

// TestCellAtIsNearest: the cell of a point is the one with the nearest centre, to the few per mille that
// projection bends; this says nothing about faces that meet, where the golden points are.
func TestCellAtIsNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lat, lng := rapid.Float64Range(-90, 90).Draw(t, "lat"), rapid.Float64Range(-180, 180).Draw(t, "lng")
		res := rapid.IntRange(0, MaxResolution).Draw(t, "resolution")
		v := vector(lat, lng)
		c := CellAt(v, res)
		if !c.Valid() || c.Resolution() != res {
			t.Fatalf("%s at resolution %d", c, res)
		}
		if far, step := v.Distance(c.Center()), 2_500_000_000/math.Pow(7, float64(res)/2); float64(far) > 0.75*step {
			t.Fatalf("%d mm from the centre of %s", far, c)
		}
	})
	for _, v := range []Vector{{}, {One / 2, 0, 0}, {One, One, 0}, {2 * One, 0, 0}, {-1 << 63, 0, 0}, {1<<63 - 1, 1<<63 - 1, 1<<63 - 1}, {One + One>>18}} {
		if c := CellAt(v, 5); c != 0 {
			t.Errorf("%v is in %s", v, c)
		}
	}
	for _, res := range []int{-1, 16} {
		if c := CellAt(Vector{One, 0, 0}, res); c != 0 {
			t.Errorf("resolution %d: %s", res, c)
		}
	}
}

// TestIcosahedron: the corners form a regular icosahedron, numbered as the faces say, counter-clockwise.
func TestIcosahedron(t *testing.T) {
	const dot5 = 515602171404449357 // 1/√5 in 2⁻⁶⁰
	for n, v := range vertices {
		if d := dot(v, v, 60); max(d-One, One-d) > 4 {
			t.Errorf("corner %d: length² %d", n, d)
		}
		if bits.OnesCount16(adjacent[n]) != 5 {
			t.Errorf("corner %d has %d neighbours", n, bits.OnesCount16(adjacent[n]))
		}
		for m := range vertices {
			if adjacent[n]&(1<<m) == 0 {
				continue
			}
			if d := dot(v, vertices[m], 60); max(d-dot5, dot5-d) > 4 {
				t.Errorf("corners %d and %d: product %d", n, m, d)
			}
		}
	}
	for f, c := range faces {
		var m [3][3]float64
		for i := range m {
			for j := range m {
				m[i][j] = float64(vertices[c[i]][j])
			}
		}
		det := m[0][0]*(m[1][1]*m[2][2]-m[1][2]*m[2][1]) - m[0][1]*(m[1][0]*m[2][2]-m[1][2]*m[2][0]) + m[0][2]*(m[1][0]*m[2][1]-m[1][1]*m[2][0])
		if det <= 0 {
			t.Errorf("face %d is clockwise", f)
		}
	}
	if len(baseAt) != baseCells {
		t.Errorf("%d base cells have a place of their own", len(baseAt))
	}
	for base := range baseCells {
		n := slices.Index(pentagonBases, base)
		if isPentagonBase(base) != (n >= 0) {
			t.Errorf("base cell %d", base)
		}
		if n >= 0 && newCell(base, 0).Center().Distance(vertices[n]) != 0 {
			t.Errorf("base cell %d is not at corner %d", base, n)
		}
	}
}

func TestDistance(t *testing.T) {
	equator, quarter, pole := Vector{One, 0, 0}, Vector{0, One, 0}, Vector{0, 0, One}
	for _, c := range []struct {
		v, w Vector
		mm   uint64
	}{
		{equator, equator, 0},
		{equator, quarter, 9_009_964_505}, // √2·radius
		{pole, quarter, 9_009_964_505},
		{pole, Vector{0, 0, -One}, 2 * EarthRadius * 1000},
		{equator, Vector{-One, 0, 0}, 2 * EarthRadius * 1000},
		{equator, Vector{One, 180963780, 0}, 1}, // 2⁶⁰/6,371,007,000, rounded up
		{equator, Vector{One, 180963779, 0}, 0},
	} {
		if got := c.v.Distance(c.w); got != c.mm || c.w.Distance(c.v) != got {
			t.Errorf("%v to %v: %d mm, want %d", c.v, c.w, got, c.mm)
		}
	}
}

func FuzzParseCell(f *testing.F) {
	for _, s := range []string{"8001fffffffffff", "8928308280fffff", "8009fffffffffff", "820807fffffffff", "0", "ffffffffffffffff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCell(s)
		if err != nil {
			return
		}
		if c.String() != s || c.Center() == (Vector{}) || CellAt(c.Center(), c.Resolution()) != c {
			t.Fatalf("%q is %s", s, c)
		}
	})
}

func BenchmarkCenter(b *testing.B) {
	c, _ := ParseCell("8f2830828052d25")
	for b.Loop() {
		c.Center()
	}
}

func BenchmarkCellAt(b *testing.B) {
	v := vector(37.775938728915946, -122.41795063018799)
	for b.Loop() {
		CellAt(v, 15)
	}
}
