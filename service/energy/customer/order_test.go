package customer

import (
	"encoding/csv"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// TestOrders: a community and a certificate order are counted, buy at the cleared price what was left for them,
// and show it with proofs.
func TestOrders(t *testing.T) {
	c := newTown(t)
	if list := do[[]Order](c, 200, "GET", "/orders", nil); len(list) != 0 {
		t.Fatalf("orders of nobody: %+v", list)
	}
	mine := do[Order](c, 201, "POST", "/orders", c.community())
	certs := do[Order](c, 201, "POST", "/orders", company())
	if mine.State != "waiting" || mine.Seq != 1 || mine.Payer != c.market.Payer() || certs.Beneficiary != "Bakery Ltd" {
		t.Errorf("new orders: %+v, %+v", mine, certs)
	}
	c.settle()
	if o := do[Order](c, 200, "GET", "/orders/"+mine.ID, nil); o.State != "live" {
		t.Errorf("a counted order: %+v", o)
	}
	// In each quarter 400 Wh are fed in: the neighbour takes 100, the company the origin of 150 more.
	c.hours(3, flow{pv: 500, exp: 400}, flow{imp: 100})
	fills := do[[]Fill](c, 200, "GET", "/fills", nil)
	var wh [3]uint64
	for _, f := range fills {
		want, rule := mine.ID, "community"
		if f.Rule == "certificate" {
			want, rule = certs.ID, "certificate"
			wh[2] += f.Wh
			if f.Retired != "Bakery Ltd" {
				t.Errorf("retired for %q", f.Retired)
			}
		} else {
			wh[1] += f.Wh
		}
		if f.Order != want || f.Rule != rule || f.Device != c.seller.d.Key() || f.Wh != f.To-f.From || f.Amount != types.Credit(f.Wh*f.Price) || f.Time.Unix()%900 != 0 {
			t.Errorf("fill %+v", f)
		}
	}
	if wh[1] != 800 || wh[2] != 1200 { // two hours are over and were cleared
		t.Errorf("bought %d Wh of neighbours, %d Wh of certificates, want 800 and 1200", wh[1], wh[2])
	}
	after := do[Order](c, 200, "GET", "/orders/"+mine.ID, nil)
	var amount types.Credit
	for _, f := range fills {
		if f.Order == mine.ID {
			amount += f.Amount
		}
	}
	if after.Bought != 800 || after.Paid != amount || amount == 0 {
		t.Errorf("the tally says %d Wh for %d, fills %d", after.Bought, after.Paid, amount)
	}
	if !slices.IsSortedFunc(fills, func(a, b Fill) int { return int(b.Epoch) - int(a.Epoch) }) || fills[0].Final || !fills[len(fills)-1].Final {
		t.Errorf("fills are not newest first, or of the wrong finality: %+v", fills)
	}
	if some := do[[]Fill](c, 200, "GET", "/fills?limit=1&order="+certs.ID, nil); len(some) != 1 || some[0].Order != certs.ID {
		t.Errorf("one fill of an order: %+v", some)
	}
	rows, err := csv.NewReader(strings.NewReader(do[string](c, 200, "GET", "/fills.csv", nil))).ReadAll()
	if err != nil || len(rows) != len(fills)+1 || !slices.Equal(rows[0], fillHead) || rows[1][3] > rows[len(rows)-1][3] {
		t.Errorf("CSV: %v, %v", rows, err)
	}
	rows, err = csv.NewReader(strings.NewReader(do[string](c, 200, "GET", "/statements.csv?from=3&to=3", nil))).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][2] != "3" {
		t.Errorf("CSV: %v, %v", rows, err)
	}
	p := do[Prices](c, 200, "GET", "/prices?zone=831f8dfffffffff", nil)
	if len(p.Cleared) != 16 || p.Cleared[0].Wh+p.Cleared[1].Wh != 250 || len(p.Asks) != 2 || p.Asks[0].Lowest != 10 || len(p.Zones) != 1 || p.Zones[0].FeedIn != 80 {
		t.Errorf("prices %+v", p)
	}
	if p := do[Prices](c, 200, "GET", "/prices?class=community&limit=3", nil); len(p.Cleared) != 3 || p.Cleared[2].Class != "community" || len(p.Asks) != 1 {
		t.Errorf("community prices %+v", p)
	}
}

// TestRefusals: what no tally would fill is refused at the door, with a reason and what to do.
func TestRefusals(t *testing.T) {
	c := newTown(t)
	seller := c.seller.d.Key()
	good := c.community()
	do[Order](c, 201, "POST", "/orders", good)
	bend := func(f func(*Terms)) Terms {
		x := company()
		f(&x)
		return x
	}
	for name, test := range map[string]struct {
		in     any
		status int
		reason types.Reason
	}{
		"a rule that is not known":    {bend(func(x *Terms) { x.Rule = "flexibility" }), 400, energy.OrderTerms},
		"no meter":                    {Terms{Rule: "community", Limit: 100, Wh: 1, Cap: 20_000}, 400, energy.OrderTerms},
		"a meter of somebody else's":  {Terms{Rule: "community", Meter: &seller, Limit: 100, Wh: 1, Cap: 20_000}, 403, energy.OrderMeterForeign},
		"a second for the meter":      {good, 409, energy.OrderDouble},
		"no price":                    {bend(func(x *Terms) { x.Limit = 0 }), 400, energy.OrderTerms},
		"a price beyond certificates": {bend(func(x *Terms) { x.Limit = 1001 }), 400, energy.OrderTerms},
		"nothing an interval":         {bend(func(x *Terms) { x.Wh = 0 }), 400, energy.OrderTerms},
		"a cap below a Wh":            {bend(func(x *Terms) { x.Cap = 19 }), 400, energy.OrderTerms},
		"a cap that opens nothing":    {bend(func(x *Terms) { x.Cap = 9_999 }), 402, types.SessionOpening},
		"too long":                    {bend(func(x *Terms) { x.Epochs = 8761 }), 400, energy.OrderTerms},
		"another technology":          {bend(func(x *Terms) { x.Technology = "coal" }), 400, energy.OrderTerms},
		"a zone that is none":         {bend(func(x *Terms) { z := types.Cell(0x891f8e0c2d7ffff); x.Zone = &z }), 400, energy.OrderTerms},
		"a name that hides":           {bend(func(x *Terms) { x.Beneficiary = "a\u202eb" }), 400, types.BadEncoding},
		"a field that is not known":   {map[string]any{"rule": "certificate", "colour": "green"}, 400, role.BadRequest},
	} {
		if p := do[role.Problem](c, test.status, "POST", "/orders", test.in); p.Reason != test.reason || p.Try == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for path, status := range map[string]int{
		"/orders/00": 404, "/orders/00000000000000000000000000000000": 404, "/fills?from=x": 400, "/fills?order=1": 404, "/prices?zone=1": 400, "/prices?class=x": 400,
		"/certificates?state=x": 400, "/certificates?owner=x": 400, "/certificates/x/1": 400, "/certificates/" + seller.String() + "/1": 404, "/score": 400,
		"/score?meter=" + seller.String(): 403, "/score?meter=" + good.Meter.String() + "&from=2026-06-21T09:30:00Z": 400, "/nothing": 404,
	} {
		if p := do[role.Problem](c, status, "GET", path, nil); p.Reason == "" || p.Try == "" {
			t.Errorf("%s: %+v", path, p)
		}
	}
	poor := newTown(t)
	poor.market = &door{Market: poor.World.Market("poor", 0), calls: map[string]int{}}
	poor.crash()
	do[role.Problem](poor, 402, "POST", "/orders", company())
}

// TestReplaceAndCancel: a later order takes the place of the former, and a cancelled one buys nothing more.
func TestReplaceAndCancel(t *testing.T) {
	c := newTown(t)
	o := do[Order](c, 201, "POST", "/orders", company())
	c.settle()
	next := company()
	next.Wh = 50
	if p := do[role.Problem](c, 400, "PUT", "/orders/"+o.ID, c.community()); p.Reason != energy.OrderTerms {
		t.Errorf("another rule: %+v", p)
	}
	if got := do[Order](c, 200, "PUT", "/orders/"+o.ID, next); got.Seq != 2 || got.Wh != 50 || got.State != "waiting" {
		t.Errorf("replaced: %+v", got)
	}
	c.hours(3, flow{pv: 500, exp: 400}, flow{})
	if got := do[Order](c, 200, "GET", "/orders/"+o.ID, nil); got.Bought != 2*4*50 || got.State != "live" {
		t.Errorf("after the replacement: %+v", got)
	}
	if got := do[Order](c, 200, "DELETE", "/orders/"+o.ID, nil); got.State != "cancelled" || got.Seq != 3 {
		t.Errorf("cancelled: %+v", got)
	}
	do[Order](c, 200, "DELETE", "/orders/"+o.ID, nil) // again is nothing
	do[role.Problem](c, 409, "PUT", "/orders/"+o.ID, next)
	c.hours(3, flow{pv: 500, exp: 400}, flow{})
	if got := do[Order](c, 200, "GET", "/orders/"+o.ID, nil); got.Bought != 3*4*50 {
		t.Errorf("after the cancellation: %+v", got) // the hour in which it was cancelled was still its own
	}
	if n := len(c.market.orders); n != 3 {
		t.Errorf("%d orders were handed in, want 3", n)
	}
}

// TestKill: an order that was answered for is handed in after a crash, once, as it was signed.
func TestKill(t *testing.T) {
	c := newTown(t)
	c.market.down = errors.New("the bus is away")
	o := do[Order](c, 201, "POST", "/orders", company())
	c.crash()
	c.market.down = types.Refuse(types.OverQuota, "full")
	c.follow()
	c.crash()
	c.market.down = nil
	c.follow()
	if len(c.market.orders) != 1 || c.market.orders[0].Session.String() != o.ID || c.market.orders[0].Seq != 1 {
		t.Fatalf("handed in: %+v", c.market.orders)
	}
	// It was handed in, and the crash came before the books knew.
	rec, err := c.find(c.market.Account(), o.ID)
	if err != nil {
		t.Fatal(err)
	}
	rec.Handed = false
	if err := c.books.putOrder(rec); err != nil {
		t.Fatal(err)
	}
	c.crash()
	c.follow()
	if rec, err = c.find(c.market.Account(), o.ID); err != nil || !rec.Handed || rec.Refused != "" || len(c.market.orders) != 1 {
		t.Errorf("%+v, %d orders: %v", rec, len(c.market.orders), err)
	}
	// A replacement that the market refuses leaves what stood; its number was never seen and is used again.
	c.market.down = types.Refuse(types.OverLimit, "no")
	next := company()
	next.Wh = 1
	do[role.Problem](c, http.StatusPaymentRequired, "PUT", "/orders/"+o.ID, next)
	c.market.down = nil
	if got := do[Order](c, 200, "GET", "/orders/"+o.ID, nil); got.Seq != 1 || got.Wh != 150 {
		t.Errorf("after a refused replacement: %+v", got)
	}
	if got := do[Order](c, 200, "PUT", "/orders/"+o.ID, next); got.Seq != 2 || got.Wh != 1 {
		t.Errorf("replaced at last: %+v", got)
	}
	// One that is refused when it is new leaves nothing.
	c.market.down = types.Refuse(types.OverLimit, "no")
	do[role.Problem](c, http.StatusPaymentRequired, "POST", "/orders", company())
	if list := do[[]Order](c, 200, "GET", "/orders", nil); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}
