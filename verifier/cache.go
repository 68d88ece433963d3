package verifier

import (
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// recentBytes bounds the blobs that are kept in memory for who asked.
const recentBytes = 64 << 20

// recent keeps the newest blobs that were made for somebody who asks and will fetch them at once. On disk they would
// be there for weeks, and anybody can ask for the line of every device.
type recent struct {
	mu    sync.Mutex // guards what follows
	blobs map[types.Hash][]byte
	order []types.Hash // the oldest first
	bytes int
}

// put keeps data, and lets the oldest go where there is too much.
func (r *recent) put(data []byte) bus.Blob {
	name := bus.BlobOf(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blobs == nil {
		r.blobs = map[types.Hash][]byte{}
	}
	if r.blobs[name.Hash] != nil {
		return name
	}
	r.blobs[name.Hash] = data
	r.order = append(r.order, name.Hash)
	for r.bytes += len(data); r.bytes > recentBytes && len(r.order) > 1; r.order = r.order[1:] {
		r.bytes -= len(r.blobs[r.order[0]])
		delete(r.blobs, r.order[0])
	}
	return name
}

// get returns a blob, nil for one that is not kept.
func (r *recent) get(hash types.Hash) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[hash]
}

// cache keeps what was loaded of headers: of the newest ones, and of the one that was asked for last. So whoever asks
// for the past neither fills memory nor pushes out what everybody asks for.
type cache[T any] struct {
	most    int
	loading sync.Mutex // held while something is loaded: one at a time, as it may be long

	mu   sync.Mutex
	kept map[types.Hash]cached[T] // by header; at most most
}

type cached[T any] struct {
	epoch types.Epoch
	value T
}

func newCache[T any](most int) *cache[T] {
	return &cache[T]{most: most, kept: map[types.Hash]cached[T]{}}
}

// get returns what is kept of a header, or else loads and keeps it. load may use other caches, not this one.
func (c *cache[T]) get(header types.Hash, load func() (T, types.Epoch, error)) (T, error) {
	if value, ok := c.known(header); ok {
		return value, nil
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	if value, ok := c.known(header); ok { // somebody else has loaded it meanwhile
		return value, nil
	}
	value, e, err := load()
	if err == nil {
		c.put(header, e, value)
	}
	return value, err
}

func (c *cache[T]) known(header types.Hash) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.kept[header]
	return v.value, ok
}

// put keeps a value, in the place of the oldest where there is none left.
func (c *cache[T]) put(header types.Hash, e types.Epoch, value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= c.most {
		var oldest types.Hash
		for h, v := range c.kept {
			if old, ok := c.kept[oldest]; !ok || v.epoch < old.epoch {
				oldest = h
			}
		}
		delete(c.kept, oldest)
	}
	c.kept[header] = cached[T]{e, value}
}
