package provider

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Of an epoch's quota of evidence: what holdings may take before the epoch's last quarter, what they may take in all, and losses.
const (
	earlyHoldings = 256
	allHoldings   = 768
	allLosses     = 192
)

// maxTries is how often an answer is attempted in one epoch: a disk may be slow, or the outbox full.
const maxTries = 3

// turn is what follow remembers of the current epoch, and from one to the next.
type turn struct {
	epoch    types.Epoch
	length   uint64 // blocks of an epoch, as far as is known
	cut      uint64
	answered bool
	tries    int
	paid     bool // hold receipts were handed in
	read     bool // egress receipts were handed in
	holdings int  // handed in, in this epoch
	losses   int
	releases int
	tallied  types.Epoch

	until types.Epoch // of the asks
	free  uint64      // that they offer
}

// late reports whether the last quarter of the epoch has begun: what is handed in now is in time, and little comes after it.
func (t *turn) late(v *view) bool { return v.Height+max(1, t.length/4) >= v.Cut }

// follow lives through the epochs. Only it hands evidence in, so that what builds on other evidence comes after it.
func (d *device) follow(ctx context.Context) error {
	notices := d.host.Notices(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case n, ok := <-notices:
			if !ok {
				<-ctx.Done()
				return nil
			}
			state, err := storage.DecodeState(n.Line)
			if err != nil {
				d.log.Error("storage: the notice's line is none", "epoch", n.Epoch, "err", err)
				continue
			}
			v := &view{n, state}
			d.view.Store(v)
			d.live(ctx, v)
		case <-d.changed:
			if v := d.view.Load(); v != nil {
				d.declareBad()
				d.handIn(ctx, v)
			}
		}
	}
}

// live does what a notice calls for. Each part reports its own errors: none keeps the others from being done.
func (d *device) live(ctx context.Context, v *view) {
	fresh := d.begin(v)
	report := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			d.log.Warn("storage: "+what, "epoch", v.Epoch, "err", err)
		}
	}
	report("offer", d.offer(ctx, v))
	report("answer", d.answer(ctx, v))
	d.declareBad()
	d.handIn(ctx, v)
	if d.provider.leaving.Load() {
		report("leave", d.release(ctx, v))
	}
	report("collect for holding", d.collect(ctx, v))
	report("collect for reading", d.collectReads(ctx, v))
	if fresh {
		report("settle what is final", d.finalize(v))
		report("drop what was staged", d.shelf.expire(v.Epoch))
	}
}

// begin turns to a new epoch, and reports whether something is new enough to look through all sessions.
func (d *device) begin(v *view) (fresh bool) {
	t := &d.turn
	if v.Epoch != t.epoch {
		switch {
		case v.Epoch == t.epoch+1 && v.Cut > t.cut && t.cut > 0:
			t.length = v.Cut - t.cut
		case t.length == 0 && v.Cut >= v.Height:
			t.length = v.Cut - v.Height + 1
		}
		*t = turn{epoch: v.Epoch, length: t.length, cut: v.Cut, tallied: t.tallied, until: t.until, free: t.free}
		t.answered = d.books.answered() == v.Epoch
		fresh = true
	}
	if v.Tallied < t.tallied {
		d.revert()
	}
	fresh = fresh || v.Tallied != t.tallied
	t.tallied = v.Tallied
	d.sight(v)
	return fresh
}

// revert forgets what tallies showed: a header was voided, and what it counted has to be handed in again.
func (d *device) revert() {
	for _, s := range d.allSessions() {
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
	}
}

// sight notes what the tally has of each session, to be settled once that tally is final.
func (d *device) sight(v *view) {
	for i := range v.state.Sessions {
		line := &v.state.Sessions[i]
		s := d.session(line.ID)
		if s == nil {
			continue
		}
		s.mu.Lock()
		now := sighting{v.Tallied, line.Revision, line.Ended}
		n := len(s.seen)
		switch {
		case s.record.Over || n > 0 && s.seen[n-1].revision == now.revision && s.seen[n-1].ended == now.ended:
		case n == 0 && line.Revision <= s.record.Base && !line.Ended:
		case n == maxSeen:
			s.seen[n-1] = now
		default:
			s.seen = append(s.seen, now)
		}
		s.mu.Unlock()
	}
}

// finalize drops what no challenge can ask for any more.
func (d *device) finalize(v *view) error {
	var errs []error
	for _, s := range d.allSessions() {
		s.mu.Lock()
		if err := d.finalizeOne(v, s); err != nil {
			errs = append(errs, fmt.Errorf("session %s: %w", s.id, err))
		}
		s.mu.Unlock()
		if s.id.Expiry()+storage.Linger+grace < v.Epoch && v.state.Find(s.id) == nil {
			errs = append(errs, d.forget(s))
		}
	}
	return errors.Join(errs...)
}

func (d *device) finalizeOne(v *view, s *session) error {
	for len(s.seen) > 0 && s.seen[0].epoch <= v.Final {
		at := s.seen[0]
		s.seen = s.seen[1:]
		if at.ended {
			return d.finish(s)
		}
		if err := d.settle(s, at.revision); err != nil {
			return err
		}
	}
	// A session that no tally ever had, and none can have any more.
	if v.state.Find(s.id) == nil && s.id.Expiry()+grace < v.Epoch {
		return d.finish(s)
	}
	return nil
}

// forget removes a session that can neither change nor be paid any more.
func (d *device) forget(s *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := d.finish(s)
	if err != nil {
		return err
	}
	err = d.books.update(func(tx *bbolt.Tx) error {
		return errors.Join(wipe(tx, ladderBucket, s.id[:]), tx.Bucket(sessionBucket).Delete(s.id[:]))
	})
	if err != nil {
		return err
	}
	s.dead = true
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strike(s, s.record.Holding.Holding.Payer)
	return nil
}

// binds reports whether the epoch's seed is known, and the tally from which its challenge is drawn.
func binds(v *view) bool {
	return v.Challenged && !v.Seed.IsZero() && v.Tallied+1 == v.Epoch
}

// answer proves what the epoch draws.
func (d *device) answer(ctx context.Context, v *view) error {
	t := &d.turn
	if t.answered || t.tries >= maxTries || !binds(v) || v.state.Bytes() == 0 {
		return nil
	}
	t.tries++
	draws := v.state.Draw(v.Seed, d.key, v.Totals)
	answer := make(storage.Answer, 0, len(draws))
	var errs []error
	for i := range draws { // all of them, even when one fails: it finds more shards to declare
		proof, err := d.prove(draws[i : i+1])
		answer, errs = append(answer, proof...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err // an incomplete answer is a wrong one
	}
	if err := d.host.Submit(ctx, storage.KindAnswer, answer.Encode()); err != nil {
		return err
	}
	t.answered = true
	d.log.Debug("storage: answered", "epoch", v.Epoch, "positions", len(draws))
	return d.books.setAnswered(v.Epoch)
}

// prove answers one draw. The session's list goes back to the revision drawn from meanwhile, so no commit may come between.
func (d *device) prove(draw []storage.Draw) (storage.Answer, error) {
	id := draw[0].Session.ID
	s := d.session(id)
	if s == nil {
		return nil, types.Refuse(storage.SessionUnknown, "storage: the tally has session %s, which this device does not know", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := func(types.SessionID) (*storage.Shards, error) { return d.list(s) }
	return storage.Prove(draw, list, func(_ types.SessionID, shard storage.Shard, chunk uint64) ([]byte, []types.Hash, error) {
		data, err := d.read(shardlog.Key{Shard: shard.ID, Session: tag(s.record.Holding.Holding.Account)})
		if err != nil {
			return nil, nil, err
		}
		from := chunk * storage.ChunkSize
		siblings, err := storage.ProveChunk(data, chunk)
		if err != nil {
			return nil, nil, err
		}
		return data[from:min(uint64(len(data)), from+storage.ChunkSize)], siblings, nil
	})
}

// read reads a shard and compares it with its name. One that is gone or damaged is declared.
func (d *device) read(key shardlog.Key) ([]byte, error) {
	data, err := d.store.Get(key)
	if err == nil && storage.ShardID(data) != key.Shard {
		err = shardlog.ErrDamaged
	}
	if errors.Is(err, shardlog.ErrDamaged) || errors.Is(err, shardlog.ErrNotFound) {
		d.spoilt(key, err)
	}
	return data, err
}

// declareBad declares the shards lost that were found damaged, within the epoch's quota. Those beyond it wait.
func (d *device) declareBad() {
	for d.turn.losses < allLosses {
		select {
		case key := <-d.bad:
			if err := d.declareOne(key); err != nil {
				d.log.Error("storage: declare a shard lost", "shard", key.Shard, "err", err)
			}
		default:
			return
		}
	}
}

// declareOne empties every slot that has a shard, and lets go of its bytes.
func (d *device) declareOne(key shardlog.Key) error {
	ids, err := d.books.referrers(key)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s := d.session(id)
		if s == nil {
			continue
		}
		n, err := d.lose(s, []types.Hash{key.Shard})
		d.turn.losses += n
		if err != nil {
			return err
		}
	}
	return d.store.Delete(key)
}

// handIn hands in what the tally lacks of each session: its newest holding, and losses after that. In the course of an epoch a
// session is handed in at once the first time, and a second time in its last quarter, so that many small changes make little
// evidence. Losses do not wait.
func (d *device) handIn(ctx context.Context, v *view) {
	late := d.turn.late(v)
	for _, s := range d.allSessions() {
		s.mu.Lock()
		err := d.handInOne(ctx, v, s, late)
		s.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			d.log.Warn("storage: hand in", "session", s.id, "err", err)
		}
	}
}

func (d *device) handInOne(ctx context.Context, v *view, s *session, late bool) error {
	r, known := &s.record, uint64(0)
	if line := v.state.Find(s.id); line != nil {
		if line.Ended {
			return nil
		}
		known = line.Revision
	}
	if known == 0 && (r.Holding.Holding.Bytes == 0 || s.id.Expiry() < v.Epoch) {
		return nil // nothing opens with no bytes
	}
	from := max(known, r.Handed)
	if v.Tallied >= r.HandedIn && known < r.Handed {
		from = known // what was handed in did not count
	}
	if r.Over || r.Revision <= from {
		return nil
	}
	t, holding := &d.turn, r.Holding.Holding.Revision > from
	losses, err := d.books.losses(s.id, max(from, r.Holding.Holding.Revision), allLosses-t.losses+storage.MaxLost)
	if err != nil {
		return err
	}
	again := r.HandedIn == v.Epoch
	switch {
	case len(losses) > 0: // at once
	case again && (!late || s.late == v.Epoch):
		return nil
	case t.holdings >= allHoldings, !late && t.holdings >= earlyHoldings:
		return nil
	}
	if again {
		s.late = v.Epoch
	}
	// Noted before it is handed in: a crash between the two costs an epoch, the other way round a refusal.
	before := *r
	r.Handed, r.HandedIn = r.Revision, v.Epoch
	if err := d.save(s); err != nil {
		return err
	}
	err = d.submitAll(ctx, s, holding, losses)
	if err != nil {
		r.Handed, r.HandedIn = before.Handed, before.HandedIn
		return errors.Join(err, d.save(s))
	}
	return nil
}

// submitAll hands in a session's holding and the losses on top of it.
func (d *device) submitAll(ctx context.Context, s *session, holding bool, losses []step) error {
	if holding {
		if err := d.host.Submit(ctx, storage.KindHolding, s.record.Holding.Encode()); err != nil {
			return err
		}
		d.turn.holdings++
	}
	for _, l := range losses {
		if err := d.host.Submit(ctx, storage.KindLoss, l.Loss); err != nil {
			return err
		}
	}
	return nil
}

// release ends sessions at the operator's wish.
func (d *device) release(ctx context.Context, v *view) error {
	for _, s := range d.allSessions() {
		s.mu.Lock()
		line := v.state.Find(s.id)
		// One that was handed in and did not end the session did not count.
		due := line != nil && !line.Ended && d.turn.releases < allHoldings && (s.record.Leaving == 0 || v.Tallied >= s.record.Leaving)
		var err error
		if due {
			s.record.Leaving = v.Epoch
			if err = d.save(s); err == nil {
				err = d.host.Submit(ctx, storage.KindRelease, (&storage.Release{Session: s.id}).Encode())
			}
			d.turn.releases++
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

var answeredKey = []byte("answered")

// answered is the newest epoch that was answered.
func (b *books) answered() (e types.Epoch) {
	_ = b.db.View(func(tx *bbolt.Tx) error { // fails only when it is closed
		if v := tx.Bucket(metaBucket).Get(answeredKey); len(v) == 8 {
			e = types.Epoch(binary.BigEndian.Uint64(v))
		}
		return nil
	})
	return e
}

func (b *books) setAnswered(e types.Epoch) error {
	return b.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(answeredKey, binary.BigEndian.AppendUint64(nil, uint64(e)))
	})
}
