package energy

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// vectorAt is the direction of a latitude and longitude in degrees.
func vectorAt(lat, lon float64) types.Vector {
	s, c := math.Sincos(lat * math.Pi / 180)
	sl, cl := math.Sincos(lon * math.Pi / 180)
	return types.Vector{int64(math.Round(c * cl * types.One)), int64(math.Round(c * sl * types.One)), int64(math.Round(s * types.One))}
}

// real is a fixed-point number as a double.
func real(x fixed.Num) float64 { return float64(x) / float64(fixed.One) }

// skyInDoubles is the formulas of the sun and the sky once more, in doubles and degrees.
func skyInDoubles(lat, lon, alt float64, unix int64) (c, b float64) {
	const degree = math.Pi / 180
	s := uint64(unix - 946728000)
	angle := func(start, rate uint64) float64 { return float64(start+rate*s) * (2 * math.Pi / 0x1p64) }
	g := angle(0xfe3dfc733bf02982, 0x881880a4bf)
	λ := angle(0xc7702f54e0d32beb, 0x881a2adfbc) + 1.915*degree*math.Sin(g) + 0.020*degree*math.Sin(2*g)
	θ := angle(0xc7704c2651d6eae6, 0xc2b65f31042d) + lon*degree
	sinφ, cosφ := math.Sincos(lat * degree)
	sinε, cosε := math.Sincos(23.436 * degree)
	c = sinφ*sinε*math.Sin(λ) + cosφ*(math.Cos(λ)*math.Cos(θ)+cosε*math.Sin(λ)*math.Sin(θ))
	if c <= 0 {
		return c, 0
	}
	i0 := 1361 / math.Pow(1.00014-0.01671*math.Cos(g)-0.00014*math.Cos(2*g), 2)
	am := (1.002432*c*c + 0.148386*c + 0.0096467) / (c*c*c + 0.149864*c*c + 0.0102963*c + 0.000303978)
	f1, f2 := math.Exp(-alt/8000), math.Exp(-alt/1250)
	a := am * f1
	e := (0.868 + 5.09e-5*alt) * math.Exp(-(0.0387+3.92e-5*alt)*a*(f1+f2))
	ghi := i0 * e * c
	dni := i0 * min((0.664+0.163/f1)*math.Exp(-0.09*a), e*(1-0.0729329/(0.1+0.882/f1)))
	return c, dni + max(ghi-dni*c, ghi/2)
}

func TestBoundChecks(t *testing.T) {
	for _, test := range []struct {
		lat, lon float64
		alt      int64
		unix     int64
		c, b     float64
	}{
		{34.10, -117.40, 400, 1782071100, 0.98242, 1522.0},
		{52.50, 13.40, 0, 1797850800, 0.2429, 917.3},
	} {
		p := PlaceAt(vectorAt(test.lat, test.lon), test.alt)
		c, b := p.Bound(test.unix)
		if math.Abs(real(c)-test.c) > 5e-5 || math.Abs(real(b)-test.b) > 0.05 {
			t.Errorf("%v: cosine %.5f, bound %.1f", test, real(c), real(b))
		}
	}
}

func year(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix() }

func TestBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var worstC, worstB, most float64
	days, flips := 0, 0
	check := func(lat, lon float64, alt, unix int64) {
		p := PlaceAt(vectorAt(lat, lon), alt)
		c, b := p.Bound(unix)
		wantC, wantB := skyInDoubles(lat, lon, float64(alt), unix)
		worstC = max(worstC, math.Abs(real(c)-wantC))
		most = max(most, real(b))
		// The bound is not continuous at the horizon, where the last bit of the cosine decides.
		if (c > 0) != (wantC > 0) {
			flips++
			return
		}
		if b > 0 {
			days++
		}
		worstB = max(worstB, math.Abs(real(b)-wantB))
	}
	for range 200_000 {
		lat, lon := math.Asin(2*r.Float64()-1)*180/math.Pi, 360*r.Float64()-180
		unix := year(1970) + r.Int64N(year(2101)-year(1970))
		check(lat, lon, 100*r.Int64N(MaxAltitude+1), unix)
	}
	for range 2_000 { // near the horizon: halving finds a second at which the sun stands on it
		lat, lon := 130*r.Float64()-65, 360*r.Float64()-180
		up := func(unix int64) bool { c, _ := skyInDoubles(lat, lon, 0, unix); return c > 0 }
		lo := year(2020) + r.Int64N(year(2040)-year(2020))
		hi := lo + 43_200
		if up(lo) == up(hi) {
			continue
		}
		for hi-lo > 1 {
			if mid := (lo + hi) / 2; up(mid) == up(lo) {
				lo = mid
			} else {
				hi = mid
			}
		}
		for d := range int64(4) {
			check(lat, lon, 100*r.Int64N(MaxAltitude+1), lo-1+d)
		}
	}
	for _, lat := range []float64{90, -90, 66.56, 0} {
		for y := 1970; y <= 2100; y++ {
			for _, d := range []int64{-1, 0, 59*86400 - 1, 59 * 86400, 60*86400 - 1, 172 * 86400} {
				check(lat, 0, MaxAltitude*100, year(y)+d)
			}
		}
	}
	t.Logf("cosine within %.2g, bound within %.2g W/m² of %d by day; at most %.1f W/m²; %d on the other side of the horizon", worstC, worstB, days, most, flips)
	if worstC > 1e-8 || worstB > 0.01 || most > 2500 || flips > 2 || days < 50_000 {
		t.Error("too far off")
	}
}

// TestMost: the largest of six bounds, whatever the Sky was asked before.
func TestMost(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var sky Sky
	places := make([]Place, 5)
	for i := range places {
		places[i] = PlaceAt(vectorAt(140*r.Float64()-70, 360*r.Float64()-180), 100*r.Int64N(30))
	}
	k, nights := uint64(0), 0
	p := &places[0]
	for i := range 20_000 {
		switch r.IntN(10) {
		case 0:
			p = &places[r.IntN(len(places))]
		case 1:
			k = r.Uint64N(lastInterval + 1)
		case 2:
			k = r.Uint64N(40)
		case 3:
			k += r.Uint64N(60)
		default:
			k++
		}
		if i == 100 { // the zero Place against the zero Sky
			sky, p, k = Sky{}, new(Place), 0
		}
		k = min(k, lastInterval)
		want := fixed.Num(0)
		for _, d := range []int64{-1800, -900, 0, 900, 1800, 2700} {
			_, b := p.Bound(int64(k)*lot.Interval + d)
			want = max(want, b)
		}
		if want == 0 {
			nights++
		}
		if got := sky.Most(p, k); got != want || p.Most(k) != want {
			t.Fatalf("interval %d: %d, alone %d, want %d", k, got, p.Most(k), want)
		}
	}
	if nights < 5_000 || nights > 15_000 {
		t.Errorf("%d of 20,000 intervals were night", nights)
	}
	date := PlaceAt(types.Vector{-types.One, 0, 0}, 0) // where it is noon when the year 2199 ends in Greenwich
	p = &date
	if sky.Most(p, lastInterval) < 1000*fixed.One {
		t.Error("the last interval has no sky")
	}
	for _, k := range []uint64{lastInterval + 1, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		if sky.Most(p, k) != 0 {
			t.Errorf("interval %d has a sky", k)
		}
	}
}

// TestNight: where the sun is not up within half an hour of an interval nothing is accepted, however large the claim.
func TestNight(t *testing.T) {
	p := PlaceAt(vectorAt(52.5, 13.4), 9000)
	midnight := uint64(time.Date(2026, 6, 21, 23, 0, 0, 0, time.UTC).Unix()) / lot.Interval
	noon := midnight - 48
	if got := Limit(1<<64-1, 1<<64-1, p.Most(midnight), 10_000); got != 0 {
		t.Errorf("by night: %d Wh", got)
	}
	if got := Limit(5000, 4000, p.Most(noon), 10_000); got != 1000 {
		t.Errorf("at noon: %d Wh", got)
	}
	pole := PlaceAt(vectorAt(-90, 0), 2800)
	if c, b := pole.Bound(year(2026) + 172*86400); c >= 0 || b != 0 {
		t.Errorf("at the south pole in June: %f, %f", real(c), real(b))
	}
	if c, b := pole.Bound(year(2026)); math.Abs(real(c)-math.Sin(23.03*math.Pi/180)) > 1e-3 || b < 900*fixed.One {
		t.Errorf("at the south pole in January: %f, %f", real(c), real(b))
	}
}

func TestPlace(t *testing.T) {
	v := vectorAt(52.5, 13.4)
	for _, same := range [][2]int64{{-1, 0}, {math.MinInt64, 0}, {9_001, 9_000}, {math.MaxInt64, 9_000}} {
		if PlaceAt(v, same[0]) != PlaceAt(v, same[1]) {
			t.Errorf("an altitude of %d m is not %d m", same[0], same[1])
		}
	}
	for _, none := range []types.Vector{{}, types.Cell(0).Center(), {1, 0, 0}, {types.One, types.One, 0}, {math.MinInt64, 0, 0}, {math.MaxInt64, math.MinInt64, math.MaxInt64}} {
		p := PlaceAt(none, 0)
		for k := range uint64(96) {
			if p.Most(k) != 0 {
				t.Fatalf("%v has a sky", none)
			}
		}
	}
	cell := types.CellAt(v, 3)
	p := PlaceAt(cell.Center(), 0)
	if c, _ := p.Bound(1797850800); math.Abs(real(c)-0.2429) > 0.02 {
		t.Errorf("in the middle of cell %s: %f", cell, real(c))
	}
}

func TestDay(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	check := func(lat, lon float64, unix int64) {
		p := PlaceAt(vectorAt(lat, lon), 0)
		n := (float64(unix) + lon*240) / 86400
		if math.Abs(n-math.Round(n)) < 1e-9 {
			return // doubles cannot tell which day it is
		}
		if got := p.Day(unix); got != int64(math.Floor(n)) {
			t.Fatalf("%f° east, %d: day %d, want %f", lon, unix, got, n)
		}
	}
	for range 100_000 {
		check(178*r.Float64()-89, 360*r.Float64()-180, r.Int64N(8e9)-1e9)
	}
	for _, test := range []struct {
		east       int64 // quarter turns
		unix, want int64
	}{
		{0, 0, 0}, {0, -1, -1}, {0, 86399, 0}, {0, 86400, 1}, {1, -21600, 0}, {1, -21601, -1}, {-1, 21599, -1}, {-1, 21600, 0},
		{0, math.MinInt64, -106751991167301}, {1, math.MaxInt64, 106751991167300}, {-1, math.MinInt64, -106751991167301},
	} {
		if p := PlaceAt(types.Vector{(1 - test.east*test.east) * types.One, test.east * types.One, 0}, 0); p.Day(test.unix) != test.want {
			t.Errorf("%v: day %d", test, p.Day(test.unix))
		}
	}
	if p := PlaceAt(types.Vector{0, 0, types.One}, 0); p.Day(86399) != 0 || p.Day(86400) != 1 {
		t.Error("the pole keeps Greenwich's days")
	}
}

func TestLimit(t *testing.T) {
	div := new(big.Int).Lsh(big.NewInt(4*1000*10_000), 30)
	want := func(pdc, pac uint64, most fixed.Num, env types.Bp) uint64 {
		if most <= 0 {
			return 0
		}
		n := new(big.Int).SetUint64(pdc)
		n.Mul(n, big.NewInt(int64(most))).Mul(n, big.NewInt(int64(min(env, 10_000))))
		n.Add(n, div).Sub(n, big.NewInt(1)).Quo(n, div).Add(n, new(big.Int).SetUint64(pdc/200))
		if ac := new(big.Int).SetUint64(pac / 4); n.Cmp(ac) > 0 {
			n = ac
		}
		return n.Uint64()
	}
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 100_000 {
		pdc, pac := r.Uint64()>>r.IntN(64), r.Uint64()>>r.IntN(64)
		most := fixed.Num(r.Int64N(2500 * int64(fixed.One)))
		if i%50 == 0 {
			most = 0
		}
		env := types.Bp(r.Uint32N(12_000))
		if got := Limit(pdc, pac, most, env); got != want(pdc, pac, most, env) {
			t.Fatalf("%d W, %d W, %d, %d bp: %d, want %d", pdc, pac, most, env, got, want(pdc, pac, most, env))
		}
	}
	for _, test := range []struct {
		pdc, pac uint64
		most     fixed.Num
		env      types.Bp
		want     uint64
	}{
		{5000, 1 << 40, 1000 * fixed.One, 10_000, 1250 + 25},
		{5000, 1 << 40, 1000*fixed.One + 1, 10_000, 1251 + 25},
		{5000, 4000, 1000 * fixed.One, 10_000, 1000},
		{5000, 1 << 40, 1000 * fixed.One, 5_000, 625 + 25},
		{5000, 1 << 40, 1000 * fixed.One, 20_000, 1250 + 25},
		{5000, 1 << 40, 1, 0, 25},
		{5000, 1 << 40, 0, 10_000, 0},
		{5000, 1 << 40, -1, 10_000, 0},
		{199, 1 << 40, 1, 1, 1},
		{1<<64 - 1, 1<<64 - 1, fixed.Most, 1<<32 - 1, 1<<62 - 1},
	} {
		if got := Limit(test.pdc, test.pac, test.most, test.env); got != test.want {
			t.Errorf("%v: %d Wh", test, got)
		}
	}
}

// TestPerformance: an envelope made of an interval's output allows that output, and not much more.
func TestPerformance(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 100_000 {
		pdc := 1 + r.Uint64N(MaxPower)
		most := fixed.One + fixed.Num(r.Int64N(2500*int64(fixed.One)))
		full := float64(pdc) * real(most) / 4000
		wh := r.Uint64N(uint64(full) + 1)
		env := Performance(wh, pdc, most)
		if want := 1e4 * float64(wh) / full; math.Abs(float64(env)-math.Ceil(want)) > 1 || float64(env) < want-1e-6 {
			t.Fatalf("%d Wh of %d W at %f: %d bp, want %f", wh, pdc, real(most), env, want)
		}
		if got := Limit(pdc, 1<<60, most, env); got < wh || env > 0 && float64(got) > float64(wh)+full/1e4+float64(pdc/200)+2 {
			t.Fatalf("%d bp allow %d Wh, made of %d", env, got, wh)
		}
	}
	for _, test := range []struct {
		wh, pdc uint64
		most    fixed.Num
		want    types.Bp
	}{
		{1250, 5000, 1000 * fixed.One, 10_000}, {0, 5000, 1000 * fixed.One, 0}, {1, 0, fixed.One, 0}, {1, 1, 0, 0}, {1, 1, -1, 0},
		{1<<64 - 1, 1, fixed.One, 1<<32 - 1},
	} {
		if got := Performance(test.wh, test.pdc, test.most); got != test.want {
			t.Errorf("%v: %d bp", test, got)
		}
	}
}

func FuzzSky(f *testing.F) {
	f.Add(int64(0), int64(0), int64(0), int64(0), int64(0), uint64(0), uint64(0), uint64(0), uint32(0))
	f.Add(int64(types.One), int64(0), int64(0), int64(400), int64(1782071100), uint64(1980079), uint64(5000), uint64(5000), uint32(10_000))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), int64(-1), int64(math.MinInt64), int64(math.MinInt64), uint64(1<<64-1), uint64(1<<64-1), uint64(1<<64-1), uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, x, y, z, alt, unix int64, k, pdc, pac uint64, env uint32) {
		p := PlaceAt(types.Vector{x, y, z}, alt)
		q := p
		if c, b := p.Bound(unix); b < 0 || b > 2500*fixed.One || (b > 0) != (c > 0) || c > fixed.One+1<<11 {
			t.Errorf("at %d: cosine %d, bound %d", unix, c, b)
		}
		most := p.Most(k)
		if most < 0 || most > 2500*fixed.One {
			t.Errorf("interval %d: %d", k, most)
		}
		if e := Limit(pdc, pac, most, types.Bp(env)); e > pac/4 || most == 0 && e != 0 {
			t.Errorf("%d Wh behind %d W", e, pac)
		}
		_ = Limit(pdc, pac, fixed.Num(x), types.Bp(env))
		_ = Performance(k, pdc, fixed.Num(y))
		if d := p.Day(unix); unix < math.MaxInt64-86400 && p.Day(unix+86400) != d+1 {
			t.Errorf("day %d at %d, and %d a day later", d, unix, p.Day(unix+86400))
		}
		if p != q {
			t.Error("the place has changed")
		}
	})
}

// BenchmarkSky is what the bound costs for one device-hour: four intervals of another device each time, in the
// same hour.
func BenchmarkSky(b *testing.B) {
	cells := make([]types.Cell, 256)
	r := rand.New(rand.NewPCG(11, 12))
	for i := range cells {
		cells[i] = types.CellAt(vectorAt(120*r.Float64()-60, 360*r.Float64()-180), 7)
	}
	for _, test := range []struct {
		name  string
		again bool
	}{{"shared", false}, {"alone", true}} {
		b.Run(test.name, func(b *testing.B) {
			var sky Sky
			sum, i := uint64(0), 0
			for b.Loop() {
				if test.again {
					sky = Sky{}
				}
				p := PlaceOf(cells[i%len(cells)], 4)
				i++
				for k := range uint64(4) {
					sum += Limit(5000, 4600, sky.Most(&p, 1_980_079+k), 8_000)
				}
			}
			if sum == 0 {
				b.Error("always night")
			}
			b.ReportMetric(1e9/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "device-hours/s")
		})
	}
}

// BenchmarkBound is one bound alone.
func BenchmarkBound(b *testing.B) {
	p := PlaceAt(vectorAt(34.10, -117.40), 400)
	unix := int64(1782071100)
	for b.Loop() {
		_, w := p.Bound(unix)
		unix += int64(w & 1)
	}
}
