package tally

import "errors"

// Pool says how a tally's work is split. The zero value does it on the caller's goroutine. Any Pool computes the same bytes.
type Pool struct {
	// Parts is how many ranges the work is cut into; 0 stands for 1. A few times the number of processors is best.
	Parts int
	// Run calls do for every part from 0 to parts−1, in any order and, if it likes, at once, and returns when all calls have
	// returned. nil calls one after the other.
	Run func(parts int, do func(part int))
}

// Apply computes the state after frame's epoch, its header, and what became of every item.
//
// prev is the state after the region's last header that was not voided (NewState before the first); it stays as it is.
// changes lead from prev's registry view to that of frame's epoch, in order. signed holds one verdict for each item of batch:
// whether its signatures hold (CheckSignatures).
//
// What somebody could do wrong is refused with a reason and recorded; an error means that the inputs do not belong together
// (another chain, region or state, a batch that is not in canonical order, a change that contradicts the registry), so no
// honest verifier signs a header over them.
func Apply(rules *Rules, prev *State, frame *Frame, batch *Batch, changes []Change, signed []bool) (*State, *Header, *Result, error) {
	return Pool{}.Apply(rules, prev, frame, batch, changes, signed)
}

// Apply is the function Apply, with the work split as p says.
func (p Pool) Apply(rules *Rules, prev *State, frame *Frame, batch *Batch, changes []Change, signed []bool) (*State, *Header, *Result, error) {
	return nil, nil, nil, errors.New("tally: not complete yet")
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
