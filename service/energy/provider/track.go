package provider

import (
	"fmt"
	"math/bits"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// track follows a register through wraps and falls. It is kept on disk.
type track struct {
	Meter    string             `json:"meter"`    // whose register it is
	Counters map[string]counter `json:"counters"` // by path
	Wh       uint64             `json:"wh"`       // the last value that was taken over
	Known    bool               `json:"known"`    // there is one

	low   uint64 // the first of the readings below Wh …
	last  uint64 // … and the last of them
	times int    // … and how many there were
}

// counter is a counter as it was read last.
type counter struct {
	Raw  int64  `json:"raw"`
	Exp  int8   `json:"exp"`
	High int64  `json:"high"` // what wraps have added to Raw
	At   uint64 `json:"at"`   // ms of energy time
}

// follow takes over what a register's counters show at energy time at; rating is the most that flows, in W. It is an error, and the
// register is absent, if they say nothing that can be, or have fallen and it is not clear yet that they began anew. began is true when
// that is clear.
func (t *track) follow(meter string, list []source.Counter, at, rating uint64) (wh uint64, began bool, err error) {
	if t.Meter != meter {
		began = t.Known
		*t = track{Meter: meter}
	}
	next := map[string]counter{}
	wh, err = t.sum(list, at, rating, next)
	if err != nil {
		return 0, began, err
	}
	if !t.Known || wh >= t.Wh {
		t.Wh, t.Known, t.Counters, t.times = wh, true, next, 0
		return wh, began, nil
	}
	bare := map[string]counter{} // if it began anew, nothing has wrapped since
	fresh, err := (&track{}).sum(list, at, rating, bare)
	if err != nil {
		return 0, false, err
	}
	if t.times == 0 || fresh < t.last {
		t.low, t.times = fresh, 0
	}
	t.last = fresh
	if t.times++; t.times <= confirm {
		return 0, false, fmt.Errorf("register fell from %d to %d Wh", t.Wh, wh)
	}
	t.Wh, t.Counters, t.times = fresh, bare, 0
	return fresh, true, nil
}

// sum adds a register's counters up, each as far as it has ever gone, and enters them into next.
func (t *track) sum(list []source.Counter, at, rating uint64, next map[string]counter) (uint64, error) {
	total := int64(0)
	for _, c := range list {
		now := counter{Raw: c.Value.Mantissa, Exp: c.Value.Exp, At: at}
		if now.Raw < 0 {
			return 0, fmt.Errorf("%s shows %d", c.Path, now.Raw)
		}
		if was, ok := t.Counters[c.Path]; ok && was.Exp == now.Exp {
			now.High = was.High
			if now.Raw < was.Raw && wrapped(&c, &was, at, rating) {
				now.High += 1 << c.Bits
			}
		}
		n, ok := Number{Mantissa: now.High + now.Raw, Exp: now.Exp}.Times(c.Scale)
		if !ok {
			return 0, fmt.Errorf("%s shows %d·10^%d", c.Path, now.Raw, now.Exp)
		}
		wh, ok := n.Floor(0)
		if !ok || wh < 0 || wh > energy.MaxRegister || total+wh > energy.MaxRegister {
			return 0, fmt.Errorf("%s shows %d·10^%d", c.Path, now.Raw, now.Exp)
		}
		total += wh
		next[c.Path] = now
	}
	return uint64(total), nil
}

// Number is a decimal.
type Number = sunspec.Number

// wrapped reports whether a counter that shows less than before can have gone over: whether what it counted, modulo its size, is at most a
// quarter above what can have flowed meanwhile, and one count more for rounding.
func wrapped(c *source.Counter, was *counter, at, rating uint64) bool {
	if c.Bits == 0 || c.Bits > 62 || at < was.At {
		return false
	}
	step, ok := Number{Mantissa: c.Value.Mantissa - was.Raw + 1<<c.Bits - 1, Exp: c.Value.Exp}.Times(c.Scale)
	if !ok {
		return false
	}
	wh, ok := step.Floor(0)
	hi, lo := bits.Mul64(rating, at-was.At)
	if !ok || wh < 0 || hi != 0 || lo > 1<<62 {
		return false
	}
	return uint64(wh) <= lo/3_600_000*5/4+1
}
