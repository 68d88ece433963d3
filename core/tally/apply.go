package tally

import (
	"errors"
	"fmt"
	"sort"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// Pool says how a tally's work is split. The zero value does it on the caller's goroutine. Any Pool computes
// the same bytes.
type Pool struct {
	// Parts is how many ranges of devices the work is cut into, at least; 0 stands for 1. A few times the
	// number of processors is best. A large batch is cut finer, so that what one part touches stays in a
	// processor's cache.
	Parts int
	// Run calls do for every part from 0 to parts−1, in any order and, if it likes, at once, and returns when
	// all calls have returned. nil calls one after the other.
	Run func(parts int, do func(part int))
}

// run does parts of work as p says.
func (p Pool) run(parts int, do func(part int)) {
	if p.Run != nil && parts > 1 {
		p.Run(parts, do)
		return
	}
	for i := range parts {
		do(i)
	}
}

// maxParts bounds Pool.Parts: ranges of payers and accounts are told apart by their first byte.
const maxParts = 256

// partItems is about how many items a part of a large batch has.
const partItems = 4096

// ErrInput: the inputs of a tally do not belong together.
var ErrInput = errors.New("tally: inputs do not fit")

// Apply computes the state after frame's epoch, its header, and what became of every item.
//
// prev is the state after the region's last header that was not voided (NewState before the first); it stays as
// it is. changes lead from prev's registry view to that of frame's epoch, in order. signed holds one verdict
// for each item of batch: whether its signatures hold (CheckSignatures).
//
// What somebody could do wrong is refused with a reason and recorded. An error, always ErrInput, means that the
// inputs do not belong together (another chain, region or state, a batch that is not in canonical order, a
// change that contradicts the registry), so no honest verifier signs a header over them.
func Apply(rules *Rules, prev *State, frame *Frame, batch *Batch, changes []Change, signed []bool) (*State, *Header, *Result, error) {
	return Pool{}.Apply(rules, prev, frame, batch, changes, signed)
}

// Apply is the function Apply, with the work split as p says.
func (p Pool) Apply(rules *Rules, prev *State, frame *Frame, batch *Batch, changes []Change, signed []bool) (*State, *Header, *Result, error) {
	r := &run{Pool: p, rules: rules, prev: prev, frame: frame, batch: batch, changes: changes, signed: signed}
	for _, step := range []func() error{
		r.begin,      // do the inputs belong together?
		r.view,       // the registry view of the epoch
		r.decode,     // items, in canonical order
		r.check,      // step 2, author by author
		r.attach,     // step 2, session by session
		r.judge,      // step 3, device by device
		r.budget,     // step 4: receipts within what their payers have
		r.cross,      // step 4: comparisons within the region
		r.takeOrders, // new orders act from the next epoch
		r.forget,     // sessions and keys that can pay no more
		r.weigh,      // step 4: density and quality
		r.finish,     // steps 1 and 5, device by device
	} {
		if err := step(); err != nil {
			return nil, nil, nil, fmt.Errorf("%w: epoch %d of region %d: %w", ErrInput, frame.Epoch, frame.Region, err)
		}
	}
	return r.next, r.header, &r.result, nil
}

// run is one Apply. Parts of it that run at once write to their own part, and to items of their own range, only.
type run struct {
	Pool
	rules   *Rules
	prev    *State
	frame   *Frame
	batch   *Batch
	changes []Change
	signed  []bool

	params   []Params   // beside rules.categories
	fold     *econ.Fold // nil if there is nothing to fold
	base     *State     // prev with the registry changes: what checks and Verify see
	next     *State     // what will be returned
	items    []opened   // beside batch.Items
	parts    []part     // by ranges of devices and authors
	reports  []report   // by device, then in the order of the batch
	buckets  []bucket   // claims, by ranges of payers
	fills    []fill     // by device
	holdings map[types.Account]*holding
	spent    types.Credit // by accounts in this epoch
	pushed   []Rejection  // what Cross refused
	header   *Header
	result   Result
}

// part is a range of devices and authors, and what was found about them.
type part struct {
	from, to []byte // keys; nil for the ends
	lo, hi   int    // items whose authors are in the range
	err      error

	groups    []group      // authors with items, ascending
	claims    []claim      // by device, then by payer and session within a category
	reports   []report     // that the range's authors made
	orders    []int        // items
	lines     edits        // of categories' lines
	marks     []mark       // by device
	efforts   []effort     // by device
	opens     []opening    // by device
	closes    []closing    // of the range's devices
	summaries [][]Summary  // for Cross, beside rules.categories
	totals    [][]uint64   // beside rules.categories
	rows      []Summarized // by device and category
	proofs    []int        // items that prove misconduct
	devices   edits        // of devices' lines
	sums      sums
}

// group is all that one author handed in.
type group struct {
	author          types.Key
	lo, hi          int // items
	claims, toClaim int // into part.claims
	asks            []*askItem
	moved           bool // there is new evidence: seq and last replace the author's
	seq             uint64
	last            types.Hash
	equivocated     bool
}

// begin checks that the inputs belong together.
func (r *run) begin() error {
	f, m := r.frame, &r.prev.meta
	switch {
	case f.Chain != m.Chain || f.Region != m.Region:
		return fmt.Errorf("a frame of chain %q, region %d, and a state of %q, %d", f.Chain, f.Region, m.Chain, m.Region)
	case f.PreviousEpoch != m.Epoch || f.Previous.IsZero() != (m.Epoch == 0):
		return fmt.Errorf("the header before is of epoch %d, the state of %d", f.PreviousEpoch, m.Epoch)
	case f.Epoch <= m.Epoch:
		return fmt.Errorf("the state is of epoch %d already", m.Epoch)
	case f.Fold != nil && m.Epoch == 0:
		return errors.New("a settlement before the first epoch")
	case len(r.signed) != len(r.batch.Items):
		return fmt.Errorf("%d verdicts on signatures for %d items", len(r.signed), len(r.batch.Items))
	}
	for i := range f.Blocks {
		if i > 0 && f.Blocks[i].Height <= f.Blocks[i-1].Height {
			return errors.New("the frame's blocks are not ascending")
		}
	}
	r.params = make([]Params, len(r.rules.categories))
	for i, c := range r.rules.categories {
		r.params[i] = c.Spec.Defaults()
		for k := range f.Params {
			if f.Params[k].Category == c.id {
				r.params[i] = f.Params[k]
			}
		}
		if n := len(r.params[i].Rules); n == 0 || n > MaxRules {
			r.params[i].Rules = c.Spec.Params.Rules
		}
	}
	if f.Fold == nil {
		return nil
	}
	weights := make([]econ.Weight, len(m.Totals.Categories))
	for i, c := range m.Totals.Categories {
		weights[i] = econ.Weight{Category: c.Category, Weight: c.Weight}
	}
	var err error
	r.fold, err = econ.NewFold(*f.Fold, weights)
	return err
}

// decode opens all items, checks their order, and deals them out to the parts.
func (r *run) decode() error {
	n := len(r.batch.Items)
	r.items = make([]opened, n)
	r.result.Reasons = make([]types.Reason, n)
	cuts := min(max(r.Parts, n/partItems, 1), maxParts)
	bad := make([]int, cuts)
	r.run(cuts, func(k int) {
		bad[k] = -1
		lo, hi := n*k/cuts, n*(k+1)/cuts
		var receipts slab
		for i := lo; i < hi; i++ {
			r.items[i] = open(&r.batch.Items[i], r.frame.Chain, &receipts)
			if i > lo && r.items[i-1].Compare(&r.items[i].Name) >= 0 && bad[k] < 0 {
				bad[k] = i
			}
		}
	})
	for k := range bad {
		if at := n * k / cuts; bad[k] < 0 && k > 0 && at > 0 && at < n && r.items[at-1].Compare(&r.items[at].Name) >= 0 {
			bad[k] = at
		}
		if bad[k] >= 0 {
			return fmt.Errorf("item %d of the batch is out of order", bad[k])
		}
	}
	r.split(cuts)
	return nil
}

// split cuts the work into ranges of keys that hold about equally many devices, or authors where there are few
// devices.
func (r *run) split(cuts int) {
	r.parts = make([]part, cuts)
	devices := r.base.tables[deviceTable]
	for k := range r.parts {
		if k > 0 {
			switch {
			case len(devices) >= cuts:
				r.parts[k].from = devices[len(devices)*k/cuts].first
			default:
				r.parts[k].from = []byte{byte(256 * k / cuts)}
			}
			r.parts[k-1].to = r.parts[k].from
			r.parts[k].lo = sort.Search(len(r.items), func(i int) bool {
				return string(r.items[i].Author[:]) >= string(r.parts[k].from)
			})
			r.parts[k-1].hi = r.parts[k].lo
		}
		r.parts[k].hi = len(r.items)
		r.parts[k].devices.from = r.parts[k].from
		r.parts[k].lines.from = r.parts[k].from
		r.parts[k].summaries = make([][]Summary, len(r.rules.categories))
		r.parts[k].totals = make([][]uint64, len(r.rules.categories))
	}
}

// each runs a step over all parts and returns the first part's error.
func (r *run) each(do func(*part) error) error {
	r.run(len(r.parts), func(k int) { r.parts[k].err = do(&r.parts[k]) })
	for k := range r.parts {
		if err := r.parts[k].err; err != nil {
			return err
		}
	}
	return nil
}

// refuse records why an item does not count.
func (r *run) refuse(item int, reason types.Reason) { r.result.Reasons[item] = reason }

// stands reports whether nothing has been found against an item so far.
func (r *run) stands(item int) bool { return r.result.Reasons[item] == "" }
