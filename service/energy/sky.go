package energy

import (
	"math/bits"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/fixed"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// How bright the sky can be, after P. Ineichen and R. Perez, "A new airmass independent formulation for the
// Linke turbidity coefficient", Solar Energy 73 (2002), for very clear air, a Linke turbidity of 2; and A. T.
// Young's relative air mass ("Air mass and refraction", Applied Optics 33 (1994)), a function of the cosine of
// the zenith angle alone. With c that cosine and f1, f2 two measures of the air above the place:
//
//	I0  = 1361/R²                                                 above the atmosphere, R in astronomical units
//	AM  = (1.002432c² + 0.148386c + 0.0096467)/(c³ + 0.149864c² + 0.0102963c + 0.000303978)
//	f1  = e^(−alt/8000)   f2 = e^(−alt/1250)   A = AM·f1
//	e   = (0.868 + 5.09e-5·alt)·e^(−(0.0387 + 3.92e-5·alt)·A·(f1 + f2))
//	GHI = I0·e·c
//	DNI = I0·min((0.664 + 0.163/f1)·e^(−0.09·A), e·(1 − 0.0729329/(0.1 + 0.882/f1)))
//	B   = DNI + max(GHI − DNI·c, GHI/2)
//
// B is the irradiance of a panel that faces the sun, under the whole sky and a bright ground. Clear sky on the
// horizontal or on the panel's plane is no bound: clouds' edges lend light, and honest output exceeds them by
// 52 % and 21 % (99th percentile). Above 7 km, where nobody lives, DNI can exceed I0: the formula was not made
// for that.
const (
	solarConstant = 1361 * fixed.One // W/m²

	airN2 = 1_002_432 * fixed.One / 1_000_000
	airN1 = 148_386 * fixed.One / 1_000_000
	airN0 = 96_467 * fixed.One / 10_000_000
	airD2 = 149_864 * fixed.One / 1_000_000
	airD1 = 102_963 * fixed.One / 10_000_000
	airD0 = 303_978 * fixed.One / 1_000_000_000
)

// Place is where a site stands under the sky, as far as the bound needs it. It is a value: equal places have
// equal skies.
type Place struct {
	at    types.Vector
	ahead int64 // seconds that the sun's mean time is ahead of Greenwich's, rounded down

	// The formulas' terms that depend on the altitude alone; those in AM have taken in f1.
	all, allAM       fixed.Num // e = all·e^(−allAM·AM)
	direct, directAM fixed.Num // DNI/I0 = direct·e^(−directAM·AM) …
	directShare      fixed.Num // … or e·directShare
}

// PlaceOf returns where a device that is registered in a cell stands for the bound: in the middle of the cell
// of resolution 3 around it, so that nobody gains by lying about where in that cell it is, at an altitude in
// hundreds of metres.
func PlaceOf(cell types.Cell, altitude uint8) Place {
	return PlaceAt(cell.Parent(3).Center(), 100*int64(altitude))
}

// PlaceAt returns the place in a direction from the earth's centre, at an altitude in metres, taken as 0 to
// 100·MaxAltitude. What is no direction, such as the centre of an invalid cell, has no sun.
func PlaceAt(at types.Vector, altitude int64) Place {
	if !direction(at) {
		at = types.Vector{}
	}
	alt := fixed.Num(min(max(altitude, 0), 100*MaxAltitude)) * fixed.One
	f1, f2 := (-alt / 8000).Exp(), (-alt / 1250).Exp()
	longitude, _ := bits.Mul64(uint64(fixed.Longitude(at)+fixed.Turn(1)<<63), meanDay)
	return Place{
		at:          at,
		ahead:       int64(longitude) - meanDay/2,
		all:         868*fixed.One/1000 + alt*509/10_000_000,
		allAM:       (387*fixed.One/10_000 + alt*392/10_000_000).Mul(f1 + f2).Mul(f1),
		direct:      664*fixed.One/1000 + (163 * fixed.One / 1000).Div(f1),
		directAM:    f1 * 9 / 100,
		directShare: fixed.One - (729_329 * fixed.One / 10_000_000).Div(fixed.One/10+(882*fixed.One/1000).Div(f1)),
	}
}

// direction reports whether v is of length 1, within 2⁻²⁰.
func direction(v types.Vector) bool {
	const slack = types.One >> 20
	var sum types.U128
	for _, x := range v {
		if x < -types.One-slack || x > types.One+slack {
			return false
		}
		sq := types.Mul64(uint64(max(x, -x)), uint64(max(x, -x)))
		lo, carry := bits.Add64(sum.Lo, sq.Lo, 0)
		sum = types.U128{Hi: sum.Hi + sq.Hi + carry, Lo: lo}
	}
	length := sum.Sqrt()
	return length >= types.One-slack && length <= types.One+slack
}

// meanDay is how long the mean solar day is, in seconds.
const meanDay = 86_400

// Day returns the solar day that a Unix second lies in: it begins at midnight of the place's mean solar time
// and counts from the one that was under way, or began, in Greenwich at 1970-01-01 00:00. It is ⌊(unix +
// longitude/15 h)/86400⌋.
func (p *Place) Day(unix int64) int64 {
	// The day's number and the second of the day apart, so that no sum overflows. p.ahead is within ±43,200.
	n, s := unix/meanDay, unix%meanDay
	if s < 0 {
		n, s = n-1, s+meanDay
	}
	switch s += p.ahead; {
	case s < 0:
		n--
	case s >= meanDay:
		n++
	}
	return n
}

// day returns the solar day in which interval k begins, as states keep it: from 0 to 2³² − 1.
func (p *Place) day(k uint64) uint32 {
	return uint32(min(max(p.Day(int64(min(k, 1<<48)*lot.Interval)), 0), 1<<32-1))
}

// Bound returns the cosine of the sun's zenith angle at a Unix second and the most that the sun can give a
// panel then, in W/m², both in fixed-point. The bound is 0 while the sun's middle is at the horizon or below;
// it never exceeds 2,500. Against the formulas in exact arithmetic the cosine is within 10⁻⁸ and the bound
// within 0.01 W/m². Any second is good; for what SunAt is tested on, 1970 to 2100, it is the sun's.
func (p *Place) Bound(unix int64) (c, b fixed.Num) {
	s := sunAt(unix)
	return p.bound(&s)
}

// sun is what the sky of every place has in common at a time.
type sun struct {
	fixed.Sun
	above fixed.Num // I0
}

func sunAt(unix int64) sun {
	s := sun{Sun: fixed.SunAt(unix)}
	s.above = solarConstant.Div(s.Distance.Mul(s.Distance))
	return s
}

func (p *Place) bound(s *sun) (c, b fixed.Num) {
	c = s.CosZenith(p.at)
	if c <= 0 {
		return c, 0
	}
	am := airMass(c)
	e := p.all.Mul((-p.allAM.Mul(am)).Exp())
	direct := min(p.direct.Mul((-p.directAM.Mul(am)).Exp()), e.Mul(p.directShare))
	global := e.Mul(c)
	diffuse := max(global-direct.Mul(c), global/2)
	return c, s.above.Mul(direct + diffuse)
}

// airMass returns how much air light comes through, 1 from the zenith to 31.7 from the horizon.
func airMass(c fixed.Num) fixed.Num {
	c2 := c.Mul(c)
	n := airN2.Mul(c2) + airN1.Mul(c) + airN0
	d := c2.Mul(c) + airD2.Mul(c2) + airD1.Mul(c) + airD0
	return n.Div(d)
}

// Energy time that has a sky ends with the year 2199. Behind it nothing can be produced.
const lastInterval = 7_258_118_400/lot.Interval - 1

// Most returns Bmax of interval k, in W/m²: the largest bound at its start −1800, −900, 0, +900, +1800 and
// +2700 s, so that a clock may be off, and the sun be seen, by half an hour. It is 0 by night, and after the
// year 2199. A Sky does the same with less work.
func (p *Place) Most(k uint64) fixed.Num {
	var s Sky
	return s.Most(p, k)
}

// Sky remembers the sun at interval boundaries, which all places have in common, and the bounds at one place,
// which neighbouring intervals have in common: asked for the intervals of one device after the other it does a
// sixth of the work. The zero Sky is ready. What it returns does not depend on what it was asked before. It
// takes 4 KiB and is for one goroutine.
type Sky struct {
	suns   [64]sunStep
	place  Place
	bounds [16]boundStep
}

// A step is the time of an interval boundary; those remembered are the last ones of each remainder. The sky of
// step 0 is not remembered, since the zero Sky seems to know it.
type (
	sunStep struct {
		step int64
		sun  sun
	}
	boundStep struct {
		step int64
		b    fixed.Num
	}
)

// Most returns what p.Most returns.
func (s *Sky) Most(p *Place, k uint64) fixed.Num {
	if k > lastInterval {
		return 0
	}
	if s.place != *p {
		s.place, s.bounds = *p, [len(s.bounds)]boundStep{}
	}
	most := fixed.Num(0)
	for step := int64(k) - 2; step <= int64(k)+3; step++ {
		most = max(most, s.bound(step))
	}
	return most
}

// bound returns the bound at a step.
func (s *Sky) bound(step int64) fixed.Num {
	slot := &s.bounds[uint64(step)%uint64(len(s.bounds))]
	if slot.step != step || step == 0 {
		_, b := s.place.bound(s.sun(step))
		*slot = boundStep{step, b}
	}
	return slot.b
}

// sun returns the sun at a step.
func (s *Sky) sun(step int64) *sun {
	slot := &s.suns[uint64(step)%uint64(len(s.suns))]
	if slot.step != step || step == 0 {
		*slot = sunStep{step, sunAt(step * lot.Interval)}
	}
	return &slot.sun
}

// Limit returns E: how many Wh panels of pdc W behind an inverter of pac W can have given in an interval of
// which most is Bmax, at env of the sky's bound, at most 10,000 basis points:
//
//	min(⌊pac/4⌋, ⌈pdc·most·env/(4·1000·10⁴)⌉ + (most > 0 ? ⌊pdc/200⌋ : 0))
//
// The second term leaves room for what registers round and for what panels give above their nameplate's promise
// in dim light. By night it is 0. No input overflows.
func Limit(pdc, pac uint64, most fixed.Num, env types.Bp) uint64 {
	if most <= 0 {
		return 0
	}
	// The bound is below 2⁴² units and the share below 2¹⁴: the product fits.
	const div = 4 * 1000 * econ.Bps << 30
	hi, lo := bits.Mul64(pdc, uint64(min(most, 4096*fixed.One-1))*uint64(min(env, econ.Bps)))
	lo, carry := bits.Add64(lo, div-1, 0)
	hi += carry
	if hi >= div {
		return pac / 4
	}
	q, _ := bits.Div64(hi, lo, div)
	sum, carry := bits.Add64(q, pdc/200, 0)
	if carry != 0 {
		return pac / 4
	}
	return min(pac/4, sum)
}

// Performance returns what share of the sky's bound wh Wh are that panels of pdc W gave in an interval of which
// most is Bmax, in basis points, rounded up: 10⁴·wh/(pdc·most/4000), at most 2³² − 1. It is Limit's env the
// other way around: with it, Limit allows wh. Without a bound or panels it is 0.
func Performance(wh, pdc uint64, most fixed.Num) types.Bp {
	hi, lo := bits.Mul64(pdc, uint64(max(most, 0)))
	div := hi<<34 | lo>>30 // W times W/m²
	if hi>>30 != 0 {
		div = 1<<64 - 1
	}
	if div == 0 {
		return 0
	}
	hi, lo = bits.Mul64(wh, 4*1000*econ.Bps)
	lo, carry := bits.Add64(lo, div-1, 0)
	hi += carry
	if hi >= div {
		return 1<<32 - 1
	}
	q, _ := bits.Div64(hi, lo, div)
	return types.Bp(min(q, 1<<32-1))
}
