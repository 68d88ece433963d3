package storage

import (
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// New returns the category. Callers do not change its Spec.
func New() tally.Verifier { return tally.Verifier{Spec: &spec, Verify: verify} }

// verify judges one device's epoch: first its answer, against the holdings of the epoch before; then receipts,
// against what is proven now; then what changes the holdings for the next epoch. It panics on a State that it
// never wrote.
func verify(in *tally.Input) *tally.Output {
	state, err := DecodeState(in.State)
	if err != nil {
		panic(fmt.Errorf("storage: device %s: %w", in.Device.Key, err))
	}
	j := &judge{in: in, state: state, out: &tally.Output{
		Evidence: make([]tally.Verdict, len(in.Evidence)),
		Reports:  make([]tally.Verdict, len(in.Reports)),
		Receipts: make([]types.Reason, len(in.Receipts)),
	}}
	j.challenge()
	j.forget()
	for i, item := range in.Receipts {
		j.out.Receipts[i] = j.receipt(item)
	}
	for i, e := range in.Evidence {
		if e.Kind != KindAnswer {
			j.out.Evidence[i].Reason = j.change(e, i)
		}
	}
	for i := range in.Reports {
		j.out.Reports[i].Reason = types.UnknownKind // the category has no witnesses yet
	}
	j.expire()
	j.out.Quality = types.Bp(state.Quality / 100)
	j.out.Totals = []uint64{0}
	if state.Bytes() > 0 {
		j.out.Totals[0] = 1
	}
	j.out.State = state.Encode()
	return j.out
}

// judge is one call of Verify.
type judge struct {
	in    *tally.Input
	state *State
	out   *tally.Output
}

// challenge holds the device's answer against the positions of the epoch, and moves quality, passes and streak.
func (j *judge) challenge() {
	var draws []Draw
	if j.in.Challenged {
		draws = j.state.Draw(j.in.Seed, j.in.Device.Key, j.in.Totals)
	}
	pass, answered := false, false
	for i, e := range j.in.Evidence {
		if e.Kind != KindAnswer {
			continue
		}
		reason := AnswerDuplicate
		if !answered {
			reason = j.answer(e.Body, draws)
			pass = reason == ""
		}
		answered = true
		j.out.Evidence[i].Reason = reason
	}
	s := j.state
	switch {
	case s.Bytes() == 0: // nothing to prove
	case !j.in.Challenged:
		if s.Streak == 0 {
			s.Passes++
		}
	case pass:
		s.Quality = (63*s.Quality + FullQuality + 63) / 64
		s.Passes++
		s.Streak = 0
	default:
		s.Quality = uint32(63 * uint64(s.Quality) / 64)
		s.Streak++
		if s.Streak >= MaxStreak {
			for i := range s.Sessions {
				j.end(&s.Sessions[i])
			}
		}
	}
}

// answer returns why the answer fails, or "".
func (j *judge) answer(body []byte, draws []Draw) types.Reason {
	answer, err := DecodeAnswer(body)
	switch {
	case err != nil:
		return types.ReasonOf(err)
	case len(draws) == 0:
		return AnswerPosition
	case len(answer) != len(draws):
		return AnswerMissing
	}
	for i := range answer {
		if reason := j.proof(&answer[i], draws[i]); reason != "" {
			return reason
		}
	}
	return ""
}

// proof returns why p does not answer d, or "".
func (j *judge) proof(p *Proof, d Draw) types.Reason {
	switch s := d.Session; {
	case p.Session != s.ID && j.state.Find(p.Session) == nil:
		return SessionUnknown
	case p.Session != s.ID:
		return AnswerPosition
	case p.Revision != s.Revision:
		return AnswerRevision
	case p.Shard.Bytes > MaxShard:
		return AnswerPath
	}
	start, err := p.Path.proof(p.Slot, d.Session.Shards).Verify(d.Session.Node(), d.Session.Shards, p.Shard.node())
	if err != nil {
		return AnswerPath
	}
	if d.Position < start || d.Position-start >= p.Shard.Bytes {
		return AnswerPosition
	}
	chunk := (d.Position - start) / ChunkSize
	if VerifyChunk(p.Shard.ID, p.Shard.Bytes, chunk, p.Chunk, p.Siblings.siblings()) != nil {
		return AnswerChunk
	}
	return ""
}

// forget drops the sessions that the tally did not open when their first holding came: their payer has not the
// credits, say. They could never be paid, and their records would stay for nothing. Their challenge of this
// epoch was drawn with them.
func (j *judge) forget() {
	j.state.Sessions = slices.DeleteFunc(j.state.Sessions, func(s Session) bool { return !j.in.Opened(s.Key()) })
}

// receipt returns why a receipt does not count, or "". It is the payer's and the device's own affair what was
// served, but what is held must be proven.
func (j *judge) receipt(item *tally.ReceiptItem) types.Reason {
	r := item.Receipt
	amount, err := Amount(r.Units, item.Price)
	if err != nil {
		return UnitsOverflow
	}
	if amount != r.Amount {
		return PriceMismatch
	}
	s := j.state.Find(r.Session)
	switch {
	case s == nil || s.Payer != r.Payer:
		if item.Class == Egress {
			return ""
		}
		return SessionUnknown
	case item.Class != Hold || item.Price != s.Price || r.Terms != s.Ask:
		return PriceMismatch
	case r.Units.Cmp(s.Payable(j.state.Passes)) > 0:
		return UnitsBeyondProof
	}
	s.Units, s.Paid = most(s.Units, r.Units), j.in.Epoch
	return ""
}

// change applies what a device hands in for the next epoch, or returns why not.
func (j *judge) change(e *evidence.Envelope, at int) types.Reason {
	var err error
	switch e.Kind {
	case KindHolding:
		var h *SignedHolding
		if h, err = DecodeHolding(e.Body); err == nil {
			return j.holding(h, at)
		}
	case KindLoss:
		var l *Loss
		if l, err = DecodeLoss(e.Body); err == nil {
			return j.loss(l)
		}
	case KindRelease:
		var r *Release
		if r, err = DecodeRelease(e.Body); err == nil {
			return j.release(r)
		}
	default:
		return types.UnknownKind
	}
	return types.ReasonOf(err)
}

// holding opens a session or moves it to a higher revision.
func (j *judge) holding(signed *SignedHolding, item int) types.Reason {
	h := &signed.Holding
	if h.Device != j.in.Device.Key {
		return HoldingSignature
	}
	grant := j.in.Registry.Grant(h.Payer)
	switch {
	case grant == nil:
		return types.UnknownKey
	case grant.Account != h.Account:
		return HoldingTerms
	case grant.Expiry < j.in.Epoch:
		return types.KeyExpired
	case h.Session.Expiry() < j.in.Epoch:
		return types.SessionExpired
	}
	s := j.state.Find(h.Session)
	if s == nil {
		return j.open(signed, item)
	}
	switch {
	case s.Payer != h.Payer || s.Ask != h.Ask || s.Price != h.Price: // and so the account: a key serves one, once
		return HoldingTerms
	case s.Ended:
		return SessionClosed
	case h.Revision <= s.Revision:
		return HoldingStale
	case !signed.Verify(j.in.Chain):
		return HoldingSignature
	}
	s.settle(j.state.Passes)
	s.Revision, s.Root, s.Shards, s.Bytes, s.Until = h.Revision, h.Root, h.Shards, h.Bytes, h.Until
	return ""
}

// open adds the session of a first holding.
func (j *judge) open(signed *SignedHolding, item int) types.Reason {
	h := &signed.Holding
	switch {
	case h.Bytes == 0 || h.Session.Expiry() > j.in.Epoch+receipt.MaxExpiry:
		return HoldingTerms
	case len(j.state.Sessions) >= MaxSessions:
		return SessionLimit
	case !signed.Verify(j.in.Chain):
		return HoldingSignature
	}
	at, _ := j.state.search(h.Session)
	s := Session{
		ID: h.Session, Payer: h.Payer, Account: h.Account, Ask: h.Ask, Price: h.Price, Revision: h.Revision,
		Root: h.Root, Shards: h.Shards, Bytes: h.Bytes, Until: h.Until, Mark: j.state.Passes, Paid: j.in.Epoch,
	}
	j.state.Sessions = slices.Insert(j.state.Sessions, at, s)
	j.out.Open = append(j.out.Open, tally.Opening{Session: s.Key(), Terms: s.Ask, Class: Hold, Price: s.Price, Evidence: item})
	return ""
}

// loss empties slots of a session, all or none.
func (j *judge) loss(l *Loss) types.Reason {
	s := j.state.Find(l.Session)
	switch {
	case s == nil:
		return SessionUnknown
	case s.Ended:
		return SessionClosed
	case l.Revision != s.Revision:
		return LossRevision
	}
	next := *s
	for _, lost := range l.Slots {
		if lost.Shard.Bytes == 0 {
			return LossPath
		}
		old, none := lost.Shard.node(), Shard{}.node()
		root, err := lost.Path.proof(lost.Slot, next.Shards).Replace(next.Node(), next.Shards, old, none)
		if err != nil {
			return LossPath
		}
		next.lose(lost.Shard.Bytes, j.state.Passes)
		next.Root = root.Hash
	}
	next.Revision++
	*s = next
	return ""
}

// release ends a session at the device's wish.
func (j *judge) release(r *Release) types.Reason {
	s := j.state.Find(r.Session)
	switch {
	case s == nil:
		return SessionUnknown
	case s.Ended:
		return SessionClosed
	}
	j.end(s)
	return ""
}

// end stops a session that has not ended.
func (j *judge) end(s *Session) {
	if !s.Ended {
		s.end(j.state.Passes, j.in.Epoch)
	}
}

// expire ends sessions that can no longer be paid, and forgets them when nothing can come of them any more. A
// session is kept while its id could be used again: forgotten earlier, its first holding and its receipts could
// be replayed.
func (j *judge) expire() {
	for i := range j.state.Sessions {
		if s := &j.state.Sessions[i]; s.ID.Expiry() < j.in.Epoch {
			j.end(s)
		}
	}
	j.state.Sessions = slices.DeleteFunc(j.state.Sessions, func(s Session) bool { return s.ID.Expiry()+Linger < j.in.Epoch })
}
