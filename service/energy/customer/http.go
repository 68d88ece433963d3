package customer

import (
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role"
)

const (
	maxAnswers = 10_000 // rows of an answer in JSON
	fewAnswers = 500    // where a request does not say how many
)

func (c *Customer) routes() []role.Route {
	return []role.Route{
		{Method: "POST", Path: "/orders", Summary: "Sign an order: a ceiling for what a tally prices later", Status: http.StatusCreated, In: Terms{}, Out: Order{}, Serve: c.servePlace},
		{Method: "GET", Path: "/orders", Summary: "The account's orders, and where each stands", Out: []Order(nil), Serve: c.serveOrders},
		{Method: "GET", Path: "/orders/{id}", Summary: "One order", Out: Order{}, Serve: c.serveOrder},
		{Method: "PUT", Path: "/orders/{id}", Summary: "Put other terms into an order's place; cap counts from the order's beginning", In: Terms{}, Out: Order{}, Serve: c.serveReplace},
		{Method: "DELETE", Path: "/orders/{id}", Summary: "Cancel an order; what it bought stays bought", Out: Order{}, Serve: c.serveCancel},
		{Method: "GET", Path: "/fills", Summary: "What orders bought, range by range, newest epoch first", Query: []string{"order", "from", "to", "limit"}, Out: []Fill(nil), Serve: c.serveFills},
		{Method: "GET", Path: "/fills.csv", Summary: "The same in CSV, oldest first", Query: []string{"order", "from", "to"}, Out: []byte(nil), Serve: c.serveFillsCSV},
		{Method: "GET", Path: "/statements", Summary: "What orders bought, a statement for each epoch with its proof, newest first", Query: []string{"order", "from", "to", "limit"}, Out: []Statement(nil), Serve: c.serveStatements},
		{Method: "GET", Path: "/statements.csv", Summary: "The same in CSV, without proofs, oldest first", Query: []string{"order", "from", "to"}, Out: []byte(nil), Serve: c.serveStatementsCSV},
		{Method: "GET", Path: "/prices", Summary: "What energy and certificates cost: cleared, asked now, and within what bounds", Query: []string{"zone", "class", "limit"}, Out: Prices{}, Serve: c.servePrices},
		{Method: "GET", Path: "/certificates", Summary: "Certificates under the names of EnergyTag: the account's, an owner's, or those over a device's register", Query: []string{"owner", "device", "state", "after", "limit"}, Out: CertificateList{}, Serve: c.serveCertificates},
		{Method: "GET", Path: "/certificates/{device}/{from}", Summary: "One certificate", Out: Certificate{}, Serve: c.serveCertificate},
		{Method: "GET", Path: "/sheets", Summary: "What can be issued, day by day, with what MsgIssue wants: of a device, or of all that the account owns", Query: []string{"device"}, Out: []Sheet(nil), Serve: c.serveSheets},
		{Method: "GET", Path: "/score", Summary: "Which share of a meter's consumption was matched in the hour it happened", Query: []string{"meter", "from", "to"}, Out: Score{}, Serve: c.serveScore},
		{Method: "GET", Path: "/modbus", Summary: "Where energy managers read the account's devices, and who may", Out: Modbus{}, Serve: c.serveModbus},
		{Method: "PUT", Path: "/modbus/clients", Summary: "Let who has a TLS client certificate read the account's devices", In: ModbusClient{}, Out: Modbus{}, Serve: c.servePutClient},
		{Method: "DELETE", Path: "/modbus/clients/{fingerprint}", Summary: "Let it read them no more", Out: Modbus{}, Serve: c.serveDeleteClient},
	}
}

// pageOf reads which statements a request asks for.
func (c *Customer) pageOf(r *http.Request, account types.Account, few uint64) (page, error) {
	from, err1 := role.Number(r, "from", 0, math.MaxInt64)
	to, err2 := role.Number(r, "to", 0, math.MaxInt64)
	limit, err3 := role.Number(r, "limit", few, maxAnswers)
	if err := errors.Join(err1, err2, err3); err != nil {
		return page{}, err
	}
	p := page{From: types.Epoch(from), To: types.Epoch(to), Limit: int(limit)}
	if id := role.Query(r, "order"); id != "" {
		rec, err := c.find(account, id)
		if err != nil {
			return page{}, err
		}
		p.Order = rec.Signed.Order.Session
	}
	return p, nil
}

func (c *Customer) servePlace(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	var t Terms
	if err := role.ReadJSON(r, &t); err != nil {
		return err
	}
	rec, err := c.place(r.Context(), wallet, t)
	if err != nil {
		return err
	}
	return c.replyOrder(w, r, rec, http.StatusCreated)
}

func (c *Customer) replyOrder(w http.ResponseWriter, r *http.Request, rec *record, status int) error {
	o, err := c.describe(r.Context(), rec)
	if err != nil {
		return err
	}
	return role.Reply(w, status, o)
}

func (c *Customer) serveOrders(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	records, err := c.books.orders(wallet.Account())
	if err != nil {
		return err
	}
	list := []Order{}
	for _, rec := range records {
		o, err := c.describe(r.Context(), rec)
		if err != nil {
			return err
		}
		list = append(list, *o)
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveOrder(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.find(wallet.Account(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.replyOrder(w, r, rec, http.StatusOK)
}

func (c *Customer) serveReplace(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	var t Terms
	if err := role.ReadJSON(r, &t); err != nil {
		return err
	}
	rec, err := c.find(wallet.Account(), r.PathValue("id"))
	if err == nil {
		rec, err = c.replace(r.Context(), wallet, rec, t)
	}
	if err != nil {
		return err
	}
	return c.replyOrder(w, r, rec, http.StatusOK)
}

func (c *Customer) serveCancel(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.find(wallet.Account(), r.PathValue("id"))
	if err == nil {
		rec, err = c.cancel(r.Context(), wallet, rec)
	}
	if err != nil {
		return err
	}
	return c.replyOrder(w, r, rec, http.StatusOK)
}

func (c *Customer) serveFills(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p, err := c.pageOf(r, wallet.Account(), fewAnswers)
	if err != nil {
		return err
	}
	limit := p.Limit
	p.Limit, p.Newest = 0, true
	list := []Fill{}
	err = c.fills(wallet.Account(), p, func(f *Fill) bool {
		list = append(list, *f)
		return len(list) < limit
	})
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveStatements(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p, err := c.pageOf(r, wallet.Account(), fewAnswers)
	if err != nil {
		return err
	}
	final, err := c.books.final()
	if err != nil {
		return err
	}
	p.Newest = true
	list := []*Statement{}
	err = c.books.statements(wallet.Account(), p, func(l *leaf, s *energy.Statement) bool {
		list = append(list, show(l, s, final))
		return true
	})
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveFillsCSV(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p, err := c.pageOf(r, wallet.Account(), 0)
	if err != nil {
		return err
	}
	return replyCSV(w, "fills.csv", func(b *rowBuffer) error { return c.writeFills(b, wallet.Account(), p) })
}

func (c *Customer) serveStatementsCSV(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p, err := c.pageOf(r, wallet.Account(), 0)
	if err != nil {
		return err
	}
	return replyCSV(w, "statements.csv", func(b *rowBuffer) error { return c.writeStatements(b, wallet.Account(), p) })
}

func (c *Customer) servePrices(w http.ResponseWriter, r *http.Request, _ role.Wallet) error {
	limit, err := role.Number(r, "limit", fewAnswers, maxAnswers)
	if err != nil {
		return err
	}
	var zone types.Cell
	if text := role.Query(r, "zone"); text != "" {
		if zone, err = types.ParseCell(text); err != nil || zone.Resolution() != 3 {
			return types.Refuse(role.BadRequest, "zone %.40q: want a cell of resolution 3", text)
		}
	}
	class, ok := map[string]types.Class{"": 0, "community": energy.Community, "certificate": energy.Certificate}[role.Query(r, "class")]
	if !ok {
		return types.Refuse(role.BadRequest, "class %.40q: want community or certificate", role.Query(r, "class"))
	}
	p, err := c.prices(r.Context(), zone, class, int(limit))
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, p)
}

func (c *Customer) serveCertificates(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	limit, err := role.Number(r, "limit", fewAnswers, certificate.MaxPage)
	if err != nil {
		return err
	}
	q := certificate.Query{Owner: wallet.Account(), Limit: int(limit)}
	if text := role.Query(r, "owner"); text != "" {
		if q.Owner, err = types.ParseAccount(text); err != nil {
			return types.Refuse(role.BadRequest, "owner %.80q: %v", text, err)
		}
	}
	if text := role.Query(r, "device"); text != "" {
		q.Owner = types.Account{}
		if q.Device, err = types.ParseKey(text); err != nil {
			return types.Refuse(role.BadRequest, "device %.80q: %v", text, err)
		}
	}
	switch q.State = certificate.State(role.Query(r, "state")); q.State {
	case "", certificate.Active, certificate.Retired:
	default:
		return types.Refuse(role.BadRequest, "state %.40q: want active or retired", q.State)
	}
	if q.After, err = hexOf(role.Query(r, "after")); err != nil {
		return err
	}
	list, err := c.list(r.Context(), q)
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveCertificate(w http.ResponseWriter, r *http.Request, _ role.Wallet) error {
	id, err := lot.ParseID(r.PathValue("device") + "/" + r.PathValue("from"))
	if err != nil {
		return types.Refuse(role.BadRequest, "%v", err)
	}
	x, err := certificate.Reader{Chain: c.market}.Certificate(r.Context(), id)
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, bundle(c.market.Chain(), x))
}

func (c *Customer) serveSheets(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	var keys []types.Key
	if text := role.Query(r, "device"); text != "" {
		key, err := types.ParseKey(text)
		if err != nil {
			return types.Refuse(role.BadRequest, "device %.80q: %v", text, err)
		}
		keys = append(keys, key)
	} else {
		devices, err := c.market.Devices(r.Context(), wallet.Account())
		if err != nil {
			return err
		}
		for _, d := range devices {
			keys = append(keys, d.Key)
		}
	}
	list := []Sheet{}
	for _, key := range keys {
		some, err := c.sheetsOf(r.Context(), key)
		if err != nil {
			return err
		}
		list = append(list, some...)
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveScore(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	meter, err := types.ParseKey(role.Query(r, "meter"))
	if err != nil {
		return types.Refuse(role.BadRequest, "meter %.80q: %v", role.Query(r, "meter"), err)
	}
	if err := c.owned(r.Context(), wallet.Account(), &energy.Selector{Meter: meter}); err != nil {
		return err
	}
	span := [2]uint64{0, farAway}
	for i, name := range []string{"from", "to"} {
		text := role.Query(r, name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.Unix() < 0 || t.Unix()%3600 != 0 {
			return types.Refuse(role.BadRequest, "%s %.40q: want a full hour like 2026-06-21T12:00:00Z", name, text)
		}
		span[i] = uint64(t.Unix())
	}
	s, err := c.score(r.Context(), wallet.Account(), meter, span[0], span[1])
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, s)
}
