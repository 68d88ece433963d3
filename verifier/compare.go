package verifier

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Source is what the chain says of the inputs of tallies: a ledger.Reader is one, and so is what proves its answers.
type Source interface {
	Chain() string
	Epoch(ctx context.Context, e types.Epoch) (*ledger.Epoch, error)
	Changes(ctx context.Context, e types.Epoch, region types.Region) ([]tally.Change, error)
	Header(ctx context.Context, e types.Epoch, region types.Region) (*ledger.Header, error)
	Settlement(ctx context.Context, e types.Epoch) (*tally.Settlement, error)
	Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error)
}

// Parts of a bundle, by the names under which Compare speaks of them.
const (
	PartHeader     = "header"
	PartPrevious   = "previous header"
	PartState      = "state before"
	PartBatch      = "batch"
	PartTurn       = "turn" // chain, epoch, region, round, leader and its VRF proof
	PartTime       = "time"
	PartSeed       = "seed"
	PartSettlement = "settlement"
	PartParams     = "parameters"
	PartBlocks     = "block hashes"
	PartChanges    = "registry changes"
)

// Finding says something of one part.
type Finding struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

// Comparison is how a bundle stands beside the chain.
type Comparison struct {
	Header  *ledger.Header // as the chain has it
	Checked []string       // parts that are the chain's
	Differs []Finding      // parts that are not
	Missing []Finding      // parts of which the chain, or the node, has nothing any more
}

// Compare holds each input in a bundle against what the chain says. A bundle can be consistent with itself and
// with the header in it, and yet have inputs that the chain never had: whoever made the bundle chose both; and
// more than two thirds of verifiers can sign such a header. An error is for what could not be asked.
func Compare(ctx context.Context, src Source, b *Bundle, e types.Epoch, region types.Region) (*Comparison, error) {
	h, err := src.Header(ctx, e, region)
	if err != nil {
		return nil, err
	}
	if h.Raw == nil {
		return nil, types.Refuse(types.RegionSkipped, "verifier: epoch %d of region %d is %s", e, region, h.Status)
	}
	header, err := tally.DecodeHeader(h.Raw)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Header: h}
	c.bytes(PartHeader, b.Header, types.Sum(h.Raw))
	c.bytes(PartBatch, b.Batch, header.Batch)
	var prev *ledger.Header
	if h.Previous != 0 {
		if prev, err = src.Header(ctx, h.Previous, region); err != nil && !notFound(err) {
			return nil, err
		}
	}
	switch {
	case err != nil:
		c.Missing = append(c.Missing, Finding{PartPrevious, err.Error()})
		return c, nil // nothing further can be named without it
	case prev == nil:
		c.note(PartPrevious, len(b.Previous) == 0, "the chain has none before epoch %d", e)
		c.note(PartState, len(b.Pages) == 0, "the first header of a region follows no state")
	default:
		c.bytes(PartPrevious, b.Previous, types.Sum(prev.Raw))
		if err := c.state(b, prev); err != nil {
			return nil, err
		}
	}
	if err := c.frame(ctx, src, b, header, prev); err != nil {
		return nil, err
	}
	return c, c.changes(ctx, src, b, header, prev)
}

// note notes that a part is the chain's, or why it is not.
func (c *Comparison) note(part string, ok bool, why string, args ...any) {
	if ok {
		c.Checked = append(c.Checked, part)
		return
	}
	c.Differs = append(c.Differs, Finding{part, fmt.Sprintf(why, args...)})
}

func (c *Comparison) bytes(part string, raw []byte, want types.Hash) {
	got := types.Sum(raw)
	c.note(part, got == want, "the bundle's has the hash %s, the chain's %s", got, want)
}

// state holds the pages against the header before.
func (c *Comparison) state(b *Bundle, prev *ledger.Header) error {
	before, err := tally.DecodeHeader(prev.Raw)
	if err != nil {
		return err
	}
	pages := make([]types.Hash, len(b.Pages))
	for i, p := range b.Pages {
		pages[i] = types.Sum(p)
	}
	got := merkle.Root(pages)
	c.note(PartState, got == before.State, "the bundle's has the hash %s, the header before says %s", got, before.State)
	return nil
}

// frame holds the parts of the frame against the chain.
func (c *Comparison) frame(ctx context.Context, src Source, b *Bundle, h *tally.Header, prev *ledger.Header) error {
	got, err := tally.DecodeFrame(b.Frame)
	if err != nil {
		got = new(tally.Frame) // then nothing in it is the chain's
	}
	want, from, to, err := frameBase(ctx, src, h, prev)
	if notFound(err) {
		for _, part := range []string{PartTurn, PartTime, PartSeed, PartSettlement, PartParams, PartBlocks} {
			c.Missing = append(c.Missing, Finding{part, err.Error()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	same := func(part string, x, y any) {
		a, b := types.Encode(x), types.Encode(y)
		c.note(part, bytes.Equal(a, b), "the bundle has %s, the chain %s", short(x), short(y))
	}
	same(PartTurn, []any{got.Chain, got.Epoch, got.Region, got.Round, got.Leader, got.VRF}, []any{want.Chain, want.Epoch, want.Region, want.Round, want.Leader, want.VRF})
	same(PartTime, got.Time, want.Time)
	same(PartSeed, []any{got.Seed, got.Challenged}, []any{want.Seed, want.Challenged})
	same(PartSettlement, got.Fold, want.Fold)
	same(PartParams, []any{got.Params, got.MinOpening}, []any{want.Params, want.MinOpening})
	if got.Previous != want.Previous || got.PreviousEpoch != want.PreviousEpoch || got.PreviousRound != want.PreviousRound {
		c.Differs = append(c.Differs, Finding{PartPrevious, fmt.Sprintf("the frame follows epoch %d, the chain says %d", got.PreviousEpoch, want.PreviousEpoch)})
	}
	blocks, err := src.Hashes(ctx, from, to)
	if notFound(err) {
		c.Missing = append(c.Missing, Finding{PartBlocks, err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	i := 0
	for i < min(len(blocks), len(got.Blocks)) && blocks[i] == got.Blocks[i] {
		i++
	}
	switch {
	case i < min(len(blocks), len(got.Blocks)):
		c.note(PartBlocks, false, "block %d is %s in the bundle, %d is %s on the chain", got.Blocks[i].Height, got.Blocks[i].Hash, blocks[i].Height, blocks[i].Hash)
	default:
		c.note(PartBlocks, len(blocks) == len(got.Blocks), "the bundle names %d, the chain %d from block %d on", len(got.Blocks), len(blocks), from)
	}
	return nil
}

// changes holds the registry changes against the chain.
func (c *Comparison) changes(ctx context.Context, src Source, b *Bundle, h *tally.Header, prev *ledger.Header) error {
	var since types.Epoch
	if prev != nil {
		since = prev.Epoch
	}
	want, err := changesSince(ctx, src, since, h.Epoch, h.Region)
	if notFound(err) {
		c.Missing = append(c.Missing, Finding{PartChanges, err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	got, err := tally.DecodeChanges(b.Changes)
	if err != nil {
		c.note(PartChanges, false, "%v", err)
		return nil
	}
	i := 0
	for i < min(len(got), len(want)) && bytes.Equal(types.Encode(&got[i]), types.Encode(&want[i])) {
		i++
	}
	c.note(PartChanges, i == len(got) && i == len(want), "change %d of %d is %s in the bundle, %s on the chain", i+1, max(len(got), len(want)), changeAt(got, i), changeAt(want, i))
	return nil
}

// changeAt says in words what a change is about.
func changeAt(list []tally.Change, i int) string {
	if i >= len(list) {
		return "nothing"
	}
	c := &list[i]
	switch {
	case c.Device != nil:
		return fmt.Sprintf("device %v of %v", c.Device.Key, c.Device.Owner)
	case !c.Remove.IsZero():
		return fmt.Sprintf("the removal of device %v", c.Remove)
	case c.Holder != nil:
		return fmt.Sprintf("%d micro-credits bought by %v", c.Holder.Bought, c.Holder.Account)
	case c.Grant != nil:
		return fmt.Sprintf("key %v of %v, limit %d until epoch %d", c.Grant.Key, c.Grant.Account, c.Grant.Limit, c.Grant.Expiry)
	case c.Attester != nil:
		return fmt.Sprintf("verifier %v with power %d", c.Attester.Key, c.Attester.Power)
	}
	return "no change"
}

// short is a value in one line.
func short(v any) string {
	text := fmt.Sprintf("%v", v)
	if s, ok := v.(*tally.Settlement); ok && s != nil {
		text = fmt.Sprintf("%d owed, %d settled, payout %d", s.Owed, s.Settled, s.Payout)
	}
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

// Add puts what Compare found into what Recompute did: what the chain never had is not equal, however well it
// computes.
func (c *Check) Add(other *Comparison) {
	c.Checked, c.Differs = other.Checked, other.Differs
	if len(c.Differs) > 0 {
		c.Equal = false
		c.Why = c.Differs[0].Part + ": " + c.Differs[0].Why
	}
}
