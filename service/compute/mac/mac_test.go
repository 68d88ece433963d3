package mac

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"math/bits"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// naive is the product by its definition.
func naive(a, b []int8, n int) []int32 {
	c := make([]int32, n*n)
	for i := range n {
		for k := range n {
			for j := range n {
				c[i*n+j] += int32(a[i*n+k]) * int32(b[k*n+j])
			}
		}
	}
	return c
}

// TestMultiply holds the product against its definition, with the values at which halves of a word could run
// into each other.
func TestMultiply(t *testing.T) {
	value := rapid.OneOf(rapid.Int8(), rapid.SampledFrom([]int8{-128, -127, -1, 0, 1, 127}))
	rapid.Check(t, func(t *rapid.T) {
		n := 8 * rapid.IntRange(1, 5).Draw(t, "order")
		draw := rapid.SliceOfN(value, n*n, n*n)
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		c := make([]int32, n*n)
		Multiply(c, a, b, n)
		if diff := cmp.Diff(naive(a, b, n), c); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestMultiplyExtremes: the largest sums that there can be, of the largest order, in both halves of a word, fit.
func TestMultiplyExtremes(t *testing.T) {
	const n = MaxOrder
	for _, x := range [][3]int8{{-128, -128, 127}, {127, -128, 127}, {-128, 127, -128}} {
		panel := make([]int64, 4*n)
		a := make([]int8, n)
		for k := range n {
			a[k] = x[0]
			for w := range 4 {
				panel[4*k+w] = int64(x[1]) + int64(x[2])<<32
			}
		}
		c0, c1 := make([]int32, 8), make([]int32, 8)
		twoRows(c0, c1, a, a, panel)
		for j, got := range c0 {
			if want := int32(x[0]) * int32(x[1+j%2]) * n; got != want || c1[j] != want {
				t.Errorf("%d: %d and %d, want %d", x, got, c1[j], want)
			}
		}
	}
}

// chacha is chacha8rand as C2SP defines it, written from the definition: it shows that the library's stream is
// that one.
func chacha(key [32]byte, n int) (out []byte) {
	for len(out) < n {
		var buf []byte
		for group := 0; group < 4; group++ { // four blocks at a time, interleaved word by word
			var all [4][16]uint32
			for b := range all {
				s := [16]uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}
				for i := range 8 {
					s[4+i] = binary.LittleEndian.Uint32(key[4*i:])
				}
				s[12] = uint32(4*group + b)
				x := s
				quarter := func(a, b, c, d int) {
					x[a] += x[b]
					x[d] = bits.RotateLeft32(x[d]^x[a], 16)
					x[c] += x[d]
					x[b] = bits.RotateLeft32(x[b]^x[c], 12)
					x[a] += x[b]
					x[d] = bits.RotateLeft32(x[d]^x[a], 8)
					x[c] += x[d]
					x[b] = bits.RotateLeft32(x[b]^x[c], 7)
				}
				for range 4 {
					for i := range 4 {
						quarter(i, 4+i, 8+i, 12+i)
					}
					quarter(0, 5, 10, 15)
					quarter(1, 6, 11, 12)
					quarter(2, 7, 8, 13)
					quarter(3, 4, 9, 14)
				}
				for i := 4; i < 12; i++ {
					x[i] += s[i]
				}
				all[b] = x
			}
			for w := range 16 {
				for b := range all {
					buf = binary.LittleEndian.AppendUint32(buf, all[b][w])
				}
			}
		}
		copy(key[:], buf[len(buf)-32:]) // the last 32 of 1,024 bytes are the next key
		out = append(out, buf[:len(buf)-32]...)
	}
	return out[:n]
}

// TestRow: a row is what SPEC.md says it is, at every order, and each row, factor and seed has its own.
func TestRow(t *testing.T) {
	seed := types.Sum([]byte("seed"))
	for _, n := range []int{MinOrder, 1024, 2048, MaxOrder} {
		row := make([]int8, n)
		Row(row, seed, B, n-1)
		want := chacha(types.Sum([]byte("cairn/mac"), seed[:], []byte("B"), binary.BigEndian.AppendUint32(nil, uint32(n-1))), n)
		for j := range row {
			if row[j] != int8(want[j]) {
				t.Fatalf("order %d: byte %d is %d, want %d", n, j, row[j], int8(want[j]))
			}
		}
	}
	first := func(seed types.Hash, m Matrix, i int) [16]int8 {
		var r [16]int8
		Row(r[:], seed, m, i)
		return r
	}
	seen := map[[16]int8]bool{}
	for _, r := range [][16]int8{first(seed, A, 0), first(seed, A, 1), first(seed, B, 0), first(types.Sum(seed[:]), A, 0)} {
		if seen[r] {
			t.Error("two rows are the same")
		}
		seen[r] = true
	}
}

// TestChecker: right rows pass, and rows with one entry wrong by anything do not, nor does another row.
func TestChecker(t *testing.T) {
	const n = MinOrder
	seed := types.Sum([]byte("round"))
	p := Compute(seed, n)
	tree := p.Tree()
	c := NewChecker(seed, n, types.Sum([]byte("secret")))
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, n-1).Draw(t, "row")
		row := p.Row(i)
		if !c.Row(i, row) || !Shown(tree.Root(), n, row, tree.Proof(i)) {
			t.Fatal("a right row is refused")
		}
		if c.Row((i+1)%n, row) {
			t.Fatal("a row passes as the next one")
		}
		at := rapid.IntRange(0, n-1).Draw(t, "entry")
		wrong := p.C[i*n+at] + rapid.OneOf(rapid.SampledFrom([]int32{1, -1, 1 << 30}), rapid.Int32Range(1, 1<<30)).Draw(t, "by")
		binary.LittleEndian.PutUint32(row[4*at:], uint32(wrong))
		if c.Row(i, row) {
			t.Fatal("a wrong row passes")
		}
		if Shown(tree.Root(), n, row, tree.Proof(i)) {
			t.Fatal("a row passes that was not committed to")
		}
	})
	for _, i := range []int{0, 300} {
		row := p.Row(i)
		if !Recompute(seed, n, i, row) {
			t.Errorf("row %d: recomputed, it differs", i)
		}
		row[40] ^= 1
		if Recompute(seed, n, i, row) {
			t.Errorf("row %d: a wrong one passes", i)
		}
	}
	if c.Row(-1, p.Row(0)) || c.Row(n, p.Row(0)) || c.Row(0, nil) || Recompute(seed, n, n, p.Row(0)) || Recompute(seed, 500, 0, make([]byte, 2000)) {
		t.Error("rows and orders that there are not")
	}
}

// TestPrime: the arithmetic of checks, at its edges.
func TestPrime(t *testing.T) {
	if signed(-1) != prime-1 || signed(-prime) != 0 || signed(prime) != 0 || signed(5-prime) != 5 {
		t.Error("signed")
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.OneOf(rapid.Uint64Max(prime-1), rapid.SampledFrom([]uint64{0, 1, prime - 1, 1 << 31})).Draw(t, "x")
		y := rapid.OneOf(rapid.Uint64Max(prime-1), rapid.SampledFrom([]uint64{0, 1, prime - 1, 1 << 60})).Draw(t, "y")
		hi, lo := bits.Mul64(x, y)
		_, want := bits.Div64(hi, lo, prime)
		if got := mul(x, y); got != want {
			t.Fatalf("%d·%d is %d, want %d", x, y, got, want)
		}
	})
}

// golden is what another implementation can be held against.
type golden struct {
	Seed     types.Hash
	RowA     []int8     // the first 16 of row 3
	Root     types.Hash // of the product of order 512
	Entry    int32      // of the same, at row 7, column 9
	Mixed    types.Hash
	MixAgain types.Hash // Mix of Mixed
}

// TestGolden holds rounds against committed ones. They change only with the protocol.
func TestGolden(t *testing.T) {
	g := &golden{Seed: types.Sum([]byte("cairn")), RowA: make([]int8, 16)}
	Row(g.RowA, g.Seed, A, 3)
	p := Compute(g.Seed, MinOrder)
	g.Root, g.Entry = p.Tree().Root(), p.C[7*MinOrder+9]
	g.Mixed = Mix(g.Seed)
	g.MixAgain = Mix(g.Mixed)
	const file = "testdata/golden.json"
	if *update {
		raw, err := json.MarshalIndent(g, "", "\t")
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
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
