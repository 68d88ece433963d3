package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/cairn-network/cairn/internal/conns"
)

// How often the server is looked through for connections that have not logged on, and for how many looks a
// number is looked up again that was not found: its connection may be on its way into the server's list.
const (
	lookEvery = 50 * time.Millisecond
	lookAgain = 20
)

// watch bounds the connections that have not logged on, in all and from one address. The server knows one bound
// only, for all of its connections, and says nothing when one comes; so what came is found by its number, which
// counts up, and what is too many is closed. Between two looks somebody can be above the bound; he can't stay
// there.
type watch struct {
	s      *Server
	count  *conns.Count
	open   map[uint64]netip.Addr // who has a place; at most Config.Strangers
	newest []uint64              // the highest number at each of the last looks, oldest first
	said   time.Time
	closed int // since it was said
}

func newWatch(s *Server) *watch {
	c := s.config
	return &watch{s: s, open: map[uint64]netip.Addr{}, count: conns.NewCount(conns.Limits{Total: c.Strangers, PerAddress: c.PerAddress, Near: c.Near})}
}

func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.look()
	}
}

// look finds who came since the last looks.
func (w *watch) look() {
	known := func(id uint64) bool { return id == w.s.insideID.Load() || w.s.places.has(id) }
	for id, addr := range w.open {
		if known(id) || w.s.nats.GetClient(id) == nil {
			w.count.Give(addr)
			delete(w.open, id)
		}
	}
	last, err := w.number()
	if err != nil {
		w.s.log.Debug("bus: strangers", "err", err) // the server is ending
		return
	}
	from := uint64(1)
	if len(w.newest) > 0 {
		from = w.newest[0] + 1
	}
	for id := from; id < last; id++ {
		if _, ok := w.open[id]; ok || known(id) {
			continue
		}
		c := w.s.nats.GetClient(id)
		if c == nil {
			continue
		}
		addr := conns.AddrOf(c.RemoteAddress())
		if w.count.Take(addr) {
			w.open[id] = addr
			continue
		}
		if known(id) {
			continue // it logged on just now
		}
		_ = w.s.nats.DisconnectClientByID(id) // it has gone already
		w.refuse(addr)
	}
	if w.newest = append(w.newest, last); len(w.newest) > lookAgain {
		w.newest = slices.Delete(w.newest, 0, 1)
	}
}

func (w *watch) refuse(addr netip.Addr) {
	w.closed++
	if now := time.Now(); now.Sub(w.said) >= time.Minute {
		w.s.log.Warn("bus: connections closed that had not logged on: too many, in all or from one address", "closed", w.closed, "last", addr,
			"total", w.s.config.Strangers, "per_address", w.s.config.PerAddress)
		w.closed, w.said = 0, now
	}
}

// number takes a connection's number, which is higher than all before: the server tells it to whoever connects.
func (w *watch) number() (uint64, error) {
	c, err := w.s.nats.InProcessConn()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(authTimeout)); err != nil {
		return 0, err
	}
	return clientID(c)
}

// clientID reads the first line that the server says: INFO and a JSON object.
func clientID(c net.Conn) (uint64, error) {
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var info struct {
		ID uint64 `json:"client_id"`
	}
	body, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok {
		return 0, fmt.Errorf("the server said %q", line[:min(len(line), 40)])
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return 0, err
	}
	if info.ID == 0 {
		return 0, fmt.Errorf("the server named no number")
	}
	return info.ID, nil
}
