package provider

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// putShard stages a shard.
func (s *server) putShard(w http.ResponseWriter, r *http.Request, p *peer) error {
	id, err := types.ParseHash(r.PathValue("id"))
	if err != nil {
		return types.Refuse(types.BadEncoding, "storage: shard %.80q", r.PathValue("id"))
	}
	if r.ContentLength > storage.MaxShard {
		return types.Refuse(types.Oversize, "storage: a shard of %d bytes, at most %d are taken", r.ContentLength, storage.MaxShard)
	}
	if err := errors.Join(s.d.here(), s.d.mayStage(p, r.ContentLength)); err != nil {
		return err
	}
	buf, free, err := s.buffer(r.Context())
	if err != nil {
		return err
	}
	defer free()
	shard, err := s.body(w, r, buf[:], storage.MaxShard)
	if err != nil {
		return err
	}
	key := shardlog.Key{Shard: id, Session: tag(p.Account)}
	s.d.shelf.pin(key)
	defer s.d.shelf.unpin(key)
	fresh, err := s.d.shelf.add(key, uint64(len(shard)), s.d.store.Stats().Capacity, s.d.now()+grace)
	if err != nil {
		return err
	}
	if err := s.d.store.Put(key, 0, shard); err != nil {
		if fresh {
			s.d.shelf.take(key)
		}
		return err
	}
	s.d.cfg.at("stored")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getShard serves a shard, or a slice of it with its proof, under an egress session.
func (s *server) getShard(w http.ResponseWriter, r *http.Request, p *peer) error {
	id, err := types.ParseHash(r.PathValue("id"))
	if err != nil {
		return types.Refuse(types.BadEncoding, "storage: shard %.80q", r.PathValue("id"))
	}
	query := r.URL.Query()
	session, err := sessionID(query.Get("session"))
	if err != nil {
		return err
	}
	if err := s.d.here(); err != nil {
		return err
	}
	key := shardlog.Key{Shard: id, Session: tag(p.Account)}
	info, err := s.d.store.Stat(key)
	if errors.Is(err, shardlog.ErrNotFound) || errors.Is(err, shardlog.ErrDamaged) {
		return types.Refuse(storage.NoShard, "storage: shard %s", id)
	}
	if err != nil {
		return err
	}
	offset, length, whole := 0, info.Length, true
	if query.Has("length") {
		var e1, e2 error
		whole = false
		offset, e1 = strconv.Atoi(query.Get("offset"))
		length, e2 = strconv.Atoi(query.Get("length"))
		if e1 != nil || e2 != nil || offset < 0 || length <= 0 || offset > info.Length || length > info.Length-offset {
			return types.Refuse(types.BadEncoding, "storage: bytes %.20q+%.20q of a shard of %d", query.Get("offset"), query.Get("length"), info.Length)
		}
	}
	read := readKey{p.key, session}
	if err := s.d.admit(read, &p.Payer, uint64(length)); err != nil {
		return err
	}
	served := uint64(0)
	defer func() { s.d.done(read, p.Account, uint64(length), served) }()
	if whole {
		served, err = s.sendShard(w, r, key, length)
	} else {
		served, err = s.sendSlice(w, r, key, offset, length)
	}
	return err
}

// sendShard streams a shard and returns how many bytes went out.
func (s *server) sendShard(w http.ResponseWriter, r *http.Request, key shardlog.Key, length int) (served uint64, err error) {
	const piece = 128 << 10
	if err := s.memory.Acquire(r.Context(), piece); err != nil {
		return 0, err
	}
	defer s.memory.Release(piece)
	whole := s.buffers.Get().(*[storage.MaxShard]byte)
	defer s.buffers.Put(whole)
	buf := whole[:piece]
	if err := s.allow(w, int64(length), (*http.ResponseController).SetWriteDeadline); err != nil {
		return 0, err
	}
	for at := 0; at < length; at += len(buf) {
		buf = buf[:min(piece, length-at)]
		if err := s.d.store.ReadAt(key, buf, at); err != nil {
			if errors.Is(err, shardlog.ErrDamaged) {
				s.d.spoilt(key, err)
			}
			if at == 0 {
				return 0, fmt.Errorf("%w: %w", err, storage.NoShard)
			}
			panic(http.ErrAbortHandler) // the customer must not take what it has for the whole
		}
		if at == 0 {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.Itoa(length))
		}
		n, err := w.Write(buf)
		served += uint64(n)
		if err != nil {
			return served, nil // the customer has gone
		}
	}
	return served, nil
}

// sendSlice serves a part of a shard with its proof. What counts as served is the part.
func (s *server) sendSlice(w http.ResponseWriter, r *http.Request, key shardlog.Key, offset, length int) (served uint64, err error) {
	buf, free, err := s.buffer(r.Context())
	if err != nil {
		return 0, err
	}
	defer free()
	info, err := s.d.store.Stat(key)
	if err != nil {
		return 0, err
	}
	shard := buf[:info.Length]
	if err := s.d.store.ReadAt(key, shard, 0); err != nil {
		if errors.Is(err, shardlog.ErrDamaged) {
			s.d.spoilt(key, err)
		}
		return 0, fmt.Errorf("%w: %w", err, storage.NoShard)
	}
	slice, err := storage.ExtractSlice(shard, offset, length)
	if err != nil {
		return 0, err
	}
	if err := s.allow(w, int64(len(slice)), (*http.ResponseController).SetWriteDeadline); err != nil {
		return 0, err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(slice)))
	if _, err := w.Write(slice); err != nil {
		return 0, nil
	}
	return uint64(length), nil
}

// postCommit has the device hold what a commit says.
func (s *server) postCommit(w http.ResponseWriter, r *http.Request, p *peer) error {
	buf, free, err := s.buffer(r.Context())
	if err != nil {
		return err
	}
	defer free()
	raw, err := s.body(w, r, buf[:0:storage.MaxShard], storage.MaxCommit)
	if err != nil {
		return err
	}
	c, err := storage.DecodeCommit(raw)
	if err != nil {
		return err
	}
	done, err := s.d.commitOf(c, p)
	if err != nil {
		return err
	}
	_, err = w.Write(done.Encode())
	return err
}

func (s *server) postLadder(w http.ResponseWriter, r *http.Request, p *peer) error {
	raw, err := s.body(w, r, make([]byte, 0, 12<<10), 64<<10)
	if err != nil {
		return err
	}
	l, err := storage.DecodeLadder(raw, s.d.chain)
	if err != nil {
		return err
	}
	session := s.d.session(l.From.Session)
	switch {
	case session == nil:
		return types.Refuse(storage.SessionUnknown, "storage: session %s", l.From.Session)
	case l.From.Payer != p.key:
		return types.Refuse(types.NotPermitted, "storage: ladder of %v", l.From.Payer)
	case !l.Verify():
		return types.Refuse(types.BadSignature, "storage: ladder of session %s", l.From.Session)
	}
	if err := s.d.climb(session, l); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) postReceipt(w http.ResponseWriter, r *http.Request, p *peer) error {
	raw, err := s.body(w, r, make([]byte, 0, receipt.MaxSigned), receipt.MaxSigned)
	if err != nil {
		return err
	}
	signed, err := receipt.Decode(raw, s.d.chain)
	if err != nil {
		return err
	}
	if signed.Receipt.Payer != p.key {
		return types.Refuse(types.NotPermitted, "storage: receipt of %v", signed.Receipt.Payer)
	}
	if err := s.d.take(signed, &p.Payer); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getSession says where a session stands. One that this payer's account does not have looks like none.
func (s *server) getSession(w http.ResponseWriter, r *http.Request, p *peer) error {
	id, err := sessionID(r.PathValue("id"))
	if err != nil {
		return err
	}
	st, err := s.d.statusOf(id, p)
	if err != nil {
		return err
	}
	_, err = w.Write(st.Encode())
	return err
}

// getLosses lists what was declared lost in a session and no holding covers yet.
func (s *server) getLosses(w http.ResponseWriter, r *http.Request, p *peer) error {
	id, err := sessionID(r.PathValue("id"))
	if err != nil {
		return err
	}
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		return types.Refuse(types.BadEncoding, "storage: losses after %.20q", r.URL.Query().Get("after"))
	}
	list := storage.Losses{}
	if session := s.d.session(id); session != nil {
		session.mu.Lock()
		mine := session.record.Holding.Holding.Account == p.Account
		session.mu.Unlock()
		if mine {
			steps, err := s.d.books.losses(id, after, storage.MaxLosses)
			if err != nil {
				return err
			}
			for _, st := range steps {
				list = append(list, storage.Revision{Revision: st.Revision, Ops: st.Ops})
			}
		}
	}
	_, err = w.Write(list.Encode())
	return err
}

// getReceipt returns the newest receipt of an egress session, for a customer that lost track.
func (s *server) getReceipt(w http.ResponseWriter, r *http.Request, p *peer) error {
	id, err := sessionID(r.PathValue("id"))
	if err != nil {
		return err
	}
	newest := s.d.reads.newest(readKey{p.key, id})
	if newest == nil {
		return types.Refuse(storage.SessionUnknown, "storage: no receipt of session %s", id)
	}
	_, err = w.Write(newest.Encode())
	return err
}

func (d *device) statusOf(id types.SessionID, p *peer) (*storage.SessionStatus, error) {
	st := new(storage.SessionStatus)
	d.reads.mu.Lock()
	if read := d.reads.sessions[readKey{p.key, id}]; read != nil {
		st.Served = read.Served
		if read.Newest != nil {
			st.Promised, st.Units, st.Amount = read.Newest.Receipt.Units, read.Paid.Units, read.Paid.Amount
		}
	}
	d.reads.mu.Unlock()
	s := d.session(id)
	if s == nil {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.record
	if r.Holding.Holding.Account != p.Account || r.Revision == 0 {
		return st, nil
	}
	if s.forsaken || d.emptied() {
		return nil, types.Refuse(storage.SessionClosed, "storage: session %s was given up: too much of it is lost", id)
	}
	list, err := d.list(s)
	if err != nil {
		return nil, err
	}
	root := list.Root()
	st.Revision, st.Root, st.Shards, st.Bytes = r.Revision, root.Hash, uint64(list.Len()), root.Sum
	st.Units, st.Amount = s.Paid.Units, s.Paid.Amount
	if v := d.news.Load(); v != nil {
		st.Promised = v.payable(s.id, v.state.Passes)
	}
	st.Unused, err = d.reachOf(s)
	return st, err
}

// commitOf finds or opens the session of a commit.
func (d *device) commitOf(c *storage.Commit, p *peer) (*storage.Committed, error) {
	h := &c.Holding.Holding
	switch {
	case h.Payer != p.key:
		return nil, types.Refuse(types.NotPermitted, "storage: holding of %v", h.Payer)
	case h.Account != p.Account || h.Device != d.key:
		return nil, types.Refuse(storage.HoldingTerms, "storage: holding of account %v on %v", h.Account, h.Device)
	case !c.Holding.Verify(d.chain):
		return nil, types.Refuse(storage.HoldingSignature, "storage: holding of session %s", h.Session)
	}
	for {
		s, err := d.join(c)
		if err != nil {
			return nil, err
		}
		done, err := d.commit(s, c, p)
		if errors.Is(err, errDead) {
			continue
		}
		if err != nil {
			d.leave(s, h.Payer)
		}
		return done, err
	}
}

// maxPerPayer bounds the sessions of one payer.
const maxPerPayer = 64

// join returns the session of a commit, a new one if there is none.
func (d *device) join(c *storage.Commit) (*session, error) {
	h := &c.Holding.Holding
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[h.Session]; s != nil {
		return s, nil
	}
	if len(d.sessions) >= storage.MaxSessions || len(d.payers[h.Payer]) >= maxPerPayer {
		return nil, types.Refuse(storage.Full, "storage: %d sessions, %d of this payer", len(d.sessions), len(d.payers[h.Payer]))
	}
	if err := d.opens(c); err != nil {
		return nil, err
	}
	s := &session{id: h.Session, record: record{Opened: d.now()}}
	d.sessions[s.id] = s
	d.payers[h.Payer] = append(d.payers[h.Payer], s)
	return s, nil
}

// leave removes a session whose first commit failed.
func (d *device) leave(s *session, payer types.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Revision == 0 && !s.dead {
		s.dead = true
		d.mu.Lock()
		defer d.mu.Unlock()
		d.strike(s, payer)
	}
}

// takesOn says why the device takes nothing new on, nil if it does: its operator leaves, or its disk is nearly full.
func (d *device) takesOn() error {
	if d.provider.leaving.Load() {
		return types.Refuse(storage.Full, "storage: the device takes nothing on")
	}
	if err := d.host.Room(); err != nil {
		return fmt.Errorf("%w: %w", storage.Full, err)
	}
	return nil
}

// opens says whether a session may begin with a commit: under an ask of this device's that is live, and in time.
func (d *device) opens(c *storage.Commit) error {
	h, now := &c.Holding.Holding, d.now()
	ask := c.Ask
	if err := d.takesOn(); err != nil {
		return err
	}
	switch {
	case ask == nil || ask.Ask.Hash() != h.Ask || ask.Ask.Device != d.key || ask.Ask.Chain != d.chain || !ask.Verify():
		return types.Refuse(types.UnknownAsk, "storage: session %s names no ask of this device", h.Session)
	case ask.Ask.Category != types.Storage || ask.Ask.Class != storage.Hold || ask.Ask.Price != h.Price:
		return types.Refuse(storage.HoldingTerms, "storage: session %s: its ask is of class %d at %d", h.Session, ask.Ask.Class, ask.Ask.Price)
	case ask.Ask.Until < now:
		return types.Refuse(storage.AskExpired, "storage: the ask was valid until epoch %d, it is %d", ask.Ask.Until, now)
	case h.Session.Expiry() > now+receipt.MaxExpiry:
		return types.Refuse(types.WrongEpoch, "storage: session %s expires more than %d epochs ahead", h.Session, receipt.MaxExpiry)
	}
	return nil
}

// mayStage says whether a payer may send a shard of length bytes, -1 for unknown: it could pay for what it has
// staged, and its sessions have ladders.
func (d *device) mayStage(p *peer, length int64) error {
	if err := d.takesOn(); err != nil {
		return err
	}
	if length < 0 {
		length = storage.MaxShard
	}
	bytes := d.shelf.of(tag(p.Account)) + uint64(length)
	due, err := storage.Amount(types.Mul64(bytes, storage.SpareRungs), d.cfg.Price)
	if err != nil {
		return err
	}
	if left := min(p.Balance, p.Limit-min(p.Spent, p.Limit)); left == 0 || due > left {
		return types.Refuse(storage.Unpaid, "storage: %d epochs of the %d bytes that account %v has staged cost %d micro-credits, %d can be spent with this key",
			storage.SpareRungs, bytes, p.Account, due, left)
	}
	now := d.now()
	for _, s := range d.sessionsOf(p.key) {
		s.mu.Lock()
		var err error
		if s.bare != 0 && now > s.bare+grace {
			err = d.covered(s)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// mayCommit holds a commit against its session. mu is held.
func (d *device) mayCommit(s *session, c *storage.Commit, p *peer) error {
	h, old, now := &c.Holding.Holding, &s.record.Holding.Holding, d.now()
	switch {
	case s.record.Over || s.forsaken || old.Revision != 0 && d.emptied():
		return types.Refuse(storage.SessionClosed, "storage: session %s has ended", s.id)
	case s.id.Expiry() < now:
		return types.Refuse(types.SessionExpired, "storage: session %s in epoch %d", s.id, now)
	case h.Revision <= s.record.Revision:
		return types.Refuse(storage.RootMismatch, "storage: session %s stands at revision %d, the holding is revision %d", s.id, s.record.Revision, h.Revision)
	case old.Revision == 0 && h.Bytes == 0:
		return types.Refuse(storage.HoldingTerms, "storage: session %s opens with no bytes", s.id)
	case old.Revision != 0 && (h.Payer != old.Payer || h.Account != old.Account || h.Ask != old.Ask || h.Price != old.Price):
		return types.Refuse(storage.HoldingTerms, "storage: session %s: another payer, account, ask or price than it opened with", s.id)
	}
	grows := false
	for _, op := range c.Ops {
		grows = grows || op.Kind == storage.OpAppend
	}
	if !grows {
		return nil
	}
	if err := d.takesOn(); err != nil {
		return err
	}
	if err := d.covered(s); err != nil {
		return err
	}
	due, err := storage.Amount(types.Mul64(h.Bytes, storage.SpareRungs), h.Price)
	if err != nil {
		return err
	}
	if left := min(p.Balance, p.Limit-min(p.Spent, p.Limit)); due > left {
		return types.Refuse(storage.Unpaid, "storage: %d epochs of %d bytes cost %d micro-credits, %d can be spent", storage.SpareRungs, h.Bytes, due, left)
	}
	return nil
}
