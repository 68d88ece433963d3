package customer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// Prices are what a zone's markets came to, and what stands in them now.
type Prices struct {
	Cleared []Clearing `json:"cleared"` // newest first
	Asks    []AskLevel `json:"asks"`    // what devices ask now
	Zones   []ZoneRule `json:"zones"`   // within what bounds prices are, now
}

// Clearing is one clearing that traded.
type Clearing struct {
	Zone    types.Cell  `json:"zone"`
	Time    time.Time   `json:"time"` // the interval's beginning, in energy time
	Class   string      `json:"class"`
	Price   uint64      `json:"price"` // micro-credits per Wh
	Wh      uint64      `json:"wh"`
	Bid     uint64      `json:"bid_wh"`
	Offered uint64      `json:"offered_wh"`
	Epoch   types.Epoch `json:"epoch"`
	Final   bool        `json:"final"`
}

// AskLevel sums up the live asks of one class in one zone.
type AskLevel struct {
	Zone    types.Cell `json:"zone"`
	Class   string     `json:"class"`
	Devices int        `json:"devices"`
	Lowest  uint64     `json:"lowest"` // micro-credits per Wh
	Median  uint64     `json:"median"`
	Highest uint64     `json:"highest"`
}

// ZoneRule is what the rules in force say of a zone; zone 0 is every one that is not listed.
type ZoneRule struct {
	Zone     types.Cell `json:"zone"`
	FeedIn   uint16     `json:"feed_in"`  // micro-credits per Wh: no neighbour pays less
	Ceilings []uint16   `json:"ceilings"` // by UTC hour: nor more
}

// prices answers what energy costs: in one zone and class, or with a zero in all.
func (c *Customer) prices(ctx context.Context, zone types.Cell, class types.Class, limit int) (*Prices, error) {
	out := &Prices{Cleared: []Clearing{}, Asks: []AskLevel{}, Zones: []ZoneRule{}}
	final, err := c.books.final()
	if err != nil {
		return nil, err
	}
	err = c.books.markets(func(m *energy.Market, e types.Epoch) bool {
		if zone == 0 || m.Zone == zone || m.Zone == 0 {
			if class == 0 || m.Class == class {
				out.Cleared = append(out.Cleared, Clearing{Zone: m.Zone, Time: at(m.K), Class: className(m.Class), Price: m.Price, Wh: m.Wh, Bid: m.Bid, Offered: m.Asked, Epoch: e, Final: e <= final})
			}
		}
		return len(out.Cleared) < limit
	})
	if err != nil {
		return nil, err
	}
	if out.Asks, err = c.asks(ctx, zone, class); err != nil {
		return nil, err
	}
	rules, err := energy.DecodeRules(c.market.Notice().Rules)
	if err != nil {
		rules = energy.DefaultRules()
	}
	for i := range rules.Zones {
		if z := &rules.Zones[i]; zone == 0 || z == rules.Zone(zone) {
			out.Zones = append(out.Zones, ZoneRule{Zone: z.Cell, FeedIn: z.FeedIn, Ceilings: slices.Clone(z.Ceilings[:])})
		}
	}
	return out, nil
}

func className(c types.Class) string {
	if c == energy.Community {
		return "community"
	}
	return "certificate"
}

// asks sums up what devices ask.
func (c *Customer) asks(ctx context.Context, zone types.Cell, class types.Class) ([]AskLevel, error) {
	list := []AskLevel{}
	for _, cl := range []types.Class{energy.Community, energy.Certificate} {
		if class != 0 && class != cl {
			continue
		}
		want := role.Want{Class: cl}
		if zone != 0 {
			want.Near = []types.Cell{zone}
		}
		offers, _, err := c.market.Offers(ctx, want)
		if err != nil {
			return nil, err
		}
		prices := map[types.Cell][]uint64{}
		for _, o := range offers {
			if z := o.Cell.Parent(3); zone == 0 || z == zone {
				prices[z] = append(prices[z], o.Ask.Ask.Price)
			}
		}
		for z, p := range prices {
			slices.Sort(p)
			list = append(list, AskLevel{Zone: z, Class: className(cl), Devices: len(p), Lowest: p[0], Median: p[(len(p)-1)/2], Highest: p[len(p)-1]})
		}
	}
	slices.SortFunc(list, func(a, b AskLevel) int { return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Class, b.Class)) })
	return list, nil
}

// markets visits clearings, newest first, until visit returns false.
func (b *books) markets(visit func(*energy.Market, types.Epoch) bool) error {
	return b.view("prices", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, priceBucket, all, false)
		if in == nil {
			return nil
		}
		c := in.Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			m, err := energy.DecodeMarket(v)
			if err != nil || len(k) != 26 {
				return fmt.Errorf("price %x: %w", k, err)
			}
			if !visit(m, types.Epoch(binary.BigEndian.Uint64(k[18:]))) {
				return nil
			}
		}
		return nil
	})
}

// sheets visits the sheets of a device, oldest day first.
func (b *books) sheets(device types.Key, visit func(*leaf) error) error {
	return b.view("sheets", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, sheetBucket, all, false)
		if in == nil {
			return nil
		}
		c := in.Cursor()
		for k, v := c.Seek(device[:]); bytes.HasPrefix(k, device[:]); k, v = c.Next() {
			l := new(leaf)
			if err := types.DecodeLimit(v, l, maxRow); err != nil {
				return fmt.Errorf("sheet %x: %w", k, err)
			}
			if err := visit(l); err != nil {
				return err
			}
		}
		return nil
	})
}
