package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.etcd.io/bbolt"
	bolterr "go.etcd.io/bbolt/errors"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

var keptBucket = []byte("kept") // subject → u64 Unix milliseconds (big endian), data

const (
	keepBatch = 512       // messages that are stored together
	pageBytes = 256 << 10 // of data in one page, before its last message
)

// keeper stores the last message of each subject. Everything but the connection is owned by run.
type keeper struct {
	config Config
	log    *slog.Logger
	db     *bbolt.DB
	conn   *nats.Conn
	puts   chan *nats.Msg
	asks   chan *nats.Msg

	shelves map[string]*bus.Shelf // by publisher
	total   int64                 // bytes of data
}

func newKeeper(s *Server) (*keeper, error) {
	k := &keeper{config: s.config, log: s.log, shelves: map[string]*bus.Shelf{},
		puts: make(chan *nats.Msg, bus.Pending), asks: make(chan *nats.Msg, bus.Pending)}
	if err := k.open(filepath.Join(s.config.Dir, "kept.db")); err != nil {
		return nil, fmt.Errorf("bus: keeper: %w", err)
	}
	if err := k.connect(s); err != nil {
		k.close()
		return nil, fmt.Errorf("bus: keeper: %w", err)
	}
	return k, nil
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
		nats.ReconnectWait(100*time.Millisecond), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { k.log.Warn("keeper", "error", err) }))
	if err != nil {
		return err
	}
	if _, err = k.conn.ChanSubscribe(bus.Last+".>", k.puts); err != nil {
		return err
	}
	// Of a cluster's keepers one answers, the nearest.
	if _, err = k.conn.ChanQueueSubscribe(bus.KeepSubject(types.Key{}), "keepers", k.asks); err != nil {
		return err
	}
	return k.conn.FlushTimeout(startup)
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
	}
	var lines []line
	err := k.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(keptBucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(subject, v []byte) error {
			if len(v) < 8 {
				return b.Delete(subject)
			}
			lines = append(lines, line{string(subject), binary.BigEndian.Uint64(v), len(v) - 8})
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
		k.shelf(l.subject).Put(l.subject, l.size)
		k.total += int64(l.size)
	}
	return nil
}

func (k *keeper) shelf(subject string) *bus.Shelf {
	by := bus.Owner(subject)
	if k.shelves[by] == nil {
		k.shelves[by] = new(bus.Shelf)
	}
	return k.shelves[by]
}

func (k *keeper) run(ctx context.Context) {
	sweep := time.NewTicker(k.config.KeepFor / 100)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-k.puts:
			k.put(drain(k.puts, m))
		case m := <-k.asks:
			k.put(drain(k.puts, nil)) // whoever asks sees what was published before
			k.answer(m)
		case <-sweep.C:
			k.sweep()
		}
	}
}

// drain returns first and what waits behind it, at most keepBatch messages.
func drain(c <-chan *nats.Msg, first *nats.Msg) []*nats.Msg {
	var list []*nats.Msg
	if first != nil {
		list = append(list, first)
	}
	for len(list) < keepBatch {
		select {
		case m := <-c:
			list = append(list, m)
		default:
			return list
		}
	}
	return list
}

// put stores messages and tells their publishers.
func (k *keeper) put(list []*nats.Msg) {
	if len(list) == 0 {
		return
	}
	refused := make([]types.Reason, len(list))
	err := k.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keptBucket)
		at := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
		for i, m := range list {
			var err error
			if refused[i], err = k.putOne(b, m, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
	}
	for i, m := range list {
		if err != nil {
			refused[i] = types.DiskFull
		}
		if m.Reply != "" {
			_ = m.Respond([]byte(refused[i])) // the publisher asks again
		}
	}
}

func (k *keeper) putOne(b *bbolt.Bucket, m *nats.Msg, at []byte) (types.Reason, error) {
	switch {
	case !bus.ValidSubject(m.Subject):
		return types.BadEncoding, nil
	case len(m.Data) > bus.MaxLast:
		return types.Oversize, nil
	}
	old := b.Get([]byte(m.Subject))
	grown := int64(len(m.Data) - max(len(old)-8, 0))
	if k.total+grown > k.config.KeepBytes && grown > 0 {
		return types.DiskFull, nil
	}
	k.total += grown
	if err := b.Put([]byte(m.Subject), slices.Concat(at, m.Data)); err != nil {
		return "", err
	}
	for _, gone := range k.shelf(m.Subject).Put(m.Subject, len(m.Data)) {
		if err := k.forget(b, gone); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (k *keeper) forget(b *bbolt.Bucket, subject string) error {
	k.total -= int64(max(len(b.Get([]byte(subject)))-8, 0))
	return b.Delete([]byte(subject))
}

// answer hands out a page.
func (k *keeper) answer(m *nats.Msg) {
	var query bus.KeepQuery
	if types.Decode(m.Data, &query) != nil || !strings.HasPrefix(query.Pattern, bus.Last+".") {
		return
	}
	from, _, _ := strings.Cut(strings.ReplaceAll(query.Pattern, ">", "*"), "*")
	var page bus.KeepPage
	bytes := 0
	err := k.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(keptBucket).Cursor()
		for s, v := c.Seek([]byte(max(from, query.After))); s != nil && strings.HasPrefix(string(s), from); s, v = c.Next() {
			subject := string(s)
			if subject <= query.After || !bus.Match(query.Pattern, subject) {
				continue
			}
			if bytes += len(subject) + len(v); bytes > pageBytes && len(page.Kept) > 0 {
				page.More = true
				return nil
			}
			page.Kept = append(page.Kept, bus.Kept{Subject: subject, Data: slices.Clone(v[8:])})
		}
		return nil
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
		return
	}
	_ = m.Respond(types.Encode(&page)) // the asker asks again
}

// sweep forgets what nobody has refreshed for long.
func (k *keeper) sweep() {
	before := uint64(time.Now().Add(-k.config.KeepFor).UnixMilli())
	err := k.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keptBucket)
		var old []string
		err := b.ForEach(func(subject, v []byte) error {
			if binary.BigEndian.Uint64(v) < before {
				old = append(old, string(subject))
			}
			return nil
		})
		for _, subject := range old {
			shelf := k.shelf(subject)
			if shelf.Drop(subject); shelf.Len() == 0 {
				delete(k.shelves, bus.Owner(subject))
			}
			err = errors.Join(err, k.forget(b, subject))
		}
		return err
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
	}
}

func (k *keeper) close() {
	if k.conn != nil {
		k.conn.Close()
	}
	if err := k.db.Close(); err != nil {
		k.log.Error("keeper", "error", err)
	}
}
