package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/latest"
	"github.com/cairn-network/cairn/ledger"
)

// headView is what time it is: the newest block, and what follows from it. It never changes once made.
type headView struct {
	head     ledger.Block
	epoch    *ledger.Epoch
	last     types.Epoch       // of the region's newest header that was not voided
	blocks   []tally.BlockHash // the newest MaxAnchorAge+1, ascending
	registry *registry
}

// clock follows the chain and tells the other parts what time it is: intake before all others, which go by views.
type clock struct {
	*self
	ledger   ledger.Ledger
	archive  *archive
	abstains *abstentions
	turn     func(*headView) error // intake's
	views    latest.Value[*headView]
	newest   atomic.Uint64 // epoch of the newest block, also of one that no view could be made of

	mu     sync.Mutex
	epochs map[types.Epoch]*ledger.Epoch // of which the seed is known
}

// now returns the newest head view, nil until there is one.
func (c *clock) now() *headView {
	now, _ := c.views.Get()
	return now
}

// height returns that of the newest head view.
func (c *clock) height() uint64 {
	if now := c.now(); now != nil {
		return now.head.Height
	}
	return 0
}

// start loads the newest states that are on disk, so that intake does not wait for the network after a restart. A
// chain node that is not ready yet (it has just joined, or starts as well) is no reason to end: what comes with its
// blocks makes up for it.
func (c *clock) start(ctx context.Context) {
	head, p, err := standing(ctx, c.ledger, c.cfg.Region)
	if err != nil {
		c.log.Warn("the chain node does not answer yet", "error", err)
		return
	}
	for _, h := range p.headers {
		if c.archive.state(h) != nil {
			break
		}
	}
	c.tick(ctx, head)
}

// tick makes the view of a block.
func (c *clock) tick(ctx context.Context, head ledger.Block) {
	if err := c.advance(ctx, head); err != nil && ctx.Err() == nil {
		c.log.Error("intake stands still", "height", head.Height, "error", err)
		if head.Epoch > 1 {
			c.abstains.note(head.Epoch-1, err) // whose mempool closes only then
		}
	}
}

func (c *clock) advance(ctx context.Context, head ledger.Block) error {
	if head.Height == 0 { // triggered before the first block was seen
		var err error
		if head, err = c.ledger.Head(ctx); err != nil {
			return err
		}
	}
	c.newest.Store(uint64(head.Epoch))
	old := c.now()
	if old != nil && old.head.Height >= head.Height {
		return nil
	}
	ep, err := c.epoch(ctx, head.Epoch)
	if err != nil {
		return err
	}
	now := &headView{head: head, epoch: ep}
	var known []tally.BlockHash
	if old != nil {
		known = old.blocks
	}
	if now.blocks, err = recentBlocks(ctx, c.ledger, head, evidence.MaxAnchorAge+1, known); err != nil {
		return err
	}
	p, err := readPath(ctx, c.ledger, c.cfg.Region, head.Epoch)
	if err != nil {
		return err
	}
	if p.tip != nil {
		now.last = p.tip.Epoch
	}
	if old != nil && old.epoch.Epoch == ep.Epoch {
		now.registry = old.registry
	} else if now.registry, err = c.registry(ctx, p, ep.Epoch); err != nil {
		return err
	}
	if err := c.turn(now); err != nil {
		return err
	}
	c.views.Set(now)
	return nil
}

// registry makes the registry view of an epoch: the newest state on the path that is known, and what changed since.
func (c *clock) registry(ctx context.Context, p *path, e types.Epoch) (*registry, error) {
	base := c.archive.newest(p)
	if base == nil {
		return nil, errors.New("no state yet: catching up")
	}
	changes, err := changesSince(ctx, c.ledger, base.Epoch(), e, c.cfg.Region)
	if err != nil {
		return nil, err
	}
	return newRegistry(base, changes), nil
}

// epoch returns an epoch's timetable. What is fixed in it is remembered for those that have a seed.
func (c *clock) epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error) {
	c.mu.Lock()
	ep := c.epochs[e]
	c.mu.Unlock()
	if ep != nil {
		return ep, nil
	}
	ep, err := c.ledger.Epoch(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("verifier: epoch %d: %w", e, err)
	}
	if !ep.Seed.IsZero() {
		c.remember(ep)
	}
	return ep, nil
}

func (c *clock) remember(ep *ledger.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[ep.Epoch] = ep
	maps.DeleteFunc(c.epochs, func(old types.Epoch, _ *ledger.Epoch) bool { return old+8 < ep.Epoch })
}

// member reports whether a key has power in an epoch. Of one that is far away the chain is not even asked.
func (c *clock) member(e types.Epoch, key types.Key) bool {
	if newest := types.Epoch(c.newest.Load()); newest != 0 && e > newest+1 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ep, err := c.epoch(ctx, e)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ep.Verifiers, func(v tally.Attester) bool { return v.Key == key && v.Power > 0 })
}

// recentBlocks returns the newest n blocks up to head, ascending. known are blocks that need not be asked for again.
func recentBlocks(ctx context.Context, l ledger.Reader, head ledger.Block, n uint64, known []tally.BlockHash) ([]tally.BlockHash, error) {
	from := uint64(1)
	if head.Height > n {
		from = head.Height - n + 1
	}
	var out []tally.BlockHash
	if len(known) > 0 && known[0].Height <= from && known[len(known)-1].Height >= from {
		out = append(out, known[from-known[0].Height:]...)
	}
	next := from + uint64(len(out))
	if next > head.Height {
		return out, nil
	}
	list, err := l.Hashes(ctx, next, head.Height)
	if err != nil {
		return nil, fmt.Errorf("verifier: hashes of blocks %d to %d: %w", next, head.Height, err)
	}
	return append(out, list...), nil
}

// notFound reports whether the chain does not have something yet.
func notFound(err error) bool { return errors.Is(err, ledger.ErrNotFound) }
