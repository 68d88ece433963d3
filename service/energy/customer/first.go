package customer

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// What the first round's orders say. A certificate for a kWh is worth a cent or two, a neighbour's kWh less
// than the utility's.
const (
	firstCertificate = 40        // micro-credits per Wh
	firstOrigin      = 250       // Wh per quarter hour of which a company buys the origin: something is left for owners to certify
	firstBlock       = 50_000    // Wh per quarter hour that a home may buy
	firstCap         = 2_000_000 // micro-credits: $2
	firstWait        = 25 * time.Second
)

// FirstRound has the wallet buy certificates, and each account that granted this gateway a key and owns meters
// buy its neighbours' energy for them. It waits a moment for the first clearing and says what came of it.
// Orders of an earlier round go on.
func (c *Customer) FirstRound(ctx context.Context, w role.Wallet) (string, error) {
	devices, err := c.market.Devices(ctx, types.Account{})
	if err != nil {
		return "", err
	}
	if len(devices) == 0 {
		return "", nil
	}
	certificates, err := c.first(ctx, w, Terms{Rule: "certificate", Limit: firstCertificate, Wh: firstOrigin, Cap: firstCap})
	if err != nil {
		return "", err
	}
	homes := 0
	for _, wallet := range c.market.Wallets() {
		mine, err := c.market.Devices(ctx, wallet.Account())
		if err != nil {
			return "", err
		}
		for _, d := range mine {
			ceiling := c.ceiling(d.Cell.Parent(3))
			stands, err := c.first(ctx, wallet, Terms{Rule: "community", Meter: &d.Key, Limit: ceiling, Wh: firstBlock, Cap: firstCap})
			if err != nil {
				return "", err
			}
			if stands {
				homes++
			}
		}
	}
	if !certificates && homes == 0 {
		return fmt.Sprintf("energy: %d meters; nobody who buys has credits yet", len(devices)), nil
	}
	who := fmt.Sprintf("%d homes buy from their neighbours", homes)
	if certificates {
		who += ", a company buys certificates of what is left"
	}
	return fmt.Sprintf("energy: %d meters, %s; %s", len(devices), who, c.soon(ctx)), nil
}

// first places an order unless one like it stands; false if the wallet cannot pay for it.
func (c *Customer) first(ctx context.Context, w role.Wallet, t Terms) (stands bool, err error) {
	records, err := c.books.orders(w.Account())
	if err != nil {
		return false, err
	}
	for _, r := range records {
		o, err := c.describe(ctx, r)
		if err != nil {
			return false, err
		}
		if o.Rule == t.Rule && (o.State == "live" || o.State == "waiting") && (t.Meter == nil || o.Meter != nil && *o.Meter == *t.Meter) {
			return true, nil
		}
	}
	switch _, err := c.place(ctx, w, t); types.ReasonOf(err) {
	case types.OverBudget, types.OrderLimit, types.SessionOpening:
		return false, nil
	case "":
		return err == nil, err
	default:
		return false, err
	}
}

// ceiling returns the most that energy ever costs in a zone.
func (c *Customer) ceiling(zone types.Cell) uint64 {
	rules, err := energy.DecodeRules(c.market.Notice().Rules)
	if err != nil {
		rules = energy.DefaultRules()
	}
	most := uint16(1)
	for _, p := range rules.Zone(zone).Ceilings {
		most = max(most, p)
	}
	return uint64(most)
}

// soon says what was cleared, as soon as something was.
func (c *Customer) soon(ctx context.Context) string {
	end := time.Now().Add(firstWait)
	for {
		var said string
		err := c.books.markets(func(m *energy.Market, _ types.Epoch) bool {
			said = fmt.Sprintf("at %s %d.%03d kWh of %s cleared at $%d.%03d a kWh", at(m.K).Format("15:04"), m.Wh/1000, m.Wh%1000, product(m.Class), m.Price/1000, m.Price%1000)
			return false
		})
		switch {
		case err == nil && said != "":
			return said
		case ctx.Err() != nil || time.Now().After(end):
			return "nothing is cleared yet: `cairn energy price` shows when"
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func product(c types.Class) string {
	if c == energy.Community {
		return "neighbours' energy"
	}
	return "certificates"
}
