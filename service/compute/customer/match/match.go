// Package match finds the device that runs a job. A Book holds what devices of one network ask, as their
// gateway knows it; Find answers in one pass, in memory: who runs the job, for how much, and how many were
// passed over for which reason.
//
// The lowest score wins: price over quality, ⌈price·10⁴/quality⌉. Of equals one is drawn by the job's hash. The
// winner is paid what the next one of another owner would have had to ask to win, and never more than the
// customer's most, so that asking less than it costs, or more, gains nothing. Where no other owner is in reach
// it is paid what it asks.
//
// A Book knows no chain, bus or clock: it is told.
package match

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"math/bits"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/core/types"
)

// Most bounds the asks of one class in a Book. One more takes the place of the worst.
const Most = 16384

// Silence is for how many milliseconds a device that says nothing is still taken to be there.
const Silence = 15_000

// never is when a device was heard that has not been heard.
const never = -1 << 62

// Why says why an ask was passed over.
type Why uint8

const (
	Excluded  Why = iota // the customer or the job's earlier try leaves this device out
	SameOwner            // it belongs to the account that pays
	Suspended            // the network pays it nothing for now, because of what it did
	Lapsed               // the ask has ended
	Silent               // the device has not been heard of lately
	Cell                 // it is elsewhere
	Egress               // its owner does not let containers reach what the job has to
	Price                // it asks more than the customer's most
	Quality              // its quality is below the customer's least
	Capacity             // it has not enough free at present
	whys
)

var names = [whys]string{"excluded", "same_owner", "suspended", "lapsed", "silent", "cell", "egress", "price", "quality", "capacity"}

func (w Why) String() string {
	if w < whys {
		return names[w]
	}
	return "unknown"
}

// MarshalText makes a Why the key of a JSON object.
func (w Why) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Ask is what one device asks for one class of work.
type Ask struct {
	Device    types.Key
	Owner     types.Account
	Cell      types.Cell // 0 for no place
	Class     types.Class
	Price     types.Credit // micro-credits per scale of the class
	Terms     types.Hash   // of the signed ask
	Until     types.Epoch  // the last epoch in which it stands
	Quality   types.Bp     // of the last tally; 0 counts as 1
	Suspended bool
	Egress    string // what containers may reach there, as the terms say, with spaces between
}

// Need is what a job wants.
type Need struct {
	Job     types.Hash
	Account types.Account // who pays
	Class   types.Class
	Slots   uint32       // of capacity
	Price   types.Credit // the most per scale
	Quality types.Bp     // the least
	Near    []types.Cell // in one of these; none for anywhere
	Exclude []types.Key
	// Reach reports whether what an ask's Egress says is enough; nil where it does not matter.
	Reach func(egress string) bool
	Epoch types.Epoch // now
	Now   int64       // milliseconds of the clock by which devices are heard
}

// Found is who runs a job.
type Found struct {
	Ask   Ask
	Price types.Credit // what it is paid per scale: Ask.Price or more, and Need.Price at most
	Next  *Ask         // the best of another owner, by which the price was made; nil for none
	// Passed counts those that would have been better than Ask.
	Passed Counts
}

// Counts is how many asks were passed over, for each reason.
type Counts [whys]int

// Map returns the counts that are not zero, by name.
func (c Counts) Map() map[string]int {
	m := map[string]int{}
	for w, n := range c {
		if n > 0 {
			m[names[w]] = n
		}
	}
	return m
}

// Total returns how many were passed over.
func (c Counts) Total() (n int) {
	for _, k := range c {
		n += k
	}
	return n
}

// Book holds asks. All methods may be called from several goroutines.
type Book struct {
	mu      sync.RWMutex
	secret  [16]byte
	classes map[types.Class]*ranking
	trust   map[types.Key]trust
}

// ranking is the asks of one class: by device, and by rank.
type ranking struct {
	of     map[types.Key]*entry
	ranked []*entry // by score, then place
}

// entry is an ask with what the Book knows of its device.
type entry struct {
	Ask
	score uint64
	place [32]byte // where it stands among its equals: no device knows, so none can choose a good place
	free  uint32
	heard int64
}

// trust is what a gateway itself saw of a device: how often its quality is to be lowered by a quarter.
type trust uint8

// worst is the most that failures lower a quality by: (3/4)^16 is a hundredth.
const worst trust = 16

// NewBook returns an empty Book. The secret is 16 random bytes of the gateway's own.
func NewBook(secret [16]byte) *Book {
	return &Book{secret: secret, classes: map[types.Class]*ranking{}, trust: map[types.Key]trust{}}
}

// Score returns what asks are ranked by: the lower the better.
func Score(price types.Credit, quality types.Bp) uint64 {
	hi, lo := bits.Mul64(uint64(price), 10_000)
	q := uint64(max(quality, 1))
	if hi >= q {
		return 1<<64 - 1
	}
	s, rest := bits.Div64(hi, lo, q)
	if rest > 0 && s < 1<<64-1 {
		s++
	}
	return s
}

func compare(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.place[:], b.place[:]), bytes.Compare(a.Device[:], b.Device[:]))
}

// Put takes in an ask, in place of the device's last one of the class. It reports false if the Book is full of
// better ones.
func (b *Book) Put(a Ask) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.classes[a.Class]
	if r == nil {
		r = &ranking{of: map[types.Key]*entry{}}
		b.classes[a.Class] = r
	}
	e := &entry{Ask: a, place: b.place(a.Device), heard: never}
	if was := r.of[a.Device]; was != nil {
		e.free, e.heard = was.free, was.heard
		if was.Price == a.Price && was.Quality == a.Quality {
			was.Ask = a
			return true
		}
		r.remove(was)
	}
	e.score = b.score(&e.Ask)
	if len(r.ranked) >= Most {
		last := r.ranked[len(r.ranked)-1]
		if compare(last, e) < 0 {
			return false
		}
		r.remove(last)
	}
	r.insert(e)
	return true
}

func (b *Book) place(device types.Key) [32]byte {
	return sha256.Sum256(append(b.secret[:], device[:]...))
}

func (b *Book) score(a *Ask) uint64 {
	q := a.Quality
	for range b.trust[a.Device] {
		q -= q / 4
	}
	return Score(a.Price, q)
}

func (r *ranking) insert(e *entry) {
	i, _ := slices.BinarySearchFunc(r.ranked, e, compare)
	r.ranked = slices.Insert(r.ranked, i, e)
	r.of[e.Device] = e
}

func (r *ranking) remove(e *entry) {
	if i, ok := slices.BinarySearchFunc(r.ranked, e, compare); ok {
		r.ranked = slices.Delete(r.ranked, i, i+1)
	}
	delete(r.of, e.Device)
}

// Remove forgets what a device asks for a class.
func (b *Book) Remove(device types.Key, class types.Class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		if e := r.of[device]; e != nil {
			r.remove(e)
		}
	}
}

// Keep forgets all asks of a class but those of the devices that has reports true for.
func (b *Book) Keep(class types.Class, has func(types.Key) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		r.ranked = slices.DeleteFunc(r.ranked, func(e *entry) bool {
			if has(e.Device) {
				return false
			}
			delete(r.of, e.Device)
			return true
		})
	}
}

// Suspend notes that a device whose ask is known is suspended, until its next Put.
func (b *Book) Suspend(device types.Key, class types.Class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		if e := r.of[device]; e != nil {
			e.Suspended = true
		}
	}
}

// Hear takes in that a device is there, and how much it has free.
func (b *Book) Hear(device types.Key, class types.Class, free uint32, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		if e := r.of[device]; e != nil {
			e.free, e.heard = free, now
		}
	}
}

// Take notes that a job was given to a device, which has so much less free until it is heard again.
func (b *Book) Take(device types.Key, class types.Class, slots uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		if e := r.of[device]; e != nil {
			e.free -= min(e.free, slots)
		}
	}
}

// Give notes that a device has ended a job, and so has so much more free.
func (b *Book) Give(device types.Key, class types.Class, slots uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.classes[class]; r != nil {
		if e := r.of[device]; e != nil {
			e.free += min(slots, 1<<16-min(e.free, 1<<16))
		}
	}
}

// Failed notes that a device lost a job or did not do what it had accepted: it ranks as if its quality were a quarter
// less, also when it withdraws its ask and asks again. Done takes back one such failure.
func (b *Book) Failed(device types.Key) { b.judge(device, +1) }

// Done notes that a device did a job to its end.
func (b *Book) Done(device types.Key) { b.judge(device, -1) }

func (b *Book) judge(device types.Key, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.trust[device]
	now := trust(min(max(int(was)+by, 0), int(worst)))
	if now == was {
		return
	}
	var again []*entry
	for _, r := range b.classes {
		if e := r.of[device]; e != nil {
			r.remove(e)
			again = append(again, e)
		}
	}
	if delete(b.trust, device); now > 0 {
		if len(b.trust) >= Most { // any other: who fails so often that it matters is soon noted again
			for k := range b.trust {
				delete(b.trust, k)
				break
			}
		}
		b.trust[device] = now
	}
	for _, e := range again {
		e.score = b.score(&e.Ask)
		b.classes[e.Class].insert(e)
	}
}

// Len returns how many asks of a class the Book has.
func (b *Book) Len(class types.Class) int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if r := b.classes[class]; r != nil {
		return len(r.ranked)
	}
	return 0
}

// Asks returns the asks of a class, best first, with what each has free, at most limit.
func (b *Book) Asks(class types.Class, limit int, now int64) (asks []Ask, free []uint32) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.classes[class]
	if r == nil {
		return nil, nil
	}
	for _, e := range r.ranked[:min(limit, len(r.ranked))] {
		asks = append(asks, e.Ask)
		if e.silent(now) {
			free = append(free, 0)
		} else {
			free = append(free, e.free)
		}
	}
	return asks, free
}

// Seen is an ask as somebody sees it who needs something.
type Seen struct {
	Ask
	Free   uint32 // of capacity, 0 of one that is silent
	Passed bool   // it would be passed over now
	Why    Why    // for that
}

// Look returns the asks of the class that a need is of, best first, at most limit.
func (b *Book) Look(n *Need, limit int) (list []Seen) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.classes[n.Class]
	if r == nil {
		return nil
	}
	for _, e := range r.ranked[:min(limit, len(r.ranked))] {
		s := Seen{Ask: e.Ask, Free: e.free}
		if e.silent(n.Now) {
			s.Free = 0
		}
		why, ok := e.fits(n)
		s.Passed, s.Why = !ok, why
		list = append(list, s)
	}
	return list
}

func (e *entry) silent(now int64) bool { return now-e.heard > Silence }

// fits returns why an entry can't serve a need; ok if it can.
func (e *entry) fits(n *Need) (why Why, ok bool) {
	switch {
	case slices.Contains(n.Exclude, e.Device):
		return Excluded, false
	case e.Owner == n.Account:
		return SameOwner, false
	case e.Suspended:
		return Suspended, false
	case e.Until < n.Epoch:
		return Lapsed, false
	case e.silent(n.Now):
		return Silent, false
	case len(n.Near) > 0 && !slices.ContainsFunc(n.Near, func(c types.Cell) bool { return c.Contains(e.Cell) }):
		return Cell, false
	case n.Reach != nil && !n.Reach(e.Egress):
		return Egress, false
	case e.Price > n.Price:
		return Price, false
	case e.Quality < n.Quality:
		return Quality, false
	case e.free < n.Slots:
		return Capacity, false
	}
	return 0, true
}

// sample is among how many equals a job's hash draws. Where more have the same score, they are those behind a
// place that the hash names too.
const sample = 16

// Find returns who serves a need, and false with all counts in Passed if nobody does.
func (b *Book) Find(n *Need) (Found, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var found Found
	var won *entry
	r := b.classes[n.Class]
	if r == nil {
		return found, false
	}
	for i := 0; i < len(r.ranked); {
		end := i + 1
		if end < len(r.ranked) && r.ranked[end].score == r.ranked[i].score {
			end = i + equals(r.ranked[i:])
		}
		group := r.ranked[i:end]
		i = end
		if won == nil {
			if won = found.draw(group, n); won == nil {
				continue
			}
			found.Ask = won.Ask
		}
		for _, e := range group {
			if e.Owner == won.Owner {
				continue
			}
			if _, ok := e.fits(n); ok {
				next := e.Ask
				found.Next, found.Price = &next, price(e.score, b.quality(won), n.Price, won.Price)
				return found, true
			}
		}
	}
	if won == nil {
		return found, false
	}
	found.Price = won.Price
	return found, true
}

// quality returns the quality that an entry is ranked by.
func (b *Book) quality(e *entry) types.Bp {
	q := e.Quality
	for range b.trust[e.Device] {
		q -= q / 4
	}
	return max(q, 1)
}

// price returns at which price a device of a quality has the score of the next one, within its own ask and the most.
func price(score uint64, quality types.Bp, most, own types.Credit) types.Credit {
	hi, lo := bits.Mul64(score, uint64(quality))
	p := uint64(most)
	if hi < 10_000 {
		p, _ = bits.Div64(hi, lo, 10_000)
	}
	return max(own, min(types.Credit(p), most))
}

// equals returns how many entries at the beginning of list have one score.
func equals(list []*entry) int {
	n, _ := slices.BinarySearchFunc(list, list[0].score, func(e *entry, s uint64) int {
		if e.score <= s {
			return -1
		}
		return 1
	})
	return n
}

// draw returns one of a group of equals that serves the need, nil for none, and counts those that do not. Of
// one job all tries draw in the same order.
func (f *Found) draw(group []*entry, n *Need) *entry {
	start := 0
	if len(group) > 1 {
		start, _ = slices.BinarySearchFunc(group, n.Job, func(e *entry, job types.Hash) int { return bytes.Compare(e.place[:], job[:]) })
	}
	var best *entry
	var least [32]byte
	seen := 0
	for i := range group {
		e := group[(start+i)%len(group)]
		why, ok := e.fits(n)
		if !ok {
			f.Passed[why]++
			continue
		}
		if len(group) == 1 {
			return e
		}
		var both [64]byte
		copy(both[:32], n.Job[:])
		copy(both[32:], e.Device[:])
		if h := sha256.Sum256(both[:]); best == nil || bytes.Compare(h[:], least[:]) < 0 {
			best, least = e, h
		}
		if seen++; seen == sample {
			break
		}
	}
	return best
}
