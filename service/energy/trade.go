package energy

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// MaxCertificatePrice is the highest price that certificates are cleared at, in micro-credits per Wh.
const MaxCertificatePrice = 1000

// order is an order in force.
type order struct {
	*tally.LiveOrder
	selector *Selector
	id       types.Hash // what ties are broken by
	left     types.Credit
	meter    *member // nil for certificates without one
	sales    []Sale
	reason   types.Reason
}

// key returns the order's name.
func (o *order) key() tally.SessionKey {
	return tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}
}

// class returns what the order buys.
func (o *order) class() types.Class { return types.Class(o.Order.Rule) }

// wants returns what the order asks for in an interval, up to most.
func (o *order) wants(most uint64) uint64 {
	if n, ok := o.Order.Most.Uint64(); ok {
		most = min(most, n)
	}
	if o.Order.Limit > 0 {
		most = min(most, uint64(o.left)/o.Order.Limit)
	}
	return most
}

// supply is what one device has for sale in an interval.
type supply struct {
	m    *member
	flow int // of the member's
}

// left returns what is not sold yet.
func (o supply) left() uint64 { return o.m.flows[o.flow].Accepted - o.m.sold[o.flow] }

// book is a clearing to be: who bids and who asks, beside their quotes.
type book struct {
	bids     []Quote
	asks     []Quote
	orders   []*order
	supplies []supply
}

func (b *book) bid(o *order, wh uint64) {
	b.bids, b.orders = append(b.bids, Quote{ID: o.id, Price: o.Order.Limit, Wh: wh}), append(b.orders, o)
}

func (b *book) ask(at supply, price uint64) {
	b.asks = append(b.asks, Quote{ID: at.m.device.Key, Price: price, Wh: at.left()})
	b.supplies = append(b.supplies, at)
}

// trade clears every interval that is over and was not cleared yet, oldest first, and returns the orders.
// However many zones orders name, it looks at each order and each supply twice in an interval.
func (c *crossing) trade() []*order {
	orders := c.enlist()
	wanted := map[types.Cell][]*order{} // certificates, by zone
	for _, o := range orders {
		if o.reason == "" && o.class() == Certificate {
			wanted[o.selector.Zone] = append(wanted[o.selector.Zone], o)
		}
	}
	zones := slices.Sorted(maps.Keys(wanted))
	for _, k := range c.intervals() {
		here := c.present(k)
		c.neighbourhood(k, here)
		if len(zones) == 0 {
			continue
		}
		offered := c.certifiable(here)
		for _, zone := range slices.Backward(zones) { // 0, any zone, last
			c.certificates(k, zone, offered[zone], wanted[zone])
		}
	}
	return orders
}

// certifiable returns what certificates are asked for, by zone, and all under 0.
func (c *crossing) certifiable(here []supply) map[types.Cell][]supply {
	offered := map[types.Cell][]supply{}
	for _, at := range here {
		if _, asks := at.m.state.Ask(Certificate, c.in.Epoch); asks && at.m.state.meters() == 2 {
			offered[at.m.zone] = append(offered[at.m.zone], at)
			offered[0] = append(offered[0], at)
		}
	}
	return offered
}

// intervals returns the intervals to clear, ascending.
func (c *crossing) intervals() []uint64 {
	seen := map[uint64]bool{}
	var list []uint64
	for i := range c.members {
		for f := range c.members[i].flows {
			if f := &c.members[i].flows[f]; !f.Late && f.Span > 0 && !seen[f.K] {
				seen[f.K] = true
				list = append(list, f.K)
			}
		}
	}
	slices.Sort(list)
	return list
}

// present returns who has a flow of interval k that can be traded. It is asked for rising k.
func (c *crossing) present(k uint64) []supply {
	var here []supply
	for i := range c.members {
		m := &c.members[i]
		for m.next < len(m.flows) && m.flows[m.next].K < k {
			m.next++
		}
		if m.next < len(m.flows) && m.flows[m.next].K == k && !m.flows[m.next].Late && m.flows[m.next].Span > 0 {
			here = append(here, supply{m, m.next})
		}
	}
	return here
}

// enlist checks the orders in force. Of one meter and rule the lowest session acts.
func (c *crossing) enlist() []*order {
	orders := make([]*order, 0, len(c.in.Orders))
	for _, live := range c.in.Orders {
		o := &order{LiveOrder: live, left: live.Reserved, id: types.Sum(live.Order.Payer[:], live.Order.Session[:])}
		o.selector, o.reason = CheckOrder(live.Order)
		if o.reason == "" {
			o.reason = c.enter(o)
		}
		orders = append(orders, o)
	}
	return orders
}

// CheckOrder reads what an order buys, or says why it never will: a rule that is not known, terms that make no sense.
func CheckOrder(o *receipt.Order) (*Selector, types.Reason) {
	s, err := DecodeSelector(o.Selector)
	switch {
	case err != nil:
		return nil, OrderTerms
	case o.Rule != RuleCommunity && o.Rule != RuleCertificate, o.Most.IsZero():
		return nil, OrderTerms
	case o.Rule == RuleCommunity && s.Meter.IsZero():
		return nil, OrderTerms
	}
	return s, ""
}

// enter says why an order that makes sense does not act in this epoch.
func (c *crossing) enter(o *order) types.Reason {
	if !o.selector.Meter.IsZero() {
		m := c.byKey[o.selector.Meter]
		switch {
		case m == nil || m.device.Owner != o.Account:
			return OrderMeterForeign
		case o.class() == Community && o.selector.Zone != 0 && o.selector.Zone != m.zone:
			return OrderTerms
		}
		o.meter = m
	}
	if o.Reserved == 0 {
		return types.OverBudget
	}
	if o.meter == nil {
		return ""
	}
	at := &o.meter.orders[o.class()-1]
	if old := *at; old != nil {
		if cmp.Or(bytes.Compare(old.Order.Session[:], o.Order.Session[:]), bytes.Compare(old.Order.Payer[:], o.Order.Payer[:])) < 0 {
			return OrderDouble
		}
		old.reason = OrderDouble
	}
	*at = o
	return ""
}

// neighbourhood clears an interval among the neighbours of each zone.
func (c *crossing) neighbourhood(k uint64, here []supply) {
	books := map[types.Cell]*book{}
	var zones []types.Cell
	for _, at := range here {
		f := &at.m.flows[at.flow]
		if f.Span != 1 {
			continue
		}
		b := books[at.m.zone]
		if b == nil {
			b = new(book)
			books[at.m.zone] = b
			zones = append(zones, at.m.zone)
		}
		if o := at.m.orders[Community-1]; o != nil && !at.m.state.Taken {
			b.bid(o, o.wants(f.Import))
		}
		if price, ok := at.m.state.Ask(Community, c.in.Epoch); ok {
			b.ask(at, price)
		}
	}
	slices.Sort(zones)
	for _, zone := range zones {
		z := c.market.Zone(zone)
		c.clear(books[zone], Auction{Floor: uint64(z.FeedIn), Ceiling: z.Ceiling(k), Seed: c.in.Seed, Interval: k}, zone, Community)
	}
}

// certificates clears what neighbours left of an interval among the orders for one zone, or for any.
func (c *crossing) certificates(k uint64, zone types.Cell, offered []supply, wanted []*order) {
	if len(offered) == 0 {
		return
	}
	b := new(book)
	for _, o := range wanted {
		most := uint64(1<<64 - 1)
		if o.meter != nil {
			most = o.meter.unmatched(k)
		}
		b.bid(o, o.wants(most))
	}
	for _, at := range offered {
		if at.left() > 0 {
			price, _ := at.m.state.Ask(Certificate, c.in.Epoch)
			b.ask(at, price)
		}
	}
	c.clear(b, Auction{Ceiling: MaxCertificatePrice, Seed: c.in.Seed, Interval: k}, zone, Certificate)
}

// unmatched returns what a meter drew in interval k that it bought from no neighbour.
func (m *member) unmatched(k uint64) uint64 {
	if m.next >= len(m.flows) || m.state.Taken {
		return 0
	}
	f := &m.flows[m.next]
	if f.K != k || f.Late || f.Span != 1 {
		return 0
	}
	if m.boughtIn == k {
		return f.Import - min(f.Import, m.bought)
	}
	return f.Import
}

// buy notes that a meter's order bought from neighbours.
func (m *member) buy(k, wh uint64) {
	if m.boughtIn != k {
		m.bought, m.boughtIn = 0, k
	}
	m.bought += wh
}

// clear clears a book and books its trades.
func (c *crossing) clear(b *book, a Auction, zone types.Cell, class types.Class) {
	if len(b.bids) == 0 || len(b.asks) == 0 {
		return
	}
	a.ClearInto(&c.clearing, b.bids, b.asks)
	if c.clearing.Volume.IsZero() {
		return
	}
	price := c.clearing.Price
	c.trades = c.clearing.Match(c.trades[:0], b.bids, b.asks)
	for _, t := range c.trades {
		o, at := b.orders[t.Bid], b.supplies[t.Ask]
		from := at.m.flows[at.flow].From + at.m.sold[at.flow]
		at.m.sold[at.flow] += t.Wh
		o.sales = append(o.sales, Sale{Device: at.m.device.Key, K: a.Interval, From: from, To: from + t.Wh, Price: price})
		o.left -= types.Credit(t.Wh * price) // price ≤ limit, Wh ≤ left/limit
		if class == Community {
			more(&at.m.state.Sums.Community, t.Wh)
			o.meter.buy(a.Interval, t.Wh)
		} else {
			more(&at.m.state.Sums.Certificate, t.Wh)
		}
	}
	wh, _ := c.clearing.Volume.Uint64()
	c.markets = append(c.markets, Market{Zone: zone, K: a.Interval, Class: class, Price: price, Wh: wh, Bid: total(b.bids), Asked: total(b.asks)})
}

// total returns what quotes come to, or the greatest value where that does not fit.
func total(quotes []Quote) uint64 {
	sum := uint64(0)
	for i := range quotes {
		sum += min(quotes[i].Wh, 1<<64-1-sum)
	}
	return sum
}

// state pays the sellers, and says what came of it: what each order bought, the prices, and last, since they
// cost nobody anything, why orders did not act.
func (c *crossing) state(orders []*order) {
	for _, o := range orders {
		c.pay(o)
		c.bought(o)
	}
	for i := range c.markets {
		if c.room() {
			c.put(c.markets[i].Encode(), nil)
		}
	}
	for _, o := range orders {
		if o.reason != "" && c.room() {
			s := Statement{Payer: o.Order.Payer, Session: o.Order.Session, Epoch: c.in.Epoch, Digest: Sales{}.Digest(), Reason: o.reason}
			c.put(s.Encode(), nil)
		}
	}
}

// bought writes an order's statements.
func (c *crossing) bought(o *order) {
	part := uint32(0)
	for sales := range slices.Chunk(o.sales, MaxSales) {
		s := Statement{Payer: o.Order.Payer, Session: o.Order.Session, Epoch: c.in.Epoch, Part: part, Digest: Sales(sales).Digest()}
		for i := range sales {
			n := sales[i].To - sales[i].From
			s.Wh += n
			s.Amount += types.Credit(n * sales[i].Price)
		}
		if c.room() {
			c.put(s.Encode(), Sales(sales).Encode())
		}
		part++
	}
}

// pay makes one fill of all that an order bought from each device.
func (c *crossing) pay(o *order) {
	sales := slices.Clone(o.sales)
	slices.SortStableFunc(sales, func(a, b Sale) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	for i := range sales {
		wh := sales[i].To - sales[i].From
		amount := types.Credit(wh * sales[i].Price)
		if n := len(c.out.Fills); i > 0 && sales[i-1].Device == sales[i].Device {
			last := &c.out.Fills[n-1]
			last.Units, _ = last.Units.Add(types.U64(wh)) // below 2⁶⁴: what one order can pay
			last.Amount += amount
			continue
		}
		c.out.Fills = append(c.out.Fills, tally.Fill{Session: o.key(), Device: sales[i].Device, Units: types.U64(wh), Amount: amount})
	}
}
