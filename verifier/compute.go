package verifier

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// partsPerCore cuts the work finer than the cores, so that none waits long for the last part.
const partsPerCore = 4

// Parallel returns the Pool that spreads a tally over n goroutines; 0 stands for one per core.
func Parallel(n int) tally.Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return tally.Pool{Parts: n * partsPerCore, Run: func(parts int, do func(int)) {
		next := make(chan int, parts)
		for i := range parts {
			next <- i
		}
		close(next)
		var wg sync.WaitGroup
		for range min(n, parts) {
			wg.Go(func() {
				for i := range next {
					do(i)
				}
			})
		}
		wg.Wait()
	}}
}

// computed is a tally that this verifier computed.
type computed struct {
	hash    types.Hash // of the header
	header  *tally.Header
	state   *tally.State
	result  *tally.Result
	frame   *tally.Frame
	changes []tally.Change
	batch   *tally.Batch
	raw     []byte // the batch's encoding
	names   []tally.Name
}

// buildFrame reads from the chain what the tally of a header takes in. Of the header it needs epoch, region,
// round, leader and VRF. prev is the region's header before, nil for none.
func buildFrame(ctx context.Context, l Source, h *tally.Header, prev *ledger.Header) (*tally.Frame, error) {
	f, from, to, err := frameBase(ctx, l, h, prev)
	if err == nil {
		f.Blocks, err = l.Hashes(ctx, from, to)
	}
	if err != nil {
		return nil, fmt.Errorf("verifier: frame of epoch %d: %w", h.Epoch, err)
	}
	return f, nil
}

// frameBase is buildFrame without the hashes of blocks; it returns which belong there.
func frameBase(ctx context.Context, l Source, h *tally.Header, prev *ledger.Header) (f *tally.Frame, from, to uint64, err error) {
	ep, err := l.Epoch(ctx, h.Epoch)
	if err != nil {
		return nil, 0, 0, err
	}
	if ep.Seed.IsZero() {
		return nil, 0, 0, errors.New("its seed is not known yet")
	}
	f = &tally.Frame{
		Chain: l.Chain(), Epoch: h.Epoch, Region: h.Region, Round: h.Round, Leader: h.Leader, VRF: h.VRF,
		Seed: ep.Seed, Challenged: ep.Challenged, Time: uint64(ep.Time.Unix()), Params: ep.Params, MinOpening: ep.MinOpening,
	}
	first := types.Epoch(1)
	if prev != nil {
		before, err := tally.DecodeHeader(prev.Raw)
		if err != nil {
			return nil, 0, 0, err
		}
		f.Previous, f.PreviousEpoch, f.PreviousRound = prev.Hash, prev.Epoch, before.Round
		if f.Fold, err = l.Settlement(ctx, prev.Epoch); err != nil {
			return nil, 0, 0, fmt.Errorf("settlement of epoch %d: %w", prev.Epoch, err)
		}
		first = prev.Epoch + 1
	}
	start, err := l.Epoch(ctx, first)
	if err != nil {
		return nil, 0, 0, err
	}
	return f, tally.FrameStart(start.First, ep.Cut, evidence.MaxAnchorAge), ep.Cut, nil
}

// inputs are what a tally takes in from the chain, beside the batch.
type inputs struct {
	base    *tally.State
	frame   *tally.Frame
	changes []tally.Change
}

// errUnable marks what this verifier cannot check for a reason of its own: its chain node, its link or its
// disk. It says nothing of a header.
var errUnable = errors.New("it cannot be checked here")

// inputs reads what the tally of a header takes in, on top of the state after prev, from the verifier's own
// chain node.
func (a *agreement) inputs(ctx context.Context, base *tally.State, h *tally.Header, prev *ledger.Header) (*inputs, error) {
	in := &inputs{base: base}
	var err error
	if in.frame, err = buildFrame(ctx, a.ledger, h, prev); err == nil {
		in.changes, err = changesSince(ctx, a.ledger, base.Epoch(), h.Epoch, h.Region)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnable, err)
	}
	return in, nil
}

// tally computes a header over a batch. If all items must be signed, it refuses a batch in which one is not.
func (a *agreement) tally(in *inputs, raw []byte, must bool) (*computed, error) {
	b, err := tally.DecodeBatch(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tally.ErrInput, err)
	}
	signed, names, all := check(b, a.chain, a.cfg.Workers, a.mempools.acknowledged(), must)
	if must && !all {
		return nil, types.Refuse(types.BadSignature, "verifier: a batch of epoch %d with an item that is not signed", in.frame.Epoch)
	}
	c := &computed{frame: in.frame, changes: in.changes, batch: b, raw: raw, names: names}
	if c.state, c.header, c.result, err = a.pool.Apply(a.rules, in.base, in.frame, b, in.changes, signed); err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	c.hash = c.header.Hash()
	return c, nil
}

// check checks the signatures of a batch on n goroutines, except those of items that known knows, and returns
// the names too, and whether all hold. If they must it stops soon after one that does not: looking for all that
// are wrong takes far longer than seeing that none is.
func check(b *tally.Batch, chain string, n int, known func(types.Hash) bool, must bool) (signed []bool, names []tally.Name, all bool) {
	signed = make([]bool, len(b.Items))
	names = make([]tally.Name, len(b.Items))
	pool := Parallel(n)
	parts := max(1, len(b.Items)/BatchSize)
	if !must {
		parts = min(parts, 4*pool.Parts)
	}
	var wrong atomic.Bool
	pool.Run(parts, func(k int) {
		if must && wrong.Load() {
			return
		}
		lo, hi := len(b.Items)*k/parts, len(b.Items)*(k+1)/parts
		var items []*item
		var at []int
		for i := lo; i < hi; i++ {
			it, err := open(b.Items[i].Type, b.Items[i].Raw, chain)
			names[i] = it.Name
			switch {
			case err != nil:
			case known(it.Hash):
				signed[i] = true
			default:
				items, at = append(items, it), append(at, i)
			}
		}
		for i, ok := range checkAll(items) {
			signed[at[i]] = ok
		}
		if slices.Contains(signed[lo:hi], false) {
			wrong.Store(true)
		}
	})
	return signed, names, !wrong.Load()
}
