package fixed

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// splitmix is the generator of G. Steele, D. Lea and C. Flood: the same numbers in any language.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// number draws a number of any magnitude.
func (s *splitmix) number() int64 {
	x := int64(s.next())
	return x >> (s.next() & 63)
}

// functions are all that the package computes, each from two drawn numbers.
var functions = []struct {
	name string
	line func(x, y int64) string
}{
	{"mul", func(x, y int64) string { return fmt.Sprint(x, y, int64(Num(x).Mul(Num(y)))) }},
	{"div", func(x, y int64) string { return fmt.Sprint(x, y, int64(Num(x).Div(Num(y)))) }},
	{"sqrt", func(x, _ int64) string { return fmt.Sprint(x, int64(Num(x).Sqrt())) }},
	{"exp", func(x, _ int64) string { return fmt.Sprint(x>>28, int64(Num(x>>28).Exp())) }},
	{"log", func(x, _ int64) string { return fmt.Sprint(x, int64(Num(x).Log())) }},
	{"sin", func(x, _ int64) string { return fmt.Sprint(uint64(x), int64(Sin(Turn(x)))) }},
	{"cos", func(x, _ int64) string { return fmt.Sprint(uint64(x), int64(Cos(Turn(x)))) }},
	{"atan2", func(y, x int64) string { return fmt.Sprint(y, x, uint64(Atan2(y, x))) }},
	{"sun", func(x, y int64) string {
		unix := int64(uint64(x) % (131 * 31_556_952)) // 1970 to 2100
		s := SunAt(unix)
		place := types.Vector{types.One >> 1, -types.One >> 1, int64(uint64(y) >> 4)}
		return fmt.Sprint(unix, place[2], s.Direction[0], s.Direction[1], s.Direction[2], int64(s.Distance), int64(s.CosZenith(place)))
	}},
}

const goldenHead = `# What core/fixed computes, in units of 2⁻³⁰ (numbers), 2⁻⁶⁴ turns (angles) and 2⁻⁶⁰ (vectors).
# mul, div: x y result. sqrt, exp, log: x result. sin, cos: angle result. atan2: y x angle.
# sun: Unix second, z of a vector (2⁵⁹, −2⁵⁹, z), then the sun's direction x y z, its distance, and the product with the vector.
# "sha256 f" is of the lines of 10,000 cases of f without its name, those shown first, each ended by a line feed. Case by case f
# takes two numbers from splitmix64, which starts at 0: a draw, shifted right with its sign by the low six bits of the next one.
`

// TestGolden compares with bytes that every machine computes, and that no change of the code may change.
func TestGolden(t *testing.T) {
	var got bytes.Buffer
	got.WriteString(goldenHead)
	for _, f := range functions {
		var draw splitmix
		h := sha256.New()
		for i := range 10_000 {
			x := draw.number()
			line := f.line(x, draw.number())
			if i < 20 {
				fmt.Fprintf(&got, "%s %s\n", f.name, line)
			}
			fmt.Fprintln(h, line)
		}
		fmt.Fprintf(&got, "sha256 %s %x\n", f.name, h.Sum(nil))
	}
	const file = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range bytes.Split(got.Bytes(), []byte("\n")) {
		if w := bytes.Split(want, []byte("\n")); i >= len(w) || !bytes.Equal(w[i], line) {
			t.Fatalf("%s, line %d: it says %q, not what was computed: %q", file, i+1, w[min(i, len(w)-1)], line)
		}
	}
	if len(want) != got.Len() {
		t.Errorf("%s has %d bytes, want %d", file, len(want), got.Len())
	}
}
