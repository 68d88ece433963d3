package gateway

import (
	"fmt"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// ordering makes an order of the wallet's.
func (r *region) ordering(id byte, cap types.Credit, seq uint64) receipt.Order {
	return receipt.Order{Chain: chain, Category: types.Energy, Session: types.NewSessionID(50, [12]byte{id}), Payer: r.wallet.Payer(),
		Limit: 1, Most: types.U64(1000), Cap: cap, Seq: seq, First: 1}
}

// sign signs with the wallet.
func (r *region) sign(o receipt.Order) *receipt.SignedOrder {
	return &receipt.SignedOrder{Order: o, Signature: r.wallet.Sign("order", types.Encode(&o))}
}

func (r *region) hand(o receipt.Order) error { return r.door.market.Order(r.t.Context(), r.sign(o)) }

func (r *region) orderState(id byte) role.OrderState {
	r.t.Helper()
	s, err := r.door.market.OrderState(r.t.Context(), tally.SessionKey{Payer: r.wallet.Payer(), ID: types.NewSessionID(50, [12]byte{id})})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *region) taken(o receipt.Order) {
	r.t.Helper()
	hash := types.Sum(r.sign(o).Encode())
	r.until("an order arrives at all voters", func() bool {
		for _, v := range r.voters {
			if v.times(hash) == 0 {
				return false
			}
		}
		return true
	})
	r.until("it is known that enough keep it", func() bool {
		rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
		return err == nil && rec != nil && rec.Kept > 0
	})
}

// TestOrderRefusedAtOnce: what can be seen to be wrong with an order never leaves the gateway.
func TestOrderRefusedAtOnce(t *testing.T) {
	r := newRegion(t)
	ungranted := r.create(t, alice)
	for what, c := range map[string]struct {
		bend func(*receipt.Order)
		want types.Reason
	}{
		"another chain":        {func(o *receipt.Order) { o.Chain = "cairn-other-1" }, types.WrongChain},
		"another region":       {func(o *receipt.Order) { o.Region = 1 }, types.WrongRegion},
		"another category":     {func(o *receipt.Order) { o.Category = types.Storage }, types.UnknownCategory},
		"a long selector":      {func(o *receipt.Order) { o.Selector = make([]byte, receipt.MaxTerms+1) }, types.Oversize},
		"an ended session":     {func(o *receipt.Order) { o.Session = types.NewSessionID(1, [12]byte{1}) }, types.SessionExpired},
		"a session for ever":   {func(o *receipt.Order) { o.Session = types.NewSessionID(9999, [12]byte{1}) }, types.WrongEpoch},
		"from a later epoch":   {func(o *receipt.Order) { o.First = 40 }, types.WrongEpoch},
		"too little to open":   {func(o *receipt.Order) { o.Cap = 9 }, types.SessionOpening},
		"nothing":              {func(o *receipt.Order) { o.Cap = 0 }, types.SessionOpening},
		"a stranger's":         {func(o *receipt.Order) { o.Payer = key(77).Public() }, types.BadSignature},
		"a key nobody granted": {func(o *receipt.Order) { o.Payer = ungranted.Payer }, types.BadSignature},
	} {
		o := r.ordering(1, 100, 1)
		c.bend(&o)
		if err := r.hand(o); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	stranger := r.ordering(1, 100, 1)
	stranger.Payer = key(77).Public()
	if err := r.door.market.Order(t.Context(), stranger.Sign(key(77))); types.ReasonOf(err) != NoKey {
		t.Errorf("an order of a key that is not here: %v", err)
	}
	pending, err := r.market.store.byPayer(ungranted.Payer)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Payer = ungranted.Payer
	if err := r.door.market.Order(t.Context(), stranger.Sign(pending.key)); types.ReasonOf(err) != types.UnknownKey {
		t.Errorf("an order of a key that nobody granted: %v", err)
	}
	if err := r.hand(r.ordering(1, 100, 5)); err != nil {
		t.Fatal(err)
	}
	if err := r.hand(r.ordering(1, 100, 5)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := r.hand(r.ordering(1, 200, 5)); types.ReasonOf(err) != types.StaleSeq {
		t.Errorf("another one of that number: %v", err)
	}
	if err := r.hand(r.ordering(1, 5, 6)); err != nil { // a cap may fall: that cancels
		t.Error(err)
	}
}

// TestOrder: an order is handed in until enough verifiers keep it, over a restart, and then shows what it bought.
func TestOrder(t *testing.T) {
	r := newRegion(t)
	if s := r.orderState(1); s.Counted(1) || s.Waiting != 0 || s.Tallied != 0 {
		t.Fatalf("before anything: %+v", s)
	}
	r.tally(ledger.Accepted)
	for _, v := range r.voters[:2] {
		v.set(func(v *voter) { v.deaf = true }) // two of four are not enough
	}
	o := r.ordering(1, 1000, 1)
	hash := types.Sum(r.sign(o).Encode())
	if err := r.hand(o); err != nil {
		t.Fatal(err)
	}
	r.until("it is sent again", func() bool { return r.voters[3].times(hash) > 1 })
	for _, v := range r.voters[:2] {
		v.set(func(v *voter) { v.deaf = false })
	}
	r.stop()
	r.start() // what was promised is on disk
	r.taken(o)
	if s := r.orderState(1); s.Counted(1) || s.Waiting != 1 || s.Tallied != 1 || s.Refused != "" {
		t.Fatalf("on its way: %+v", s)
	}
	r.tally(ledger.Accepted)
	r.until("it counts", func() bool {
		s := r.orderState(1)
		return s.Counted(1) && s.Waiting == 0 && s.Amount == 0 && s.Tallied == 2
	})
	r.until("the gateway knows", func() bool {
		rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
		return err == nil && rec.Counted
	})
	r.tally(ledger.Accepted)
	if s := r.orderState(1); s.Amount != 2 || s.Units != types.U64(2) || s.Seq != 1 || s.Ended {
		t.Fatalf("after an epoch: %+v", s)
	}
	sent := r.voters[3].times(hash)
	// A later one takes its place and goes on where it stood.
	next := r.ordering(1, 3, 2)
	if err := r.hand(next); err != nil {
		t.Fatal(err)
	}
	r.taken(next)
	if s := r.orderState(1); s.Waiting != 2 || s.Seq != 1 || s.Ended {
		t.Fatalf("the next one waits: %+v", s)
	}
	r.tally(ledger.Accepted)
	r.tally(ledger.Accepted)
	r.tally(ledger.Accepted)
	if s := r.orderState(1); s.Waiting != 0 || s.Seq != 2 || s.Amount > 4 {
		t.Fatalf("the next one: %+v", s)
	}
	if n := r.voters[3].times(hash); n != sent {
		t.Errorf("what was kept is handed in %d times more", n-sent)
	}
}

// TestOrderForgotten: a cancelled order has ended for good, also when no tally remembers it any more.
func TestOrderForgotten(t *testing.T) {
	r := newRegion(t)
	for seq, cap := range []types.Credit{1000, 0} {
		o := r.ordering(1, cap, uint64(seq)+1)
		o.Limit = 0 // so it buys nothing
		if err := r.hand(o); err != nil {
			t.Fatal(err)
		}
		r.taken(o)
		r.tally(ledger.Accepted)
		r.until("it counts", func() bool {
			rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
			return err == nil && rec.Counted
		})
	}
	if s := r.orderState(1); !s.Counted(2) || !s.Ended {
		t.Fatalf("cancelled: %+v", s)
	}
	for range receipt.MaxFresh + 2 {
		r.tally(ledger.Accepted)
	}
	r.mu.Lock()
	known := r.state.Order(tally.SessionKey{Payer: r.wallet.Payer(), ID: types.NewSessionID(50, [12]byte{1})})
	r.mu.Unlock()
	if s := r.orderState(1); known != nil || !s.Counted(2) || !s.Ended || s.Waiting != 0 {
		t.Fatalf("forgotten: %+v, in the state %+v", s, known)
	}
}

// TestOrderRefused: what verifiers or a tally refuse shows in the order's state, with the reason.
func TestOrderRefused(t *testing.T) {
	r := newRegion(t)
	r.tally(ledger.Accepted)
	for _, v := range r.voters[:2] {
		v.set(func(v *voter) { v.refuse = types.KeyExpired })
	}
	if err := r.hand(r.ordering(1, 1000, 1)); err != nil {
		t.Fatal(err)
	}
	r.until("half of the power refuses it for good", func() bool { s := r.orderState(1); return s.Refused == types.KeyExpired && s.Waiting == 0 })
	for _, v := range r.voters {
		v.set(func(v *voter) { v.refuse = types.OverQuota })
	}
	o := r.ordering(2, 1000, 1)
	if err := r.hand(o); err != nil {
		t.Fatal(err)
	}
	hash := types.Sum(r.sign(o).Encode())
	r.until("it is handed in again: the reason may pass", func() bool { return r.voters[0].times(hash) > 1 })
	if s := r.orderState(2); s.Refused != "" || s.Waiting != 1 {
		t.Fatalf("%+v", s)
	}
	for _, v := range r.voters {
		v.set(func(v *voter) { v.refuse = "" })
	}
	r.taken(o)
	// The tally has the last word: a session of a receipt's cannot be an order's.
	r.mu.Lock()
	r.changes = []tally.Change{{Grant: &tally.Grant{Key: r.wallet.Payer(), Account: alice, Limit: 5, Expiry: 100}}}
	r.mu.Unlock()
	r.tally(ledger.Accepted)
	r.until("the tally's reason shows", func() bool {
		s := r.orderState(2)
		return s.Refused == types.OverLimit && s.Waiting == 0 && !s.Counted(1)
	})
}

// TestOrderLost: an order that was in a batch whose header came to nothing is handed in again.
func TestOrderLost(t *testing.T) {
	r := newRegion(t)
	o := r.ordering(1, 1000, 1)
	if err := r.hand(o); err != nil {
		t.Fatal(err)
	}
	r.taken(o)
	hash := types.Sum(r.sign(o).Encode())
	before := r.voters[0].times(hash)
	r.tally(ledger.Accepted, hash)
	r.until("it is handed in again", func() bool { return r.voters[0].times(hash) > before })
	r.taken(o)
	r.tally(ledger.Accepted)
	r.until("it counts", func() bool { return r.orderState(1).Counted(1) })
}

// TestOrderCounted: an order of which all acks were lost, and which counted, is not taken for refused because
// it is stale.
func TestOrderCounted(t *testing.T) {
	r := newRegion(t)
	for _, v := range r.voters {
		v.set(func(v *voter) { v.deaf = true })
	}
	o := r.ordering(1, 1000, 1)
	if err := r.hand(o); err != nil {
		t.Fatal(err)
	}
	hash := types.Sum(r.sign(o).Encode())
	r.until("voters take it", func() bool { return r.voters[0].times(hash) > 0 })
	r.tally(ledger.Accepted)
	for _, v := range r.voters {
		v.set(func(v *voter) { v.deaf, v.refuse = false, types.StaleSeq })
	}
	r.until("it counts", func() bool { s := r.orderState(1); return s.Counted(1) && s.Refused == "" && s.Waiting == 0 })
	r.taken(o) // a refusal as stale is as good as an ack
	r.tally(ledger.Accepted)
	r.until("the gateway knows", func() bool {
		rec, err := r.market.book.record(tally.SessionKey{Payer: o.Payer, ID: o.Session})
		return err == nil && rec != nil && rec.Counted && rec.Refused == ""
	})
}

// TestOrderBounds: a payer's orders that wait are bounded, and sessions that ended make room.
func TestOrderBounds(t *testing.T) {
	r := newRegion(t)
	for _, v := range r.voters {
		v.set(func(v *voter) { v.deaf = true })
	}
	full := func(n int) error {
		o := r.ordering(0, 100, 1)
		o.Session = types.NewSessionID(50, [12]byte{1, byte(n), byte(n >> 8)})
		return r.hand(o)
	}
	for n := range maxOpenEach {
		if err := full(n); err != nil {
			t.Fatal(n, err)
		}
	}
	if err := full(maxOpenEach); types.ReasonOf(err) != types.OverQuota {
		t.Fatalf("one too many: %v", err)
	}
	b := r.market.book
	b.mu.Lock()
	b.known[r.wallet.Payer()] = maxKnownEach
	b.mu.Unlock()
	if err := full(maxOpenEach); types.ReasonOf(err) != types.OrderLimit {
		t.Fatalf("beyond what a state remembers: %v", err)
	}
	b.mu.Lock()
	b.known[r.wallet.Payer()] = maxOpenEach
	b.mu.Unlock()
	if err := b.expire(50); err != nil { // their sessions end: they are given up, and known for a while
		t.Fatal(err)
	}
	o := r.ordering(0, 100, 1)
	rec, err := b.record(tally.SessionKey{Payer: o.Payer, ID: types.NewSessionID(50, [12]byte{1})})
	if err != nil || rec == nil || rec.Refused != types.SessionExpired {
		t.Fatalf("%+v, %v", rec, err)
	}
	if err := b.expire(53); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, _ := b.waiting.Size(); len(b.open) != 0 || n != 0 || b.total != 0 || len(b.known) != 0 {
		t.Fatalf("%d open, %d handed in, %d known", len(b.open), n, b.total)
	}
}

// TestOrderLiars: less than a third of power can neither make an order nor hide one.
func TestOrderLiars(t *testing.T) {
	r := newRegion(t)
	if err := r.hand(r.ordering(1, 1000, 1)); err != nil {
		t.Fatal(err)
	}
	r.taken(r.ordering(1, 1000, 1))
	at := r.tally(ledger.Accepted)
	real := tally.SessionKey{Payer: r.wallet.Payer(), ID: types.NewSessionID(50, [12]byte{1})}
	none := tally.SessionKey{Payer: r.wallet.Payer(), ID: types.NewSessionID(50, [12]byte{2})}
	for what, bend := range map[string]func(key tally.SessionKey) *tally.RecordProof{
		"hides": func(tally.SessionKey) *tally.RecordProof { return nil },
		"bends a page": func(tally.SessionKey) *tally.RecordProof {
			p, _ := at.state.Prover().Order(real)
			p.Page = append([]byte(nil), p.Page...)
			p.Page[len(p.Page)-1] ^= 1
			return &p
		},
		"shows another's page": func(tally.SessionKey) *tally.RecordProof {
			p, _ := at.state.Prover().Order(real)
			return &p
		},
	} {
		liar := r.voters[0]
		for _, key := range []tally.SessionKey{real, none} {
			liar.set(func(v *voter) {
				v.answer = func(what string, honest []byte) []byte {
					if what != bus.QueryOrder {
						return honest
					}
					return bus.Seal(liar.key, &bus.OrderAt{Chain: chain, Header: at.header.Hash(), Session: key, Proof: bend(key)})
				}
			})
			s, err := r.door.market.OrderState(t.Context(), key)
			if err != nil || s.Counted(1) != (key == real) {
				t.Errorf("a verifier that %s: %+v, %v", what, s, err)
			}
		}
	}
	// With too few of them there is no answer, rather than a wrong one.
	for _, v := range r.voters[:3] {
		v.set(func(v *voter) { v.answer = func(string, []byte) []byte { return nil } })
	}
	if s, err := r.door.market.OrderState(t.Context(), none); types.ReasonOf(err) != types.BusUnavailable {
		t.Errorf("a fourth of power says that there is no order: %+v, %v", s, err)
	}
	if s, err := r.door.market.OrderState(t.Context(), real); err != nil || !s.Counted(1) {
		t.Errorf("one verifier can prove it: %+v, %v", s, err)
	}
}

// TestNotice: customers learn the time and their category's rules.
func TestNotice(t *testing.T) {
	r := newRegion(t)
	r.tally(ledger.Accepted)
	r.until("the tally is noticed", func() bool { return r.door.market.Notice().Tallied == 1 })
	n := r.door.market.Notice()
	ep, err := r.chain.Epoch(t.Context(), n.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	head, err := r.chain.Block(t.Context(), n.Height)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d %d rules 10", ep.Time.Unix(), head.Time.Unix())
	if got := fmt.Sprintf("%d %d %s %d", n.EpochTime, n.Time, n.Rules, n.MinOpening); got != want {
		t.Errorf("notice %q, want %q", got, want)
	}
}

// TestOutputs: all leaves with a prefix are found, page by page, whatever less than a third of power says.
func TestOutputs(t *testing.T) {
	r := newRegion(t)
	for id := range byte(3) {
		if err := r.hand(r.ordering(id+1, 1000, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for id := range byte(3) {
		r.taken(r.ordering(id+1, 1000, 1))
	}
	r.tally(ledger.Final)
	at := r.tally(ledger.Accepted)
	if at.header.OutCount != 6 {
		t.Fatalf("%d outputs", at.header.OutCount)
	}
	market := r.door.market
	check := func(what string, prefix []byte, want int) {
		t.Helper()
		out, err := market.Outputs(t.Context(), 2, prefix)
		if err != nil || len(out) != want {
			t.Fatalf("%s: %d outputs, %v", what, len(out), err)
		}
		for _, o := range out {
			if o.Epoch != 2 || o.Final || len(o.Detail) == 0 || at.header.VerifyOutput(types.Energy, o.Data, o.Index, o.Siblings) != nil {
				t.Errorf("%s: %+v", what, o)
			}
		}
	}
	own := types.Encode(tally.SessionKey{Payer: r.wallet.Payer(), ID: types.NewSessionID(50, [12]byte{2})})
	check("all", nil, 6)
	check("of one order", own, 2)
	check("none", []byte("x"), 0)
	if out, err := market.Outputs(t.Context(), 1, nil); err != nil || len(out) != 0 { // orders act from the next epoch on
		t.Errorf("outputs of epoch 1: %d, %v", len(out), err)
	}
	liar := r.voters[1]
	for what, bend := range map[string]func(honest []byte) []byte{
		"says nothing": func([]byte) []byte { return nil },
		"leaves one out": func(honest []byte) []byte {
			if s, _, err := bus.Open[bus.OutputsSum](honest, chain); err == nil {
				s.Count, s.Which = s.Count-1, bus.Which([]bus.Leaf{{}})
				return bus.Seal(liar.key, s)
			}
			return honest
		},
		"shows fewer": func(honest []byte) []byte {
			if o, _, err := bus.Open[bus.Outputs](honest, chain); err == nil {
				o.Leaves, o.More = o.Leaves[:1], false
				return bus.Seal(liar.key, o)
			}
			return honest
		},
		"makes up a detail": func(honest []byte) []byte {
			if o, _, err := bus.Open[bus.Outputs](honest, chain); err == nil {
				o.Leaves[0].Detail = append(append([]byte(nil), o.Leaves[0].Detail...), 1)
				return bus.Seal(liar.key, o)
			}
			return honest
		},
		"shows others": func(honest []byte) []byte {
			if o, _, err := bus.Open[bus.Outputs](honest, chain); err == nil {
				o.Leaves[0].Data = append(append([]byte(nil), own...), 1)
				return bus.Seal(liar.key, o)
			}
			return honest
		},
		"never ends": func(honest []byte) []byte {
			if o, _, err := bus.Open[bus.Outputs](honest, chain); err == nil {
				o.Leaves, o.More = nil, true
				return bus.Seal(liar.key, o)
			}
			return honest
		},
	} {
		liar.set(func(v *voter) {
			v.answer = func(kind string, honest []byte) []byte {
				if kind != bus.QueryOutputs || honest == nil {
					return honest
				}
				return bend(honest)
			}
		})
		for range 3 { // whoever answers first
			check("a verifier that "+what, own, 2)
		}
	}
	liar.set(func(v *voter) { v.answer = nil })
	r.chain.push(&ledger.Header{Epoch: 3, Status: ledger.Skipped})
	r.chain.push(&ledger.Header{Epoch: 4, Status: ledger.Open})
	lost := *at.header
	lost.Epoch = 5
	r.chain.push(&ledger.Header{Epoch: 5, Status: ledger.Final, Raw: lost.Encode(), Hash: lost.Hash()})
	for e, want := range map[types.Epoch]types.Reason{3: types.RegionSkipped, 4: types.NotFinal, 60: types.NotFinal, 5: types.UnknownBlob} {
		if out, err := market.Outputs(t.Context(), e, nil); types.ReasonOf(err) != want {
			t.Errorf("epoch %d: %d outputs, %v, want %s", e, len(out), err, want)
		}
	}
	if _, err := market.Outputs(t.Context(), 2, make([]byte, bus.MaxPrefix+1)); types.ReasonOf(err) != types.Oversize {
		t.Errorf("a long prefix: %v", err)
	}
}
