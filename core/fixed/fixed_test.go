package fixed

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

const precision = 256

func real(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

// exact is x·2^−behind.
func exact(x int64, behind int) *big.Float {
	f := new(big.Float).SetPrec(precision).SetInt64(x)
	return f.SetMantExp(f, -behind)
}

func constant(s string) *big.Float {
	f, _, err := big.ParseFloat(s, 10, precision, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return f
}

var (
	bigPi  = constant("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
	bigLn2 = constant("0.693147180559945309417232121458176568075500134360255254120680009493393621969694715605863326996418687")
)

// bigExp is e^x by halving x until Taylor's series is short, then squaring.
func bigExp(x *big.Float) *big.Float {
	const halvings = 20
	small := new(big.Float).SetMantExp(x, -halvings)
	sum, term := real(1), real(1)
	for n := 1; n < 40; n++ {
		term.Mul(term, small)
		term.Quo(term, real(float64(n)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// bigLog is ln x by Newton's method from the double.
func bigLog(x *big.Float) *big.Float {
	start, _ := x.Float64()
	y := real(math.Log(start))
	for range 4 {
		e := bigExp(y)
		step := new(big.Float).Sub(x, e)
		y.Add(y, step.Quo(step, e))
	}
	return y
}

// bigSincos is by Taylor's series, of an angle from −½ to ½ of a turn.
func bigSincos(t Turn) (sin, cos *big.Float) {
	x := exact(int64(t), 63)
	x.Mul(x, bigPi)
	sin, cos = real(0), real(0)
	term := real(1)
	for n := 0; n < 80; n++ {
		switch n % 4 {
		case 0:
			cos.Add(cos, term)
		case 1:
			sin.Add(sin, term)
		case 2:
			cos.Sub(cos, term)
		case 3:
			sin.Sub(sin, term)
		}
		term.Mul(term, x)
		term.Quo(term, real(float64(n+1)))
	}
	return sin, cos
}

// off is |got − want| as a double.
func off(got, want *big.Float) float64 {
	d, _ := new(big.Float).Sub(got, want).Float64()
	return math.Abs(d)
}

// wide draws an int64 of any magnitude.
func wide(r *rand.Rand) int64 {
	x := int64(r.Uint64() >> (1 + r.IntN(63)))
	if r.IntN(2) == 0 {
		return -x
	}
	return x
}

// edges are the numbers at which something could go wrong.
var edges = []int64{math.MinInt64, math.MinInt64 + 1, -1 << 62, -1 << 30, -1<<30 - 1, -2, -1, 0, 1, 2, 1 << 29, 1<<30 - 1, 1 << 30, 1<<30 + 1, 1 << 31, 1 << 33, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}

// pairs calls f with every pair of edges and with random ones.
func pairs(f func(x, y int64)) {
	for _, x := range edges {
		for _, y := range edges {
			f(x, y)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		f(wide(r), wide(r))
	}
}

// nearest is ⌊|n|/|d| + ½⌋ with the sign of n/d, within int64.
func nearest(n, d *big.Int) Num {
	two := big.NewInt(2)
	q := new(big.Int).Abs(n)
	e := new(big.Int).Abs(d)
	q.Mul(q, two).Add(q, e).Quo(q, e.Mul(e, two))
	if n.Sign()*d.Sign() < 0 {
		q.Neg(q)
	}
	switch {
	case q.Cmp(big.NewInt(math.MaxInt64)) > 0:
		return Most
	case q.Cmp(big.NewInt(math.MinInt64)) < 0:
		return Least
	}
	return Num(q.Int64())
}

func TestMulDiv(t *testing.T) {
	one := big.NewInt(int64(One))
	pairs(func(x, y int64) {
		a, b := big.NewInt(x), big.NewInt(y)
		if got, want := Num(x).Mul(Num(y)), nearest(new(big.Int).Mul(a, b), one); got != want {
			t.Fatalf("%d·%d = %d, want %d", x, y, got, want)
		}
		var want Num
		switch {
		case y != 0:
			want = nearest(a.Mul(a, one), b)
		case x > 0:
			want = Most
		case x < 0:
			want = Least
		}
		if got := Num(x).Div(Num(y)); got != want {
			t.Fatalf("%d/%d = %d, want %d", x, y, got, want)
		}
	})
}

func TestSqrt(t *testing.T) {
	pairs(func(x, _ int64) {
		want := Num(0)
		if x > 0 {
			n := big.NewInt(x)
			want = Num(n.Sqrt(n.Lsh(n, point)).Int64())
		}
		if got := Num(x).Sqrt(); got != want {
			t.Fatalf("√%d = %d, want %d", x, got, want)
		}
	})
	for n := range Num(1000) {
		if got := (n * n * One).Sqrt(); got != n*One {
			t.Fatalf("√%d² is %d units", n, got)
		}
	}
}

// turns calls f with the multiples of 1/16 turn, their neighbours, and random angles.
func turns(n int, f func(Turn)) {
	for i := range Turn(16) {
		for d := range Turn(5) {
			f(i<<60 + d - 2)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range n {
		f(Turn(r.Uint64()))
		f(Turn(wide(r)))
	}
}

func TestSin(t *testing.T) {
	var worst, worstFine float64
	turns(5_000, func(a Turn) {
		wantSin, wantCos := bigSincos(a)
		s, c := a.sincos()
		worstFine = max(worstFine, off(exact(s, fine), wantSin), off(exact(c, fine), wantCos))
		worst = max(worst, off(exact(int64(Sin(a)), point), wantSin), off(exact(int64(Cos(a)), point), wantCos))
	})
	t.Logf("inside within 2^%.2f, rounded within %.6f units", math.Log2(worstFine), worst*float64(One))
	if worstFine > 0x1p-61 || worst > 0x1p-31+0x1p-61 {
		t.Errorf("off by %g and %g", worstFine, worst)
	}
	for i, want := range []Num{0, One, 0, -One} {
		a := Turn(i) * quarter
		if Sin(a) != want || Cos(a-quarter) != want {
			t.Errorf("%d quarter turns: sine %d, cosine of a quarter less %d, want %d", i, Sin(a), Cos(a-quarter), want)
		}
	}
}

func TestAtan2(t *testing.T) {
	worst := 0.0
	check := func(y, x int64) {
		if x == 0 && y == 0 {
			if Atan2(y, x) != 0 {
				t.Fatal("the origin has an angle")
			}
			return
		}
		// sin(got − true) is the cross product over the length.
		sin, cos := bigSincos(Atan2(y, x))
		bx, by := exact(x, 0), exact(y, 0)
		dot := new(big.Float).Add(new(big.Float).Mul(bx, cos), new(big.Float).Mul(by, sin))
		if dot.Sign() <= 0 {
			t.Fatalf("atan2(%d, %d) points the other way", y, x)
		}
		cross := new(big.Float).Sub(new(big.Float).Mul(bx, sin), new(big.Float).Mul(by, cos))
		length := new(big.Float).Add(new(big.Float).Mul(bx, bx), new(big.Float).Mul(by, by))
		d, _ := cross.Quo(cross, length.Sqrt(length)).Float64()
		worst = max(worst, math.Abs(d)/(2*math.Pi))
	}
	for _, x := range edges {
		for _, y := range edges {
			check(y, x)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 5_000 {
		check(wide(r), wide(r))
		check(int64(r.Uint64()), int64(r.Uint64()))
	}
	t.Logf("within 2^%.2f turns", math.Log2(worst))
	if worst > 0x1p-62 {
		t.Errorf("off by %g turns", worst)
	}
	for i, p := range [][2]int64{{1, 0}, {7, 7}, {0, 3}, {-7, 7}, {-1, 0}, {-9, -9}, {0, -2}, {1 << 62, -1 << 62}} {
		if got := Atan2(p[1], p[0]); got != Turn(i)*eighth {
			t.Errorf("%v is at %#x, want %d eighths", p, got, i)
		}
	}
}

// within reports how far a result is from the truth in units, less its relative share.
func within(t *testing.T, name string, x, got Num, want *big.Float, relative, bound float64) float64 {
	t.Helper()
	w, _ := want.Float64()
	d := (off(exact(int64(got), point), want) - math.Abs(w)*relative) * float64(One)
	if d > bound {
		t.Fatalf("%s of %d/2³⁰ is %d/2³⁰, off by %.3f units", name, x, got, d)
	}
	return d
}

func TestExp(t *testing.T) {
	worst := 0.0
	check := func(x Num) {
		want := bigExp(exact(int64(x), point))
		if want.Cmp(exact(int64(Most), point)) > 0 {
			if got := x.Exp(); got != Most {
				t.Fatalf("e^%d/2³⁰ is %d, want Most", x, got)
			}
			return
		}
		worst = max(worst, within(t, "exp", x, x.Exp(), want, 0x1p-56, 0.5))
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 5_000 {
		check(Num(r.Int64N(int64(46*One))) - 22*One - 12)
		check(Num(wide(r)) >> 29)
	}
	for k := -32; k <= 34; k++ { // where the power of two changes
		m, _ := new(big.Float).Mul(bigLn2, real(float64(k)*0x1p30)).Int64()
		for d := range int64(7) {
			check(Num(m + d - 3))
		}
	}
	for _, x := range []Num{Least, -1 << 60, -23 * One, expLeast - 1} {
		if x.Exp() != 0 {
			t.Errorf("e^%d is %d", x, x.Exp())
		}
	}
	for _, x := range []Num{expMost, expMost + 1, 1 << 60, Most} {
		if x.Exp() != Most {
			t.Errorf("e^%d is %d", x, x.Exp())
		}
	}
	if Num(0).Exp() != One {
		t.Error("e^0 is not 1")
	}
	t.Logf("within %.6f units", worst)
}

func TestLog(t *testing.T) {
	worst := 0.0
	check := func(x int64) {
		if x <= 0 {
			if Num(x).Log() != Least {
				t.Fatalf("ln %d is %d", x, Num(x).Log())
			}
			return
		}
		worst = max(worst, within(t, "log", Num(x), Num(x).Log(), bigLog(exact(x, point)), 0, 0.5+0x1p-26))
	}
	for _, x := range edges {
		check(x)
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 3_000 {
		check(wide(r))
		check(int64(One) + wide(r)>>34)
	}
	for i := range 62 { // around √2·2^i, where the exponent changes
		m := int64(float64(uint64(1)<<i) * math.Sqrt2)
		check(m - 1)
		check(m + 1)
	}
	if One.Log() != 0 {
		t.Error("ln 1 is not 0")
	}
	t.Logf("within %.6f units", worst)
}

func FuzzNum(f *testing.F) {
	for i, x := range edges {
		f.Add(x, edges[len(edges)-1-i])
	}
	f.Fuzz(func(t *testing.T, x, y int64) {
		a, b := Num(x), Num(y)
		if a.Mul(b) != b.Mul(a) {
			t.Errorf("%d·%d does not commute", x, y)
		}
		if root := a.Sqrt(); root < 0 || a >= One && root > a {
			t.Errorf("√%d is %d", x, root)
		}
		if a < Most && a.Exp() > (a+1).Exp() {
			t.Errorf("exp falls at %d", x)
		}
		if a < Most && a.Log() > (a+1).Log() {
			t.Errorf("log falls at %d", x)
		}
		if s, c := Sin(Turn(x)), Cos(Turn(x)); s > One || s < -One || c > One || c < -One {
			t.Errorf("sine %d, cosine %d", s, c)
		}
		_ = a.Div(b)
		_ = Atan2(x, y)
	})
}

func BenchmarkSin(b *testing.B) {
	var t Turn
	for b.Loop() {
		t += 0x123456789abcdef + Turn(Sin(t))
	}
}

func BenchmarkExp(b *testing.B) {
	x := -One
	for b.Loop() {
		x = x.Exp() - 2*One
	}
}

func BenchmarkMul(b *testing.B) {
	x := One + 12345
	for b.Loop() {
		x = x.Mul(x) - One + 77
	}
}
