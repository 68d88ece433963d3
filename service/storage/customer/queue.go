package customer

import (
	"context"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// queue is what waits to be committed with one device. One commit is under way at a time, and whoever is next
// commits for all that wait: a revision costs the same for one shard and for many. It holds what puts and
// repairs are under way, so they bound it.
type queue struct {
	mu      sync.Mutex
	waiting []*request
}

// request is shards that somebody wants held. Its done and err are guarded by the holder's mu.
type request struct {
	shards []storage.Shard
	done   bool
	err    error
}

// add has shards wait.
func (q *queue) add(shards []storage.Shard) *request {
	r := &request{shards: shards}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
	return r
}

// take returns those that have waited for longest, as many as one commit takes and one at least, without any
// shard twice.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	total, seen := 0, map[types.Hash]bool{}
	n := 0
next:
	for ; n < len(q.waiting); n++ {
		r := q.waiting[n]
		if total += len(r.shards); n > 0 && total > storage.MaxCommitOps/2 {
			break
		}
		for _, shard := range r.shards {
			if n > 0 && seen[shard.ID] {
				break next
			}
			seen[shard.ID] = true
		}
	}
	taken := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	return taken
}

// commit has the device hold shards that it has staged, together with those of others who wait. It returns once
// the device has countersigned and the books say so. A commit that was begun is ended, whoever gives up
// meanwhile: others wait for it too.
func (h *holder) commit(ctx context.Context, shards []storage.Shard) error {
	r := h.queue.add(shards)
	h.mu.Lock()
	defer h.mu.Unlock()
	for !r.done {
		h.commitSome(ctx)
	}
	return r.err
}

// commitSome commits what has waited for longest. What is refused for one is tried for each alone. mu is held.
func (h *holder) commitSome(ctx context.Context) {
	list := h.queue.take()
	var all []storage.Shard
	for _, r := range list {
		all = append(all, r.shards...)
	}
	err := h.commitNow(ctx, all)
	for _, r := range list {
		if r.err = err; err != nil && len(list) > 1 && types.ReasonOf(err) != "" {
			r.err = h.commitNow(ctx, r.shards)
		}
		r.done = true
	}
}

// commitTime is how long a commit may take, whatever else waits.
const commitTime = 2 * requestTimeout

func (h *holder) commitNow(ctx context.Context, shards []storage.Shard) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	return h.change(ctx, shards, nil)
}
