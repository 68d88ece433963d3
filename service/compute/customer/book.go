package customer

import (
	"context"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/role"
)

// lookEvery is how often the book takes in what devices ask. What they have free it hears as they say it.
const lookEvery = time.Second

// sold are the classes that jobs can be submitted for.
var sold = []types.Class{compute.Wasm, compute.OCI}

// market keeps the book until ctx ends.
func (c *Customer) keepBook(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, class := range sold {
			if err := c.look(ctx, class); err != nil && ctx.Err() == nil {
				c.log.Debug("compute: look for devices", "err", err)
			}
		}
		if err := c.lookModels(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("compute: look for models", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look takes in the asks of a class.
func (c *Customer) look(ctx context.Context, class types.Class) error {
	offers, passed, err := c.market.Offers(ctx, role.Want{Class: class})
	if err != nil {
		return err
	}
	has := map[types.Key]bool{}
	for i := range offers {
		o := &offers[i]
		terms, err := compute.DecodeTerms(o.Ask.Ask.Terms, class)
		if err != nil {
			continue // an ask that no job can be ordered by
		}
		has[o.Ask.Ask.Device] = true
		c.book.Put(match.Ask{
			Device: o.Ask.Ask.Device, Owner: o.Owner, Cell: o.Cell, Class: class, Price: types.Credit(o.Ask.Ask.Price), Terms: o.Ask.Ask.Hash(),
			Until: o.Ask.Ask.Until, Quality: o.Quality, Egress: strings.Join(terms.Egress, " "),
		})
		if o.Beat != nil { // one that came before its ask was known
			c.heard(*o.Beat)
		}
	}
	for _, p := range passed { // those that were there a moment ago: a job that finds nobody says why
		if p.Reason == types.Suspended {
			has[p.Device] = true
		}
	}
	c.book.Keep(class, func(d types.Key) bool { return has[d] })
	for _, p := range passed {
		if p.Reason == types.Suspended {
			c.book.Suspend(p.Device, class)
		}
	}
	return nil
}

// now is the clock of the book, in milliseconds.
func (c *Customer) now() int64 { return time.Since(c.began).Milliseconds() }

// heard takes in what a device says that it has free.
func (c *Customer) heard(b role.Beat) {
	free := uint64(0)
	if whole, err := b.Free.MulDiv(1, compute.Slot(b.Class)); err == nil && !b.Draining {
		free = min(whole.Lo, 1<<16)
	}
	if b.Class == compute.Model {
		c.shelves.hear(b.Device, uint32(free), b.At.Sub(c.began).Milliseconds())
		return
	}
	c.book.Hear(b.Device, b.Class, uint32(free), b.At.Sub(c.began).Milliseconds())
}
