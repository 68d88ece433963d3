package verifier

import (
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// recentBytes bounds the blobs that are kept in memory for who asked.
const recentBytes = 64 << 20

// recent keeps the newest blobs that were made for somebody who asks and will fetch them at once. On disk they would be there for weeks, and
// anybody can ask for the line of every device.
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
