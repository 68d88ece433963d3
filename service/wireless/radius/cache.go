package radius

import (
	"net/netip"
	"time"

	"layeh.com/radius"
)

const (
	cacheLife  = 30 * time.Second // RFC 5080 §2.2.2: 5 to 30
	cacheMost  = 1 << 14          // answers
	cacheBytes = 16 << 20
)

// asked names a request, so that one that comes again is known (RFC 5080 §2.2.2).
type asked struct {
	from          netip.AddrPort
	code          radius.Code
	identifier    byte
	authenticator [16]byte
}

// cache remembers what was answered to whom for a while. What is beyond its bounds it forgets, the oldest first: a
// request that comes again then is answered anew.
type cache struct {
	answers map[asked]*answer
	order   []asked // the oldest first
	bytes   int
}

type answer struct {
	raw  []byte // nil while it is worked on, or where there is none
	done bool
	at   time.Time
}

// take reports whether a request is new; else it returns the answer that was given, nil for none.
func (c *cache) take(key asked, now time.Time) (again []byte, isNew bool) {
	for len(c.order) > 0 {
		if a := c.answers[c.order[0]]; len(c.order) < cacheMost && c.bytes <= cacheBytes && now.Sub(a.at) < cacheLife {
			break
		}
		c.drop()
	}
	if a := c.answers[key]; a != nil {
		return a.raw, false
	}
	if c.answers == nil {
		c.answers = map[asked]*answer{}
	}
	c.answers[key] = &answer{at: now}
	c.order = append(c.order, key)
	return nil, true
}

func (c *cache) drop() {
	key := c.order[0]
	c.order = c.order[1:]
	c.bytes -= len(c.answers[key].raw)
	delete(c.answers, key)
}

// put remembers the answer to a request that take has seen.
func (c *cache) put(key asked, raw []byte) {
	if a := c.answers[key]; a != nil && !a.done {
		a.raw, a.done = raw, true
		c.bytes += len(raw)
	}
}
