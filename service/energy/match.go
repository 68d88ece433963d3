package energy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// Trade says whose Wh a buyer got: the positions of a bid and an ask among the quotes that were cleared, and
// the Wh, never 0.
type Trade struct {
	Bid, Ask int
	Wh       uint64
}

// Match appends to dst who bought whose Wh in this clearing of bids and asks. Filled bids are laid end to end
// by ascending ID, filled asks likewise, and where a bid and an ask overlap they trade: at most filled bids +
// filled asks − 1 trades, by bid and ask ascending in ID, whatever the order of the quotes. It takes O(quotes):
// IDs are sorted by their digits.
//
// All trades are at one price, so who is paired with whom moves no money: it says which device's Wh a buyer can
// prove, and whom a seller sold to. A trade pays Wh·Price µcredits, which stays within what a buyer reserved,
// for Price is at most the bid's own.
//
// Match knows no owners. That nothing trades with itself is for the caller to see to, by netting each device
// before it quotes: with i and e the device's import and export of the interval, it bids for at most i − e or
// asks for at most e − i, and one of them is not above 0. So no device is on both sides of a book. Two devices
// of one owner may trade, and pay the fees for it.
func (c *Clearing) Match(dst []Trade, bids, asks []Quote) []Trade {
	// Both sides in one slice, for the memory's sake; orderly moves nothing across the middle.
	c.entries = appendFilled(c.entries[:0], bids, c.Bids)
	middle := len(c.entries)
	c.entries = appendFilled(c.entries, asks, c.Asks)
	c.spare = sized(c.spare, len(c.entries))
	buys, sells := c.entries[:middle], c.entries[middle:]
	(&byID{bids, c.Bids}).sort(buys, c.spare[:middle], 0)
	(&byID{asks, c.Asks}).sort(sells, c.spare[middle:], 0)

	dst = slices.Grow(dst, max(0, len(c.entries)-1))
	var bought, sold uint64 // of the first of buys and the first of sells
	for len(buys) > 0 && len(sells) > 0 {
		b, s := buys[0].at, sells[0].at
		wh := min(c.Bids[b]-bought, c.Asks[s]-sold)
		dst = append(dst, Trade{Bid: b, Ask: s, Wh: wh})
		if bought += wh; bought == c.Bids[b] {
			buys, bought = buys[1:], 0
		}
		if sold += wh; sold == c.Asks[s] {
			sells, sold = sells[1:], 0
		}
	}
	return dst
}

func appendFilled(entries []entry, quotes []Quote, filled []uint64) []entry {
	for i, wh := range filled {
		if wh > 0 {
			entries = append(entries, entry{binary.BigEndian.Uint64(quotes[i].ID[:8]), i})
		}
	}
	return entries
}

// byID sorts entries by the ID of their quotes, whose next eight bytes are in the entries' keys.
type byID struct {
	quotes []Quote
	filled []uint64
}

// sort orders entries, whose IDs are equal in the first depth bytes, by counting their next byte and then each
// group by the one after: at most 32 passes, and two or three where IDs are hashes or keys. spare is as long as
// entries.
func (o *byID) sort(entries, spare []entry, depth int) {
	const few = 96 // up to so many, comparing is faster than counting
	for ; len(entries) > few && depth < 32; depth++ {
		if depth%8 == 0 && depth > 0 {
			for i := range entries {
				entries[i].key = binary.BigEndian.Uint64(o.quotes[entries[i].at].ID[depth:])
			}
		}
		shift := 56 - 8*(depth%8)
		var end [256]int
		for _, e := range entries {
			end[byte(e.key>>shift)]++
		}
		if end[byte(entries[0].key>>shift)] == len(entries) {
			continue // all have this byte in common
		}
		start := 0
		for b, n := range end {
			end[b] = start
			start += n
		}
		for _, e := range entries {
			b := byte(e.key >> shift)
			spare[end[b]] = e
			end[b]++
		}
		copy(entries, spare)
		start = 0
		for _, end := range end {
			o.sort(entries[start:end], spare[start:end], depth+1)
			start = end
		}
		return
	}
	if len(entries) > 1 {
		slices.SortFunc(entries, o.compare)
	}
}

// compare is the order in full. Of quotes with one ID, which should not be, only the rest can tell.
func (o *byID) compare(x, y entry) int {
	if c := cmp.Compare(x.key, y.key); c != 0 {
		return c
	}
	p, q := &o.quotes[x.at], &o.quotes[y.at]
	return cmp.Or(bytes.Compare(p.ID[:], q.ID[:]), cmp.Compare(o.filled[x.at], o.filled[y.at]), cmp.Compare(p.Price, q.Price), cmp.Compare(p.Wh, q.Wh))
}
