package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Provider is storage on a device.
type Provider struct {
	cfg     Config
	leaving atomic.Bool

	mu      sync.Mutex // guards what follows, which outlives a Run
	loss    loss
	remarks []role.Remark
}

// New returns the device's side of storage.
func New(cfg Config) *Provider { return &Provider{cfg: cfg.withDefaults()} }

// Role returns p as a node runs it.
func (p *Provider) Role() role.Provider {
	return role.Provider{Category: types.Storage, Run: p.Run, Remarks: p.Remarks, Reasons: storage.New().Spec.Reasons, Folders: []string{shardFolder}}
}

// shardFolder is where shards are, below the provider's folder.
const shardFolder = "shards"

// Leave has the device release every session, epoch by epoch as its quota allows, and take on nothing new. That
// costs what is retained of each session whose holding has not run out, so it is the operator's decision, never
// a shutdown's.
func (p *Provider) Leave() { p.leaving.Store(true) }

// Run serves, proves and collects until ctx ends.
func (p *Provider) Run(ctx context.Context, host role.Host) error {
	d, err := open(p, host)
	if err != nil {
		return err
	}
	server, err := d.listen()
	if err != nil {
		return errors.Join(err, d.close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.run(ctx) })
	group.Go(func() error { return d.store.Run(ctx) })
	group.Go(func() error { return d.follow(ctx) })
	group.Go(func() error { return d.sweep(ctx) })
	group.Go(func() error { return d.scrub(ctx) })
	group.Go(func() error { return d.keep(ctx) })
	return errors.Join(group.Wait(), d.close())
}

// device is one Run.
type device struct {
	provider *Provider
	cfg      Config
	host     role.Host
	chain    string
	key      types.Key
	log      *slog.Logger
	store    *shardlog.Store
	books    *books
	shelf    *shelf
	address  string // at which customers reach it

	news    atomic.Pointer[news] // nil before the first notice
	changed chan struct{}        // tells follow that there may be something to hand in
	uses    atomic.Uint64
	bad     chan shardlog.Key // shards found damaged, for follow to declare

	mu       sync.Mutex // guards what follows
	sessions map[types.SessionID]*session
	payers   map[types.Key][]*session
	gone     *absence // nil while the folder is there
	losing   bool     // there are lost shards to declare

	reads reads

	// What follows belongs to follow.
	agenda agenda
}

// news is the newest notice, with the device's line read. It never changes.
type news struct {
	role.Notice
	state *storage.State
}

// payable returns how much of a session's proof may be drawn, when the device has passed passes epochs; 0 for
// one unknown to the tally.
func (v *news) payable(id types.SessionID, passes uint64) types.U128 {
	if s := v.state.Find(id); s != nil {
		return s.Payable(passes)
	}
	return types.U128{}
}

// now is the current epoch, 0 before the first notice.
func (d *device) now() types.Epoch {
	if v := d.news.Load(); v != nil {
		return v.Epoch
	}
	return 0
}

func open(p *Provider, host role.Host) (*device, error) {
	d := &device{
		provider: p, cfg: p.cfg, host: host, chain: host.Chain(), key: host.Key(), log: host.Log(),
		changed: make(chan struct{}, 1), bad: make(chan shardlog.Key, 1024),
		sessions: map[types.SessionID]*session{}, payers: map[types.Key][]*session{},
	}
	cfg := p.cfg.Log
	cfg.Dir = filepath.Join(host.Dir(), shardFolder)
	var err error
	if d.store, err = shardlog.Open(cfg, d.log); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if d.books, err = openBooks(filepath.Join(host.Dir(), "books.db")); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.shelf = newShelf(d.store, d.books)
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// load reads what the books say of sessions and accounts. Lists stay on disk until they are used.
func (d *device) load() error {
	d.reads.init()
	return d.books.db.View(func(tx *bbolt.Tx) error {
		err := all(tx, sessionBucket, nil, func(k []byte, r *record) error {
			s := &session{id: types.SessionID(k), record: *r}
			d.enroll(s)
			p, err := decode[progress](tx.Bucket(progressBucket).Get(k))
			if p != nil {
				s.progress = *p
			}
			return err
		})
		if err != nil {
			return err
		}
		return d.reads.load(tx)
	})
}

func (d *device) close() error {
	return errors.Join(d.reads.flush(d.books), d.store.Close(), d.books.close())
}

// enroll enters a session into the maps. mu is held, or nobody else has d yet.
func (d *device) enroll(s *session) {
	d.sessions[s.id] = s
	payer := s.record.Holding.Holding.Payer
	d.payers[payer] = append(d.payers[payer], s)
}

// strike takes a session out of the maps. mu is held.
func (d *device) strike(s *session, payer types.Key) {
	delete(d.sessions, s.id)
	rest := slices.DeleteFunc(d.payers[payer], func(other *session) bool { return other == s })
	if len(rest) == 0 {
		delete(d.payers, payer)
	} else {
		d.payers[payer] = rest
	}
}

func (d *device) session(id types.SessionID) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[id]
}

// sessionsOf returns a payer's sessions.
func (d *device) sessionsOf(payer types.Key) []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.payers[payer])
}

// allSessions returns every session, by id.
func (d *device) allSessions() []*session {
	d.mu.Lock()
	list := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		list = append(list, s)
	}
	d.mu.Unlock()
	slices.SortFunc(list, func(a, b *session) int { return cmp.Compare(string(a.id[:]), string(b.id[:])) })
	return list
}

// dirty says that a session has something to hand in.
func (d *device) dirty(*session) {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// spoilt says that a shard cannot be read as what it is. When too many wait, the next scrub finds the rest.
func (d *device) spoilt(key shardlog.Key, err error) {
	d.log.Error("storage: a shard is damaged", "shard", key.Shard, "err", err)
	select {
	case d.bad <- key:
	default:
	}
	d.dirty(nil)
}

// sweep stages what a crash left without a reference, so that it goes in two epochs.
func (d *device) sweep(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for d.news.Load() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	err := d.store.Each(ctx, func(key shardlog.Key, info shardlog.Info) error {
		return d.shelf.adopt(key, uint64(info.Length), d.now()+grace)
	})
	if err != nil && ctx.Err() == nil {
		d.log.Warn("storage: look for shards that nothing refers to", "err", err)
	}
	return nil
}

// scrub reads everything once in Config.Scrub, over and over.
func (d *device) scrub(ctx context.Context) error {
	for ctx.Err() == nil {
		used := max(1, d.store.Stats().Used)
		start := time.Now()
		wait := func(ctx context.Context, n int) error {
			// The share of the whole that n bytes are is the share of the time that they take, a minute at most.
			pause := time.Duration(min(float64(time.Minute), float64(d.cfg.Scrub)*float64(n)/float64(used)))
			return sleep(ctx, pause)
		}
		shards, err := d.store.Scrub(ctx, wait, d.spoilt)
		if ctx.Err() != nil {
			return nil
		}
		d.log.Debug("storage: scrub", "shards", shards, "took", time.Since(start).Round(time.Second), "err", err)
		if err := sleep(ctx, max(time.Minute, min(time.Hour, d.cfg.Scrub-time.Since(start)))); err != nil {
			return nil
		}
	}
	return nil
}

// lookEvery is how many seconds pass between two looks at the whole folder, beside those before each answer and
// each commit.
const lookEvery = 10

// keep writes down what was read and signed for, once a second: a crash costs a second of it, and the
// customer's next receipt makes up for that. And it looks whether the folder is still there.
func (d *device) keep(ctx context.Context) error {
	for i := 1; sleep(ctx, time.Second) == nil; i++ {
		_ = d.intact(i%lookEvery == 0) // it keeps what it finds
		if err := d.reads.flush(d.books); err != nil {
			d.log.Warn("storage: keep receipts", "err", err)
		}
	}
	return nil
}

func sleep(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// offer publishes the asks of both classes when they are new, lapse soon, or say another capacity by an eighth.
func (d *device) offer(ctx context.Context, v *news) error {
	t := &d.agenda
	stats := d.store.Stats()
	free := stats.Capacity - min(stats.Used, stats.Capacity)
	if d.takesOn() != nil || stats.Failed != nil || d.away() != nil {
		free = 0
	}
	stale := t.until < v.Epoch+askRefresh || max(free, t.free)-min(free, t.free) > t.free/8+storage.MaxShard
	if !stale {
		return nil
	}
	terms := storage.Terms{Address: d.address, Unpaid: d.cfg.Unpaid}
	until := v.Epoch + askEpochs
	for _, ask := range []receipt.Ask{
		{Class: storage.Hold, Price: d.cfg.Price, Capacity: types.U64(free)},
		{Class: storage.Egress, Price: d.cfg.Egress, Capacity: types.U64(1 << 50)},
	} {
		ask.Chain, ask.Device, ask.Category, ask.Cell = d.chain, d.key, types.Storage, d.cfg.Cell
		ask.Terms, ask.Until = terms.Encode(), until
		signed, err := d.host.Offer(ctx, ask)
		if err != nil {
			return fmt.Errorf("storage: offer class %d: %w", ask.Class, err)
		}
		hash := signed.Ask.Hash() // the host fills in what the ask leaves open
		d.reads.addAsk(hash, signed.Ask)
		if err := d.books.update(func(tx *bbolt.Tx) error { return put(tx, askBucket, hash[:], signed) }); err != nil {
			return err
		}
	}
	t.until, t.free = until, free
	return nil
}
