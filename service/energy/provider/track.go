package provider

import (
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// track follows a register: through wraps, past readings that cannot be, and through beginnings anew. It is
// kept on disk.
type track struct {
	Meter string `json:"meter"` // whose register it is
	series
	// Next are readings that do not fit, but fit each other: if they go on for a while, the register began anew.
	Next *series `json:"next,omitempty"`
	// Old is what counted before the register last began anew. It goes on if the value returns to it.
	Old *series `json:"old,omitempty"`
	// Begun counts how often it began anew, and Stamped is how much of that has been written into records.
	Begun   uint32 `json:"begun,omitempty"`
	Stamped uint32 `json:"stamped,omitempty"`
}

// series are readings of which each can follow from the one before. Times are in ms of energy time.
type series struct {
	Counters map[string]counter `json:"counters"` // by path
	Wh       uint64             `json:"wh"`       // as far as it has come: it never falls
	Known    bool               `json:"known"`    // there is a reading
	Since    uint64             `json:"since,omitempty"`
	At       uint64             `json:"at,omitempty"`    // of the last reading
	Moved    uint64             `json:"moved,omitempty"` // since when it has shown Wh
	Times    uint32             `json:"times,omitempty"` // readings, as far as they matter
	// Step is how finely the reading counts that Wh is of, in Wh; Finest is the finest of all, and Base that
	// with which it began.
	Step   uint64 `json:"step,omitempty"`
	Finest uint64 `json:"finest,omitempty"`
	Base   uint64 `json:"base,omitempty"`
	Values uint32 `json:"values,omitempty"` // different values seen, as far as they matter
	Loose  bool   `json:"loose,omitempty"`  // the digits of a value do not say how finely it counts
}

// counter is a counter as it was read last.
type counter struct {
	Raw  int64 `json:"raw"`
	Exp  int8  `json:"exp"`
	High int64 `json:"high"` // what wraps have added to Raw …
	// HighExp is … when it counted with this power of ten; nil: with Exp.
	HighExp *int8  `json:"high_exp,omitempty"`
	At      uint64 `json:"at"`
}

// reading is what a register's counters come to.
type reading struct {
	wh, step uint64
	loose    bool
	counters map[string]counter
}

// Bounds of what is plausible.
const (
	refresh  = 15 * 60_000        // ms: meters bring their registers up to date at least so often
	settling = 15 * 60_000        // ms: for which readings agree before a register has begun anew …
	confirm  = 3                  // … and how many do, after the first
	dip      = 100                // Wh: a fall by less is a correction. The register stands still until it has caught up
	coarse   = 100                // Wh: a register that counts in such steps or larger ones is coarse
	least    = 10_000_000         // Wh: of registers with fewer digits than this none goes over from nines to zeros
	enough   = 100                // readings and values are counted up to this
	most     = energy.MaxRegister // Wh
)

// Number is a decimal.
type Number = sunspec.Number

// oddity is what is wrong with a register's reading. kind stays the same while it lasts.
type oddity struct{ kind, text string }

func (o *oddity) Error() string { return o.text }

// The kinds of oddities.
const (
	oddUnread = "unread"
	oddFell   = "fell"
	oddRose   = "rose"
)

// follow takes over what a register's counters show at energy time at; rating is the most that flows, in W. It
// is an error, and the register is absent, if they say nothing that can be: the next reading that can be goes
// on from the last one. anew says that the register has begun anew since the reading before, so that the step
// between the two means nothing.
func (t *track) follow(meter string, list []source.Counter, at, rating uint64) (wh uint64, anew bool, err error) {
	if t.Meter != meter {
		anew = t.Known
		*t = track{Meter: meter, Begun: t.Begun, Stamped: t.Stamped}
		if anew {
			t.Begun++
		}
	}
	for i := range list {
		if c := &list[i]; c.Value.Mantissa == 0 && t.Counters[c.Path].Raw != 0 {
			return 0, anew, &oddity{oddUnread, fmt.Sprintf("%s shows 0 after %d: taken for not read", c.Path, t.Counters[c.Path].Raw)}
		}
	}
	v, err := t.read(list, at, rating)
	if err != nil {
		return 0, anew, err
	}
	if !t.Known || t.fits(v, at, rating) {
		if t.add(v, at, rating) {
			t.Begun++
			anew = true
		}
		t.Next = nil
		return t.Wh, anew, nil
	}
	if t.Old != nil {
		if back, err := t.Old.read(list, at, rating); err == nil && t.Old.fits(back, at, rating) {
			t.Old.add(back, at, rating)
			t.series, t.Old, t.Next = *t.Old, nil, nil
			t.Begun++
			return t.Wh, true, nil
		}
	}
	return t.doubt(list, v, at, rating)
}

// doubt deals with a reading that does not fit.
func (t *track) doubt(list []source.Counter, v *reading, at, rating uint64) (wh uint64, anew bool, err error) {
	if t.Next != nil {
		if next, err := t.Next.read(list, at, rating); err != nil || !t.Next.fits(next, at, rating) {
			t.Next = nil
		} else {
			t.Next.add(next, at, rating)
		}
	}
	if t.Next == nil {
		t.Next = new(series)
		first, err := t.Next.read(list, at, rating)
		if err != nil {
			return 0, false, err
		}
		t.Next.add(first, at, rating)
	}
	if n := t.Next; n.Times > confirm && at >= n.Since+settling {
		old := t.series
		t.series, t.Old, t.Next = *n, &old, nil
		t.Begun++
		return t.Wh, true, nil
	}
	if v.wh < t.Wh {
		return 0, false, &oddity{oddFell, fmt.Sprintf("register fell from %d to %d Wh, which is not believed yet", t.Wh, v.wh)}
	}
	return 0, false, &oddity{oddRose, fmt.Sprintf("register rose from %d to %d Wh, more than a quarter above what %d W make in the time, which is not believed yet",
		t.Wh, v.wh, rating)}
}

// begun reports whether the register began anew between the last record that holds it and a sample at which it
// had begun so often.
func (t *track) begun(times uint32) bool { return times != t.Stamped }

// coarse returns in what steps the register counts, in Wh, if they are large; 0 if not, or if that cannot be
// told yet.
func (t *track) coarse() uint64 {
	if !t.Known || t.Wh == 0 || t.Finest < coarse || t.Loose && t.Values < 3 {
		return 0
	}
	return t.Finest
}

// read adds a register's counters up, each as far as it has ever gone.
func (s *series) read(list []source.Counter, at, rating uint64) (*reading, error) {
	r := &reading{counters: map[string]counter{}}
	for i := range list {
		c := &list[i]
		now := counter{Raw: c.Value.Mantissa, Exp: c.Value.Exp, At: at}
		if now.Raw < 0 {
			return nil, fmt.Errorf("%s shows %d", c.Path, now.Raw)
		}
		if was, ok := s.Counters[c.Path]; ok {
			now.High, now.HighExp = was.High, was.HighExp
			if now.High != 0 && now.HighExp == nil {
				now.HighExp = &was.Exp
			}
			if was.Exp == now.Exp && now.Raw < was.Raw {
				now.wrap(c, &was, s.allow(at, rating))
			}
		}
		n, ok := now.total().Times(c.Scale)
		if !ok {
			return nil, fmt.Errorf("%s shows %d·10^%d", c.Path, now.Raw, now.Exp)
		}
		wh, ok := n.Floor(0)
		if !ok || wh < 0 || wh > most || r.wh+uint64(wh) > most {
			return nil, fmt.Errorf("%s shows %d·10^%d", c.Path, now.Raw, now.Exp)
		}
		r.wh += uint64(wh)
		r.step += stepOf(c)
		r.loose = r.loose || c.Loose
		r.counters[c.Path] = now
	}
	return r, nil
}

// total is what a counter has come to. What wraps added counts only with the power of ten that it was counted with.
func (c *counter) total() Number {
	if c.High != 0 && (c.HighExp == nil || *c.HighExp == c.Exp) {
		return Number{Mantissa: c.High + c.Raw, Exp: c.Exp}
	}
	return Number{Mantissa: c.Raw, Exp: c.Exp}
}

// stepOf returns how finely a counter counts, in Wh.
func stepOf(c *source.Counter) uint64 {
	n, ok := Number{Mantissa: 1, Exp: c.Value.Exp}.Times(c.Scale)
	if !ok {
		return most
	}
	wh, ok := n.Floor(0)
	if !ok {
		return most
	}
	return uint64(min(max(wh, 1), most))
}

// wrap has a counter go over that shows less than before, if what it counted fits what can have flowed: from
// the size that the protocol says, or from nines to zeros.
func (c *counter) wrap(of *source.Counter, was *counter, allowed uint64) {
	if was.High != 0 && was.HighExp != nil && *was.HighExp != c.Exp {
		return
	}
	size := int64(0)
	switch {
	case of.Bits > 0 && of.Bits <= 62:
		size = 1 << of.Bits
	case of.Bits == 0:
		for size = 1; size <= was.Raw; size *= 10 {
			if size > most {
				return
			}
		}
		if n, ok := (Number{Mantissa: size, Exp: c.Exp}).Times(of.Scale); !ok {
			return
		} else if wh, ok := n.Floor(0); !ok || wh < least {
			return
		}
	}
	if size == 0 || size > 1<<62-c.High {
		return
	}
	n, ok := Number{Mantissa: c.Raw - was.Raw + size, Exp: c.Exp}.Times(of.Scale)
	if !ok {
		return
	}
	if wh, ok := n.Floor(0); ok && wh >= 0 && uint64(wh) <= allowed {
		exp := c.Exp
		c.High, c.HighExp = c.High+size, &exp
	}
}

// allow returns the most that can have been counted since the last reading, in Wh: a quarter above rating, for
// a minute longer, and, where the register stood still, for as long as it may not have been brought up to date.
func (s *series) allow(at, rating uint64) uint64 {
	time := at - min(at, s.At) + min(s.At-min(s.At, s.Moved), refresh) + slack
	hi, lo := bits.Mul64(rating, time)
	if hi != 0 || lo > 1<<62 {
		return most
	}
	return min(lo/3_600_000*5/4+1, most)
}

// fits reports whether a reading can follow from the series. What lies below it by less than either counts
// finely is rounded.
func (s *series) fits(v *reading, at, rating uint64) bool {
	rounded := min(max(s.Step, v.step), most)
	return v.wh+max(rounded-1, dip) >= s.Wh && v.wh <= s.Wh+s.allow(at, rating)+rounded-1
}

// add takes a reading over that fits. What a coarse one was rounded up by is not counted. anew says that the
// series had been counted so coarsely from its first reading on that the step to this one, which is finer,
// means nothing.
func (s *series) add(v *reading, at, rating uint64) (anew bool) {
	if !s.Known {
		s.Since, s.Moved, s.Base, s.Finest = at, at, v.step, v.step
	}
	limit := s.Wh + s.allow(at, rating) + max(s.Step, 1) - 1
	if s.Known && s.Base >= coarse && v.step < s.Base && !v.loose {
		anew, s.Wh, s.Base = v.wh != s.Wh, v.wh, v.step
		s.Step, s.Moved = v.step, at
	}
	if !s.Known || v.wh > s.Wh && v.wh <= limit {
		s.Wh, s.Step, s.Moved = v.wh, v.step, at
		s.Values = min(s.Values+1, enough)
	} else if v.wh == s.Wh {
		s.Step = min(s.Step, v.step)
	}
	s.Finest = min(s.Finest, v.step)
	s.Known, s.Loose, s.At, s.Counters = true, v.loose, at, v.counters
	s.Times = min(s.Times+1, enough)
	return anew
}

// mend completes what an earlier version kept.
func (t *track) mend() {
	for _, c := range t.Counters {
		if t.At == 0 || c.At > t.At {
			t.At = max(t.At, c.At)
		}
	}
	if t.Moved == 0 {
		t.Moved = t.At
	}
	if t.Known && t.Step == 0 {
		t.Step, t.Finest, t.Base = 1, 1, 1
		t.Values = 1
	}
}
