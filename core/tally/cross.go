package tally

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// fill is what an order pays a device.
type fill struct {
	device types.Key
	at     int
	amount types.Credit
}

// live is an order of the state with its line.
type live struct {
	LiveOrder // without an Order if it ended
	at        int
	key       SessionKey
	line      OrderState
	payer     *KeyState // nil if it was forgotten
}

// paid reports whether it bought something in this epoch.
func (o *live) paid() bool { return o.line.Amount != o.Amount || o.line.Units != o.Units }

// cross is the second half of step 4: each category's Cross over the region, with what orders have reserved.
func (r *run) cross() error {
	all, err := r.orders()
	if err != nil {
		return err
	}
	orders := r.reserve(all)
	for at := range r.rules.categories {
		if r.rules.categories[at].Cross != nil {
			if err := r.compare(at, orders); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(r.fills, func(a, b fill) int { return bytes.Compare(a.device[:], b.device[:]) })
	if err := r.spend(orders); err != nil {
		return err
	}
	r.tendOrders(all)
	return nil
}

// orders returns all orders of the state, ascending by payer and session.
func (r *run) orders() (all []*live, err error) {
	for w := r.base.tables[orderTable].walk(nil, nil); w.next(); {
		o := &live{key: parseSessionKey(w.key)}
		if err := o.line.parse(w.val); err != nil {
			return nil, err
		}
		if n := len(all); n > 0 && all[n-1].key.Payer == o.key.Payer {
			o.payer = all[n-1].payer
		} else {
			o.payer = r.next.Key(o.key.Payer)
		}
		if o.Units, o.Amount = o.line.Units, o.line.Amount; o.payer != nil {
			o.Account = o.payer.Account
		}
		if !o.line.Ended() {
			if o.Order, err = o.line.Order(); err != nil {
				return nil, err
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// reserve returns those of all orders that are in force. By account and session, each has reserved the least of
// what its cap, its key and its account leave, after receipts and the orders before it.
func (r *run) reserve(all []*live) (orders []*live) {
	for _, o := range all {
		if o.line.Ended() {
			continue
		}
		if o.at = r.rules.find(o.line.Category); o.at >= 0 && r.inForce(o.Order, o.line.Amount, o.payer) {
			orders = append(orders, o)
		}
	}
	byAccount := slices.Clone(orders)
	slices.SortStableFunc(byAccount, func(a, b *live) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	keys, accounts := map[types.Key]types.Credit{}, map[types.Account]types.Credit{} // reserved
	for _, o := range byAccount {
		balance := r.next.Balance(o.Account)
		o.Reserved = min(o.Order.Cap-o.Amount, less(o.payer.Limit, o.payer.Spent, keys[o.key.Payer]),
			less(balance.Bought, balance.Spent, accounts[o.Account]))
		keys[o.key.Payer] += o.Reserved
		accounts[o.Account] += o.Reserved
	}
	return orders
}

// less returns a − b − c, at least 0.
func less(a, b, c types.Credit) types.Credit {
	a -= min(a, b)
	return a - min(a, c)
}

// inForce reports whether an order that has bought so much acts in the epoch.
func (r *run) inForce(o *receipt.Order, amount types.Credit, key *KeyState) bool {
	e := r.frame.Epoch
	return key != nil && key.Expiry >= e && o.Session.Expiry() >= e && o.First <= e && o.Cap > amount
}

// compare runs one category's Cross.
func (r *run) compare(at int, orders []*live) error {
	c := &r.rules.categories[at]
	in := &CrossInput{
		Chain: r.frame.Chain, Epoch: r.frame.Epoch, Region: r.frame.Region, Seed: r.frame.Seed, Time: r.frame.Time,
		Params: r.params[at], Registry: r.base, Cells: r.base.Cells(c.id),
	}
	for k := range r.parts {
		in.Summaries = append(in.Summaries, r.parts[k].summaries[at]...)
	}
	slices.SortStableFunc(in.Summaries, func(a, b Summary) int { return cmp.Compare(a.Device.Cell, b.Device.Cell) })
	mine := map[SessionKey]*live{}
	var sorted []*live
	for _, o := range orders {
		if o.at == at {
			mine[o.key] = o
			sorted = append(sorted, o)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *live) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	for _, o := range sorted {
		in.Orders = append(in.Orders, &o.LiveOrder)
	}
	out := c.Cross(in)
	if out == nil {
		return nil
	}
	if err := r.crossed(at, out, mine); err != nil {
		// A mistake of the category costs its own epoch, not the region's.
		r.pushed = append(r.pushed, Rejection{Category: c.id, Reason: types.EconRange})
		return nil
	}
	for _, f := range out.Fills {
		o := mine[f.Session]
		o.line.Amount += f.Amount
		o.line.Units, _ = o.line.Units.Add(f.Units) // crossed has tried
		r.fills = append(r.fills, fill{f.Device, at, f.Amount})
	}
	r.crossEfforts(at, out.Ordered)
	r.keepCells(c.id, in.Cells, out.Cells)
	r.keepStates(c.id, out.States)
	for _, o := range out.Outputs {
		r.result.Outputs = append(r.result.Outputs, OutputLeaf{Category: c.id, Data: o.Data, Detail: o.Detail})
	}
	return nil
}

// crossed checks what a Cross found.
func (r *run) crossed(at int, out *CrossOutput, orders map[SessionKey]*live) error {
	c := &r.rules.categories[at]
	units := map[SessionKey]types.U128{}
	left := map[SessionKey]types.Credit{}
	for _, f := range out.Fills {
		o := orders[f.Session]
		d := r.base.Device(f.Device)
		if o == nil || d == nil || !slices.Contains(d.Categories, c.id) {
			return fmt.Errorf("a fill of %x to %v", f.Session.ID, f.Device)
		}
		if _, ok := left[f.Session]; !ok {
			left[f.Session], units[f.Session] = o.Reserved, o.Units
		}
		sum, err := units[f.Session].Add(f.Units)
		if err != nil || f.Amount > left[f.Session] {
			return fmt.Errorf("fills of %x exceed what it reserved", f.Session.ID)
		}
		left[f.Session] -= f.Amount
		units[f.Session] = sum
	}
	for _, o := range out.Ordered {
		if r.base.Device(o.Device) == nil || c.class(o.Class) == nil || o.Quality > econ.Bps {
			return fmt.Errorf("ordered work of %v", o.Device)
		}
	}
	for i, cell := range out.Cells {
		if len(cell.State) > maxSummary || i > 0 && cell.Cell <= out.Cells[i-1].Cell {
			return fmt.Errorf("line %d of cells", i)
		}
	}
	if err := boundOutputs(out.Outputs); err != nil {
		return err
	}
	return r.crossedStates(at, out.States)
}

// boundOutputs checks what a Cross puts out.
func boundOutputs(outputs []OutputData) error {
	if len(outputs) > MaxOutputs {
		return fmt.Errorf("%d outputs", len(outputs))
	}
	total := 0 // at most 2²⁰ times 128 KiB
	for i := range outputs {
		data, detail := len(outputs[i].Data), len(outputs[i].Detail)
		if total += data + detail; data > MaxOutput || detail > MaxOutput || total > MaxOutputBytes {
			return fmt.Errorf("output %d of %d and %d bytes, %d so far", i, data, detail, total)
		}
	}
	return nil
}

// crossedStates checks the lines that a Cross replaces. Those of the summaries' devices ascend in each part,
// and from part to part.
func (r *run) crossedStates(at int, states []DeviceState) error {
	part, summaries := 0, r.parts[0].summaries[at]
	for i := range states {
		s := &states[i]
		if len(s.State) > r.rules.categories[at].Spec.MaxState || i > 0 && bytes.Compare(s.Device[:], states[i-1].Device[:]) <= 0 {
			return fmt.Errorf("line %d, of %v, of %d bytes", i, s.Device, len(s.State))
		}
		for len(summaries) == 0 || bytes.Compare(summaries[0].Device.Key[:], s.Device[:]) < 0 {
			if len(summaries) > 0 {
				summaries = summaries[1:]
				continue
			}
			if part++; part == len(r.parts) {
				return fmt.Errorf("line of %v, which has no summary", s.Device)
			}
			summaries = r.parts[part].summaries[at]
		}
		if summaries[0].Device.Key != s.Device {
			return fmt.Errorf("line of %v, which has no summary", s.Device)
		}
	}
	return nil
}

// keepStates puts the lines that a Cross replaces over what Verify left.
func (r *run) keepStates(c types.Category, states []DeviceState) {
	for k := range r.parts {
		p := &r.parts[k]
		e := edits{from: p.from}
		for ; len(states) > 0 && (p.to == nil || bytes.Compare(states[0].Device[:], p.to) < 0); states = states[1:] {
			key := lineKey(nil, &states[0].Device, c)
			if len(states[0].State) == 0 {
				e.remove(key)
			} else {
				e.set(key, states[0].State)
			}
		}
		p.lines = p.lines.over(e)
	}
}

// crossEfforts adds network-ordered work that only a comparison could establish, within what Verify left of
// each device's quotas.
func (r *run) crossEfforts(at int, ordered []CrossOrdered) {
	slices.SortStableFunc(ordered, func(a, b CrossOrdered) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	for k := range r.parts {
		p := &r.parts[k]
		var fresh []effort
		for len(ordered) > 0 && (p.to == nil || bytes.Compare(ordered[0].Device[:], p.to) < 0) {
			device := ordered[0].Device
			line := r.base.Line(device)
			works := line != nil && r.works(line, p.marked(device))
			left := r.params[at].Quota
			if line != nil {
				left = times(left, r.quotas(line))
			}
			for _, e := range p.effortsOf(device) {
				if e.at == at {
					left -= e.units.Lo
				}
			}
			for ; len(ordered) > 0 && ordered[0].Device == device; ordered = ordered[1:] {
				o := &ordered[0]
				n, fits := o.Units.Uint64()
				if !fits || n > left {
					n = left
				}
				left -= n
				if works && n > 0 && o.Quality > 0 {
					fresh = append(fresh, effort{device: device, at: at, class: o.Class, units: types.U64(n),
						quality: o.Quality, hex: r.hex(at, line.Cell)})
				}
			}
		}
		if len(fresh) > 0 {
			p.efforts = append(p.efforts, fresh...)
			slices.SortStableFunc(p.efforts, func(a, b effort) int { return bytes.Compare(a.device[:], b.device[:]) })
		}
	}
}

// effortsOf returns the efforts of one device.
func (p *part) effortsOf(device types.Key) []effort {
	find := func(e effort, k types.Key) int { return bytes.Compare(e.device[:], k[:]) }
	lo, _ := slices.BinarySearchFunc(p.efforts, device, find)
	hi := lo
	for hi < len(p.efforts) && p.efforts[hi].device == device {
		hi++
	}
	return p.efforts[lo:hi]
}

// keepCells replaces a category's lines of cells.
func (r *run) keepCells(c types.Category, old, now []CellState) {
	var e edits
	for len(old)+len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0].Cell < now[0].Cell:
			e.remove(cellKey(nil, c, old[0].Cell))
			old = old[1:]
		default:
			if len(old) > 0 && old[0].Cell == now[0].Cell {
				old = old[1:]
			}
			e.set(cellKey(nil, c, now[0].Cell), now[0].State)
			now = now[1:]
		}
	}
	t := &r.next.tables
	t[cellTable] = t[cellTable].apply(r.Pool, cellTable, []edits{e})
}

// spend adds what orders paid to their keys and accounts.
func (r *run) spend(orders []*live) error {
	var keys, accounts edits
	paid := map[types.Account]types.Credit{}
	var list []types.Account
	for i := 0; i < len(orders); {
		key := orders[i].key.Payer
		var sum types.Credit
		for ; i < len(orders) && orders[i].key.Payer == key; i++ {
			sum += orders[i].line.Amount - orders[i].Amount
			if paid[orders[i].Account] == 0 {
				list = append(list, orders[i].Account)
			}
			paid[orders[i].Account] += orders[i].line.Amount - orders[i].Amount
		}
		if sum > 0 {
			k := r.next.Key(key)
			k.Spent, k.Ordered = k.Spent+sum, k.Ordered+sum
			keys.set(key[:], k.append(nil))
			r.spent += sum
		}
	}
	slices.SortFunc(list, func(a, b types.Account) int { return bytes.Compare(a[:], b[:]) })
	for _, a := range slices.Compact(list) {
		if paid[a] > 0 {
			b := r.next.Balance(a)
			b.Spent += paid[a]
			accounts.set(a[:], b.append(nil))
		}
	}
	t := &r.next.tables
	t[keyTable] = t[keyTable].apply(r.Pool, keyTable, []edits{keys})
	t[accountTable] = t[accountTable].apply(r.Pool, accountTable, []edits{accounts})
	return nil
}
