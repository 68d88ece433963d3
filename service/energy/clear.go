package energy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// MaxTicks bounds how many prices an Auction may have: the histograms of a clearing take 32 bytes for each.
const MaxTicks = 1 << 16

// Quote is one bid or ask of one interval. Its ID names the order or the device behind it; it decides who gets
// a Wh that pro rata leaves over, and the order in which Match pairs. No two quotes of one side should share an
// ID.
//
// Price is the limit in whole µcredits per Wh: the most that a bid pays, the least that an ask takes. Wh is the
// quantity, of any size; 0 takes no part.
type Quote struct {
	ID    [32]byte
	Price uint64
	Wh    uint64
}

// Auction is a call auction at one price: everybody who trades pays, or gets, p*, whatever their own limit
// (pay-as-clear). Prices are the ticks Floor, Floor+1, …, Ceiling, in µcredits per Wh: community clearing runs
// from the zone's feed-in tariff to its ceiling of the hour, certificates from 0 to 1,000. Seed is the epoch's,
// Interval the quarter hour k; with a quote's ID they order who gets the Wh left over by rounding.
//
// A bid above Ceiling counts as one at Ceiling and an ask below Floor as one at Floor; a bid below Floor and an
// ask above Ceiling take no part. Below, "price" means the price as counted. With D(p) the Wh of bids at p or
// dearer and S(p) the Wh of asks at p or cheaper:
//
//	V = max over ticks of min(D(p), S(p))                                                  the volume; V = 0: no trade
//	clearing set = the ticks with D(p) ≥ V, S(p) ≥ V, D(p+1) ≤ V and S(p−1) ≤ V             where D(Ceiling+1) = S(Floor−1) = 0
//	p* = ⌊(lowest + highest of the clearing set) / 2⌋
//
// Bids dearer and asks cheaper than p* are filled. Those at p* share what is missing to V pro rata, in whole Wh
// rounded down; the Wh left over go one each to the lowest of SHA-256(Seed ‖ Interval, 8 bytes big-endian ‖
// ID). All others get nothing.
//
// # Why this works
//
// The clearing set is an interval and never empty. D falls and S rises with p, so "D(p) ≥ V and S(p) ≥ V" holds
// on an interval [L, H], which is where min(D, S) = V and hence not empty; D(p+1) ≤ V holds from some tick a
// on, S(p−1) ≤ V up to some tick b. The set is [max(L, a), min(H, b)]. D(H+1) < V and S(L−1) < V by the choice
// of H and L, so a ≤ H and L ≤ b. If a ≤ L then L is in the set. Else D(a) > V by the choice of a, so S(a) ≤ V,
// for V is the maximum; S(a−1) ≤ S(a) gives a ≤ b, and a is in the set. So the midpoint p* is a member, and all
// four conditions hold at p*.
//
// Buys equal sales. Bids dearer than p* hold D(p*+1) ≤ V, those down to p* hold D(p*) ≥ V: so 0 ≤ V − D(p*+1) ≤
// the Wh at p*, pro rata with the rest handed out fills exactly V, and nobody above their quantity. The same
// holds for asks. As min(D(p*), S(p*)) = V, at least one side's tick is filled whole: never are both rationed.
// Buyers pay V·p*, sellers get V·p*; the residual is 0 to the µcredit.
//
// Welfare is maximal. Take any trades x of bids and y of asks within quantities, with Σx = Σy, and b, s their
// prices. Then
//
//	Σ b·x − Σ s·y = Σ (b − p*)·x + Σ (p* − s)·y ≤ Σ over bids above p* of (b − p*)·Wh + Σ over asks below p* of (p* − s)·Wh
//
// and the right side is what the auction's own fills reach: those quotes are filled whole, and those at p* add
// nothing. p* is a dual optimum of the linear program. It follows too that who is rationed at p*, and how,
// costs nobody else anything.
type Auction struct {
	Floor, Ceiling uint64
	Seed           types.Hash
	Interval       uint64
}

// Check reports a range of prices that Clear does not serve: one upside down, or of more than MaxTicks.
func (a *Auction) Check() error {
	if a.Floor > a.Ceiling || a.Ceiling-a.Floor >= MaxTicks {
		return fmt.Errorf("energy: prices from %d to %d µcredits/Wh: want a floor not above the ceiling and at most %d ticks", a.Floor, a.Ceiling, MaxTicks)
	}
	return nil
}

// Clearing is the result of an Auction, and its memory: pass one to ClearInto again and nothing is allocated.
type Clearing struct {
	Price  uint64     // p* in µcredits/Wh; 0 without a trade
	Volume types.U128 // Wh bought, which is Wh sold
	Bids   []uint64   // Wh bought, for each bid in the order given
	Asks   []uint64   // Wh sold, for each ask in the order given

	demand, supply []types.U128 // Wh by rank, then cumulative: see count
	entries, spare []entry
}

// entry is a quote to be put in some order: its position, and the first eight bytes of what it is ordered by.
type entry struct {
	key uint64
	at  int
}

// Clear clears bids against asks in O(quotes + ticks), without sorting prices. The result does not depend on
// the order of the quotes, and sums cannot overflow. Where Check reports an error there is no trade.
func (a *Auction) Clear(bids, asks []Quote) Clearing {
	var c Clearing
	a.ClearInto(&c, bids, asks)
	return c
}

// ClearInto is Clear that overwrites c and uses its memory again.
func (a *Auction) ClearInto(c *Clearing, bids, asks []Quote) {
	c.Price, c.Volume = 0, types.U128{}
	c.Bids, c.Asks = sized(c.Bids, len(bids)), sized(c.Asks, len(asks))
	if a.Check() != nil {
		clear(c.Bids)
		clear(c.Asks)
		return
	}
	c.count(a, bids, asks)
	if c.Volume = volume(c.demand, c.supply); c.Volume.IsZero() {
		clear(c.Bids)
		clear(c.Asks)
		return
	}
	c.Price = a.Floor + midpoint(c.demand, c.supply, c.Volume)
	c.fill(a, bids, c.Bids, c.demand, a.Ceiling-c.Price)
	c.fill(a, asks, c.Asks, c.supply, c.Price-a.Floor)
}

// nowhere is the rank of a quote that takes no part.
const nowhere = 1<<64 - 1

// count makes the two histograms and sums them up from the best price on. Both sides are counted by rank, 0 for
// the best price that side can offer (bids: the ceiling, asks: the floor), so that the rest is the same for
// both: demand[r] is D(Ceiling − r), supply[r] is S(Floor + r). Each quote's rank waits where its fill will be.
func (c *Clearing) count(a *Auction, bids, asks []Quote) {
	ticks := int(a.Ceiling - a.Floor + 1)
	c.demand, c.supply = sized(c.demand, ticks), sized(c.supply, ticks)
	clear(c.demand)
	clear(c.supply)
	for i := range bids {
		q := &bids[i]
		if q.Price < a.Floor {
			c.Bids[i] = nowhere
			continue
		}
		rank := a.Ceiling - min(q.Price, a.Ceiling)
		c.Bids[i] = rank
		add128(&c.demand[rank], types.U64(q.Wh))
	}
	for i := range asks {
		q := &asks[i]
		if q.Price > a.Ceiling {
			c.Asks[i] = nowhere
			continue
		}
		rank := max(q.Price, a.Floor) - a.Floor
		c.Asks[i] = rank
		add128(&c.supply[rank], types.U64(q.Wh))
	}
	for r := 1; r < ticks; r++ {
		add128(&c.demand[r], c.demand[r-1])
		add128(&c.supply[r], c.supply[r-1])
	}
}

// volume returns V.
func volume(demand, supply []types.U128) (v types.U128) {
	last := len(supply) - 1
	for p := range supply {
		least := supply[p]
		if d := demand[last-p]; d.Cmp(least) < 0 {
			least = d
		}
		if v.Cmp(least) < 0 {
			v = least
		}
	}
	return v
}

// midpoint returns p* − Floor.
func midpoint(demand, supply []types.U128, v types.U128) uint64 {
	last := len(supply) - 1
	lowest, highest := last, 0
	for p := range supply {
		r := last - p
		if demand[r].Cmp(v) >= 0 && supply[p].Cmp(v) >= 0 && better(demand, r).Cmp(v) <= 0 && better(supply, p).Cmp(v) <= 0 {
			lowest, highest = min(lowest, p), p
		}
	}
	return uint64(lowest + (highest-lowest)/2)
}

// better returns the Wh at ranks below r.
func better(side []types.U128, r int) types.U128 {
	if r == 0 {
		return types.U128{}
	}
	return side[r-1]
}

// fill turns the ranks in filled into Wh: all below the margin, a share at it, nothing beyond.
func (c *Clearing) fill(a *Auction, quotes []Quote, filled []uint64, side []types.U128, margin uint64) {
	before := better(side, int(margin))
	tick, want := sub128(side[margin], before), sub128(c.Volume, before)
	left := want
	c.entries = c.entries[:0]
	for i, rank := range filled {
		switch wh := quotes[i].Wh; {
		case rank > margin || wh == 0:
			filled[i] = 0
		case rank < margin || want == tick:
			filled[i] = wh
		default:
			filled[i] = share(wh, want, tick)
			left = sub128(left, types.U64(filled[i]))
			c.entries = append(c.entries, entry{at: i})
		}
	}
	// Each share was rounded down by less than one Wh, so fewer are left than there are entries; and as want <
	// tick, each share is below its quote's Wh and has room for one more.
	if len(c.entries) > 0 && left.Lo > 0 {
		a.draw(quotes, filled, c.entries, int(left.Lo))
	}
}

// draw gives one Wh more to each of the n entries whose ticket is lowest, 0 < n ≤ len(entries). It looks at all
// tickets once and then, byte by byte, only at those that share their first bytes with the n-th: O(entries).
func (a *Auction) draw(quotes []Quote, filled []uint64, entries []entry, n int) {
	for i := range entries {
		ticket := a.ticket(&quotes[entries[i].at].ID)
		entries[i].key = binary.BigEndian.Uint64(ticket[:])
	}
	for shift := 56; shift >= 0 && len(entries) > 64; shift -= 8 {
		var count [256]int
		for _, e := range entries {
			count[byte(e.key>>shift)]++
		}
		edge := 0 // the byte of the n-th
		for n > count[edge] {
			n -= count[edge]
			edge++
		}
		kept := 0
		for _, e := range entries {
			switch b := int(byte(e.key >> shift)); {
			case b < edge:
				filled[e.at]++
			case b == edge:
				entries[kept] = e
				kept++
			}
		}
		entries = entries[:kept]
	}
	slices.SortFunc(entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.key, y.key), a.compare(&quotes[x.at], &quotes[y.at]))
	})
	for _, e := range entries[:n] {
		filled[e.at]++
	}
}

// ticket is what the entries of a marginal tick are ordered by.
func (a *Auction) ticket(id *[32]byte) types.Hash {
	var b [72]byte
	copy(b[:], a.Seed[:])
	binary.BigEndian.PutUint64(b[32:], a.Interval)
	copy(b[40:], id[:])
	return sha256.Sum256(b[:])
}

// compare orders quotes whose tickets begin alike. Of quotes with one ID, which should not be, only what they
// ask for can tell.
func (a *Auction) compare(x, y *Quote) int {
	if x.ID != y.ID {
		tx, ty := a.ticket(&x.ID), a.ticket(&y.ID)
		return bytes.Compare(tx[:], ty[:])
	}
	return cmp.Or(cmp.Compare(x.Wh, y.Wh), cmp.Compare(x.Price, y.Price))
}

// Deduct takes from each quote the Wh that it was filled with, so that what is left can be cleared again:
// certificates of one technology are cleared zone by zone, then once more for buyers to whom the zone is all
// the same, from the asks that are left. Quotes stay where they are, those filled whole with 0 Wh. filled is
// the Clearing's Bids or Asks of these very quotes.
func Deduct(quotes []Quote, filled []uint64) {
	for i, wh := range filled {
		quotes[i].Wh -= min(wh, quotes[i].Wh)
	}
}

// share returns ⌊wh · want / tick⌋ for wh ≤ tick and want < tick, exactly. It is at most wh.
func share(wh uint64, want, tick types.U128) uint64 {
	if tick.Hi == 0 {
		hi, lo := bits.Mul64(wh, want.Lo)
		q, _ := bits.Div64(hi, lo, tick.Lo) // wh·want < 2⁶⁴·tick, so hi < tick
		return q
	}
	// Division of three words by two (Knuth, The Art of Computer Programming 2, 4.3.1, algorithm D), with one
	// word of quotient: shift until the divisor's high bit is set, guess from high words, correct the guess at
	// most twice.
	shift := uint(bits.LeadingZeros64(tick.Hi))
	v1, v0 := tick.Hi<<shift|tick.Lo>>1>>(63-shift), tick.Lo<<shift
	h0, u0 := bits.Mul64(wh, want.Lo)
	u2, u1 := bits.Mul64(wh, want.Hi)
	u1, carry := bits.Add64(u1, h0, 0)
	u2 += carry
	u2, u1, u0 = u2<<shift|u1>>1>>(63-shift), u1<<shift|u0>>1>>(63-shift), u0<<shift
	var guess, rest uint64
	if u2 < v1 {
		guess, rest = bits.Div64(u2, u1, v1)
		carry = 0
	} else { // u2 = v1, for the quotient fits in a word
		guess = 1<<64 - 1
		rest, carry = bits.Add64(u1, v1, 0)
	}
	for carry == 0 {
		hi, lo := bits.Mul64(guess, v0)
		if hi < rest || hi == rest && lo <= u0 {
			break
		}
		guess--
		rest, carry = bits.Add64(rest, v1, 0)
	}
	return guess
}

// add128 adds x to u; a sum of 2⁶⁴ quotes still fits.
func add128(u *types.U128, x types.U128) {
	lo, carry := bits.Add64(u.Lo, x.Lo, 0)
	u.Lo, u.Hi = lo, u.Hi+x.Hi+carry
}

// sub128 returns x − y for y ≤ x.
func sub128(x, y types.U128) types.U128 {
	lo, borrow := bits.Sub64(x.Lo, y.Lo, 0)
	return types.U128{Hi: x.Hi - y.Hi - borrow, Lo: lo}
}

// sized returns n elements of any content, in s's memory where it is large enough.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
