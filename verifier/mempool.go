package verifier

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/internal/files"
)

// mempool is what a verifier acknowledged in one epoch: a log on disk, and its index in memory, about 250 bytes
// for each item.
//
// The log is a sequence of records: u32 length and u32 CRC-32C (both big endian) of what follows, the item's
// type, and its encoding. A record that is cut short or spoilt ends the log: it was being written when the
// process died, and nobody had an acknowledgement of it.
type mempool struct {
	epoch types.Epoch
	path  string

	mu      sync.RWMutex // guards all below
	file    *os.File
	size    int64
	index   map[types.Hash]int32 // into entries
	entries []entry
	used    map[quotaKey]tally.Quota
	limit   int64 // of size; 0 for none
	lasting int64 // bytes of entries that last
	synced  int   // how many of entries are on disk for good
	failed  error // once writing failed, nothing more is taken
}

type entry struct {
	tally.Name
	offset  int64 // of the item's encoding
	size    uint32
	lasting bool // it counts in a later batch if the epoch has no header
}

// quotaKey is an account of quota: evidence, reports as a witness, receipts, orders and asks of one author are
// counted apart.
type quotaKey struct {
	author   types.Key
	category types.Category
	kind     tally.ItemType
	report   bool
}

const recordHead = 8

// maxMempool bounds the log of an epoch, in bytes, with what lasts of the epochs before that no batch has
// counted: all of it together has to be fetched as one batch. A variable for the tests.
var maxMempool int64 = maxBlob / 4 * 3

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func mempoolPath(dir string, e types.Epoch) string {
	return filepath.Join(dir, fmt.Sprintf("intake-%012d.log", e))
}

// openMempool opens the log of an epoch, or makes it, and reads what it holds.
func openMempool(dir string, e types.Epoch, chain string, rules *ruleBook, log *slog.Logger) (*mempool, error) {
	b := &mempool{epoch: e, path: mempoolPath(dir, e), index: map[types.Hash]int32{}, used: map[quotaKey]tally.Quota{}}
	var err error
	if b.file, err = os.OpenFile(b.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("verifier: open the log of epoch %d: %w", e, err)
	}
	if err := files.SyncDir(dir); err != nil { // or a power cut could take the file away, whatever is synced into it
		b.file.Close()
		return nil, fmt.Errorf("verifier: open the log of epoch %d: %w", e, err)
	}
	r := bufio.NewReaderSize(b.file, 1<<20)
	var head [recordHead]byte
	for {
		if _, err = io.ReadFull(r, head[:]); err != nil {
			break
		}
		n := binary.BigEndian.Uint32(head[:])
		if n < 2 || n > types.MaxItem+1 {
			err = errors.New("a length out of bounds")
			break
		}
		body := make([]byte, n)
		if _, err = io.ReadFull(r, body); err != nil {
			break
		}
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
			err = errors.New("a wrong checksum")
			break
		}
		it, bad := open(tally.ItemType(body[0]), body[1:], chain)
		if bad != nil {
			err = bad
			break
		}
		b.add(it, rules, b.size+recordHead+1)
		b.size += recordHead + int64(n)
	}
	if err := b.file.Sync(); err != nil { // whoever wrote it may have died before that
		b.file.Close()
		return nil, fmt.Errorf("verifier: sync the log of epoch %d: %w", e, err)
	}
	b.synced = len(b.entries)
	if end, _ := b.file.Seek(0, io.SeekEnd); end != b.size {
		log.Warn("dropped the unfinished end of a log", "path", b.path, "bytes", end-b.size, "why", err)
		if err := b.file.Truncate(b.size); err != nil {
			b.file.Close()
			return nil, fmt.Errorf("verifier: truncate the log of epoch %d: %w", e, err)
		}
	}
	if _, err := b.file.Seek(b.size, io.SeekStart); err != nil {
		b.file.Close()
		return nil, fmt.Errorf("verifier: seek in the log of epoch %d: %w", e, err)
	}
	return b, nil
}

// add enters an item into the index.
func (b *mempool) add(it *item, rules *ruleBook, offset int64) {
	b.index[it.Hash] = int32(len(b.entries))
	b.entries = append(b.entries, entry{Name: it.Name, offset: offset, size: uint32(len(it.raw)), lasting: it.lasting(rules)})
	if it.lasting(rules) {
		b.lasting += int64(len(it.raw))
	}
	key, _ := rules.quota(it)
	u := b.used[key]
	u.Count++
	u.Bytes += uint32(len(it.raw))
	b.used[key] = u
}

// bound sets what the log may grow to; beyond it items are over_quota.
func (b *mempool) bound(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = max(limit, 1)
}

func (b *mempool) has(hash types.Hash) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.index[hash]
	return ok
}

func (b *mempool) count() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.entries)
}

// quota returns the account that an item takes of, and what its author may hand in of it.
func (r *ruleBook) quota(it *item) (quotaKey, tally.Quota) {
	const most = 1<<32 - 1
	key := quotaKey{author: it.Author, category: it.category, kind: it.Type}
	switch it.Type {
	case tally.Order:
		return key, tally.Quota{Count: tally.MaxNewOrder, Bytes: most}
	case tally.Ask:
		return key, tally.Quota{Count: tally.MaxAsks, Bytes: most}
	case tally.Receipt:
		return key, tally.Quota{Count: tally.MaxReceipts, Bytes: most}
	}
	spec, kind := r.specs[it.category], r.kind(it.category, it.kind)
	switch {
	case spec == nil || kind == nil:
		return key, tally.Quota{}
	case kind.Witness:
		key.report = true
		return key, spec.Reports()
	}
	return key, spec.Quota
}

// keep writes items that passed all checks, in their order, and says of each why it is not kept ("" if it is,
// or was before). What it kept is not yet on disk: see sync.
func (b *mempool) keep(items []*item, rules *ruleBook) []types.Reason {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]types.Reason, len(items))
	var buf []byte
	mark := len(b.entries)
	for i, it := range items {
		if _, known := b.index[it.Hash]; known {
			continue
		}
		key, limit := rules.quota(it)
		u := b.used[key]
		if u.Count+1 > limit.Count || uint64(u.Bytes)+uint64(len(it.raw)) > uint64(limit.Bytes) {
			out[i] = types.OverQuota
			continue
		}
		at := len(buf)
		if b.limit > 0 && b.size+int64(at+recordHead+1+len(it.raw)) > b.limit {
			out[i] = types.OverQuota
			continue
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(it.raw)+1))
		buf = append(buf, 0, 0, 0, 0, byte(it.Type))
		buf = append(buf, it.raw...)
		binary.BigEndian.PutUint32(buf[at+4:], crc32.Checksum(buf[at+recordHead:], castagnoli))
		b.add(it, rules, b.size+int64(at)+recordHead+1)
	}
	if len(buf) == 0 {
		return out
	}
	if b.failed == nil {
		_, b.failed = b.file.WriteAt(buf, b.size)
	}
	if b.failed != nil {
		b.forget(mark)
		for i := range out {
			if _, known := b.index[items[i].Hash]; !known && out[i] == "" {
				out[i] = reasonOfIO(b.failed)
			}
		}
		return out
	}
	b.size += int64(len(buf))
	return out
}

// forget takes entries from mark on out of the index: they are not on disk. Their quota stays used, which only
// a full disk costs.
func (b *mempool) forget(mark int) {
	for _, e := range b.entries[mark:] {
		delete(b.index, e.Hash)
		if e.lasting {
			b.lasting -= int64(e.size)
		}
	}
	b.entries = b.entries[:mark]
}

// reasonOfIO is what an author is told when the log cannot be written.
func reasonOfIO(err error) types.Reason {
	if disk.IsFull(err) {
		return types.DiskFull
	}
	return types.HomeUnwritable
}

// sync makes durable what was kept. After an error nothing more is taken: it is not known what is on disk. What
// was kept since the last sync is forgotten then, or it would be acknowledged when it is sent again.
func (b *mempool) sync() error {
	b.mu.RLock()
	file, failed, n := b.file, b.failed, len(b.entries)
	b.mu.RUnlock()
	if failed != nil {
		return failed
	}
	err := file.Sync()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failed = err
		b.forget(b.synced)
		return fmt.Errorf("verifier: sync the log of epoch %d: %w", b.epoch, err)
	}
	b.synced = n
	return nil
}

// names returns the names of the items, all or only those that last.
func (b *mempool) names(lasting bool) []tally.Name {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]tally.Name, 0, len(b.entries))
	for i := range b.entries {
		if e := &b.entries[i]; e.lasting || !lasting {
			out = append(out, e.Name)
		}
	}
	return out
}

// items reads items with their names, all or only those that last. It reads the log in one piece.
func (b *mempool) items(lasting bool) ([]tally.Item, []tally.Name, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if len(b.entries) == 0 {
		return nil, nil, nil
	}
	raw := make([]byte, b.size)
	if _, err := b.file.ReadAt(raw, 0); err != nil {
		return nil, nil, fmt.Errorf("verifier: read the log of epoch %d: %w", b.epoch, err)
	}
	items := make([]tally.Item, 0, len(b.entries))
	names := make([]tally.Name, 0, len(b.entries))
	for i := range b.entries {
		if e := &b.entries[i]; e.lasting || !lasting {
			end := e.offset + int64(e.size)
			items = append(items, tally.Item{Type: e.Type, Raw: raw[e.offset:end:end]})
			names = append(names, e.Name)
		}
	}
	return items, names, nil
}

// lasts returns how many bytes count in a later batch if the epoch has no header.
func (b *mempool) lasts() int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.lasting
}

// close closes the log.
func (b *mempool) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.file.Close()
}

// remove closes the log and deletes it.
func (b *mempool) remove() error {
	err := b.close()
	if e := os.Remove(b.path); err == nil {
		err = e
	}
	return err
}

// mempools are those of all epochs that no batch has counted for good. Intake opens and fills them, agreement
// reads them.
type mempools struct {
	dir   string
	chain string
	rules *ruleBook
	log   *slog.Logger

	mu   sync.Mutex
	open map[types.Epoch]*mempool
}

// openMempools reads the logs that are on disk.
func openMempools(dir, chain string, rules *ruleBook, log *slog.Logger) (*mempools, error) {
	m := &mempools{dir: dir, chain: chain, rules: rules, log: log, open: map[types.Epoch]*mempool{}}
	paths, err := filepath.Glob(filepath.Join(dir, "intake-*.log"))
	if err != nil {
		return nil, fmt.Errorf("verifier: list the logs: %w", err)
	}
	for _, path := range paths {
		var e types.Epoch
		if _, err := fmt.Sscanf(filepath.Base(path), "intake-%d.log", &e); err != nil || path != mempoolPath(dir, e) {
			continue
		}
		if _, err := m.make(e); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// of returns the mempool of an epoch, nil if there is none.
func (m *mempools) of(e types.Epoch) *mempool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[e]
}

// make returns the mempool of an epoch, which it opens if there is none.
func (m *mempools) make(e types.Epoch) (*mempool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open[e] == nil {
		b, err := openMempool(m.dir, e, m.chain, m.rules, m.log)
		if err != nil {
			return nil, err
		}
		m.open[e] = b
	}
	return m.open[e], nil
}

// all returns the mempools of the epochs from first up to before last.
func (m *mempools) all(first, last types.Epoch) (list []*mempool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e, b := range m.open {
		if first <= e && e < last {
			list = append(list, b)
		}
	}
	return list
}

// bound lets the mempool of epoch e grow as far as what lasts of the epochs after the region's last header
// leaves room in one batch.
func (m *mempools) bound(last, e types.Epoch) {
	room := maxMempool
	for _, b := range m.all(last+1, e) {
		room -= b.lasts()
	}
	if b := m.of(e); b != nil {
		b.bound(room)
	}
}

// acknowledged returns what reports whether this verifier acknowledged an item, and so checked its signatures.
func (m *mempools) acknowledged() func(types.Hash) bool {
	all := m.all(0, ^types.Epoch(0))
	return func(hash types.Hash) bool {
		return slices.ContainsFunc(all, func(b *mempool) bool { return b.has(hash) })
	}
}

// own returns what this verifier acknowledged for the batch of epoch e: all of that epoch, and what lasts of
// the epochs since the region's last header, which had none that stands. What lasts is judged again by the
// registry of e, as a leader judges what it is sent (see admissible): an author may have left since, and
// whoever still insisted on its items would sign no batch at all.
func (m *mempools) own(reg *registry, last, e types.Epoch) (items []tally.Item, names []tally.Name, err error) {
	for k := last + 1; k <= e; k++ {
		b := m.of(k)
		if b == nil {
			continue
		}
		is, ns, err := b.items(k < e)
		if err != nil {
			return nil, nil, err
		}
		for i := range is {
			if k < e {
				it, err := open(is[i].Type, is[i].Raw, m.chain)
				if err != nil || checkAuthor(it, reg, m.rules, e) != "" {
					continue
				}
			}
			items, names = append(items, is[i]), append(names, ns[i])
		}
	}
	return items, names, nil
}

// prune deletes the logs that no later batch needs: of epochs before the newest final header, but for one more,
// for authors who did not hear their acks.
func (m *mempools) prune(final types.Epoch) error {
	var errs []error
	for _, b := range m.all(0, max(final, 1)-1) {
		m.mu.Lock()
		delete(m.open, b.epoch)
		m.mu.Unlock()
		errs = append(errs, b.remove())
	}
	return errors.Join(errs...)
}

// close closes the logs.
func (m *mempools) close() error {
	var errs []error
	for _, b := range m.all(0, ^types.Epoch(0)) {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}
