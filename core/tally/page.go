package tally

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sort"

	"github.com/cairn-network/cairn/core/types"
)

// maxPage is the length in bytes beyond which a page takes no further record. A record that is longer has a
// page of its own.
const maxPage = 64 << 10

// pageBits says how rarely a key begins a page of itself: one in 2⁵.
const pageBits = 5

// page is a range of a table's records, in the order of their keys. raw is the number of the table and then, for each
// record, key and value as byte strings: a CBOR sequence (RFC 8742). Pages are immutable and shared between states.
type page struct {
	first []byte // the first record's key
	raw   []byte
	hash  types.Hash // SHA-256 of raw
}

// begins reports whether a key begins a page, whatever stands before it: FNV-1a (64 bits) of the key has its
// bits 32 to 36 clear. So where pages are cut follows from what the table holds, not from how it came to hold
// it, and a record that is added or removed moves no cut but those next to it.
func begins(key []byte) bool {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h>>32&(1<<pageBits-1) == 0
}

// field splits off a byte string whose form has been checked before. nil stands for null.
func field(b []byte) (s, rest []byte) {
	n, at := int(b[0]&31), 1
	switch {
	case b[0] == types.CBORNull:
		return nil, b[1:]
	case n == 24:
		n, at = int(b[1]), 2
	case n == 25:
		n, at = int(b[1])<<8|int(b[2]), 3
	case n == 26:
		n, at = int(b[1])<<24|int(b[2])<<16|int(b[3])<<8|int(b[4]), 5
	}
	return b[at : at+n : at+n], b[at+n:]
}

// chunker cuts a stream of records, ascending by key, into pages.
type chunker struct {
	table tableID
	out   []page
	cur   []byte // the open page, or empty
	first int    // the length of the first key in cur
}

// add appends a record; key and val are copied.
func (c *chunker) add(key, val []byte) {
	if begins(key) {
		c.flush()
	} else {
		c.reopen()
		if len(c.cur)+len(key)+len(val)+7 > maxPage {
			c.flush()
		}
	}
	if len(c.cur) == 0 {
		c.cur = append(c.cur, byte(c.table))
		c.first = len(key)
	}
	c.cur = types.AppendBytes(types.AppendBytes(c.cur, key), val)
}

// reopen takes back the last page: what follows does not begin one of itself.
func (c *chunker) reopen() {
	if n := len(c.out); len(c.cur) == 0 && n > 0 {
		c.cur = append(c.cur, c.out[n-1].raw...)
		c.first = len(c.out[n-1].first)
		c.out = c.out[:n-1]
	}
}

// flush closes the open page.
func (c *chunker) flush() {
	if len(c.cur) > 0 {
		c.out = append(c.out, newPage(bytes.Clone(c.cur)))
		c.cur = c.cur[:0]
	}
}

// keep appends a page of the table before, as it is. The caller knows that it starts with a key that begins a
// page, or that the page before it was kept just now.
func (c *chunker) keep(p page) {
	c.flush()
	c.out = append(c.out, p)
}

// append appends the pages of another chunker, whose keys are greater.
func (c *chunker) append(pages []page) {
	for i, p := range pages {
		if len(c.out)+len(c.cur) == 0 || begins(p.first) {
			c.flush()
			c.out = append(c.out, pages[i:]...)
			return
		}
		for rest := p.raw[1:]; len(rest) > 0; {
			var key, val []byte
			key, rest = field(rest)
			val, rest = field(rest)
			c.add(key, val)
		}
	}
}

func newPage(raw []byte) page {
	first, _ := field(raw[1:])
	return page{first: first, raw: raw, hash: sha256.Sum256(raw)}
}

// table is one of the state's sorted maps from bytes to bytes, in pages.
type table []page

// at returns the number of the page that would hold key.
func (t table) at(key []byte) int {
	i := sort.Search(len(t), func(i int) bool { return bytes.Compare(t[i].first, key) > 0 })
	return max(i-1, 0)
}

// get returns the value of key, or nil. It shares the page's memory. All keys of a table have one length, so a
// record starts with as many bytes as key does.
func (t table) get(key []byte) []byte {
	if len(t) == 0 {
		return nil
	}
	head := 1
	if len(key) >= 24 {
		head = 2
	}
	for rest := t[t.at(key)].raw[1:]; len(rest) > 0; {
		at := head + len(key)
		switch bytes.Compare(rest[head:at], key) {
		case 0:
			val, _ := field(rest[at:])
			return val
		case 1:
			return nil
		}
		if rest[at] == types.MajorBytes|24 { // most values are of 24 to 255 bytes
			rest = rest[at+2+int(rest[at+1]):]
		} else {
			_, rest = field(rest[at:])
		}
	}
	return nil
}

// walk is a walk over records from one key up to, not including, another.
type walk struct {
	pages    table
	i        int // the page that rest is of
	rest     []byte
	to       []byte // nil: to the end
	key, val []byte // the record that next found
}

// walk returns a walk over from ≤ key < to; nil stands for either end.
func (t table) walk(from, to []byte) walk {
	w := walk{pages: t, to: to}
	if len(t) == 0 {
		return w
	}
	w.i = t.at(from)
	w.rest = t[w.i].raw[1:]
	for len(w.rest) > 0 {
		key, after := field(w.rest)
		if bytes.Compare(key, from) >= 0 {
			break
		}
		_, w.rest = field(after)
	}
	return w
}

// next moves to the next record, or returns false.
func (w *walk) next() bool {
	for len(w.rest) == 0 {
		if w.i+1 >= len(w.pages) {
			return false
		}
		w.i++
		w.rest = w.pages[w.i].raw[1:]
	}
	key, rest := field(w.rest)
	if w.to != nil && bytes.Compare(key, w.to) >= 0 {
		w.pages, w.rest = nil, nil
		return false
	}
	w.key = key
	w.val, w.rest = field(rest)
	return true
}

// find moves on to key and reports whether it is there; keys must be asked for in ascending order, and next not
// be used beside it. It skips whole pages.
func (w *walk) find(key []byte) bool {
	if w.key != nil && bytes.Compare(w.key, key) >= 0 {
		return bytes.Equal(w.key, key)
	}
	if w.i+1 < len(w.pages) && bytes.Compare(w.pages[w.i+1].first, key) <= 0 {
		if w.i++; w.i+1 < len(w.pages) && bytes.Compare(w.pages[w.i+1].first, key) <= 0 {
			w.i += w.pages[w.i:].at(key)
		}
		w.rest = w.pages[w.i].raw[1:]
	}
	for w.next() {
		if c := bytes.Compare(w.key, key); c >= 0 {
			return c == 0
		}
	}
	w.key = nil
	return false
}

// edits are changes to a range of a table: records ascending by key, where the value null removes. from is
// where the range starts; it ends where that of the next edits starts.
type edits struct {
	from []byte // nil for the first
	buf  []byte
}

// grow makes room for so many bytes.
func (e *edits) grow(n int) { e.buf = slices.Grow(e.buf, n) }

func (e *edits) set(key, val []byte) { e.buf = types.AppendBytes(types.AppendBytes(e.buf, key), val) }
func (e *edits) remove(key []byte)   { e.buf = append(types.AppendBytes(e.buf, key), types.CBORNull) }

// over returns e with later edits of the same range made over it.
func (e edits) over(later edits) edits {
	if len(later.buf) == 0 {
		return e
	}
	out := edits{from: e.from, buf: make([]byte, 0, len(e.buf)+len(later.buf))}
	for a, b := e.buf, later.buf; len(a)+len(b) > 0; {
		order := 1 // which has the lower key; 0: both
		var ra, rb []byte
		if len(a) > 0 {
			_, ra = field(a)
			_, ra = field(ra)
			order = -1
		}
		if len(b) > 0 {
			key, rest := field(b)
			_, rb = field(rest)
			if order < 0 {
				old, _ := field(a)
				order = bytes.Compare(old, key)
			}
		}
		if order < 0 {
			out.buf = append(out.buf, a[:len(a)-len(ra)]...)
			a = ra
			continue
		}
		out.buf = append(out.buf, b[:len(b)-len(rb)]...)
		if b = rb; order == 0 {
			a = ra
		}
	}
	return out
}

// apply returns t with all parts of edits made, which follow each other. It lets go of the edits.
func (t table) apply(p Pool, id tableID, parts []edits) table {
	empty := true
	for i := range parts {
		empty = empty && len(parts[i].buf) == 0
	}
	if empty {
		return t
	}
	done := make([]table, len(parts))
	p.run(len(parts), func(i int) {
		var to []byte
		if i+1 < len(parts) {
			to = parts[i+1].from
		}
		done[i] = t.merge(id, parts[i], to)
		parts[i].buf = nil
	})
	c := chunker{table: id, out: done[0]}
	for _, pages := range done[1:] {
		c.append(pages)
	}
	c.flush()
	return c.out
}

// merge makes the edits of one range, up to the key to.
func (t table) merge(id tableID, e edits, to []byte) table {
	c := chunker{table: id}
	w := t.walk(e.from, to)
	old := w.next()
	kept := -1 // the page that keep took last
	for buf := e.buf; old || len(buf) > 0; {
		var key, val, rest []byte
		if len(buf) > 0 {
			key, rest = field(buf)
			val, rest = field(rest)
		}
		if old && w.atStart() && w.untouched(key, to) && (begins(w.key) || kept == w.i-1 && len(c.cur) == 0 && kept >= 0) {
			kept = w.i
			c.keep(t[w.i])
			w.rest = nil
			old = w.next()
			continue
		}
		order := 1
		if old {
			order = -1
			if key != nil {
				order = bytes.Compare(w.key, key)
			}
		}
		if order < 0 {
			c.add(w.key, w.val)
			old = w.next()
			continue
		}
		if order == 0 {
			old = w.next()
		}
		if val != nil {
			c.add(key, val)
		}
		buf = rest
	}
	c.flush()
	return c.out
}

// atStart reports whether the record that next found is its page's first.
func (w *walk) atStart() bool { return &w.key[0] == &w.pages[w.i].first[0] }

// untouched reports whether the page that w stands in ends before the next edit and before the end of the range.
func (w *walk) untouched(edit, to []byte) bool {
	if w.i+1 == len(w.pages) {
		return edit == nil && to == nil
	}
	next := w.pages[w.i+1].first
	return (edit == nil || bytes.Compare(edit, next) >= 0) && (to == nil || bytes.Compare(next, to) <= 0)
}
