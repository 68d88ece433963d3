package tally

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// hex returns the cell in which a device's density is counted: its cell's parent at the category's resolution,
// or the cell itself if that is no finer.
func (r *run) hex(at int, cell types.Cell) types.Cell {
	if res := int(r.params[at].Hex); res < cell.Resolution() {
		return cell.Parent(res)
	}
	return cell
}

// weigh turns network-ordered work into weight: of one category, class and hex together, by the rule of density.
func (r *run) weigh() error {
	n := len(r.parts)
	dealt := make([][][]*effort, n)
	r.run(n, func(k int) {
		dealt[k] = make([][]*effort, n)
		for i := range r.parts[k].efforts {
			e := &r.parts[k].efforts[i]
			b := int((uint64(e.hex) * 0x9e3779b97f4a7c15) >> 32 * uint64(n) >> 32)
			dealt[k][b] = append(dealt[k][b], e)
		}
	})
	errs := make([]error, n)
	r.run(n, func(b int) {
		var list []*effort
		for k := range dealt {
			list = append(list, dealt[k][b]...)
		}
		errs[b] = r.weighBucket(list)
	})
	return first(errs)
}

// weighBucket weighs the work of some cells.
func (r *run) weighBucket(list []*effort) error {
	slices.SortStableFunc(list, func(a, b *effort) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.hex, b.hex), cmp.Compare(a.class, b.class), bytes.Compare(a.device[:], b.device[:]))
	})
	var in []econ.Effort
	for len(list) > 0 {
		n := 0
		in = in[:0]
		for n < len(list) && list[n].at == list[0].at && list[n].hex == list[0].hex && list[n].class == list[0].class {
			in = append(in, econ.Effort{Units: list[n].units, Quality: list[n].quality})
			n++
		}
		full := r.params[list[0].at].Threshold
		weights, err := econ.Weigh(in, econ.Density{On: full != 0, Full: types.U64(full)})
		if err != nil {
			return err // not reached: 2²⁴ efforts of less than 2⁶⁴ units fit
		}
		for i, w := range weights {
			list[i].weight = w
		}
		list = list[n:]
	}
	return nil
}
