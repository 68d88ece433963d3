package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How often one address may ask for an API key: keyBurst times at once, then once in keyEvery. A network behind
// one address gets along with that, and whoever has one address fills nothing.
const (
	keyBurst = 20
	keyEvery = 10 * time.Second
)

// maxAddresses bounds how many addresses a limiter remembers. An address that has all its tries again need not
// be; beyond the bound the one that is nearest to it, of a few, is forgotten.
const maxAddresses = 65_536

// limiter bounds how often each address does something: the generic cell rate algorithm of ITU-T I.371, of
// which an address keeps one number.
type limiter struct {
	now func() time.Time

	mu  sync.Mutex
	due map[netip.Prefix]time.Time // when the address will have all its tries again
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, due: map[netip.Prefix]time.Time{}}
}

// allow takes one try of an address, or returns how long it has to wait for one.
func (l *limiter) allow(from netip.Prefix) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	due := l.due[from]
	if due.Before(now) {
		due = now
	}
	if wait := due.Sub(now) - (keyBurst-1)*keyEvery; wait > 0 {
		return wait
	}
	if _, known := l.due[from]; !known && len(l.due) >= maxAddresses {
		l.forget()
	}
	l.due[from] = due.Add(keyEvery)
	return 0
}

// forget drops the address that is nearest to having all its tries, out of a few that chance picks.
func (l *limiter) forget() {
	var first netip.Prefix
	var when time.Time
	looked := 0
	for p, due := range l.due {
		if looked == 0 || due.Before(when) {
			first, when = p, due
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(l.due, first)
}

// addressOf returns who asks, as far as it can be told apart: an IPv4 address, or an IPv6 /56, which one
// household gets. Behind one of the given proxies it is the last address in X-Forwarded-For, which that proxy
// wrote.
func addressOf(r *http.Request, proxies []netip.Prefix) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // no IP: all of these share one allowance
	}
	addr := at.Addr().Unmap()
	if slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if behind, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1])); err == nil {
			addr = behind.Unmap()
		}
	}
	bits := 32
	if addr.Is6() {
		bits = 56
	}
	prefix, _ := addr.WithZone("").Prefix(bits) // both lengths fit
	return prefix
}
