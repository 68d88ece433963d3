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

// maxLines bounds how many devices' lines of the registry are remembered, of all owners and keys together.
const maxLines = 16 * maxAnywhere

// lines remembers lines of the registry for an epoch: those that somebody asked for, and no others. Beyond
// maxLines all are forgotten and read again as they are needed. All methods are safe for concurrent use.
type lines struct {
	reader ledger.Reader

	mu     sync.Mutex
	epoch  types.Epoch
	known  map[types.Key]*ledger.Device // nil for one that is not registered
	owned  map[types.Account][]ledger.Device
	owners int // devices in owned
}

func newLines(r ledger.Reader) *lines {
	l := &lines{reader: r}
	l.clear(0)
	return l
}

// clear forgets all. The caller holds mu, or nobody else has l yet.
func (l *lines) clear(e types.Epoch) {
	l.epoch, l.owners = e, 0
	l.known, l.owned = map[types.Key]*ledger.Device{}, map[types.Account][]ledger.Device{}
}

// enter prepares for epoch e. The caller holds mu.
func (l *lines) enter(e types.Epoch) {
	if e != l.epoch || len(l.known)+len(l.owned)+l.owners > maxLines {
		l.clear(e)
	}
}

// get returns the lines of those of the devices that are registered.
func (l *lines) get(ctx context.Context, e types.Epoch, keys []types.Key) (map[types.Key]*ledger.Device, error) {
	out := make(map[types.Key]*ledger.Device, len(keys))
	var missing []types.Key
	l.mu.Lock()
	l.enter(e)
	for _, k := range keys {
		if d, ok := l.known[k]; !ok {
			missing = append(missing, k)
		} else if d != nil {
			out[k] = d
		}
	}
	l.mu.Unlock()
	for some := range slices.Chunk(missing, ledger.MaxKeys) {
		found, err := l.reader.DevicesByKey(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("gateway: devices: %w", err)
		}
		for i := range found {
			out[found[i].Key] = &found[i]
		}
		l.mu.Lock()
		if l.epoch == e {
			for _, k := range some {
				l.known[k] = out[k]
			}
		}
		l.mu.Unlock()
	}
	return out, nil
}

// of returns an owner's devices, at most role.MaxDevices.
func (l *lines) of(ctx context.Context, e types.Epoch, owner types.Account) (list []ledger.Device, err error) {
	l.mu.Lock()
	l.enter(e)
	list, ok := l.owned[owner]
	l.mu.Unlock()
	if ok {
		return list, nil
	}
	var next []byte
	for {
		var page []ledger.Device
		if page, next, err = l.reader.DevicesOf(ctx, owner, next); err != nil {
			return nil, fmt.Errorf("gateway: devices of %v: %w", owner, err)
		}
		list = append(list, page...)
		if next == nil || len(list) >= role.MaxDevices {
			break
		}
	}
	list = list[:min(len(list), role.MaxDevices)]
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.owned[owner]; l.epoch == e && !known {
		l.owned[owner] = list
		l.owners += len(list)
	}
	return list, nil
}
