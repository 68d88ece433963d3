package client

import (
	"context"
	"fmt"
	"time"

	coretypes "github.com/cometbft/cometbft/rpc/core/types"

	"github.com/cairn-network/cairn/ledger"
)

// resubscribe is how long Watch leaves the node's events alone after they failed.
const resubscribe = 5 * time.Second

// Watch implements ledger.Reader. The node's events wake it; where they stay away it asks, every Config.Poll.
func (c *Client) Watch(ctx context.Context) <-chan ledger.Block {
	out := make(chan ledger.Block, 1)
	go c.watch(ctx, out)
	return out
}

// watch owns out.
func (c *Client) watch(ctx context.Context, out chan ledger.Block) {
	defer close(out)
	name := fmt.Sprintf("cairn-client-%p-%d", c, c.names.Add(1))
	var (
		wake  <-chan coretypes.ResultEvent
		again time.Time // when to subscribe next
		last  uint64
	)
	newest := time.Now() // when the last new block came
	defer func() {
		if wake != nil {
			end, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			c.events().UnsubscribeAll(end, name)
		}
	}()
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for {
		if wake == nil && c.events() != nil && !time.Now().Before(again) {
			var err error
			if wake, err = c.events().Subscribe(ctx, name, "tm.event='NewBlock'", 16); err != nil {
				c.log.Debug("no events from the node", "err", err)
				wake, again = nil, time.Now().Add(resubscribe)
			}
		}
		if height := c.deliver(ctx, out, last); height > last {
			last, newest = height, time.Now()
		} else if c.among != nil && time.Since(newest) > stillFor {
			c.among.stuck()
			newest = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case _, ok := <-wake:
			if !ok {
				wake, again = nil, time.Now().Add(resubscribe)
			}
		}
	}
}

// deliver puts the newest block in out, in place of one that nobody took, and returns its height.
func (c *Client) deliver(ctx context.Context, out chan ledger.Block, last uint64) uint64 {
	b, err := c.Head(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Debug("ask for the newest block", "err", err)
		}
		return last
	}
	if b.Height <= last {
		return last
	}
	select {
	case <-out:
	default:
	}
	out <- b // only this goroutine sends, so there is room
	return b.Height
}
