package network

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/process"
)

// chainView is what a process last heard of the chain.
type chainView struct {
	mu    sync.Mutex
	head  ledger.Block
	epoch *ledger.Epoch // nil until it is known
}

func (v *chainView) get() (ledger.Block, *ledger.Epoch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.head, v.epoch
}

// followChain keeps p's health and figures up to what the chain says, until ctx ends. A chain whose newest
// block is older than stale is behind, or its node is.
func followChain(ctx context.Context, p *process.Process, l ledger.Reader, stale time.Duration) *chainView {
	v := new(chainView)
	p.Health.Add("chain", func() error {
		switch head, _ := v.get(); {
		case head.Height == 0:
			return fmt.Errorf("no block of %s has been seen yet", l.Chain())
		case time.Since(head.Time) > stale:
			return types.Refuse(types.ChainStalled, "the newest block of %s is %d, %v old: the chain stands still, its node is behind, or this clock is wrong",
				l.Chain(), head.Height, time.Since(head.Time).Round(time.Second))
		}
		return nil
	})
	p.Figures.Gauge("chain_height", "The newest block that was seen.", func() float64 { head, _ := v.get(); return float64(head.Height) })
	p.Figures.Gauge("chain_head_age_seconds", "How old that block is by this clock.", func() float64 {
		head, _ := v.get()
		if head.Height == 0 {
			return -1
		}
		return time.Since(head.Time).Seconds()
	})
	p.Figures.Gauge("chain_epoch", "The epoch of that block.", func() float64 { head, _ := v.get(); return float64(head.Epoch) })
	go func() {
		for head := range l.Watch(ctx) {
			_, epoch := v.get()
			if epoch == nil || epoch.Epoch != head.Epoch {
				ask, cancel := context.WithTimeout(ctx, 10*time.Second)
				next, err := l.Epoch(ask, head.Epoch)
				cancel()
				if err == nil {
					epoch = next
				}
			}
			v.mu.Lock()
			v.head, v.epoch = head, epoch
			v.mu.Unlock()
		}
	}()
	return v
}
