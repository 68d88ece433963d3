package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.etcd.io/bbolt"
	bolterr "go.etcd.io/bbolt/errors"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// The buckets of the file. What it holds is refreshed by its publishers: one of an earlier format is thrown away.
var (
	keptBucket   = []byte("kept 3")   // subject → kept
	turnedBucket = []byte("turned 3") // bus.Turn(subject) → nothing
	oldBuckets   = [][]byte{[]byte("kept"), []byte("kept 2"), []byte("turned")}
)

const (
	keepBatch  = 512       // messages that are stored together
	pageBytes  = 256 << 10 // of data in one page, before its last message
	sweepSteps = 4096      // records that a sweep looks at before others have their turn
	putEach    = 1024      // messages of one account that wait to be stored
	askEach    = 64        // queries of one account that wait to be answered
	readers    = 2         // queries that are answered at a time
	keptHead   = 8 + 8 + 1 + len(types.Account{})
	lateBy     = 60_000_000 // microseconds by which a message that was overtaken is late at most
)

// stamp says when a kept message was published and stored.
type stamp struct {
	At   uint64 // milliseconds, by the clock of the server that stored it
	Sent uint64 // microseconds, by the clock of its publisher (bus.SentHeader); 0: it does not say
}

// after reports whether what has stamp a takes the place of what has stamp b: it was published later. By when they were
// stored go those that do not say when they were published, and those so far apart that the publisher's clock must
// have been set back.
func (a stamp) after(b stamp) bool {
	if a.Sent > 0 && b.Sent > 0 && max(a.Sent, b.Sent)-min(a.Sent, b.Sent) < lateBy {
		return a.Sent > b.Sent
	}
	return a.At > b.At
}

// late reports whether what has stamp a, and comes now, was overtaken by what has stamp b. The same again is not late.
func (a stamp) late(b stamp) bool { return a.Sent > 0 && a.Sent < b.Sent && b.Sent-a.Sent < lateBy }

// sent returns when a message was published, by its own word.
func sent(m *nats.Msg) uint64 {
	n, err := strconv.ParseUint(m.Header.Get(bus.SentHeader), 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// value is a kept message as the file has it.
func value(s stamp, p bus.Pass, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.At), s.Sent)
	return append(append(append(b, byte(p.Role)), p.Account[:]...), data...)
}

// stampOf reads the stamp of a value, which is keptHead long at least.
func stampOf(v []byte) stamp {
	return stamp{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}
}

// keeper stores the last message of each subject. One goroutine writes (write); queries are answered beside it
// (read), in turn of those who ask.
type keeper struct {
	config Config
	log    *slog.Logger
	db     *bbolt.DB
	conn   *nats.Conn
	pass   func(key types.Key, stale time.Duration) (bus.Pass, error)
	here   func(key types.Key) bool // whether a key is logged on at this server; nil: all are

	first    *bus.Fair[*nats.Msg] // of verifiers
	puts     *bus.Fair[*nats.Msg] // of all others
	asks     *bus.Fair[*nats.Msg]
	barriers chan chan struct{} // closed when what had come before is stored
	merges   chan merge         // what other keepers have
	steps    atomic.Uint64      // records that queries have looked at
	whole    atomic.Bool        // it has what the others had; it answers queries
	missed   atomic.Bool        // something was not kept because nobody could be asked about its publisher

	shelves *bus.Shelves // owned by write
	cursor  []byte       // where the sweep goes on; owned by write
}

func newKeeper(s *Server) (*keeper, error) {
	k := &keeper{config: s.config, log: s.log, pass: s.passOf, first: bus.NewFair[*nats.Msg](putEach), puts: bus.NewFair[*nats.Msg](putEach),
		asks: bus.NewFair[*nats.Msg](askEach), barriers: make(chan chan struct{}), merges: make(chan merge), shelves: bus.NewShelves(parts(s.config.KeepBytes))}
	if s.config.Cluster != nil {
		k.here = s.places.here
	}
	if err := k.open(filepath.Join(s.config.Dir, "kept.db")); err != nil {
		return nil, fmt.Errorf("bus: keeper: %w", err)
	}
	if err := k.connect(s); err != nil {
		k.close()
		return nil, fmt.Errorf("bus: keeper: %w", err)
	}
	return k, nil
}

// parts shares out the keeper's room. Verifiers have half of it: the default is 4 MiB for each of 128.
func parts(total int64) map[bus.Role]int64 {
	return map[bus.Role]int64{bus.RoleVerifier: total / 2, bus.RoleDevice: total / 4, bus.RoleGateway: total / 8, bus.RolePayer: total / 8}
}

func (k *keeper) connect(s *Server) error {
	nkey, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, s.inside.Seed())
	if err != nil {
		return err
	}
	public, err := nkey.PublicKey()
	if err != nil {
		return err
	}
	k.conn, err = nats.Connect("", nats.InProcessServer(s.nats), nats.Nkey(public, nkey.Sign), nats.MaxReconnects(-1),
		nats.CustomInboxPrefix(keeperInbox), // where no client may publish
		nats.ReconnectWait(100*time.Millisecond), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { k.log.Warn("keeper", "error", err) }))
	if err != nil {
		return err
	}
	for _, kind := range bus.KeptByVerifiers {
		if _, err := k.conn.Subscribe(bus.Last+"."+kind+".>", func(m *nats.Msg) { k.queue(k.first, m) }); err != nil {
			return err
		}
	}
	for _, kind := range []string{"ask", "receipt"} {
		if _, err := k.conn.Subscribe(bus.Last+"."+kind+".>", func(m *nats.Msg) { k.queue(k.puts, m) }); err != nil {
			return err
		}
	}
	_, err = k.conn.Subscribe(bus.KeepSubject(types.Key{}), func(m *nats.Msg) {
		if k.answers(m) {
			k.queue(k.asks, m)
		}
	})
	if err != nil {
		return err
	}
	if s.config.Cluster == nil {
		k.whole.Store(true)
	} else if _, err := k.conn.Subscribe(keeperSubject(s.nats.ID()), k.tell); err != nil {
		return err
	}
	return k.conn.FlushTimeout(startup)
}

// answers reports whether this keeper answers whoever sent a message: that of its own server does, so that who
// was told that a message is kept finds it.
func (k *keeper) answers(m *nats.Msg) bool {
	if m.Reply == "" {
		return false
	}
	key, err := bus.ParseWord(bus.Owner(m.Subject))
	return err != nil || k.here == nil || k.here(key)
}

// queue has a message wait for its turn. What an account's keys sent waits together.
func (k *keeper) queue(q *bus.Fair[*nats.Msg], m *nats.Msg) {
	by := bus.Owner(m.Subject)
	if key, err := bus.ParseWord(by); err == nil {
		if p, err := k.pass(key, 0); err == nil && p.Account != (types.Account{}) {
			by = p.Account.String()
		}
	}
	if !q.Put(by, len(m.Data)+len(m.Subject), m) && (q == k.asks || k.answers(m)) {
		_ = m.Respond([]byte(types.OverQuota)) // who sent it has sent too much already
	}
}

// open opens the file, or begins a new one if it is broken.
func (k *keeper) open(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%w: %w", err, types.HomeUnwritable)
	}
	options := &bbolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
	db, err := bbolt.Open(path, 0o600, options)
	switch {
	case err == nil:
	case errors.Is(err, bolterr.ErrTimeout):
		return fmt.Errorf("%s: %w: %w", path, err, types.HomeBusy)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", err, types.HomeUnwritable)
	default:
		k.log.Warn("the kept messages are broken and begin anew", "file", path, "error", err)
		if err := os.Remove(path); err != nil {
			return err
		}
		if db, err = bbolt.Open(path, 0o600, options); err != nil {
			return err
		}
	}
	k.db = db
	return k.load()
}

// load puts what the file holds on its shelves, the oldest first.
func (k *keeper) load() error {
	type line struct {
		subject string
		at      uint64
		size    int
		role    bus.Role
		account types.Account
	}
	var lines []line
	err := k.db.Update(func(tx *bbolt.Tx) error {
		for _, old := range oldBuckets {
			if err := tx.DeleteBucket(old); err != nil && !errors.Is(err, bolterr.ErrBucketNotFound) {
				return err
			}
		}
		if _, err := tx.CreateBucketIfNotExists(turnedBucket); err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(keptBucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(subject, v []byte) error {
			if len(v) < keptHead {
				return b.Delete(subject)
			}
			lines = append(lines, line{string(subject), binary.BigEndian.Uint64(v), len(v) - keptHead, bus.Role(v[16]), types.Account(v[17:keptHead])})
			return nil
		})
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		if a.at < b.at {
			return -1
		}
		return int(min(a.at-b.at, 1))
	})
	for _, l := range lines {
		k.shelves.Load(l.subject, l.size, l.role, l.account)
	}
	return nil
}

// run works until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var work sync.WaitGroup
	for range readers {
		work.Go(func() { k.read(ctx) })
	}
	k.write(ctx)
	work.Wait()
}

// write stores what is published.
func (k *keeper) write(ctx context.Context) {
	sweep := time.NewTicker(k.config.KeepFor / 100)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.first.Ready():
			k.put(k.drain())
		case <-k.puts.Ready():
			k.put(k.drain())
		case done := <-k.barriers:
			for n := k.first.Len() + k.puts.Len(); n > 0; n -= keepBatch {
				k.put(k.drain())
			}
			close(done)
		case m := <-k.merges:
			m.done <- k.merge(m.list)
		case <-sweep.C:
			for k.sweep() && ctx.Err() == nil {
				k.put(k.drain())
			}
		}
	}
}

// drain takes what waits, at most keepBatch messages: of verifiers and of all others in turn.
func (k *keeper) drain() (list []*nats.Msg) {
	for len(list) < keepBatch {
		one, ok := k.first.Take()
		if ok {
			list = append(list, one)
		}
		other, more := k.puts.Take()
		if more {
			list = append(list, other)
		}
		if !ok && !more {
			break
		}
	}
	return list
}

// put stores messages and tells their publishers.
func (k *keeper) put(list []*nats.Msg) {
	if len(list) == 0 {
		return
	}
	for i, refused := range k.store(list) {
		if m := list[i]; k.answers(m) {
			_ = m.Respond([]byte(refused)) // the publisher asks again
		}
	}
}

// store stores messages, and returns why it refused each; "" for what is stored.
func (k *keeper) store(list []*nats.Msg) []types.Reason {
	refused, passes := make([]types.Reason, len(list)), make([]bus.Pass, len(list))
	for i, m := range list {
		passes[i], refused[i] = k.admit(m)
	}
	err := k.db.Update(func(tx *bbolt.Tx) error {
		at := uint64(time.Now().UnixMilli())
		for i, m := range list {
			if refused[i] != "" {
				continue
			}
			now := stamp{at, sent(m)}
			if v := tx.Bucket(keptBucket).Get([]byte(m.Subject)); len(v) >= keptHead && now.late(stampOf(v)) {
				continue // as good as stored, and replaced
			}
			var err error
			if refused[i], err = k.putOne(tx, m, passes[i], now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
		for i := range refused {
			refused[i] = types.DiskFull
		}
	}
	return refused
}

// admit returns what the publisher of a message may keep. Where that is too little, the chain may know better by now.
func (k *keeper) admit(m *nats.Msg) (bus.Pass, types.Reason) {
	key, err := bus.ParseWord(bus.Owner(m.Subject))
	switch {
	case err != nil || !bus.ValidSubject(m.Subject):
		return bus.Pass{}, types.BadEncoding
	case len(m.Data) > bus.MaxLast:
		return bus.Pass{}, types.Oversize
	}
	p, err := k.pass(key, 0)
	if err == nil && p.Own < len(m.Subject)+len(m.Data) {
		p, err = k.pass(key, passStale)
	}
	switch {
	case err != nil:
		k.missed.Store(true)
		return bus.Pass{}, types.BusUnavailable
	case p.Role == bus.Nobody:
		return bus.Pass{}, types.NotPermitted
	}
	return p, ""
}

func (k *keeper) putOne(tx *bbolt.Tx, m *nats.Msg, p bus.Pass, s stamp) (types.Reason, error) {
	gone, refused := k.shelves.Put(m.Subject, len(m.Data), p)
	if refused == types.DiskFull && p.Role == bus.RoleVerifier && k.retire(tx) {
		gone, refused = k.shelves.Put(m.Subject, len(m.Data), p)
	}
	if refused != "" {
		return refused, nil
	}
	for _, subject := range gone {
		if err := forget(tx, subject); err != nil {
			return "", err
		}
	}
	return "", errors.Join(tx.Bucket(keptBucket).Put([]byte(m.Subject), value(s, p, m.Data)),
		tx.Bucket(turnedBucket).Put([]byte(bus.Turn(m.Subject)), nil))
}

func forget(tx *bbolt.Tx, subject string) error {
	return errors.Join(tx.Bucket(keptBucket).Delete([]byte(subject)), tx.Bucket(turnedBucket).Delete([]byte(bus.Turn(subject))))
}

// retire forgets what former verifiers left in the verifiers' part, and reports whether there was any.
func (k *keeper) retire(tx *bbolt.Tx) (found bool) {
	for _, word := range k.shelves.Of(bus.RoleVerifier) {
		key, err := bus.ParseWord(word)
		if err != nil {
			continue
		}
		if p, err := k.pass(key, time.Nanosecond); err != nil || p.Role == bus.RoleVerifier {
			continue
		}
		for _, subject := range k.shelves.Clear(word) {
			found = true
			if err := forget(tx, subject); err != nil {
				k.log.Error("keeper", "error", err)
			}
		}
	}
	return found
}

// read answers queries. What was published before a query is stored before it is answered.
func (k *keeper) read(ctx context.Context) {
	for m, ok := k.asks.Wait(ctx); ok; m, ok = k.asks.Wait(ctx) {
		done := make(chan struct{})
		select {
		case k.barriers <- done:
			<-done
		case <-ctx.Done():
			return
		}
		_ = m.Respond(k.answer(ctx, m.Data)) // the asker asks again
	}
}

// answer returns a page, or why there is none. As long as it does not have what others have, it asks one of them.
func (k *keeper) answer(ctx context.Context, query []byte) []byte {
	if !k.whole.Load() {
		return k.elsewhere(ctx, query)
	}
	page, refused := k.page(query)
	if refused != "" {
		return []byte(refused)
	}
	return types.Encode(page)
}

// page answers a query. It looks at no record that does not fit, and, as each takes room in the answer, at no
// more than fit in pageBytes.
func (k *keeper) page(raw []byte) (*bus.KeepPage, types.Reason) {
	var query bus.KeepQuery
	if types.Decode(raw, &query) != nil {
		return nil, types.BadEncoding
	}
	plan, ok := bus.PlanKept(query.Pattern)
	if !ok {
		return nil, types.BadEncoding
	}
	page, size, after := new(bus.KeepPage), 0, query.After
	err := k.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keptBucket)
		c := b.Cursor()
		if plan.Turned {
			c = tx.Bucket(turnedBucket).Cursor()
			after = bus.Turn(after)
		}
		prefix := []byte(plan.Prefix)
		for s, v := c.Seek([]byte(max(plan.Prefix, after))); s != nil && bytes.HasPrefix(s, prefix); s, v = c.Next() {
			subject := string(s)
			k.steps.Add(1)
			if plan.Exact && subject != plan.Prefix {
				return nil
			}
			if subject <= after {
				continue // the one that the page before ended with
			}
			if plan.Turned {
				subject = bus.Unturn(subject)
				v = b.Get([]byte(subject))
			}
			if len(v) < keptHead {
				continue // not reached: both are written together
			}
			if size+len(subject)+len(v) > pageBytes && len(page.Kept) > 0 {
				page.More = true
				return nil
			}
			size += len(subject) + len(v)
			page.Kept = append(page.Kept, bus.Kept{Subject: subject, Data: slices.Clone(v[keptHead:])})
		}
		return nil
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
		return nil, types.BusUnavailable
	}
	return page, ""
}

// sweep forgets what nobody has refreshed for long, among the next sweepSteps records, and reports whether
// there are more.
func (k *keeper) sweep() (more bool) {
	before := uint64(time.Now().Add(-k.config.KeepFor).UnixMilli())
	err := k.db.Update(func(tx *bbolt.Tx) error {
		var old []string
		c, steps := tx.Bucket(keptBucket).Cursor(), 0
		subject, v := c.Seek(k.cursor)
		for ; subject != nil && steps < sweepSteps; subject, v = c.Next() {
			if steps++; binary.BigEndian.Uint64(v) < before {
				old = append(old, string(subject))
			}
		}
		k.cursor, more = slices.Clone(subject), subject != nil
		var err error
		for _, subject := range old {
			k.shelves.Drop(subject)
			err = errors.Join(err, forget(tx, subject))
		}
		return err
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
		return false
	}
	return more
}

func (k *keeper) close() {
	if k.conn != nil {
		k.conn.Close()
	}
	if err := k.db.Close(); err != nil {
		k.log.Error("keeper", "error", err)
	}
}
