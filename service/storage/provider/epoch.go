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

// Of an epoch's quota of evidence: what holdings may take before the epoch's last quarter, what they may take
// in all, and losses.
const (
	earlyHoldings = 256
	allHoldings   = 768
	allLosses     = 192
)

// maxTries is how often an answer is attempted in one epoch: a disk may be slow, or the outbox full.
const maxTries = 3

// agenda is what follow remembers of the current epoch, and from one to the next.
type agenda struct {
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

	lossBytes int         // of the evidence that declares losses
	lostAt    types.Epoch // when lost logs were last looked through
	disowned  bool        // what the books do not know was looked for
	tallied   types.Epoch

	until types.Epoch // of the asks
	free  uint64      // that they offer
}

// late reports whether the last quarter of the epoch has begun: what is handed in now is in time, and little
// comes after it.
func (t *agenda) late(v *news) bool { return v.Height+max(1, t.length/4) >= v.Cut }

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
			v := &news{n, state}
			d.news.Store(v)
			d.live(ctx, v)
		case <-d.changed:
			if v := d.news.Load(); v != nil {
				d.declareBad()
				if err := errors.Join(d.declareLost(ctx, v), d.handIn(ctx, v)); err != nil && ctx.Err() == nil {
					d.log.Warn("storage: hand in", "epoch", v.Epoch, "err", err)
				}
				d.tell(v)
			}
		}
	}
}

// live does what a notice calls for. Each part reports its own errors: none keeps the others from being done.
func (d *device) live(ctx context.Context, v *news) {
	report := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			d.log.Warn("storage: "+what, "epoch", v.Epoch, "err", err)
		}
	}
	fresh, err := d.begin(v)
	report("note what the tally has", err)
	gone := d.intact(true)
	defer d.tell(v)
	report("offer", d.offer(ctx, v))
	report("answer", d.answer(ctx, v))
	d.declareBad()
	if gone == nil {
		report("declare what is lost", d.declareLost(ctx, v))
	}
	report("hand in", d.handIn(ctx, v))
	if d.provider.leaving.Load() {
		report("leave", d.release(ctx, v))
	}
	report("release what is not known here", d.disown(ctx, v))
	report("collect for holding", d.collect(ctx, v))
	report("collect for reading", d.collectReads(ctx, v))
	if fresh {
		report("settle what is final", d.finalize(v))
		report("drop what was staged", d.shelf.expire(v.Epoch))
	}
}

// begin turns to a new epoch, and reports whether something is new enough to look through all sessions.
func (d *device) begin(v *news) (fresh bool, err error) {
	t := &d.agenda
	if v.Epoch != t.epoch {
		switch {
		case v.Epoch == t.epoch+1 && v.Cut > t.cut && t.cut > 0:
			t.length = v.Cut - t.cut
		case t.length == 0 && v.Cut >= v.Height:
			t.length = v.Cut - v.Height + 1
		}
		*t = agenda{epoch: v.Epoch, length: t.length, cut: v.Cut, tallied: t.tallied, until: t.until, free: t.free}
		t.answered = d.books.answered() == v.Epoch
		fresh = true
	}
	voided := v.Tallied < t.tallied
	fresh = fresh || v.Tallied != t.tallied
	t.tallied = v.Tallied
	return fresh, d.sight(v, voided)
}

// sight notes what the tally has of each session, to be settled once that tally is final. When a header was
// voided, what earlier ones showed is forgotten.
func (d *device) sight(v *news, voided bool) error {
	var changed []*session
	for _, s := range d.allSessions() {
		line := v.state.Find(s.id)
		s.mu.Lock()
		if voided && len(s.Seen) > 0 {
			s.Seen = nil
			changed = append(changed, s)
		}
		if line != nil && !s.record.Over && s.see(sighting{Epoch: v.Tallied, Revision: line.Revision, Ended: line.Ended}) {
			changed = append(changed, s)
		}
		s.mu.Unlock()
	}
	return d.keepProgress(changed)
}

// see adds a sighting if it says something new. mu is held.
func (s *session) see(now sighting) bool {
	n := len(s.Seen)
	switch {
	case n > 0 && s.Seen[n-1].Revision == now.Revision && s.Seen[n-1].Ended == now.Ended:
		return false
	case n == 0 && now.Revision <= s.record.Base && !now.Ended:
		return false
	case n == maxSeen:
		s.Seen[n-1] = now
	default:
		s.Seen = append(s.Seen, now)
	}
	return true
}

// finalize drops what no challenge can ask for any more.
func (d *device) finalize(v *news) error {
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

func (d *device) finalizeOne(v *news, s *session) error {
	for len(s.Seen) > 0 && s.Seen[0].Epoch <= v.Final {
		at := s.Seen[0]
		if at.Ended {
			if err := d.finish(s); err != nil {
				return err
			}
		} else if err := d.settle(s, at.Revision); err != nil {
			return err
		}
		s.Seen = s.Seen[1:]
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
func binds(v *news) bool {
	return v.Challenged && !v.Seed.IsZero() && v.Tallied+1 == v.Epoch
}

// answer proves what the epoch draws.
func (d *device) answer(ctx context.Context, v *news) error {
	t := &d.agenda
	if t.answered || t.tries >= maxTries || !binds(v) || v.state.Bytes() == 0 {
		return nil
	}
	t.tries++
	if err := d.intact(true); err != nil {
		return fmt.Errorf("%w: %w", err, storage.FolderGone)
	}
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
	d.cfg.at("answered")
	d.log.Debug("storage: answered", "epoch", v.Epoch, "positions", len(draws))
	return d.books.setAnswered(v.Epoch)
}

// prove answers one draw. The session's list goes back to the revision drawn from meanwhile, so no commit may
// come between.
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
	for d.agenda.losses < allLosses {
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
		d.agenda.losses += n
		if err != nil {
			return err
		}
	}
	return d.store.Delete(key)
}

// handing is what one session hands in.
type handing struct {
	s       *session
	before  progress
	holding []byte // nil: none
	losses  []step // on top of it
}

// handIn hands in what the tally lacks of each session: its newest holding, and losses after that. In the
// course of an epoch a session is handed in at once the first time, and a second time in its last quarter, so
// that many small changes make little evidence. Losses do not wait.
func (d *device) handIn(ctx context.Context, v *news) error {
	var list []handing
	var sessions []*session
	var errs []error
	late := d.agenda.late(v)
	for _, s := range d.allSessions() {
		s.mu.Lock()
		h, err := d.toHandIn(v, s, late)
		s.mu.Unlock()
		if h != nil {
			list, sessions = append(list, *h), append(sessions, s)
		}
		errs = append(errs, err)
	}
	// Noted before it is handed in: a crash between the two costs an epoch, the other way round a refusal.
	err := d.keepProgress(sessions)
	if len(list) > 0 {
		d.cfg.at("noted")
	}
	for i := range list {
		if err == nil {
			err = d.submit(ctx, &list[i])
		}
		if err != nil {
			s := list[i].s
			s.mu.Lock()
			s.progress = list[i].before
			s.mu.Unlock()
			errs = append(errs, fmt.Errorf("session %s: %w", s.id, err))
			err = nil
		}
	}
	return errors.Join(errs...)
}

// toHandIn returns what a session is to hand in now, and notes it as handed in. mu is held.
func (d *device) toHandIn(v *news, s *session, late bool) (*handing, error) {
	r, known := &s.record, uint64(0)
	if line := v.state.Find(s.id); line != nil {
		if line.Ended {
			return nil, nil
		}
		known = line.Revision
	}
	if known == 0 && (r.Holding.Holding.Bytes == 0 || s.id.Expiry() < v.Epoch) {
		return nil, nil // nothing opens with no bytes
	}
	from := max(known, s.Handed)
	if v.Tallied >= s.HandedIn && known < s.Handed {
		from = known // what was handed in did not count
	}
	if r.Over || r.Revision <= from {
		return nil, nil
	}
	t := &d.agenda
	losses, err := d.books.losses(s.id, max(from, r.Holding.Holding.Revision), allLosses)
	if err != nil {
		return nil, err
	}
	again := s.HandedIn == v.Epoch
	switch {
	case len(losses) > 0: // at once
	case again && (!late || s.Late == v.Epoch):
		return nil, nil
	case t.holdings >= allHoldings, !late && t.holdings >= earlyHoldings:
		return nil, nil
	}
	h := &handing{s: s, before: s.progress, losses: losses}
	if r.Holding.Holding.Revision > from {
		h.holding = r.Holding.Encode()
		t.holdings++
	}
	if again {
		s.Late = v.Epoch
	}
	s.Handed, s.HandedIn = r.Holding.Holding.Revision, v.Epoch
	if n := len(losses); n > 0 {
		s.Handed = losses[n-1].Revision
	}
	return h, nil
}

// submit hands in a session's holding and the losses on top of it.
func (d *device) submit(ctx context.Context, h *handing) error {
	if h.holding != nil {
		if err := d.host.Submit(ctx, storage.KindHolding, h.holding); err != nil {
			return err
		}
	}
	for _, l := range h.losses {
		if err := d.host.Submit(ctx, storage.KindLoss, l.Loss); err != nil {
			return err
		}
	}
	return nil
}

// release ends sessions at the operator's wish.
func (d *device) release(ctx context.Context, v *news) error {
	var list []*session
	for _, s := range d.allSessions() {
		line := v.state.Find(s.id)
		s.mu.Lock()
		// One that was handed in and did not end the session did not count.
		if line != nil && !line.Ended && d.agenda.releases < allHoldings && (s.Leaving == 0 || v.Tallied >= s.Leaving) {
			s.Leaving = v.Epoch
			d.agenda.releases++
			list = append(list, s)
		}
		s.mu.Unlock()
	}
	err := d.keepProgress(list)
	for _, s := range list {
		err = errors.Join(err, d.host.Submit(ctx, storage.KindRelease, (&storage.Release{Session: s.id}).Encode()))
	}
	return err
}

// disown ends the sessions that the tally has and these books do not, or not as far: the disk was lost, or is
// an old copy. Nothing can be proven of them, so every epoch would count as failed, for all that the device
// still holds. A folder that is gone is waited for to the end of the epoch: a disk that was only taken off is
// back by then.
func (d *device) disown(ctx context.Context, v *news) error {
	if d.agenda.disowned || !v.Challenged {
		return nil
	}
	away := d.away()
	if away != nil && !d.emptied() {
		return nil
	}
	d.agenda.disowned = true
	var errs []error
	for i := range v.state.Sessions {
		line := &v.state.Sessions[i]
		if line.Ended || line.Bytes == 0 || d.agenda.releases >= allHoldings {
			continue
		}
		if s := d.session(line.ID); s != nil && away == nil {
			s.mu.Lock()
			known := s.record.Revision
			s.mu.Unlock()
			if known >= line.Revision {
				continue
			}
		}
		d.agenda.releases++
		d.log.Error("storage: the tally has a session further than the books: it is given up", "session", line.ID, "revision", line.Revision, "bytes", line.Bytes)
		errs = append(errs, d.host.Submit(ctx, storage.KindRelease, (&storage.Release{Session: line.ID}).Encode()))
	}
	return errors.Join(errs...)
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
