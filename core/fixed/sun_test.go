package fixed

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

// vectorAt is the direction of a latitude and longitude in degrees.
func vectorAt(lat, lon float64) types.Vector {
	s, c := math.Sincos(lat * math.Pi / 180)
	sl, cl := math.Sincos(lon * math.Pi / 180)
	return types.Vector{int64(math.Round(c * cl * types.One)), int64(math.Round(c * sl * types.One)), int64(math.Round(s * types.One))}
}

// radians of a turn; the angle grows in integers, so that nothing is lost over the years.
func radians(start, rate uint64, s int64) float64 {
	return float64(start+rate*uint64(s)) * (2 * math.Pi / 0x1p64)
}

// cosZenith and the distance are the package comment's formulas in doubles.
func cosZenith(lat, lon float64, unix int64) (c, distance float64) {
	const degree = math.Pi / 180
	s := unix - 946728000
	g := radians(0xfe3dfc733bf02982, 0x881880a4bf, s)
	λ := radians(0xc7702f54e0d32beb, 0x881a2adfbc, s) + 1.915*degree*math.Sin(g) + 0.020*degree*math.Sin(2*g)
	θ := radians(0xc7704c2651d6eae6, 0xc2b65f31042d, s) + lon*degree
	sinφ, cosφ := math.Sincos(lat * degree)
	sinε, cosε := math.Sincos(23.436 * degree)
	c = sinφ*sinε*math.Sin(λ) + cosφ*(math.Cos(λ)*math.Cos(θ)+cosε*math.Sin(λ)*math.Sin(θ))
	return c, 1.00014 - 0.01671*math.Cos(g) - 0.00014*math.Cos(2*g)
}

// somewhere draws a point, evenly over the globe, in degrees.
func somewhere(r *rand.Rand) (lat, lon float64) {
	return math.Asin(2*r.Float64()-1) * 180 / math.Pi, 360*r.Float64() - 180
}

func year(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix() }

// places that a formula could stumble over, in degrees.
var places = [][2]float64{{90, 0}, {-90, 0}, {0, 0}, {0, 180}, {0, -180}, {0, 90}, {66.56, 25}, {-66.56, -70}, {23.436, 10}, {52.5, 13.4}}

func TestSun(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var worst, worstDistance, worstLength float64
	check := func(lat, lon float64, unix int64) {
		v := vectorAt(lat, lon)
		s := SunAt(unix)
		c, distance := cosZenith(lat, lon, unix)
		worst = max(worst, math.Abs(float64(s.CosZenith(v))/float64(One)-c))
		worstDistance = max(worstDistance, math.Abs(float64(s.Distance)/float64(One)-distance))
		length := 0.0
		for _, x := range s.Direction {
			length += float64(x) / types.One * float64(x) / types.One
		}
		worstLength = max(worstLength, math.Abs(length-1))
	}
	for range 100_000 {
		lat, lon := somewhere(r)
		check(lat, lon, year(1970)+r.Int64N(year(2101)-year(1970)))
	}
	for _, p := range places {
		for range 1000 {
			check(p[0], p[1], r.Int64N(year(2101)))
		}
		for y := 1970; y <= 2100; y++ { // both sides of 29 February and of the year's end
			for _, d := range []int64{-1, 0, 1, 59*86400 - 1, 59 * 86400, 60 * 86400} {
				check(p[0], p[1], year(y)+d)
			}
		}
	}
	t.Logf("cosine within %.2g, distance within %.2g, squared length within %.2g", worst, worstDistance, worstLength)
	if worst > 1e-8 || worstDistance > 1e-9 || worstLength > 1e-15 {
		t.Errorf("off by %g and %g, squared length by %g", worst, worstDistance, worstLength)
	}
}

func TestSunChecks(t *testing.T) {
	for _, test := range []struct {
		lat, lon float64
		unix     int64
		want     float64
	}{
		{34.10, -117.40, 1782071100, 0.98242},
		{52.50, 13.40, 1797850800, 0.2429},
	} {
		s := SunAt(test.unix)
		if got := float64(s.CosZenith(vectorAt(test.lat, test.lon))) / float64(One); math.Abs(got-test.want) > 5e-5 {
			t.Errorf("%v: %.5f", test, got)
		}
	}
	// At the equinox of March 2026, the 20th at 14:46 UTC, the sun crosses the equator; in July it is farthest.
	if z := SunAt(time.Date(2026, 3, 20, 14, 46, 0, 0, time.UTC).Unix()).Direction[2]; math.Abs(float64(z)/types.One) > 3e-4 {
		t.Errorf("at the equinox the sun is at %g", float64(z)/types.One)
	}
	if d := SunAt(time.Date(2026, 7, 6, 17, 0, 0, 0, time.UTC).Unix()).Distance; math.Abs(float64(d)/float64(One)-1.01664) > 1e-4 {
		t.Errorf("at the aphelion the sun is at %g", float64(d)/float64(One))
	}
}

// TestAlmanac compares elevations with those of two independent programs.
func TestAlmanac(t *testing.T) {
	python := testutil.Python(t, "ephem", "pysolar")
	for _, test := range []struct {
		name     string
		from, to int
		n        int
		ephem    float64 // degrees that we may be off by
		pysolar  float64
	}{
		{"2024 to 2032", 2024, 2033, 8_000, 0.02, 0.02},
		{"1970 to 2100", 1970, 2101, 4_000, 0.02, 0.04}, // pysolar knows the leap seconds and the earth's rotation of its day
	} {
		t.Run(test.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(13, 14))
			var in strings.Builder
			ours := make([]float64, test.n)
			var lat, lon float64
			for i := range ours {
				if i%8 == 0 { // a thousand places or five hundred, eight times each
					lat, lon = somewhere(r)
				}
				if i < 8*len(places) {
					lat, lon = places[i/8][0], places[i/8][1]
				}
				unix := year(test.from) + r.Int64N(year(test.to)-year(test.from))
				fmt.Fprintf(&in, "%.9f %.9f %d\n", lat, lon, unix)
				s := SunAt(unix)
				ours[i] = math.Asin(float64(s.CosZenith(vectorAt(lat, lon)))/float64(One)) * 180 / math.Pi
			}
			cmd := exec.Command(python, "-W", "ignore", "testdata/almanac.py")
			cmd.Stdin = strings.NewReader(in.String())
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("almanac.py: %v", err)
			}
			var worst [3]float64
			lines := bufio.NewScanner(strings.NewReader(string(out)))
			for _, own := range ours {
				var e, p float64
				if !lines.Scan() {
					t.Fatal("almanac.py said too little")
				}
				if _, err := fmt.Sscan(lines.Text(), &e, &p); err != nil {
					t.Fatal(err)
				}
				worst = [3]float64{max(worst[0], math.Abs(own-e)), max(worst[1], math.Abs(own-p)), max(worst[2], math.Abs(e-p))}
			}
			t.Logf("%d elevations: within %.4f° of ephem and %.4f° of pysolar, which differ by up to %.4f°", test.n, worst[0], worst[1], worst[2])
			if worst[0] > test.ephem || worst[1] > test.pysolar {
				t.Error("too far off")
			}
		})
	}
}

func FuzzSun(f *testing.F) {
	for _, x := range edges {
		f.Add(x, x, -x, int64(types.One))
	}
	f.Fuzz(func(t *testing.T, unix, x, y, z int64) {
		s := SunAt(unix)
		if s.Distance < One*98/100 || s.Distance > One*102/100 {
			t.Errorf("at %d the sun is %d away", unix, s.Distance)
		}
		v := types.Vector{x, y, z}
		back := types.Vector{-x, -y, -z}
		if x != math.MinInt64 && y != math.MinInt64 && z != math.MinInt64 {
			if d := s.CosZenith(v) + s.CosZenith(back); d < 0 || d > 1 {
				t.Errorf("at %d the sun is at %d over %v and at %d on the other side", unix, s.CosZenith(v), v, s.CosZenith(back))
			}
		}
		_ = Longitude(v)
	})
}

func BenchmarkSunAt(b *testing.B) {
	unix := int64(1782071100)
	for b.Loop() {
		s := SunAt(unix)
		unix += 900 + int64(s.Distance&1)
	}
}

func BenchmarkCosZenith(b *testing.B) {
	s, v := SunAt(1782071100), vectorAt(52.5, 13.4)
	for b.Loop() {
		v[0] += int64(s.CosZenith(v) & 1)
	}
}
