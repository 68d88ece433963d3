package energy

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// street is a world by daylight in which everybody was read once.
func street(t testing.TB, sites map[string]Site) (*world, map[string]*device) {
	w := newWorld(t)
	w.time = noon
	byName := map[string]*device{}
	for _, name := range []string{"a", "b", "c", "d"} {
		if site, ok := sites[name]; ok {
			d := w.device(name, site)
			d.hand(d.record(w.done() + 3))
			byName[name] = d
		}
	}
	w.step()
	return w, byName
}

// flat is a house without panels.
func flat(name string) Site { return Site{Grid: meterOf(name, "grid")} }

// TestCommunity: a house buys what it draws from a neighbour who feeds in, at one price between the two, up to
// what it said.
func TestCommunity(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a"), "b": flat("b")})
	d["a"].ask(Community, 100)
	o := w.buys(d["b"], 200, 250, 1_000_000)
	d["a"].hour(func(uint64) flows { return flows{pv: 400, exp: 300} })
	d["b"].hour(func(uint64) flows { return flows{imp: 280} })
	w.step()
	w.step()
	// The bid of 250 Wh is what limits: the seller has more, so its price it is.
	if len(w.sales) != 4 || w.sales[0].Price != 100 || o.Amount != 4*250*100 || w.paid[d["a"].key.Public()] != o.Amount || o.Units != types.U64(1000) {
		t.Errorf("%+v, paid %d for %s", w.sales, o.Amount, o.Units)
	}
	if s := d["a"].state(); s.Lots.Total() != 4*50 || s.Sums.Community != 1000 {
		t.Errorf("lots of %d Wh, %+v", s.Lots.Total(), s.Sums)
	}
	if len(w.markets) != 4 || w.markets[0].Wh != 250 || w.markets[0].Bid != 250 || w.markets[0].Asked != 300 || w.markets[0].Zone != home.Parent(3) {
		t.Errorf("%+v", w.markets)
	}
}

// TestBudget: an order's demand falls with what it has left, and stops at nothing.
func TestBudget(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a"), "b": flat("b")})
	d["a"].ask(Community, 200)
	o := w.buys(d["b"], 200, 1000, 200*300+150)
	d["a"].hour(func(uint64) flows { return flows{pv: 400, exp: 200} })
	d["b"].hour(func(uint64) flows { return flows{imp: 200} })
	w.step()
	w.step()
	if o.Amount != 200*300 || len(w.sales) != 2 || w.sales[1].To-w.sales[1].From != 100 {
		t.Errorf("paid %d: %+v", o.Amount, w.sales)
	}
	o.Reserved = 0
	w.step()
	if last := w.states[len(w.states)-1]; last.Reason != types.OverBudget {
		t.Errorf("%+v", last)
	}
}

// TestCertificates: what neighbours leave goes to orders for the zone, then to orders for any; a meter matches
// what it drew itself.
func TestCertificates(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a"), "b": flat("b"), "c": {Technology: Solar, PDC: 8000, PAC: 6000, Grid: meterOf("c", "grid")}})
	d["a"].ask(Community, 100)
	d["a"].ask(Certificate, 10)
	d["c"].ask(Certificate, 1) // one meter: no certificates
	w.buys(d["b"], 200, 100, 1<<40)
	zone := w.company("zone", home.Parent(3), 20, 70, 1<<40)
	any := w.company("any", 0, 500, 1000, 1<<40)
	away := w.company("away", elsewhere.Parent(3), 900, 1000, 1<<40)
	match := w.order(receipt.Order{
		Session: session(77), Payer: key("match").Public(), Rule: RuleCertificate, Limit: 1000, Most: types.U64(1 << 30),
		Selector: (&Selector{Zone: home.Parent(3), Meter: d["b"].key.Public()}).Encode(),
	}, d["b"].reg.Owner, 1<<40)
	for name, f := range map[string]flows{"a": {pv: 400, exp: 400}, "b": {imp: 150}, "c": {exp: 400}} {
		d[name].hour(func(uint64) flows { return f })
	}
	w.step()
	w.step()
	for _, x := range []struct {
		name string
		got  types.U128
		want uint64
	}{{"zone", zone.Units, 4 * 70}, {"meter", match.Units, 4 * 50}, {"any", any.Units, 4 * (400 - 100 - 70 - 50)}, {"away", away.Units, 0}} {
		if x.got != types.U64(x.want) {
			t.Errorf("%s bought %s Wh, want %d", x.name, x.got, x.want)
		}
	}
	if s := d["a"].state(); s.Lots.Total() != 0 || s.Sums.Certificate != 4*300 {
		t.Errorf("%+v", s.Sums)
	}
	if s := d["c"].state(); s.Sums.Uncertified != 4*400 || s.Sums.Certificate != 0 {
		t.Errorf("%+v", s.Sums)
	}
}

// TestOrdersRefused: an order that cannot act says why, and the others clear.
func TestOrdersRefused(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a"), "b": flat("b"), "c": flat("c")})
	d["a"].ask(Community, 100)
	good := w.buys(d["b"], 200, 100, 1<<40)
	want := map[types.SessionID]types.Reason{}
	bad := func(reason types.Reason, owner types.Account, change func(*receipt.Order)) {
		o := receipt.Order{
			Session: session(byte(len(w.orders))), Payer: key("x").Public(), Rule: RuleCommunity, Limit: 200, Most: types.U64(100),
			Selector: (&Selector{Meter: d["c"].key.Public()}).Encode(),
		}
		change(&o)
		w.order(o, owner, 1<<40)
		want[o.Session] = reason
	}
	owner := d["c"].reg.Owner
	selector := func(s Selector) func(*receipt.Order) { return func(o *receipt.Order) { o.Selector = s.Encode() } }
	bad(OrderMeterForeign, account("stranger"), func(*receipt.Order) {})
	bad(OrderMeterForeign, owner, selector(Selector{Meter: key("nobody").Public()}))
	bad(OrderTerms, owner, func(o *receipt.Order) { o.Rule = 3 })
	bad(OrderTerms, owner, func(o *receipt.Order) { o.Most = types.U128{} })
	bad(OrderTerms, owner, selector(Selector{}))
	bad(OrderTerms, owner, selector(Selector{Meter: d["c"].key.Public(), Technology: 7}))
	bad(OrderTerms, owner, selector(Selector{Meter: d["c"].key.Public(), Zone: elsewhere.Parent(3)}))
	bad(OrderTerms, owner, func(o *receipt.Order) { o.Selector = []byte{1} })
	bad(OrderDouble, d["b"].reg.Owner, selector(Selector{Meter: d["b"].key.Public()}))
	d["a"].hour(func(uint64) flows { return flows{pv: 400, exp: 300} })
	d["b"].hour(func(uint64) flows { return flows{imp: 280} })
	w.step()
	w.states = nil
	w.step()
	got := map[types.SessionID]types.Reason{}
	for _, s := range w.states {
		if s.Reason != "" {
			got[s.Session] = s.Reason
		}
	}
	for session, reason := range want {
		if got[session] != reason {
			t.Errorf("order %s: %q, want %q", session, got[session], reason)
		}
	}
	if len(got) != len(want) || good.Units != types.U64(400) {
		t.Errorf("%d refused, want %d; the good one bought %s Wh", len(got), len(want), good.Units)
	}
}

// TestZones: neighbours are those of one zone.
func TestZones(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a"), "b": flat("b")})
	d["b"].reg.Cell = elsewhere
	d["a"].ask(Community, 100)
	w.buys(d["b"], 300, 1000, 1<<40)
	d["a"].hour(func(uint64) flows { return flows{pv: 400, exp: 300} })
	d["b"].hour(func(uint64) flows { return flows{imp: 280} })
	w.step()
	w.step()
	if len(w.sales) > 0 {
		t.Errorf("%+v", w.sales)
	}
}

// TestOneDevice: what one device feeds in and draws in one interval never trades with itself.
func TestOneDevice(t *testing.T) {
	w, d := street(t, map[string]Site{"a": solar("a")})
	d["a"].ask(Community, 100)
	w.buys(d["a"], 300, 1000, 1<<40)
	d["a"].hour(func(uint64) flows { return flows{pv: 400, exp: 300, imp: 250} })
	w.step()
	w.step()
	if s := d["a"].state(); len(w.sales) > 0 || s.Sums.Netted != 4*250 || s.Lots.Total() != 4*50 {
		t.Errorf("%+v, %+v", w.sales, s.Sums)
	}
}

// TestStatements: an order that buys more than a statement holds has several.
func TestStatements(t *testing.T) {
	o := &order{}
	for i := range uint64(2*MaxSales + 1) {
		o.sales = append(o.sales, Sale{K: 1 << 40, From: 1<<48 + 3*i, To: 1<<48 + 3*i + 2, Price: 1 << 40})
	}
	if n := len(Sales(o.sales[:MaxSales]).Encode()); n > maxSales || n > 64<<10 {
		t.Errorf("%d sales take %d bytes", MaxSales, n)
	}
	prefix := StatementPrefix(types.Key{1}, session(2))
	s := Statement{Payer: types.Key{1}, Session: session(2), Epoch: 1 << 40, Part: 1 << 30, Wh: 1 << 60, Amount: 1 << 60, Reason: OrderMeterForeign}
	if raw := s.Encode(); len(raw) > maxStatement || string(raw[:len(prefix)]) != string(prefix) {
		t.Errorf("%d bytes, %x begins with %x", len(raw), raw, prefix)
	}
}
