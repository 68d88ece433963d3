package customer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// Terms are what an order asks for: the body of POST and PUT.
type Terms struct {
	Rule        string       `json:"rule"`                  // community or certificate
	Meter       *types.Key   `json:"meter,omitempty"`       // the device that consumes; community orders need one, of the paying account's own
	Zone        *types.Cell  `json:"zone,omitempty"`        // of resolution 3; without one, any
	Technology  string       `json:"technology,omitempty"`  // solar; without one, any
	Beneficiary string       `json:"beneficiary,omitempty"` // whom certificates are retired for; without one, the payer
	Limit       uint64       `json:"limit"`                 // micro-credits per Wh, at most
	Wh          uint64       `json:"wh_per_interval"`       // Wh in a quarter hour, at most
	Cap         types.Credit `json:"cap,string"`            // micro-credits in total
	Epochs      types.Epoch  `json:"epochs,omitempty"`      // for how many epochs it may act; only when it is new; default 8,000
}

// Order is an order with where it stands.
type Order struct {
	ID string `json:"id"` // of its session
	Terms
	Payer   types.Key   `json:"payer"`
	Seq     uint64      `json:"seq"`
	Created time.Time   `json:"created"`
	Expiry  types.Epoch `json:"expiry"` // the first epoch in which it acts no more
	// State is waiting (no tally has counted it yet), live, refused, spent (it has bought all that its cap
	// pays), cancelled, expired, or ended (it had not enough credits behind it for 24 epochs: replace it once
	// there are).
	State   string       `json:"state"`
	Reason  types.Reason `json:"reason,omitempty"` // why it was refused, or did not act in the newest epoch in which it could have
	Bought  uint64       `json:"bought_wh"`
	Paid    types.Credit `json:"paid,string"`
	Tallied types.Epoch  `json:"tallied"` // the epoch of the tally that says so
}

const (
	defaultEpochs = 8000
	maxInterval   = 1 << 48 // Wh
)

var rules = map[string]uint16{"community": energy.RuleCommunity, "certificate": energy.RuleCertificate}

func ruleName(rule uint16) string {
	if rule == energy.RuleCommunity {
		return "community"
	}
	return "certificate"
}

// selector checks terms and returns what an order carries of them.
func (t *Terms) selector() (*energy.Selector, error) {
	s := &energy.Selector{Beneficiary: t.Beneficiary}
	if t.Meter != nil {
		s.Meter = *t.Meter
	}
	if t.Zone != nil {
		s.Zone = *t.Zone
	}
	switch {
	case rules[t.Rule] == 0:
		return nil, types.Refuse(energy.OrderTerms, "rule %.40q: want community or certificate", t.Rule)
	case t.Technology != "" && t.Technology != energy.Solar.String():
		return nil, types.Refuse(energy.OrderTerms, "technology %.40q: want solar", t.Technology)
	case t.Rule == "community" && s.Meter.IsZero():
		return nil, types.Refuse(energy.OrderTerms, "a community order names the meter that it buys for")
	case t.Limit == 0 || t.Limit > energy.MaxPrice:
		return nil, types.Refuse(energy.OrderTerms, "a limit of %d micro-credits per Wh: want 1 to %d", t.Limit, energy.MaxPrice)
	case t.Rule == "certificate" && t.Limit > energy.MaxCertificatePrice:
		return nil, types.Refuse(energy.OrderTerms, "a limit of %d micro-credits per Wh: certificates are cleared at %d at most", t.Limit, energy.MaxCertificatePrice)
	case t.Wh == 0 || t.Wh > maxInterval:
		return nil, types.Refuse(energy.OrderTerms, "%d Wh per interval: want 1 to %d", t.Wh, uint64(maxInterval))
	case t.Cap < types.Credit(t.Limit):
		return nil, types.Refuse(energy.OrderTerms, "a cap of %d micro-credits does not pay a Wh at %d", t.Cap, t.Limit)
	}
	if t.Technology != "" {
		s.Technology = energy.Solar
	}
	if err := lot.CheckBeneficiary(t.Beneficiary); err != nil {
		return nil, fmt.Errorf("beneficiary: %w: %w", err, energy.OrderTerms)
	}
	return energy.DecodeSelector(s.Encode()) // and its form
}

// place writes a new order down and hands it in.
func (c *Customer) place(ctx context.Context, w role.Wallet, t Terms) (*record, error) {
	c.ordering.Lock()
	defer c.ordering.Unlock()
	s, err := t.selector()
	if err != nil {
		return nil, err
	}
	n := c.market.Notice()
	if t.Epochs == 0 {
		t.Epochs = defaultEpochs
	}
	switch {
	case t.Epochs > receipt.MaxExpiry:
		return nil, types.Refuse(energy.OrderTerms, "%d epochs: at most %d", t.Epochs, receipt.MaxExpiry)
	case t.Cap < n.MinOpening:
		return nil, types.Refuse(types.SessionOpening, "a cap of %d micro-credits: an order begins with %d at least", t.Cap, n.MinOpening)
	case w.Balance() < types.Credit(t.Limit):
		return nil, types.Refuse(types.OverBudget, "account %v has %d micro-credits to spend with this key", w.Account(), w.Balance())
	}
	if err := c.owned(ctx, w.Account(), s); err != nil {
		return nil, err
	}
	if err := c.alone(ctx, w.Account(), rules[t.Rule], s.Meter); err != nil {
		return nil, err
	}
	var random [12]byte
	rand.Read(random[:])
	return c.sign(ctx, w, &record{Account: w.Account(), Created: uint64(time.Now().Unix())}, receipt.Order{
		Chain: c.market.Chain(), Region: c.market.Region(), Category: types.Energy, Session: types.NewSessionID(n.Epoch+t.Epochs, random), Payer: w.Payer(),
		Rule: rules[t.Rule], Selector: s.Encode(), Limit: t.Limit, Most: types.U64(t.Wh), Cap: t.Cap, Seq: 1, First: n.Epoch,
	})
}

// replace puts other terms into an order's place.
func (c *Customer) replace(ctx context.Context, w role.Wallet, old *record, t Terms) (*record, error) {
	c.ordering.Lock()
	defer c.ordering.Unlock()
	s, err := t.selector()
	if err != nil {
		return nil, err
	}
	old, err = c.books.order(w.Account(), old.Signed.Order.Session)
	if err != nil || old == nil {
		return nil, err
	}
	o, n := old.Signed.Order, c.market.Notice()
	now, err := energy.DecodeSelector(o.Selector)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Session.Expiry() <= n.Epoch:
		return nil, types.Refuse(energy.OrderExpired, "order %s ended with epoch %d", o.Session, o.Session.Expiry())
	case old.Cancelled:
		return nil, types.Refuse(energy.OrderExpired, "order %s was cancelled", o.Session)
	case t.Epochs != 0:
		return nil, types.Refuse(energy.OrderTerms, "an order keeps its end: leave epochs out, or sign a new one")
	case rules[t.Rule] != o.Rule || s.Meter != now.Meter:
		return nil, types.Refuse(energy.OrderTerms, "an order keeps its rule and its meter: cancel it and sign a new one")
	}
	o.Selector, o.Limit, o.Most, o.Cap = s.Encode(), t.Limit, types.U64(t.Wh), t.Cap
	return c.renew(ctx, w, old, o)
}

// cancel ends an order: what it has bought it keeps.
func (c *Customer) cancel(ctx context.Context, w role.Wallet, old *record) (*record, error) {
	c.ordering.Lock()
	defer c.ordering.Unlock()
	old, err := c.books.order(w.Account(), old.Signed.Order.Session)
	if err != nil || old == nil || old.Cancelled {
		return old, err
	}
	o := old.Signed.Order
	if o.Session.Expiry() <= c.market.Notice().Epoch {
		return old, nil // it has ended
	}
	o.Cap, old.Cancelled = 0, true
	return c.renew(ctx, w, old, o)
}

// renew hands in the next order of a session.
func (c *Customer) renew(ctx context.Context, w role.Wallet, old *record, o receipt.Order) (*record, error) {
	payer, err := c.payer(w, o.Payer)
	if err != nil {
		return nil, err
	}
	o.Seq, o.First = o.Seq+1, c.market.Notice().Epoch
	return c.sign(ctx, payer, old, o)
}

// sign signs an order, writes it down, and hands it in: in this order, so that no number is ever used for two
// contents.
func (c *Customer) sign(ctx context.Context, w role.Wallet, r *record, o receipt.Order) (*record, error) {
	former := *r
	r.Signed = receipt.SignedOrder{Order: o, Signature: w.Sign("order", types.Encode(&o))}
	r.Handed = false
	if err := c.books.putOrder(r); err != nil {
		return nil, err
	}
	err := c.handIn(ctx, r)
	switch {
	case err == nil:
		return r, nil
	case later(err):
		c.market.Log().Info("energy: an order waits", "order", o.Session, "err", err)
		return r, nil // Run goes on
	case o.Seq == 1:
		return nil, errors.Join(err, c.books.dropOrder(r))
	}
	return nil, errors.Join(err, c.books.putOrder(&former)) // nobody has seen the number
}

// later reports whether what the market refused may be taken later.
func later(err error) bool {
	reason := types.ReasonOf(err)
	return reason == "" || reason == types.BusUnavailable || reason == types.OverQuota
}

// handIn gives an order that is written down to the market.
func (c *Customer) handIn(ctx context.Context, r *record) error {
	err := c.market.Order(ctx, &r.Signed)
	if types.ReasonOf(err) == types.StaleSeq { // it has it, or what took its place, from before a crash
		err = nil
	}
	if err != nil {
		return err
	}
	r.Handed = true
	return c.books.handed(r)
}

// resume hands in what a crash, or a market that was full, left in the books.
func (c *Customer) resume(ctx context.Context) error {
	records, err := c.books.orders(types.Account{})
	if err != nil {
		return err
	}
	now := c.market.Notice().Epoch
	for _, r := range records {
		if r.Handed || r.Signed.Order.Session.Expiry() <= now || ctx.Err() != nil {
			continue
		}
		c.ordering.Lock()
		fresh, err := c.books.order(r.Account, r.Signed.Order.Session)
		if err == nil && fresh != nil && !fresh.Handed {
			if err = c.handIn(ctx, fresh); err != nil && !later(err) {
				fresh.Handed, fresh.Refused = true, types.ReasonOf(err)
				err = c.books.putOrder(fresh)
			}
		}
		c.ordering.Unlock()
		if err != nil {
			c.market.Log().Info("energy: an order waits", "order", r.Signed.Order.Session, "err", err)
		}
	}
	return nil
}

// owned refuses a meter that is not the account's.
func (c *Customer) owned(ctx context.Context, account types.Account, s *energy.Selector) error {
	if s.Meter.IsZero() {
		return nil
	}
	devices, err := c.market.Devices(ctx, account)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if d.Key != s.Meter {
			continue
		}
		if zone := d.Cell.Parent(3); s.Zone != 0 && s.Zone != zone {
			return types.Refuse(energy.OrderTerms, "meter %v is in zone %v, not %v", d.Key, zone, s.Zone)
		}
		return nil
	}
	return types.Refuse(energy.OrderMeterForeign, "%v is no energy device of account %v", s.Meter, account)
}

// alone refuses a second order for a meter under one rule, and more orders than an account may have.
func (c *Customer) alone(ctx context.Context, account types.Account, rule uint16, meter types.Key) error {
	records, err := c.books.orders(account)
	if err != nil {
		return err
	}
	live, now := 0, c.market.Notice().Epoch
	for _, r := range records {
		if r.Cancelled || r.Signed.Order.Session.Expiry() <= now {
			continue
		}
		o, err := c.describe(ctx, r)
		if err != nil {
			return err
		}
		if o.State != "live" && o.State != "waiting" {
			continue
		}
		live++
		if !meter.IsZero() && r.Signed.Order.Rule == rule && o.Meter != nil && *o.Meter == meter {
			return types.Refuse(energy.OrderDouble, "order %s buys for meter %v already: replace or cancel it", o.ID, meter)
		}
	}
	if live >= receipt.MaxOrders {
		return types.Refuse(types.OrderLimit, "account %v has %d live orders", account, live)
	}
	return nil
}

// payer returns the account's wallet that an order was signed with.
func (c *Customer) payer(w role.Wallet, payer types.Key) (role.Wallet, error) {
	if w.Payer() == payer {
		return w, nil
	}
	wallets := c.market.Wallets()
	i := slices.IndexFunc(wallets, func(o role.Wallet) bool { return o.Payer() == payer && o.Account() == w.Account() })
	if i < 0 {
		return nil, types.Refuse(types.UnknownKey, "the key %v that signed the order is not here", payer)
	}
	return wallets[i], nil
}

// find returns an account's order by the name that people use.
func (c *Customer) find(account types.Account, id string) (*record, error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(types.SessionID{}) {
		return nil, types.Refuse(role.NotFound, "order %.64q", id)
	}
	r, err := c.books.order(account, types.SessionID(raw))
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, types.Refuse(role.NotFound, "order %.64q", id)
	}
	return r, nil
}

// describe says where an order stands.
func (c *Customer) describe(ctx context.Context, r *record) (*Order, error) {
	o := &r.Signed.Order
	s, err := energy.DecodeSelector(o.Selector)
	if err != nil {
		return nil, err
	}
	wh, _ := o.Most.Uint64()
	out := &Order{
		ID: o.Session.String(), Payer: o.Payer, Seq: o.Seq, Created: time.Unix(int64(r.Created), 0).UTC(), Expiry: o.Session.Expiry(),
		Terms: Terms{Rule: ruleName(o.Rule), Beneficiary: s.Beneficiary, Limit: o.Limit, Wh: wh, Cap: o.Cap},
	}
	if !s.Meter.IsZero() {
		out.Meter = &s.Meter
	}
	if s.Zone != 0 {
		out.Zone = &s.Zone
	}
	if s.Technology != 0 {
		out.Technology = s.Technology.String()
	}
	at := role.OrderState{}
	if ended := out.Expiry <= c.market.Notice().Epoch; ended { // the tally forgets it
		out.State = "expired"
		out.Bought, out.Paid, out.Tallied, err = c.bought(r)
		return out, err
	}
	if at, err = c.market.OrderState(ctx, r.key()); err != nil && types.ReasonOf(err) == "" {
		return nil, err
	}
	out.Bought, _ = at.Units.Uint64()
	out.Paid, out.Tallied = at.Amount, at.Tallied
	counted := at.Counted(o.Seq)
	switch {
	case r.Refused != "":
		out.State, out.Reason = "refused", r.Refused
	case r.Cancelled:
		out.State = "cancelled"
	case at.Refused != "" && !counted:
		out.State, out.Reason = "refused", at.Refused
	case !counted:
		out.State = "waiting"
	case out.Paid+types.Credit(o.Limit) > o.Cap:
		out.State = "spent"
	case at.Ended:
		out.State, out.Reason = "ended", types.OverBudget
	case at.Unpaid != 0:
		out.State, out.Reason = "live", types.OverBudget
	default:
		out.State = "live"
		idle, err := c.books.idle(o.Session)
		if err != nil {
			return nil, err
		}
		if idle != nil && idle.Epoch >= at.Tallied {
			out.Reason = idle.Reason
		}
	}
	return out, nil
}

// bought sums up what the books have of an order.
func (c *Customer) bought(r *record) (wh uint64, paid types.Credit, newest types.Epoch, err error) {
	err = c.books.statements(r.Account, page{}, func(_ *leaf, s *energy.Statement) bool {
		if s.Session == r.Signed.Order.Session {
			wh, paid, newest = wh+s.Wh, paid+s.Amount, s.Epoch
		}
		return true
	})
	return wh, paid, newest, err
}
