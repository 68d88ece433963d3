package provider

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// ask publishes the owner's prices, renews them before they lapse, and hands them in until the tally has them.
func (d *device) ask(ctx context.Context) error {
	if d.cfg.Site.PDC == 0 && d.cfg.Site.Storage == 0 {
		return nil // nothing to sell
	}
	if err := d.askOne(ctx, energy.Community, d.cfg.Community); err != nil || !d.cfg.metered() {
		return err
	}
	return d.askOne(ctx, energy.Certificate, d.cfg.Certificate)
}

// metered reports whether the panels are metered apart: without that there are no certificates.
func (c *Config) metered() bool {
	for _, s := range c.Sources {
		if s.Role == source.PV {
			return true
		}
	}
	return false
}

func (d *device) askOne(ctx context.Context, class types.Class, price uint64) error {
	n, a := d.notice, &d.asks[class-1]
	if a.signed == nil || a.signed.Ask.Until < n.Epoch+askRefresh {
		var numbers [2]uint64
		if err := d.journal.load("asks", &numbers); err != nil {
			return err
		}
		numbers[class-1] = max(numbers[class-1], d.state.Asks[class-1].Seq) + 1
		if err := d.journal.store("asks", numbers); err != nil {
			return err
		}
		terms := energy.AskTerms{Seq: numbers[class-1]}
		signed, err := d.host.Offer(ctx, receipt.Ask{
			Chain: d.host.Chain(), Device: d.host.Key(), Category: types.Energy, Class: class, Price: price,
			Capacity: types.U128{Lo: uint64(max(d.cfg.Site.PAC, 1))}, Terms: terms.Encode(), Until: n.Epoch + askEpochs,
		})
		if err != nil {
			return fmt.Errorf("energy: ask: %w", err)
		}
		*a = ask{signed: signed}
	}
	has := d.state.Asks[class-1].Until == a.signed.Ask.Until && uint64(d.state.Asks[class-1].Price) == price
	if has || a.sent > 0 && n.Tallied < a.sent {
		return nil
	}
	if err := d.host.SubmitAsk(ctx, a.signed); err != nil {
		if types.ReasonOf(err) == types.OverQuota {
			return nil // the next notice tries again
		}
		return fmt.Errorf("energy: hand in an ask: %w", err)
	}
	a.sent = n.Epoch
	return nil
}
