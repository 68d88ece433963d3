package provider

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// Of the receipts that the tally takes from a device in one epoch (tally.MaxReceipts): those for holding, and
// for reading. Beyond them the rest waits an epoch; who comes first changes from epoch to epoch.
const (
	allReceipts = 3072
	allReads    = 1024
)

// maxLadders of one session are kept. A further one displaces the one that reaches least far.
const maxLadders = 4

// passes returns how many passes the tally will count at the end of the epoch, and false if that is not known yet.
func (d *device) passes(v *news) (uint64, bool) {
	n, t := v.state.Passes, &d.agenda
	switch {
	case v.state.Bytes() == 0:
		return n, true
	case v.Seed.IsZero():
		return n, t.late(v)
	case !v.Challenged:
		if v.state.Streak == 0 {
			n++
		}
		return n, true
	case t.answered:
		return n + 1, true
	}
	return n, t.tries >= maxTries || t.late(v)
}

// collect hands in, of each session, the highest receipt that will be payable.
func (d *device) collect(ctx context.Context, v *news) error {
	passes, known := d.passes(v)
	if !known || d.agenda.paid {
		return nil
	}
	d.agenda.paid = true
	sessions := d.allSessions()
	if n := len(sessions); n > 0 {
		first := int(uint64(v.Epoch) * allReceipts % uint64(n))
		sessions = slices.Concat(sessions[first:], sessions[:first])
	}
	var receipts []*receipt.Signed
	var paying []*session
	var errs []error
	for _, s := range sessions {
		if len(receipts) == allReceipts {
			break
		}
		s.mu.Lock()
		best, err := d.toCollect(v, s, passes)
		s.mu.Unlock()
		if best != nil {
			receipts, paying = append(receipts, best), append(paying, s)
		}
		errs = append(errs, err)
	}
	if err := d.keepProgress(paying); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if len(receipts) > 0 {
		d.cfg.at("paid")
	}
	for _, r := range receipts {
		errs = append(errs, d.host.SubmitReceipt(ctx, r)) // one that fails is made up for by the next epoch's
	}
	return errors.Join(errs...)
}

// toCollect returns the receipt that a session is to hand in now, if any, and notes it as handed in. mu is held.
func (d *device) toCollect(v *news, s *session, passes uint64) (*receipt.Signed, error) {
	line := v.state.Find(s.id)
	if line == nil || s.Paid.Epoch == v.Epoch {
		return nil, nil
	}
	before := s.Paid
	if v.Tallied >= before.Epoch && line.Units.Cmp(before.Units) < 0 {
		// It did not count. Of what did, the number is not known: any will do, as receipts of one ladder only rise.
		amount, err := storage.Amount(line.Units, line.Price)
		if err != nil {
			return nil, err
		}
		before = paid{Units: line.Units, Amount: amount}
	}
	ladders, err := d.books.ladders(s.id)
	if err != nil {
		return nil, err
	}
	best := pick(ladders, line.Payable(passes), &before)
	if best != nil {
		s.Paid = paid{Units: best.Receipt.Units, Amount: best.Receipt.Amount, Seq: best.Receipt.Seq, Epoch: v.Epoch}
	}
	return best, nil
}

// pick returns the receipt to hand in after before, or nil. It is the highest that is payable, except that a
// ladder signed earlier comes first while it reaches further than that: numbers must not fall, so it could not
// be used afterwards.
func pick(ladders []*storage.Ladder, payable types.U128, before *paid) *receipt.Signed {
	var best *receipt.Signed
	var of *storage.Ladder
	for _, l := range ladders {
		i := l.Highest(payable)
		if i == 0 {
			continue
		}
		r := l.Rung(i)
		if r.Receipt.Seq < before.Seq || r.Receipt.Units.Cmp(before.Units) <= 0 || r.Receipt.Amount <= before.Amount {
			continue
		}
		switch {
		case best == nil:
		case of.From.Seq < l.From.Seq && of.Units(of.Top()).Cmp(r.Receipt.Units) > 0:
			continue // the earlier one reaches further
		case l.From.Seq < of.From.Seq && l.Units(l.Top()).Cmp(best.Receipt.Units) > 0:
		case r.Receipt.Units.Cmp(best.Receipt.Units) <= 0:
			continue
		}
		best, of = r, l
	}
	return best
}

// reach returns for how many epochs the ladders pay bytes, beyond what is payable now; storage.Rungs is the most.
func reach(ladders []*storage.Ladder, payable types.U128, bytes uint64) uint64 {
	if bytes == 0 {
		return storage.Rungs
	}
	most := uint64(0)
	for _, l := range ladders {
		ahead, err := l.Units(l.Top()).Sub(payable)
		if err != nil {
			continue // all of it is payable already
		}
		n, err := ahead.MulDiv(1, bytes)
		if k, ok := n.Uint64(); err == nil && ok {
			most = max(most, min(k, storage.Rungs))
		} else {
			most = storage.Rungs
		}
	}
	return most
}

// reachOf returns reach of a session as it stands. mu is held.
func (d *device) reachOf(s *session) (uint64, error) {
	ladders, err := d.books.ladders(s.id)
	if err != nil {
		return 0, err
	}
	payable := types.U128{}
	if v := d.news.Load(); v != nil {
		payable = v.payable(s.id, v.state.Passes)
	}
	return reach(ladders, payable, s.record.Holding.Holding.Bytes), nil
}

// covered refuses with unpaid when a session's ladders have been reaching less than storage.SpareRungs epochs
// ahead for more than two epochs. mu is held.
func (d *device) covered(s *session) error {
	if s.record.Revision == 0 {
		return nil
	}
	ahead, err := d.reachOf(s)
	if err != nil {
		return err
	}
	now := d.now()
	switch {
	case ahead >= storage.SpareRungs:
		s.bare = 0
	case s.bare == 0:
		s.bare = now
	case now > s.bare+grace:
		return types.Refuse(storage.Unpaid, "storage: the ladders of session %s reach %d epochs ahead, want %d", s.id, ahead, storage.SpareRungs)
	}
	return nil
}

// climb takes a ladder on.
func (d *device) climb(s *session, l *storage.Ladder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.record.Holding.Holding
	line := storage.Session{ID: s.id, Payer: h.Payer, Ask: h.Ask, Price: h.Price}
	if err := l.Fits(&line, d.key); err != nil {
		return err
	}
	v := d.news.Load()
	payable := v.payable(s.id, v.state.Passes)
	most, err := payable.Add(types.Mul64(max(h.Bytes, l.Step), grace))
	if s.Paid.Units.Cmp(most) > 0 {
		most = s.Paid.Units // handed in when the session had more bytes than now
	}
	if l.Step == 0 || err == nil && l.From.Units.Cmp(most) > 0 {
		return types.Refuse(storage.HoldingTerms, "storage: ladder from %s units by %d: %s are payable", l.From.Units, l.Step, payable)
	}
	return d.books.update(func(tx *bbolt.Tx) error {
		var list []*storage.Ladder
		err := all(tx, ladderBucket, s.id[:], func(_ []byte, old *storage.Ladder) error {
			list = append(list, old)
			return nil
		})
		if err != nil {
			return err
		}
		b := tx.Bucket(ladderBucket)
		for _, old := range displaced(list, l, payable, s.Paid.Seq) {
			if err := b.Delete(ladderKey(old)); err != nil {
				return err
			}
		}
		return b.Put(ladderKey(l), l.Encode())
	})
}

func ladderKey(l *storage.Ladder) []byte {
	key := binary.BigEndian.AppendUint64(l.From.Session[:len(l.From.Session):len(l.From.Session)], l.From.Seq)
	return binary.BigEndian.AppendUint64(key, l.Step)
}

// displaced returns those of the ladders that a new one makes useless, and when too many are left, the one that
// reaches least far.
func displaced(list []*storage.Ladder, l *storage.Ladder, payable types.U128, paid uint64) (gone []*storage.Ladder) {
	top := l.Units(l.Top())
	usable := l.From.Units.Cmp(payable) <= 0
	rest := list[:0]
	for _, old := range list {
		reached := old.Units(old.Top())
		spent := old.From.Seq+uint64(old.Top()) < paid
		if spent || usable && old.Step <= l.Step && reached.Cmp(top) <= 0 {
			gone = append(gone, old)
		} else {
			rest = append(rest, old)
		}
	}
	for len(rest) >= maxLadders {
		least := slices.MinFunc(rest, func(a, b *storage.Ladder) int { return a.Units(a.Top()).Cmp(b.Units(b.Top())) })
		gone = append(gone, least)
		rest = slices.DeleteFunc(rest, func(o *storage.Ladder) bool { return o == least })
	}
	return gone
}
