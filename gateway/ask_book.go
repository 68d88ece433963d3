package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// maxAnywhere bounds of how many devices of a category a gateway remembers what they offer. It is what its
	// memory depends on, and not how many devices there are. Enough of them to choose well: the best of 1,024
	// drawn by chance is among the best 0.5 % of all, but for one time in 170.
	maxAnywhere = 1024
	// maxFound bounds of how many devices one search on the bus finds asks: of more some, drawn by chance among
	// those on the first maxPages pages that the bus shows, so that nobody is found alone because of a key that
	// comes first. maxSearches bounds how many searches are remembered, each for searchTime.
	maxFound    = 1024
	maxPages    = 16
	maxSearches = 256
	searchTime  = 15 * time.Second
)

// askBook is what the gateway knows of the asks in one category.
type askBook struct {
	anywhere *agent.Asks
	live     *live // nil where the category's customer hears no beats

	mu    sync.Mutex
	found map[string]search // by pattern
}

// search is what the bus kept below a pattern a moment ago.
type search struct {
	at   time.Time
	asks []*receipt.SignedAsk
}

func newAskBook() *askBook {
	return &askBook{anywhere: agent.NewAsks(maxAnywhere), found: map[string]search{}}
}

// hear takes in what devices ask anywhere in the region, as far as they say where they are. Others would take
// up room.
func (m *market) hear(b *askBook, regions int) func(bus.Message) {
	return func(msg bus.Message) {
		if zone, err := bus.ZoneOf(msg.Subject); err == nil && types.RegionOf(zone, uint16(regions)) != m.Region() {
			return
		}
		if !b.anywhere.Hear(m.chain, msg) {
			m.log.Debug("gateway: an ask is thrown away", "subject", msg.Subject)
		} else if b.live != nil {
			b.beats(msg.Subject)
		}
	}
}

// beats has the beats of an ask heard that was remembered.
func (b *askBook) beats(subject string) {
	device, category, class, err := bus.ParseAskSubject(subject)
	if err != nil {
		return
	}
	if ask := b.anywhere.Get(device, category, class); ask != nil {
		b.live.know(&ask.Ask, false)
	}
}

// freshen forgets what lapsed, and reads what the registry says of the devices that it remembers asks of.
func (m *market) freshen(ctx context.Context) error {
	now := m.Notice().Epoch
	for _, b := range m.asks {
		b.anywhere.Expire(now)
		if _, err := m.registry.get(ctx, now, b.anywhere.Devices(maxAnywhere)); err != nil {
			return err
		}
	}
	return nil
}

// Offers implements role.Market: best quality first, and of like quality the cheapest.
func (m *categoryMarket) Offers(ctx context.Context, w role.Want) (offers []role.Offer, passed []role.Passed, err error) {
	asks, err := m.wanted(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	keys := make([]types.Key, len(asks))
	for i, ask := range asks {
		keys[i] = ask.Ask.Device
	}
	n := m.Notice()
	devices, err := m.registry.get(ctx, n.Epoch, keys)
	if err != nil {
		return nil, nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, ask := range asks {
		key := ask.Ask.Device
		device := devices[key]
		switch why := unfit(ask, device, m.Region(), m.category, n.Epoch); {
		case why != "":
			passed = append(passed, role.Passed{Device: key, Reason: why})
		case len(w.Near) > 0 && !slices.ContainsFunc(w.Near, func(c types.Cell) bool { return c.Contains(device.Cell) }):
			// it is elsewhere in the zone, or says that it is where it is not
		default:
			offers = append(offers, role.Offer{Ask: ask, Owner: device.Owner, Cell: device.Cell, Quality: m.quality[serving{key, m.category}],
				Beat: m.asks[m.category].beat(&ask.Ask)})
		}
	}
	slices.SortFunc(offers, func(a, b role.Offer) int {
		return cmp.Or(cmp.Compare(b.Quality, a.Quality), cmp.Compare(a.Ask.Ask.Price, b.Ask.Ask.Price),
			slices.Compare(a.Ask.Ask.Device[:], b.Ask.Ask.Device[:]))
	})
	slices.SortFunc(passed, func(a, b role.Passed) int { return slices.Compare(a.Device[:], b.Device[:]) })
	return offers, passed, nil
}

// beat returns the newest beat of an ask; nil if it is silent, or nobody hears it.
func (b *askBook) beat(a *receipt.Ask) *role.Beat {
	if b.live == nil {
		return nil
	}
	return b.live.get(a.Device, a.Class, a.Hash())
}

// unfit returns why an ask is passed over, "" if it is not.
func unfit(ask *receipt.SignedAsk, device *ledger.Device, region types.Region, category types.Category, now types.Epoch) types.Reason {
	switch {
	case device == nil:
		return types.UnknownAuthor
	case device.Region != region:
		return types.WrongRegion
	case !slices.Contains(device.Categories, category):
		return role.NotInService
	case device.Suspended >= now:
		return types.Suspended
	case ask.Ask.Until < now:
		return AskLapsed
	}
	return ""
}

// wanted returns the asks to choose from: what the gateway remembers, or what the bus keeps of one device or
// near some cells.
func (m *categoryMarket) wanted(ctx context.Context, w role.Want) ([]*receipt.SignedAsk, error) {
	known := m.asks[m.category]
	if len(w.Near) > role.MaxNear {
		return nil, types.Refuse(BadRequest, "gateway: offers near %d cells, at most %d are looked for at once", len(w.Near), role.MaxNear)
	}
	if !w.Device.IsZero() {
		if ask := known.anywhere.Get(w.Device, m.category, w.Class); ask != nil {
			return []*receipt.SignedAsk{ask}, nil
		}
		return m.search(ctx, known, bus.AskSubject(w.Device, m.category, w.Class, 0))
	}
	if len(w.Near) == 0 {
		return known.anywhere.Class(m.category, w.Class), nil
	}
	var zones []types.Cell
	for _, c := range w.Near {
		zone := c.Parent(bus.ZoneResolution)
		if zone == 0 {
			return nil, types.Refuse(BadRequest, "gateway: offers near cell %v: want one of resolution %d or finer", c, bus.ZoneResolution)
		}
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	var all []*receipt.SignedAsk
	for _, zone := range slices.Compact(zones) {
		asks, err := m.search(ctx, known, bus.AskSubject(types.Key{}, m.category, w.Class, zone))
		if err != nil {
			return nil, err
		}
		all = append(all, asks...)
	}
	return all, nil
}

// search returns asks that the bus keeps below a pattern, of at most maxFound devices.
func (m *market) search(ctx context.Context, known *askBook, pattern string) ([]*receipt.SignedAsk, error) {
	known.mu.Lock()
	was, ok := known.found[pattern]
	known.mu.Unlock()
	if ok && time.Since(was.at) < searchTime {
		known.seek(was.asks)
		return was.asks, nil
	}
	b := m.agent.Bus()
	if b == nil {
		return nil, types.Refuse(types.BusUnavailable, "gateway: look for %s", pattern)
	}
	asks, err := agent.FindAsks(ctx, b, m.chain, pattern, maxFound, maxPages)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	known.seek(asks)
	now := search{time.Now(), asks}
	known.mu.Lock()
	defer known.mu.Unlock()
	if len(known.found) >= maxSearches {
		clear(known.found)
	}
	known.found[pattern] = now
	return now.asks, nil
}

// seek has the beats of asks heard that somebody looked for: of the first maxSought.
func (b *askBook) seek(asks []*receipt.SignedAsk) {
	if b.live == nil {
		return
	}
	for _, ask := range asks[:min(len(asks), maxSought)] {
		b.live.know(&ask.Ask, b.anywhere.Get(ask.Ask.Device, ask.Ask.Category, ask.Ask.Class) == nil)
	}
}
