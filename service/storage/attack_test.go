package storage

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// stage is a cheat and an honest device with a session of one customer each, of ten shards of 3,000 bytes,
// bound and proven for ten epochs. What the cheat does must not touch the other.
type stage struct {
	*world
	customer      *customer
	cheat, honest *device
	deal, other   *deal
}

const heldBytes = 30000

func newStage(t *testing.T) *stage {
	w := newWorld(t)
	w.totals = []uint64{2}
	c := w.customer("customer")
	s := &stage{world: w, customer: c, cheat: w.device("cheat"), honest: w.device("honest")}
	s.deal, s.other = c.deal(s.cheat, "cheat's"), c.deal(s.honest, "honest's")
	s.deal.put(10, 3000)
	s.other.put(10, 3000)
	for range 11 {
		s.end()
	}
	t.Cleanup(s.untouched)
	return s
}

// end closes one epoch of both and returns what was found of the cheat.
func (s *stage) end() *tally.Output {
	out := s.run(s.cheat)
	s.epoch--
	s.run(s.honest)
	return out
}

// untouched checks that the honest device may draw exactly what the arithmetic says, for every epoch that passed.
func (s *stage) untouched() {
	passes := uint64(s.epoch) - 11
	proven := passes * heldBytes
	payable := proven - min(proven/8, Retain*heldBytes)
	state := s.honest.state()
	if got := state.Sessions[0].Payable(state.Passes); state.Passes != passes || got != u(payable) {
		s.t.Errorf("the honest device: %d passes, payable %s; want %d, %d", state.Passes, got, passes, payable)
	}
	if got, err := Amount(u(payable), testPrice); err != nil || got != types.Credit(payable/4) {
		s.t.Errorf("%d units are worth %d, %v; want %d", payable, got, err, payable/4)
	}
}

// fails runs one epoch in which the cheat's only answer is a, and wants it refused and unpaid.
func (s *stage) fails(answer Answer, reason types.Reason) {
	s.t.Helper()
	s.cheat.silent = true
	before := s.cheat.state()
	at := s.cheat.submit(KindAnswer, answer.Encode())
	s.want(s.end(), at, reason)
	after := s.cheat.state()
	if after.Passes != before.Passes || after.Streak != before.Streak+1 || after.Quality != uint32(uint64(before.Quality)*63/64) {
		s.t.Errorf("refused with %s, but passes went from %d to %d, streak from %d to %d", reason, before.Passes, after.Passes, before.Streak, after.Streak)
	}
}

// TestDropTenPercent: one shard in ten is gone and nothing is said.
func TestDropTenPercent(t *testing.T) {
	s := newStage(t)
	delete(s.cheat.disk, s.deal.list.At(4).ID)
	failed, epochs := 0, 48
	for range epochs {
		out := s.end()
		if reason := out.Evidence[0].Reason; reason == AnswerChunk {
			failed++
		} else if reason != "" {
			t.Errorf("epoch %d: %s", s.epoch, reason)
		}
	}
	// One epoch passes with 0.9^20 = 12 %.
	if passes := s.cheat.state().Passes; passes != uint64(10+epochs-failed) || failed < epochs*3/4 {
		t.Errorf("%d of %d epochs failed, %d passes", failed, epochs, passes)
	}
}

func TestReplayedAnswer(t *testing.T) {
	s := newStage(t)
	old := s.cheat.prove()
	s.end()
	s.fails(old, AnswerPosition)
	mixed := s.cheat.prove()
	mixed[7] = old[7]
	s.fails(mixed, AnswerPosition)
	// The right proofs in another order answer other positions.
	swapped := s.cheat.prove()
	swapped[0], swapped[1] = swapped[1], swapped[0]
	s.fails(swapped, AnswerPosition)
	s.fails(s.cheat.prove()[:19], AnswerMissing)
	s.fails(s.cheat.prove()[:1], AnswerMissing)
}

// TestAnswerOfAnother: another device's answer, and one's own shards at another device's positions.
func TestAnswerOfAnother(t *testing.T) {
	s := newStage(t)
	s.fails(s.honest.prove(), SessionUnknown)
	theirs, err := Prove(s.cheat.state().Draw(s.seed(), s.honest.key.Public(), s.totals),
		func(id types.SessionID) (*Shards, error) { return s.cheat.shards[id], nil }, s.cheat.read)
	if err != nil {
		t.Fatal(err)
	}
	s.fails(theirs, AnswerPosition)
	// A session of the device's own, but not the one drawn.
	second := s.customer.deal(s.cheat, "second")
	second.put(1, 10)
	s.end()
	answer := s.cheat.prove()
	i := slices.IndexFunc(answer, func(p Proof) bool { return p.Session == s.deal.holding.Session })
	answer[i].Session = second.holding.Session
	s.fails(answer, AnswerPosition)
}

// TestBentProof: each part of a proof, bent.
func TestBentProof(t *testing.T) {
	for name, bend := range map[string]struct {
		reason types.Reason
		bend   func(*Proof)
	}{
		"chunk":               {AnswerChunk, func(p *Proof) { p.Chunk[0] ^= 1 }},
		"shorter chunk":       {AnswerChunk, func(p *Proof) { p.Chunk = p.Chunk[1:] }},
		"no chunk":            {AnswerChunk, func(p *Proof) { p.Chunk = []byte{} }},
		"siblings":            {AnswerChunk, func(p *Proof) { p.Siblings[5] ^= 1 }},
		"fewer siblings":      {AnswerChunk, func(p *Proof) { p.Siblings = p.Siblings[chunkStep:] }},
		"more siblings":       {AnswerChunk, func(p *Proof) { p.Siblings = append(p.Siblings, make([]byte, chunkStep)...) }},
		"revision":            {AnswerRevision, func(p *Proof) { p.Revision++ }},
		"slot":                {AnswerPath, func(p *Proof) { p.Slot ^= 1 }},
		"slot beyond the end": {AnswerPath, func(p *Proof) { p.Slot += 16 }},
		"shard":               {AnswerPath, func(p *Proof) { p.Shard.ID[3] ^= 1 }},
		"longer shard":        {AnswerPath, func(p *Proof) { p.Shard.Bytes++ }},
		"sum in the path":     {AnswerPath, func(p *Proof) { p.Path[7]++ }},
		"hash in the path":    {AnswerPath, func(p *Proof) { p.Path[8]++ }},
		"shorter path":        {AnswerPath, func(p *Proof) { p.Path = p.Path[sumStep:] }},
		"longer path":         {AnswerPath, func(p *Proof) { p.Path = append(p.Path, make([]byte, sumStep)...) }},
		// A step moved from the sibling to the leaf keeps the total: the leaf would cover what it does not hold.
		"moved sum": {AnswerPath, func(p *Proof) {
			p.Shard.Bytes++
			binary.BigEndian.PutUint64(p.Path, binary.BigEndian.Uint64(p.Path)-1)
		}},
		"unknown session": {SessionUnknown, func(p *Proof) { p.Session[9] ^= 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			answer := s.cheat.prove()
			bend.bend(&answer[len(answer)-1])
			s.fails(answer, bend.reason)
		})
	}
}

// TestWrongChunk: what the device still has, shown for what it was asked for.
func TestWrongChunk(t *testing.T) {
	s := newStage(t)
	answer := s.cheat.prove()
	p := &answer[3]
	draw := s.cheat.state().Draw(s.seed(), s.cheat.key.Public(), s.totals)[3]
	chunk := (draw.Position - p.Slot*3000) / ChunkSize // all shards have 3,000 bytes, so slot n begins at 3,000·n
	wrong := (chunk + 1) % 3
	data, siblings, _ := s.cheat.read(p.Session, p.Shard, wrong)
	p.Chunk, p.Siblings = data, NewChunkPath(siblings)
	s.fails(answer, AnswerChunk)
	// Another shard of the session, rightly proven.
	answer = s.cheat.prove()
	slot := (int(answer[5].Slot) + 1) % 10
	p = &answer[5]
	p.Slot, p.Shard = uint64(slot), s.deal.list.At(slot)
	p.Path = NewSumPath(s.deal.list.tree.Proof(slot))
	s.fails(answer, AnswerPosition)
}

// TestOldRevision: the tree before the last deletion, and the holding before it.
func TestOldRevision(t *testing.T) {
	s := newStage(t)
	s.cheat.silent = true
	old := s.deal.sign()
	at := s.deal.drop(5)
	s.want(s.end(), at, "")
	state := s.cheat.state()
	stale := state.Sessions[0]
	stale.Revision, stale.Root, stale.Shards, stale.Bytes = 1, old.Holding.Root, old.Holding.Shards, old.Holding.Bytes
	state.Sessions[0] = stale
	answer, err := Prove(state.Draw(s.seed(), s.cheat.key.Public(), s.totals),
		func(id types.SessionID) (*Shards, error) { return s.cheat.shards[id], nil }, s.cheat.read)
	if err != nil {
		t.Fatal(err)
	}
	s.fails(answer, AnswerRevision)
	at = s.cheat.submit(KindHolding, old.Encode())
	s.want(s.end(), at, HoldingStale)
	// The same revision with other shards is as stale: the first counts.
	x := *s.deal
	x.holding.Root[0] ^= 1
	at = s.cheat.submit(KindHolding, x.sign().Encode())
	s.want(s.end(), at, HoldingStale)
}

// TestTwoAnswers: the first counts, even when the second is right.
func TestTwoAnswers(t *testing.T) {
	s := newStage(t)
	bent := s.cheat.prove()
	bent[0].Chunk[0] ^= 1
	bad := s.cheat.submit(KindAnswer, bent.Encode())
	out := s.end() // adds the right one
	s.want(out, bad, AnswerChunk)
	s.want(out, bad+1, AnswerDuplicate)
	if got := s.cheat.state(); got.Streak != 1 || got.Passes != 10 {
		t.Errorf("%+v", got)
	}
	right := s.cheat.submit(KindAnswer, s.cheat.prove().Encode())
	out = s.end()
	s.want(out, right, "")
	s.want(out, right+1, AnswerDuplicate)
	if got := s.cheat.state(); got.Passes != 11 {
		t.Errorf("two right answers: %d passes, want 11", got.Passes)
	}
}

// TestUnaskedAnswer: nothing was drawn, so nothing is gained.
func TestUnaskedAnswer(t *testing.T) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("c").deal(d, "s")
	x.put(1, 100)
	w.run(d)
	at := d.submit(KindAnswer, d.prove().Encode())
	d.silent = true
	out := w.close(d, func(in *tally.Input) { in.Challenged = false })
	w.want(out, at, AnswerPosition)
	if d.state().Passes != 1 {
		t.Errorf("%d passes", d.state().Passes)
	}
}

// TestInventedBytes: bytes that no customer signed for, in every way of claiming them.
func TestInventedBytes(t *testing.T) {
	s := newStage(t)
	forge := func(name string, reason types.Reason, bend func(x *deal, signed *SignedHolding)) {
		t.Helper()
		x := s.customer.deal(s.cheat, name)
		data := []byte(name)
		shard := Shard{ID: ShardID(data), Bytes: uint64(len(data))}
		s.cheat.disk[shard.ID] = data
		signed := x.commit([]Op{x.list.Append(0, shard)})
		bend(x, signed)
		at := s.cheat.submit(KindHolding, signed.Encode())
		sessions := len(s.cheat.state().Sessions)
		out := s.end()
		s.want(out, at, reason)
		if got := len(s.cheat.state().Sessions); got != sessions || len(out.Open) != 0 {
			t.Errorf("%s: %d sessions, were %d; %d opened", name, got, sessions, len(out.Open))
		}
		at = x.pay(u(4))
		s.wantPaid(s.end(), at, SessionUnknown)
	}
	resign := func(x *deal, signed *SignedHolding, as types.PrivateKey) {
		signed.Signature = as.Sign(DomainHolding, testChain, signed.Holding.Payload())
	}
	forge("signed by the device", HoldingSignature, func(x *deal, h *SignedHolding) { resign(x, h, s.cheat.key) })
	forge("no signature", HoldingSignature, func(_ *deal, h *SignedHolding) { h.Signature = types.Signature{} })
	forge("more bytes than signed", HoldingSignature, func(_ *deal, h *SignedHolding) { h.Holding.Bytes++ })
	forge("longer than signed", HoldingSignature, func(_ *deal, h *SignedHolding) { h.Holding.Until++ })
	forge("another domain", HoldingSignature, func(x *deal, h *SignedHolding) {
		h.Signature = x.c.key.Sign(DomainHeld, testChain, h.Holding.Payload())
	})
	forge("another chain", HoldingSignature, func(x *deal, h *SignedHolding) {
		h.Signature = x.c.key.Sign(DomainHolding, "cairn-test-2", h.Holding.Payload())
	})
	forge("for another device", HoldingSignature, func(x *deal, h *SignedHolding) {
		h.Holding.Device = s.honest.key.Public()
		resign(x, h, x.c.key)
	})
	forge("a key of its own", types.UnknownKey, func(x *deal, h *SignedHolding) {
		h.Holding.Payer = s.cheat.key.Public()
		resign(x, h, s.cheat.key)
	})
	forge("another's account", HoldingTerms, func(x *deal, h *SignedHolding) {
		h.Holding.Account[0] ^= 1
		resign(x, h, x.c.key)
	})
	forge("no bytes", HoldingTerms, func(x *deal, h *SignedHolding) {
		h.Holding.Bytes = 0
		resign(x, h, x.c.key)
	})
	forge("expired", types.SessionExpired, func(x *deal, h *SignedHolding) {
		h.Holding.Session = types.NewSessionID(s.epoch-1, [12]byte{1})
		h.Holding.Until = s.epoch - 1
		resign(x, h, x.c.key)
	})
	forge("too far ahead", HoldingTerms, func(x *deal, h *SignedHolding) {
		h.Holding.Session = types.NewSessionID(s.epoch+receipt.MaxExpiry+1, [12]byte{1})
		resign(x, h, x.c.key)
	})
	forge("until after its expiry", HoldingTerms, func(x *deal, h *SignedHolding) {
		h.Holding.Until = h.Holding.Session.Expiry() + 1
		resign(x, h, x.c.key)
	})
	forge("revision 0", HoldingStale, func(x *deal, h *SignedHolding) {
		h.Holding.Revision = 0
		resign(x, h, x.c.key)
	})
	forge("a price out of bounds", UnitsOverflow, func(x *deal, h *SignedHolding) {
		h.Holding.Price = MaxPrice
		resign(x, h, x.c.key)
	})
	s.Granted[s.customer.key.Public()].Expiry = s.epoch - 1
	forge("an expired key", types.KeyExpired, func(*deal, *SignedHolding) {})
	delete(s.Granted, s.customer.key.Public())
	forge("a removed key", types.UnknownKey, func(*deal, *SignedHolding) {})
	if got := s.cheat.state(); got.Bytes() != heldBytes {
		t.Errorf("the cheat holds %d bytes", got.Bytes())
	}
}

// TestTermsStay: a session keeps its payer, account, ask and price.
func TestTermsStay(t *testing.T) {
	s := newStage(t)
	thief, second := s.world.customer("thief"), s.world.customer("second key")
	second.account = s.customer.account
	s.Granted[second.key.Public()].Account = second.account
	for name, bend := range map[string]func(x *deal){
		"payer":   func(x *deal) { x.c = thief; x.holding.Payer, x.holding.Account = thief.key.Public(), thief.account },
		"key":     func(x *deal) { x.c = second; x.holding.Payer = second.key.Public() },
		"account": func(x *deal) { x.holding.Account[0] ^= 1 },
		"ask":     func(x *deal) { x.holding.Ask[0] ^= 1 },
		"price":   func(x *deal) { x.holding.Price++ },
	} {
		x := *s.deal
		x.holding.Revision++
		bend(&x)
		at := s.cheat.submit(KindHolding, x.sign().Encode())
		out := s.end()
		if got := out.Evidence[at].Reason; got != HoldingTerms {
			t.Errorf("%s: %q, want %q", name, got, HoldingTerms)
		}
	}
	x := *s.deal
	x.holding.Revision++
	signed := x.sign()
	signed.Holding.Bytes++
	at := s.cheat.submit(KindHolding, signed.Encode())
	s.want(s.end(), at, HoldingSignature)
}

// TestReceiptBeyondProof: a customer's signature alone moves no money for bytes that are not proven.
func TestReceiptBeyondProof(t *testing.T) {
	s := newStage(t)
	// The epoch's own pass counts: 11 passes, proven 330,000, retained 41,250.
	beyond, most := s.deal.pay(u(288751)), s.deal.pay(u(288750))
	out := s.end()
	s.wantPaid(out, beyond, UnitsBeyondProof)
	s.wantPaid(out, most, "")
	// A device that fails draws nothing new.
	s.cheat.silent = true
	beyond = s.deal.pay(u(288751))
	s.wantPaid(s.end(), beyond, UnitsBeyondProof)
	// The epoch in which a session opens proves nothing.
	x := s.customer.deal(s.cheat, "new")
	x.put(1, 1000)
	first := x.pay(u(1))
	s.wantPaid(s.end(), first, SessionUnknown)
	none := x.pay(u(1))
	s.wantPaid(s.end(), none, UnitsBeyondProof)
}

// TestBentReceipt: price, ask, payer and class of a receipt for held bytes.
func TestBentReceipt(t *testing.T) {
	s := newStage(t)
	good := func() receipt.Receipt {
		return receipt.Receipt{Session: s.deal.holding.Session, Payer: s.deal.holding.Payer, Terms: s.deal.holding.Ask, Units: u(4000), Amount: 1000}
	}
	for name, c := range map[string]struct {
		class  types.Class
		reason types.Reason
		bend   func(*receipt.Receipt)
	}{
		"as it should be":      {Hold, "", func(*receipt.Receipt) {}},
		"amount above":         {Hold, PriceMismatch, func(r *receipt.Receipt) { r.Amount++ }},
		"amount below":         {Hold, PriceMismatch, func(r *receipt.Receipt) { r.Amount-- }},
		"other ask":            {Hold, PriceMismatch, func(r *receipt.Receipt) { r.Terms[0] ^= 1 }},
		"other payer":          {Hold, SessionUnknown, func(r *receipt.Receipt) { r.Payer[0] ^= 1 }},
		"other session":        {Hold, SessionUnknown, func(r *receipt.Receipt) { r.Session[0] ^= 1 }},
		"egress":               {Egress, PriceMismatch, func(*receipt.Receipt) {}},
		"no class":             {9, PriceMismatch, func(*receipt.Receipt) {}},
		"2⁸⁸ units":            {Hold, UnitsOverflow, func(r *receipt.Receipt) { r.Units = types.U128{Hi: maxHi} }},
		"no session, no class": {9, SessionUnknown, func(r *receipt.Receipt) { r.Session[0] ^= 1 }},
	} {
		r := good()
		c.bend(&r)
		at := s.deal.hand(c.class, r)
		if got := s.end().Receipts[at]; got != c.reason {
			t.Errorf("%s: %q, want %q", name, got, c.reason)
		}
	}
}

// TestLossAfterDraw: a loss excuses nothing that was drawn already.
func TestLossAfterDraw(t *testing.T) {
	s := newStage(t)
	draw := s.cheat.prove()[0]
	s.cheat.disk[draw.Shard.ID] = nil
	answer := s.cheat.prove()
	l, err := NewLoss(draw.Session, s.cheat.shards[draw.Session], []int{int(draw.Slot)})
	if err != nil {
		t.Fatal(err)
	}
	declared := s.cheat.submit(KindLoss, l.Encode())
	s.fails(answer, AnswerChunk)
	if got := s.cheat.session(draw.Session); got.Bytes != heldBytes-3000 || got.Revision != 2 || got.Forfeit.IsZero() {
		t.Errorf("the loss (evidence %d) did not count: %+v", declared, got)
	}
	s.cheat.silent = false
	s.end()
	if got := s.cheat.state(); got.Streak != 0 {
		t.Errorf("streak %d: what is declared lost is not asked for", got.Streak)
	}
}

// TestBentLoss: a loss of what was not held, or for less than it held.
func TestBentLoss(t *testing.T) {
	for name, c := range map[string]struct {
		reason types.Reason
		bend   func(*Loss)
	}{
		"another session":         {SessionUnknown, func(l *Loss) { l.Session[0] ^= 1 }},
		"lower revision":          {LossRevision, func(l *Loss) { l.Revision-- }},
		"higher revision":         {LossRevision, func(l *Loss) { l.Revision++ }},
		"fewer bytes":             {LossPath, func(l *Loss) { l.Slots[1].Shard.Bytes-- }},
		"no bytes":                {LossPath, func(l *Loss) { l.Slots[1].Shard.Bytes = 0 }},
		"another shard":           {LossPath, func(l *Loss) { l.Slots[1].Shard.ID[0] ^= 1 }},
		"another slot":            {LossPath, func(l *Loss) { l.Slots[1].Slot ^= 1 }},
		"stale path":              {LossPath, func(l *Loss) { l.Slots[0], l.Slots[1] = l.Slots[1], l.Slots[0] }},
		"one slot twice":          {LossPath, func(l *Loss) { l.Slots[1] = l.Slots[0] }},
		"not what is in the slot": {LossPath, func(l *Loss) { l.Slots[1].Shard = Shard{} }},
		"a slot lost already": {LossPath, func(l *Loss) {
			// A slot's own path does not change when the slot does, so this path is right.
			l.Slots[1] = Lost{Slot: l.Slots[0].Slot, Path: l.Slots[0].Path}
		}},
	} {
		s := newStage(t)
		before := *s.cheat.session(s.deal.holding.Session)
		l, err := NewLoss(s.deal.holding.Session, s.cheat.shards[s.deal.holding.Session], []int{2, 3})
		if err != nil {
			t.Fatal(err)
		}
		c.bend(l)
		at := s.cheat.submit(KindLoss, l.Encode())
		out := s.end()
		if got := out.Evidence[at].Reason; got != c.reason {
			t.Errorf("%s: %q, want %q", name, got, c.reason)
		}
		if got := *s.cheat.session(s.deal.holding.Session); got != before {
			t.Errorf("%s: a refused loss changed the session to %+v", name, got)
		}
	}
}

// TestHiddenLoss: keeping quiet about a lost shard costs more than saying so.
func TestHiddenLoss(t *testing.T) {
	quiet, open := newStage(t), newStage(t)
	lost := quiet.deal.list.At(4).ID
	delete(quiet.cheat.disk, lost)
	l, err := NewLoss(open.deal.holding.Session, open.cheat.shards[open.deal.holding.Session], []int{4})
	if err != nil {
		t.Fatal(err)
	}
	open.cheat.submit(KindLoss, l.Encode())
	for range 60 {
		quiet.end()
		open.end()
	}
	earned := func(s *stage) types.U128 {
		return s.cheat.session(s.deal.holding.Session).Payable(s.cheat.state().Passes)
	}
	if earned(quiet).Cmp(earned(open)) >= 0 {
		t.Errorf("quiet earned %s, open %s", earned(quiet), earned(open))
	}
	if got := open.cheat.state().Passes; got != 70 {
		t.Errorf("the open one passed %d times of 70: its loss came before any draw of the next epoch", got)
	}
}

// TestVanish: after taking pay, sitting out the 72 epochs does not buy back what is retained.
func TestVanish(t *testing.T) {
	s := newStage(t)
	for range 100 {
		s.end()
	}
	paid := s.deal.pay(u(2000000))
	s.wantPaid(s.end(), paid, "")
	// 111 passes: proven 3,330,000. Gone for 72 epochs, it is released; the ladder in its hands covers
	// everything proven.
	s.cheat.silent = true
	for range MaxStreak {
		s.end()
	}
	if !s.cheat.session(s.deal.holding.Session).Ended {
		t.Fatal("not released")
	}
	late := s.deal.pay(u(2000001))
	s.wantPaid(s.end(), late, UnitsBeyondProof)
	again := s.deal.pay(u(2000000))
	s.wantPaid(s.end(), again, "")
}

// TestReopen: an ended session's own first holding does not open it again, so its receipts cannot be paid twice.
func TestReopen(t *testing.T) {
	s := newStage(t)
	first := s.deal.sign()
	s.deal.drop(10)
	s.end()
	s.cheat.submit(KindRelease, (&Release{Session: s.deal.holding.Session}).Encode())
	s.end()
	at := s.cheat.submit(KindHolding, first.Encode())
	out := s.end()
	s.want(out, at, SessionClosed)
	if len(out.Open) != 0 {
		t.Errorf("opened %v", out.Open)
	}
}

// TestGarbage: bodies that are none, kinds that are none, reports where there are no witnesses.
func TestGarbage(t *testing.T) {
	s := newStage(t)
	s.cheat.submit(KindHolding, []byte{0x80})
	s.cheat.submit(KindLoss, types.Encode(&Loss{Session: s.deal.holding.Session, Slots: make([]Lost, MaxLost+1)}))
	s.cheat.submit(KindRelease, append((&Release{}).Encode(), 0))
	s.cheat.submit(9, nil)
	s.cheat.submit(KindAnswer, types.Encode([]Proof{}))
	s.cheat.submit(KindHolding, make([]byte, 2000))
	at := len(s.cheat.evidence)
	out := s.world.close(s.cheat, func(in *tally.Input) { in.Reports = in.Evidence[:2] })
	s.epoch--
	s.world.run(s.honest)
	want := []types.Reason{types.BadEncoding, types.BadEncoding, types.BadEncoding, types.UnknownKind, types.BadEncoding, types.Oversize, AnswerDuplicate}
	for i, reason := range want[:at] {
		s.want(out, i, reason)
	}
	s.want(out, at, AnswerDuplicate)
	for i, v := range out.Reports {
		if v.Reason != types.UnknownKind {
			t.Errorf("report %d: %q", i, v.Reason)
		}
	}
}
