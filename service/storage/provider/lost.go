package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Bounds of losses that come together.
const (
	maxLost      = 1 << 20   // shards that are looked at in one epoch; the rest waits
	lossBytes    = 320 << 10 // of evidence in one epoch: an answer, and some holdings, fit beside it (storage.Spec's quota)
	lossOverhead = 256       // of an envelope
	maxLossTime  = 4         // epochs that declaring a session's losses one by one may take
	rememberLoss = 168       // epochs that the owner is told of it
)

// intact compares what the device has open with what is in its folder: a file that was removed can still be
// read, and would be proven until the device stops. all has it look at every log. While the folder is not the
// one that was opened, the device proves, serves and takes nothing.
func (d *device) intact(all bool) error {
	lost, err := d.store.Check(all)
	if err == nil {
		err = d.books.check()
	}
	d.mu.Lock()
	if lost {
		d.losing = true
	}
	was := d.gone
	switch {
	case err == nil:
		d.gone = nil
	case d.gone == nil:
		d.gone = &absence{err, d.now()}
	}
	d.mu.Unlock()
	switch {
	case err != nil && was == nil:
		d.log.Error("storage: the folder of this device is gone or is another: it proves, serves and takes nothing", "dir", d.host.Dir(), "err", err)
	case err == nil && was != nil:
		d.log.Info("storage: the folder of this device is back", "dir", d.host.Dir())
	}
	if lost || err != nil && was == nil {
		d.dirty(nil)
	}
	return err
}

// absence is since when the folder is not where it was, and why that is said.
type absence struct {
	err   error
	since types.Epoch
}

// away returns the absence of the folder, nil if it is there.
func (d *device) away() *absence {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// emptied reports whether the folder has been away since an earlier epoch, so that all that was in it counts as lost.
func (d *device) emptied() bool {
	a := d.away()
	return a != nil && a.since < d.now()
}

// here refuses while the folder is away.
func (d *device) here() error {
	if a := d.away(); a != nil {
		return types.Refuse(storage.FolderGone, "storage: %v", a.err)
	}
	return nil
}

// check refuses when the books are not at their place any more.
func (b *books) check() error {
	now, err := os.Stat(b.path)
	if err != nil {
		return fmt.Errorf("%w: %w", shardlog.ErrGone, err)
	}
	if !os.SameFile(b.info, now) {
		return fmt.Errorf("%s is another file than was opened: %w", filepath.Base(b.path), shardlog.ErrGone)
	}
	return nil
}

// declareLost declares what lost logs held, all of it together: slot by slot as far as an epoch's quota goes. A
// session that has lost more than half of its bytes, or more than can be declared within a few epochs, is given
// up whole, and what is left of it moves to a new one.
func (d *device) declareLost(ctx context.Context, v *news) error {
	d.mu.Lock()
	losing := d.losing
	d.mu.Unlock()
	if !losing || d.agenda.lostAt == v.Epoch && d.agenda.lossBytes >= lossBytes {
		return nil
	}
	d.agenda.lostAt = v.Epoch
	keys, err := d.store.Lost(ctx, maxLost)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		d.mu.Lock()
		d.losing = false
		d.mu.Unlock()
		return nil
	}
	of := map[types.SessionID][]types.Hash{}
	held := map[shardlog.Key]bool{}
	bytes := uint64(0)
	for _, key := range keys {
		if info, err := d.store.Stat(key); err == nil || errors.Is(err, shardlog.ErrDamaged) {
			bytes += uint64(info.Length)
		}
		ids, err := d.books.referrers(key)
		if err != nil {
			return err
		}
		for _, id := range ids {
			of[id] = append(of[id], key.Shard)
			held[key] = true
		}
		if len(ids) == 0 {
			if err := d.store.Delete(key); err != nil {
				return err
			}
		}
	}
	d.noteLoss(len(keys), bytes, v.Epoch)
	var errs []error
	for id, ids := range of {
		if s := d.session(id); s != nil {
			errs = append(errs, d.declareAll(ctx, v, s, ids))
		}
	}
	return errors.Join(errs...)
}

// declareAll declares shards of a session lost, as far as the epoch's quota goes, or gives it up.
func (d *device) declareAll(ctx context.Context, v *news, s *session, ids []types.Hash) error {
	giveUp, err := d.beyondMending(s, ids)
	if err != nil {
		return err
	}
	if giveUp {
		return d.forsake(ctx, v, s)
	}
	account := s.account()
	for len(ids) > 0 && d.agenda.lossBytes < lossBytes {
		some := ids[:min(len(ids), storage.MaxLost)]
		n, err := d.lose(s, some)
		d.agenda.losses += n
		if err != nil {
			return err
		}
		for _, id := range some {
			if err := d.letGo(shardlog.Key{Shard: id, Session: tag(account)}); err != nil {
				return err
			}
		}
		ids = ids[len(some):]
	}
	return nil
}

// letGo deletes a lost shard once no session's list has it any more. Another that has it declares it too.
func (d *device) letGo(key shardlog.Key) error {
	ids, err := d.books.referrers(key)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s := d.session(id)
		if s == nil {
			continue
		}
		s.mu.Lock()
		list, err := d.list(s)
		held := err == nil && !s.record.Over
		if held {
			_, held = list.Slot(key.Shard)
		}
		s.mu.Unlock()
		if held || err != nil {
			return err
		}
	}
	return d.store.Delete(key)
}

// beyondMending reports whether a session has lost so much that it is given up.
func (d *device) beyondMending(s *session, ids []types.Hash) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Over {
		return false, nil
	}
	list, err := d.list(s)
	if err != nil {
		return false, err
	}
	lost, slots := uint64(0), 0
	for _, id := range ids {
		if slot, ok := list.Slot(id); ok {
			lost, slots = lost+list.At(slot).Bytes, slots+1
		}
	}
	depth := 0
	for n := list.Len(); n > 1; n = (n + 1) / 2 {
		depth++
	}
	size := slots * (64 + 40*depth) // of the evidence: about a slot, and its path
	return 2*lost > list.Root().Sum || size > maxLossTime*lossBytes, nil
}

// forsake ends a session, of which too much is lost. The customer learns of it with its next request.
func (d *device) forsake(ctx context.Context, v *news, s *session) error {
	line := v.state.Find(s.id)
	s.mu.Lock()
	s.forsaken = true
	again := line != nil && !line.Ended && d.agenda.releases < allHoldings && (s.Leaving == 0 || v.Tallied >= s.Leaving)
	if again {
		s.Leaving = v.Epoch
		d.agenda.releases++
	}
	s.mu.Unlock()
	if !again {
		return nil
	}
	d.log.Error("storage: too much of a session is lost: it is given up", "session", s.id, "bytes", line.Bytes)
	err := d.keepProgress([]*session{s})
	return errors.Join(err, d.host.Submit(ctx, storage.KindRelease, (&storage.Release{Session: s.id}).Encode()))
}

func (s *session) account() types.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record.Holding.Holding.Account
}

// noteLoss counts what was lost, for the owner.
func (d *device) noteLoss(shards int, bytes uint64, now types.Epoch) {
	p := d.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loss.epoch != now || shards > p.loss.shards {
		p.loss = loss{shards, bytes, now}
	}
}

// loss is what was found lost at once.
type loss struct {
	shards int
	bytes  uint64
	epoch  types.Epoch
}

// tell keeps what is wrong for Remarks.
func (d *device) tell(v *news) {
	var list []role.Remark
	add := func(reason types.Reason, format string, args ...any) {
		list = append(list, role.Remark{Reason: reason, Text: fmt.Sprintf(format, args...)})
	}
	if a := d.away(); a != nil {
		add(storage.FolderGone, "since epoch %d: %v", a.since, a.err)
	}
	if err := d.store.Stats().Failed; err != nil {
		add(storage.DiskFailed, "%v", err)
	}
	p := d.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.loss; l.shards > 0 && l.epoch+rememberLoss >= v.Epoch {
		add(storage.DataLost, "%d shards of %d bytes, found in epoch %d", l.shards, l.bytes, l.epoch)
	}
	if n := v.state.Streak; n > 0 && v.state.Bytes() > 0 {
		add(storage.Unproven, "the last %d challenges", n)
	}
	for i := range list {
		for _, info := range storage.New().Spec.Reasons {
			if info.Reason == list[i].Reason {
				list[i].Text, list[i].Try = info.Sentence+" ("+list[i].Text+")", info.Try
			}
		}
	}
	p.remarks = list
}

// Remarks returns what is wrong with the device, the worst first.
func (p *Provider) Remarks() []role.Remark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remarks
}
