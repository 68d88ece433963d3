package customer

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/role"
)

// TestVoid: what was read of a header that is voided goes again; what is final stays, and is read once.
func TestVoid(t *testing.T) {
	c := newTown(t)
	do[Order](c, 201, "POST", "/orders", company())
	c.settle()
	c.hours(3, flow{pv: 500, exp: 400}, flow{})
	all := do[[]Statement](c, 200, "GET", "/statements", nil)
	newest := all[0].Epoch
	if newest != c.Epoch()-1 || all[0].Final || len(all) != 2 {
		t.Fatalf("statements %+v", all)
	}
	c.market.tallied = newest - 1
	c.follow()
	if now := do[[]Statement](c, 200, "GET", "/statements", nil); len(now) != 1 || now[0].Epoch >= newest {
		t.Errorf("after the void: %+v", now)
	}
	if p := do[Prices](c, 200, "GET", "/prices", nil); slices.ContainsFunc(p.Cleared, func(x Clearing) bool { return x.Epoch == newest }) {
		t.Errorf("prices of a voided header: %+v", p.Cleared)
	}
	c.market.tallied = 0
	c.follow() // the twin's header was there all the time
	if now := do[[]Statement](c, 200, "GET", "/statements", nil); len(now) != 2 || now[0].Epoch != newest {
		t.Errorf("after the void of the void: %+v", now)
	}
	// It turns out void only when it should be final.
	c.market.voided = newest
	c.hours(2, flow{pv: 500, exp: 400}, flow{})
	final, err := c.books.final()
	if err != nil || final < newest {
		t.Fatalf("final up to %d: %v", final, err)
	}
	for _, s := range do[[]Statement](c, 200, "GET", "/statements", nil) {
		if s.Epoch == newest || s.Final != (s.Epoch <= final) {
			t.Errorf("a statement of epoch %d, final %v; epoch %d was voided, %d is final", s.Epoch, s.Final, newest, final)
		}
	}
	open, err := c.books.open()
	if err != nil || len(open) != 1 || open[0] != c.Epoch()-1 {
		t.Errorf("open: %v, %v", open, err)
	}
	err = c.books.view("open", func(tx *bbolt.Tx) error {
		return tx.Bucket(openBucket).ForEach(func(k, _ []byte) error {
			if e := types.Epoch(binary.BigEndian.Uint64(k)); e <= final {
				t.Errorf("a row of epoch %d is still noted as open", e)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAway: a gateway that was away reads what it missed; epochs that were skipped hold nobody up.
func TestAway(t *testing.T) {
	c := newTown(t)
	do[Order](c, 201, "POST", "/orders", company())
	c.settle()
	for range 4 {
		c.seller.hour(c.Epoch(), flow{pv: 500, exp: 400})
		if c.Epoch() == 4 {
			c.Skip()
		} else {
			c.Next()
		}
	}
	c.crash()
	c.follow()
	var wh uint64
	for _, f := range do[[]Fill](c, 200, "GET", "/fills", nil) {
		wh += f.Wh
	}
	if o := do[[]Order](c, 200, "GET", "/orders", nil)[0]; wh == 0 || wh != o.Bought {
		t.Errorf("fills of %d Wh, the tally says %d", wh, o.Bought)
	}
}

// TestIdle: an order that does not act says why.
func TestIdle(t *testing.T) {
	c := newTown(t)
	o := do[Order](c, 201, "POST", "/orders", c.community())
	// A second for the meter, signed elsewhere with a lower session: it acts, ours does not.
	records, err := c.books.orders(c.market.Account())
	if err != nil {
		t.Fatal(err)
	}
	other := records[0].Signed.Order
	other.Session[15]--
	other.Session[4], other.Session[5] = 0, 0
	if _, err := c.sign(t.Context(), c.market, &record{Account: c.market.Account()}, other); err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.hours(2, flow{pv: 500, exp: 400}, flow{imp: 100})
	if got := do[Order](c, 200, "GET", "/orders/"+o.ID, nil); got.State != "live" || got.Reason != energy.OrderDouble {
		t.Errorf("%+v", got)
	}
}

// TestManySessions: beyond a few orders, all statements are asked for at once.
func TestManySessions(t *testing.T) {
	c := newTown(t)
	for range apart + 1 {
		x := company()
		x.Wh = 1
		do[Order](c, 201, "POST", "/orders", x)
	}
	c.settle()
	c.hours(2, flow{pv: 500, exp: 400}, flow{})
	if n := c.market.calls[string(energy.StatementPrefix(types.Key{}, types.SessionID{})[:2])]; n == 0 {
		t.Error("statements were asked for one by one")
	}
	if fills := do[[]Fill](c, 200, "GET", "/fills", nil); len(fills) != 4*(apart+1) {
		t.Errorf("%d fills", len(fills))
	}
}

// TestProve: a statement proves itself to whoever has the header, and nothing that was changed does.
func TestProve(t *testing.T) {
	c := newTown(t)
	do[Order](c, 201, "POST", "/orders", company())
	c.settle()
	c.hours(2, flow{pv: 500, exp: 400}, flow{})
	good := do[[]Statement](c, 200, "GET", "/statements", nil)[0]
	outputs, err := c.market.Outputs(t.Context(), good.Epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []tally.OutputLeaf
	for _, o := range outputs {
		leaves = append(leaves, tally.OutputLeaf{Category: types.Energy, Data: o.Data})
	}
	h := tally.Header{Chain: c.market.Chain(), Epoch: good.Epoch, Outputs: tally.OutputTree(leaves).Root(), OutCount: uint64(len(leaves))}
	if err := good.Prove(h.Encode(), h.Hash()); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*Statement){
		"more":           func(s *Statement) { s.Wh++ },
		"dearer":         func(s *Statement) { s.Amount++ },
		"another order":  func(s *Statement) { s.Order = s.Order[:30] + "zz" },
		"another epoch":  func(s *Statement) { s.Epoch++ },
		"another place":  func(s *Statement) { s.Index++ },
		"another leaf":   func(s *Statement) { s.Leaf = s.Leaf[:len(s.Leaf)-4] + "0060" },
		"other sales":    func(s *Statement) { s.SalesCBOR = "80" },
		"no sales":       func(s *Statement) { s.SalesCBOR = "" },
		"no way up":      func(s *Statement) { s.Siblings = nil },
		"another way up": func(s *Statement) { s.Siblings = slices.Clone(s.Siblings); s.Siblings[0] = h.Hash().String() },
	} {
		bad := good
		if spoil(&bad); bad.Prove(h.Encode(), h.Hash()) == nil {
			t.Errorf("%s: proven", what)
		}
	}
	if good.Prove(h.Encode(), types.Hash{}) == nil {
		t.Error("proven by a header that the chain does not have")
	}
}

// alone is the module of certificates without a chain, when none is expired yet; its pages are of one.
type alone struct {
	ledger.State
	*certificate.Twin
}

func (alone) Time() uint64 { return 0 }

func (a alone) Query(_ context.Context, method string, request, answer any) error {
	return a.Twin.Query(a, method, request, answer)
}

// certified has certificates exist.
func (c *town) certified(list ...certificate.Certificate) *certificate.Twin {
	twin := certificate.NewTwin(certificate.Config{Page: 1})
	twin.Put(list...)
	c.market.Module = alone{Twin: twin}
	return twin
}

// TestSheets: a day that closed can be issued with what the gateway shows, once.
func TestSheets(t *testing.T) {
	c := newTown(t)
	c.settle()
	c.hours(4, flow{pv: 500, exp: 400}, flow{})
	c.hours(14, flow{}, flow{}) // into the next solar day
	path := "/sheets?device=" + c.seller.d.Key().String()
	sheets := do[[]Sheet](c, 200, "GET", path, nil)
	if len(sheets) != 1 || sheets[0].Day != "2026-06-21" || sheets[0].State != "ready" || sheets[0].Wh != 4*4*400 {
		t.Fatalf("sheets %+v", sheets)
	}
	if mine := do[[]Sheet](c, 200, "GET", "/sheets", nil); len(mine) != 0 {
		t.Errorf("sheets of an account that produces nothing: %+v", mine)
	}
	msg, err := sheets[0].Issue()
	if err != nil || !msg.Sheet.Matches(msg.Lots) || msg.Epoch != sheets[0].Epoch || len(msg.Siblings) != len(sheets[0].Siblings) || len(msg.Lots.Runs()) != 4 {
		t.Fatalf("%+v: %v", msg, err)
	}
	first, last := msg.Lots[0], msg.Lots[len(msg.Lots)-1]
	twin := c.certified()
	twin.SetMark(msg.Sheet.Device, last.To)
	if s := do[[]Sheet](c, 200, "GET", path, nil); s[0].State != "lapsed" {
		t.Errorf("the mark is beyond, and there is no certificate: %q", s[0].State)
	}
	twin.Put(certificate.Certificate{ID: lot.ID{Device: msg.Sheet.Device, From: first.From}, To: first.To, State: certificate.Active, Expires: 1})
	if s := do[[]Sheet](c, 200, "GET", path, nil); s[0].State != "issued" {
		t.Errorf("issued: %q", s[0].State)
	}
}

// TestScore: consumption is matched hour by hour, by fills and by certificates that were retired for the meter
// and the hour; what nobody can place counts as not matched.
func TestScore(t *testing.T) {
	c := newTown(t)
	meter := c.consumer.d.Key()
	x := c.community()
	x.Wh = 60
	do[Order](c, 201, "POST", "/orders", x)
	c.settle()
	c.hours(2, flow{pv: 500, exp: 400}, flow{imp: 100})
	c.hours(1, flow{}, flow{imp: 50})
	c.hours(1, flow{}, flow{}) // what was cleared last is read
	path := "/score?meter=" + meter.String()
	s := do[Score](c, 200, "GET", path, nil)
	// Two hours of 400 Wh, of which 240 were filled, and one of 200 Wh with nothing.
	if s.Consumed != 1000 || s.Matched != 480 || s.Retired != 480 || s.Unattributed != 0 || s.Score != 4800 || len(s.Hours) < 3 {
		t.Fatalf("%+v", s)
	}
	at := uint64(s.Hours[len(s.Hours)-2].Time.Unix()) // the hour without fills
	if h := s.Hours[len(s.Hours)-2]; h.Consumed != 200 || h.Intervals != 4 || h.Matched != 0 {
		t.Fatalf("%+v", s.Hours)
	}
	// An hour alone is only that hour; the one before its beginning is not in it.
	one := time.Unix(int64(at), 0).UTC().Format(time.RFC3339)
	next := time.Unix(int64(at)+3600, 0).UTC().Format(time.RFC3339)
	if alone := do[Score](c, 200, "GET", path+"&from="+one+"&to="+next, nil); alone.Consumed != 200 || len(alone.Hours) != 1 || alone.Retired != 0 {
		t.Errorf("one hour: %+v", alone)
	}
	retired := func(who string, from, hour, wh uint64) certificate.Certificate {
		return certificate.Certificate{
			ID: lot.ID{Device: meter, From: from}, To: from + wh, Owner: c.market.Account(), State: certificate.Retired, Beneficiary: who, Hour: hour,
		}
	}
	name := meter.String()
	c.certified(retired(name, 0, at, 150), retired(name, 200, at-7200, 1000), retired("somebody", 2000, at, 10), retired(name, 3000, 0, 10))
	s = do[Score](c, 200, "GET", path, nil)
	if s.Matched != 480+150+160 || s.Score != 7900 {
		t.Errorf("with certificates: %+v", s)
	}
	// The gateway is away for two hours: their consumption is in the register, and in no hour.
	for range 3 {
		c.consumer.hour(c.Epoch(), flow{imp: 25})
		c.Next()
	}
	c.follow()
	s = do[Score](c, 200, "GET", path, nil)
	if s.Consumed != 1100 || s.Unattributed != 200 || s.Score != 790*10000/1300 {
		t.Errorf("after an absence: %d of %d Wh, %d unattributed, %d bp", s.Matched, s.Consumed, s.Unattributed, s.Score)
	}
	list := do[CertificateList](c, 200, "GET", "/certificates", nil)
	if x := list.Certificates[0]; list.Next == "" || x.Status != "Claimed" || x.Quantity != 150 || x.Last-x.First != 149 || x.Carrier != "electricity" || x.ConsumptionHour == nil {
		t.Errorf("%+v", list)
	}
	rest := do[CertificateList](c, 200, "GET", "/certificates?after="+list.Next, nil)
	if len(rest.Certificates) != 1 || rest.Certificates[0].ID == list.Certificates[0].ID {
		t.Errorf("%+v", rest)
	}
}

// TestSilence: a line that nobody shows at once is asked for again within the epoch, and holds up no statements.
func TestSilence(t *testing.T) {
	c := newTown(t)
	do[Order](c, 201, "POST", "/orders", c.community())
	c.settle()
	c.seller.hour(c.Epoch(), flow{pv: 500, exp: 400})
	c.consumer.hour(c.Epoch(), flow{imp: 100})
	c.Next()
	c.market.silent = 2
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	path := "/score?meter=" + c.consumer.d.Key().String()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s := do[Score](c, 200, "GET", path, nil)
		if s.Consumed == 400 && s.Unattributed == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", s)
		}
	}
}

// TestPut: a counted bucket keeps its newest rows, and counts right.
func TestPut(t *testing.T) {
	b, err := openBooks(t.TempDir() + "/books.db")
	if err != nil {
		t.Fatal(err)
	}
	defer b.db.Close()
	err = b.update("test", func(tx *bbolt.Tx) error {
		in, err := rows(tx, statementBucket, []byte("a"), true)
		if err != nil {
			return err
		}
		for _, n := range []uint64{5, 3, 9, 3, 7, 8, 4} {
			if err := put(in, u64(n), []byte("x"), 4); err != nil {
				return err
			}
		}
		var have []uint64
		_ = in.ForEach(func(k, _ []byte) error { have = append(have, binary.BigEndian.Uint64(k)); return nil })
		if !slices.Equal(have, []uint64{5, 7, 8, 9}) || in.Sequence() != 4 {
			t.Errorf("%v, counted %d", have, in.Sequence())
		}
		if err := remove(in, u64(7)); err != nil || in.Sequence() != 3 {
			t.Errorf("%d: %v", in.Sequence(), err)
		}
		return remove(in, u64(1))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFirstRound: the company and the home that granted a key buy, once, and the line says what came of it.
func TestFirstRound(t *testing.T) {
	c := newTown(t)
	did, err := c.FirstRound(cancelled(t), c.market)
	if err != nil || did != "energy: 2 meters, 1 homes buy from their neighbours, a company buys certificates of what is left; nothing is cleared yet: `cairn energy price` shows when" {
		t.Fatalf("%q: %v", did, err)
	}
	c.settle()
	c.hours(2, flow{pv: 500, exp: 400}, flow{imp: 100})
	again, err := c.FirstRound(t.Context(), c.market)
	if err != nil || len(c.market.orders) != 2 {
		t.Errorf("%q, %d orders: %v", again, len(c.market.orders), err)
	}
	if want := "kWh of "; !containsAll(again, "cleared at $0.", want) {
		t.Errorf("%q", again)
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

var _ role.Market = (*door)(nil)
