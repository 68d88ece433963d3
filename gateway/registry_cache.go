package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// maxRegistered bounds of how many devices the cache remembers, of all owners and keys together.
const maxRegistered = 16 * maxAnywhere

// registryCache remembers for an epoch what the registry says of devices that somebody asked for, and of no
// others. Beyond maxRegistered all are forgotten and read again as they are needed. All methods are safe for
// concurrent use.
type registryCache struct {
	reader ledger.Reader

	mu     sync.Mutex
	epoch  types.Epoch
	known  map[types.Key]*ledger.Device // nil for one that is not registered
	owned  map[types.Account][]ledger.Device
	owners int // devices in owned
}

func newRegistryCache(r ledger.Reader) *registryCache {
	c := &registryCache{reader: r}
	c.clear(0)
	return c
}

// clear forgets all. The caller holds mu, or nobody else has r yet.
func (r *registryCache) clear(e types.Epoch) {
	r.epoch, r.owners = e, 0
	r.known, r.owned = map[types.Key]*ledger.Device{}, map[types.Account][]ledger.Device{}
}

// enter prepares for epoch e. The caller holds mu.
func (r *registryCache) enter(e types.Epoch) {
	if e != r.epoch || len(r.known)+len(r.owned)+r.owners > maxRegistered {
		r.clear(e)
	}
}

// get returns what the registry says of those of the devices that are registered.
func (r *registryCache) get(ctx context.Context, e types.Epoch, keys []types.Key) (map[types.Key]*ledger.Device, error) {
	out := make(map[types.Key]*ledger.Device, len(keys))
	var missing []types.Key
	r.mu.Lock()
	r.enter(e)
	for _, k := range keys {
		if d, ok := r.known[k]; !ok {
			missing = append(missing, k)
		} else if d != nil {
			out[k] = d
		}
	}
	r.mu.Unlock()
	for some := range slices.Chunk(missing, ledger.MaxKeys) {
		found, err := r.reader.DevicesByKey(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("gateway: devices: %w", err)
		}
		for i := range found {
			out[found[i].Key] = &found[i]
		}
		r.mu.Lock()
		if r.epoch == e {
			for _, k := range some {
				r.known[k] = out[k]
			}
		}
		r.mu.Unlock()
	}
	return out, nil
}

// of returns an owner's devices, at most role.MaxDevices.
func (r *registryCache) of(ctx context.Context, e types.Epoch, owner types.Account) (list []ledger.Device, err error) {
	r.mu.Lock()
	r.enter(e)
	list, ok := r.owned[owner]
	r.mu.Unlock()
	if ok {
		return list, nil
	}
	var next []byte
	for {
		var page []ledger.Device
		if page, next, err = r.reader.DevicesOf(ctx, owner, next); err != nil {
			return nil, fmt.Errorf("gateway: devices of %v: %w", owner, err)
		}
		list = append(list, page...)
		if next == nil || len(list) >= role.MaxDevices {
			break
		}
	}
	list = list[:min(len(list), role.MaxDevices)]
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.owned[owner]; r.epoch == e && !known {
		r.owned[owner] = list
		r.owners += len(list)
	}
	return list, nil
}
