package servicetest

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// crosses: Cross repeats itself, changes nothing, and spends no more than orders have reserved.
func crosses(t *testing.T, v service.Verifier, draw func(*rapid.T) *service.Input) {
	rapid.Check(t, func(t *rapid.T) {
		in := &tally.CrossInput{Epoch: 5, Params: v.Spec.Defaults()}
		keys := map[types.Key]bool{}
		for _, one := range rapid.SliceOfN(rapid.Custom(draw), 1, 4).Draw(t, "inputs") {
			out := v.Verify(one)
			if out.Summary == nil || keys[one.Device.Key] {
				continue
			}
			keys[one.Device.Key] = true
			in.Chain, in.Registry = one.Chain, one.Registry
			in.Summaries = append(in.Summaries, tally.Summary{Device: one.Device, Summary: out.Summary})
		}
		slices.SortFunc(in.Summaries, func(a, b tally.Summary) int {
			return cmp.Or(cmp.Compare(a.Device.Cell, b.Device.Cell), bytes.Compare(a.Device.Key[:], b.Device.Key[:]))
		})
		for i := range rapid.IntRange(0, 4).Draw(t, "orders") {
			in.Orders = append(in.Orders, drawOrder(t, v.Spec, i))
		}
		for range 3 {
			before := cloneCross(in)
			out := v.Cross(in)
			if diff := gocmp.Diff(before, in, compare); diff != "" {
				t.Fatalf("Cross changed its input (-before +after):\n%s", diff)
			}
			if diff := gocmp.Diff(out, v.Cross(before), compare); diff != "" {
				t.Fatalf("the same input, crossed twice:\n%s", diff)
			}
			soundCross(t, v.Spec, in, out, keys)
			in = cloneCross(in)
			in.Cells = out.Cells
			in.Epoch++
		}
	})
}

func drawOrder(t *rapid.T, s *service.Spec, i int) *tally.LiveOrder {
	reserved := types.Credit(rapid.Uint64Max(1<<40).Draw(t, "reserved"))
	return &tally.LiveOrder{
		Order: &receipt.Order{
			Category: s.Category, Session: types.NewSessionID(100, [12]byte{byte(i)}), Payer: types.Key{byte(i)},
			Rule: rapid.Uint16Max(3).Draw(t, "rule"), Selector: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "selector"),
			Limit: rapid.Uint64().Draw(t, "limit"), Most: types.U128{Hi: rapid.Uint64Max(1).Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")},
			Cap: reserved, First: 1,
		},
		Account: types.Account{byte(i)}, Reserved: reserved,
	}
}

func cloneCross(in *tally.CrossInput) *tally.CrossInput {
	c := *in
	c.Summaries, c.Orders, c.Cells = slices.Clone(in.Summaries), slices.Clone(in.Orders), slices.Clone(in.Cells)
	for i, s := range c.Summaries {
		d := *s.Device
		c.Summaries[i] = tally.Summary{Device: &d, Summary: bytes.Clone(s.Summary)}
	}
	for i, o := range c.Orders {
		order, copied := *o.Order, *o
		order.Selector = bytes.Clone(order.Selector)
		copied.Order = &order
		c.Orders[i] = &copied
	}
	for i := range c.Cells {
		c.Cells[i].State = bytes.Clone(c.Cells[i].State)
	}
	return &c
}

// soundCross checks what the tally refuses a whole Cross for.
func soundCross(t *rapid.T, s *service.Spec, in *tally.CrossInput, out *tally.CrossOutput, devices map[types.Key]bool) {
	t.Helper()
	left := map[tally.SessionKey]types.Credit{}
	units := map[tally.SessionKey]types.U128{}
	for _, o := range in.Orders {
		left[tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}] = o.Reserved
	}
	for _, f := range out.Fills {
		rest, ok := left[f.Session]
		sum, err := units[f.Session].Add(f.Units)
		if !ok || f.Amount > rest || err != nil || !devices[f.Device] {
			t.Fatalf("a fill of %d to %s out of %d: order known: %t", f.Amount, f.Device, rest, ok)
		}
		left[f.Session], units[f.Session] = rest-f.Amount, sum
	}
	for _, o := range out.Ordered {
		class(t, s, o.Class)
		if o.Quality > econ.Bps || !devices[o.Device] {
			t.Fatalf("ordered work: %+v", o)
		}
	}
	if !slices.IsSortedFunc(out.Cells, func(a, b tally.CellState) int { return cmp.Compare(a.Cell, b.Cell) }) {
		t.Fatal("cells are not ascending")
	}
	for _, o := range out.Outputs {
		if len(o.Data) > tally.MaxOutput || len(o.Detail) > tally.MaxOutput {
			t.Fatalf("an output of %d bytes, with a detail of %d", len(o.Data), len(o.Detail))
		}
	}
	for i, state := range out.States {
		if i > 0 && bytes.Compare(state.Device[:], out.States[i-1].Device[:]) <= 0 {
			t.Fatal("lines of devices are not ascending")
		}
		if len(state.State) > s.MaxState || !devices[state.Device] {
			t.Fatalf("a line of %d bytes of %v, which may have no summary", len(state.State), state.Device)
		}
	}
}
