package energy

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
)

// ranking is a pool in the order of values. Of those whose values reach at least as far as some interval, and
// are not of some owner, it finds the median without looking at all of them: a pool of n devices whose days end
// in 96 quarter hours is asked 96 times and more, so it is sorted once, and each quarter hour has a set of
// bits, which is n/64 words.
type ranking struct {
	values []uint64
	reach  []uint64 // beside values: the last interval that each holds
	own    []uint64 // owner ‖ place, 32 bits each, ascending
	lasts  []uint64 // how far each owner's furthest value reaches, ascending
	all    level
	levels []level // ascending by k; nil until somebody asks for less than all
	asked  map[question]answer
}

// question is what large owners would ask again and again.
type question struct {
	k     uint64
	owner uint32
}

type answer struct {
	median uint64
	upper  uint64
	ok     bool
}

// many is from how many places on an answer to their owner is kept.
const many = 16

// level is the places whose values reach at least as far as k.
type level struct {
	k    uint64
	in   []uint64 // a bit for each place
	upTo []uint32 // beside in: how many are in before the word
	n    int
}

// newRanking takes the list over.
func newRanking(list []standing) *ranking {
	slices.SortFunc(list, func(a, b standing) int { return cmp.Compare(a.value, b.value) })
	n := len(list)
	r := &ranking{values: make([]uint64, n), reach: make([]uint64, n), own: make([]uint64, n), all: level{n: n}}
	for i := range list {
		if r.all.k = min(r.all.k, list[i].k); i == 0 {
			r.all.k = list[i].k
		}
		r.values[i], r.reach[i], r.own[i] = list[i].value, list[i].k, uint64(list[i].owner)<<32|uint64(i)
	}
	slices.Sort(r.own)
	for i, at := range r.own {
		if i == 0 || at>>32 != r.own[i-1]>>32 {
			r.lasts = append(r.lasts, 0)
		}
		last := &r.lasts[len(r.lasts)-1]
		*last = max(*last, r.reach[uint32(at)])
	}
	slices.Sort(r.lasts)
	return r
}

// owners returns of how many owners there are values that reach k.
func (r *ranking) owners(k uint64) int {
	before, _ := slices.BinarySearch(r.lasts, k)
	return len(r.lasts) - before
}

// of returns an owner's places.
func (r *ranking) of(owner uint32) []uint64 {
	lo, _ := slices.BinarySearch(r.own, uint64(owner)<<32)
	n, _ := slices.BinarySearch(r.own[lo:], (uint64(owner)+1)<<32)
	return r.own[lo : lo+n]
}

// middle returns the lower median and the upper value (Thresholds.Upper) of those that reach k and are not of
// an owner, if enough devices and owners are left.
func (r *ranking) middle(k uint64, owner uint32, t *Thresholds) (median, upper uint64, ok bool) {
	own := r.of(owner)
	if len(own) < many {
		return r.without(own, k, t)
	}
	a, known := r.asked[question{k, owner}]
	if !known {
		a.median, a.upper, a.ok = r.without(own, k, t)
		if r.asked == nil {
			r.asked = map[question]answer{}
		}
		r.asked[question{k, owner}] = a
	}
	return a.median, a.upper, a.ok
}

// without is middle without some places, those of one owner.
func (r *ranking) without(own []uint64, k uint64, t *Thresholds) (median, upper uint64, ok bool) {
	l := r.level(k)
	n, owners, mine := l.n, r.owners(k), 0
	for _, at := range own {
		if r.reach[uint32(at)] >= k {
			mine++
		}
	}
	if mine > 0 {
		owners--
	}
	if n -= mine; n < max(t.MinPeers, 1) || owners < t.MinOwners {
		return 0, 0, false
	}
	at := [...]int{(n - 1) / 2, (n - 1) * int(min(t.Upper, econ.Bps)) / econ.Bps}
	for i := range at {
		for _, place := range own {
			if p := int(uint32(place)); r.reach[p] >= k && l.before(p) <= at[i] {
				at[i]++
			}
		}
	}
	return r.values[l.place(at[0])], r.values[l.place(at[1])], true
}

// level returns the places whose values reach k.
func (r *ranking) level(k uint64) *level {
	if k <= r.all.k || r.all.n == 0 {
		return &r.all
	}
	if r.levels == nil {
		r.cut()
	}
	at, _ := slices.BinarySearchFunc(r.levels, k, func(l level, k uint64) int { return cmp.Compare(l.k, k) })
	if at == len(r.levels) {
		return &level{}
	}
	return &r.levels[at]
}

// cut makes a level of each interval at which a value ends.
func (r *ranking) cut() {
	ends := slices.Clone(r.reach)
	slices.Sort(ends)
	ends = slices.Compact(ends)
	words := (len(r.values) + 63) / 64
	in, upTo := make([]uint64, words*len(ends)), make([]uint32, words*len(ends))
	r.levels = make([]level, len(ends))
	for i, k := range ends {
		r.levels[i] = level{k: k, in: in[i*words : (i+1)*words], upTo: upTo[i*words : (i+1)*words]}
	}
	for p, k := range r.reach {
		at, _ := slices.BinarySearch(ends, k)
		r.levels[at].in[p/64] |= 1 << (p % 64)
	}
	for i := len(r.levels) - 1; i >= 0; i-- {
		l := &r.levels[i]
		for w := range l.in {
			if i+1 < len(r.levels) {
				l.in[w] |= r.levels[i+1].in[w] // what reaches further reaches this too
			}
			l.upTo[w] = uint32(l.n)
			l.n += bits.OnesCount64(l.in[w])
		}
	}
}

// before returns how many places of the level there are before p. The level of all has no bits.
func (l *level) before(p int) int {
	if l.in == nil {
		return p
	}
	return int(l.upTo[p/64]) + bits.OnesCount64(l.in[p/64]&(1<<(p%64)-1))
}

// place returns the level's place number i.
func (l *level) place(i int) int {
	if l.in == nil {
		return i
	}
	w, _ := slices.BinarySearch(l.upTo, uint32(i)+1)
	w-- // the last word that has at most i before it
	word := l.in[w]
	for range i - int(l.upTo[w]) {
		word &= word - 1
	}
	return 64*w + bits.TrailingZeros64(word)
}
