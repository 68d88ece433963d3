package energy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// What neighbours are compared by.
const (
	byEnvelope uint8 = iota // their envelopes, in bp
	byYield                 // their day so far, in Wh per kW
	byAny                   // the same of all with two meters, be they commissioned or not
	byBase                  // the same, to their own base: what the sky makes of a usual neighbour's day, in Wh per kW
)

// neighbourhoods are the resolutions at which neighbours are looked for: the first that has enough.
var neighbourhoods = [...]int{5, 4, 3}

// around returns the cells in which a device's neighbours are looked for, the smallest first. A device that
// stands in a coarse cell has fewer.
func around(cell types.Cell) []types.Cell {
	cells := make([]types.Cell, 0, len(neighbourhoods))
	for _, res := range neighbourhoods {
		if at := cell.Parent(res); at != 0 {
			cells = append(cells, at)
		}
	}
	return cells
}

// pool names devices that are compared: those below a cell, by one measure, on one day.
type pool struct {
	cell types.Cell
	by   uint8
	day  uint32
}

// standing is a device's value in a pool.
type standing struct {
	owner uint32 // by number
	k     uint64 // the last interval that the value holds
	value uint64
}

// peers knows the devices that can be compared, and what the cells' lines remember of earlier days.
type peers struct {
	limits   *Thresholds
	pools    map[pool][]standing
	rankings map[pool]*ranking // of the pools that were asked for
	cells    map[types.Cell]*cellState
}

func newPeers(limits *Thresholds, cells []tally.CellState) *peers {
	p := &peers{limits: limits, pools: map[pool][]standing{}, rankings: map[pool]*ranking{}, cells: map[types.Cell]*cellState{}}
	for i := range cells {
		if c, err := decodeCell(cells[i].State); err == nil {
			p.cells[cells[i].Cell] = c
		}
	}
	return p
}

// add puts a device's value into the pools of its neighbourhoods.
func (p *peers) add(cell types.Cell, by uint8, day uint32, s standing) {
	for _, in := range around(cell) {
		at := pool{in, by, day}
		p.pools[at] = append(p.pools[at], s)
	}
}

// median returns the median of a device's neighbours as of an interval (the lower one of two), and whether
// there are enough of them: devices of other owners, in the smallest neighbourhood that has enough.
func (p *peers) median(cell types.Cell, by uint8, day uint32, k uint64, owner uint32) (uint64, bool) {
	m, _, ok := p.middle(cell, by, day, k, owner)
	return m, ok
}

// middle is median, with the upper one of the neighbours beside it (Thresholds.Upper).
func (p *peers) middle(cell types.Cell, by uint8, day uint32, k uint64, owner uint32) (median, upper uint64, ok bool) {
	for _, in := range around(cell) {
		if median, upper, ok = p.ranking(pool{in, by, day}).middle(k, owner, p.limits); ok {
			return median, upper, true
		}
	}
	return 0, 0, false
}

func (p *peers) ranking(at pool) *ranking {
	r := p.rankings[at]
	if r == nil {
		r = newRanking(p.pools[at])
		p.rankings[at] = r
	}
	return r
}

// remembered returns what a cell's line says of a day that is over, for a device that comes late.
func (p *peers) remembered(cell types.Cell, day uint32) (d cellDay, ok bool) {
	for _, in := range around(cell) {
		c := p.cells[in]
		if c == nil {
			continue
		}
		for _, d := range c.days {
			// The device's own owner may be among them: one more of each stands for that.
			if d.Day == day && int(d.Devices) > p.limits.MinPeers && int(d.Owners) > p.limits.MinOwners {
				return d, true
			}
		}
	}
	return cellDay{}, false
}

// Keep is how many days a cell's line remembers.
const cellDays = 8

// cellDay is what the neighbours below a cell did on a day: their medians in Wh per kW, each its owner's own
// included.
type cellDay struct {
	Day     uint32
	Devices uint16 // at most 65,535 are told apart
	Owners  uint16
	Yield   uint16
	Base    uint16 // … of their yields to their own bases; 0 where too few have a base
	Upper   uint16 // the upper one of these (Thresholds.Upper)
}

// cellState is the line of a cell.
type cellState struct {
	days  []cellDay // ascending
	marks []mark    // of meters of devices that stand in the cell itself, ascending by meter
}

const (
	cellVersion = 3
	cellRecord  = 4 + 2 + 2 + 2 + 2 + 2
	markRecord  = 32 + 4 + 1 + 4 + 4 + 1
	markOpen    = 1 << 7 // beside the alarms
)

func (c *cellState) encode() []byte {
	b := make([]byte, 0, 2+len(c.days)*cellRecord+len(c.marks)*markRecord)
	b = append(b, cellVersion, byte(len(c.days)))
	for _, d := range c.days {
		b = binary.BigEndian.AppendUint32(b, d.Day)
		for _, x := range [...]uint16{d.Devices, d.Owners, d.Yield, d.Base, d.Upper} {
			b = binary.BigEndian.AppendUint16(b, x)
		}
	}
	for i := range c.marks {
		k := &c.marks[i]
		b = binary.BigEndian.AppendUint32(append(b, k.meter[:]...), k.day)
		alarms := k.alarms
		if k.open {
			alarms |= markOpen
		}
		b = binary.BigEndian.AppendUint32(append(b, alarms), k.Until)
		b = append(binary.BigEndian.AppendUint32(b, k.On), k.For)
	}
	return b
}

func decodeCell(b []byte) (*cellState, error) {
	bad := types.Refuse(types.BadEncoding, "energy: the line of a cell, of %d bytes", len(b))
	if len(b) <= 2 || b[0] != cellVersion || b[1] > cellDays || len(b) < 2+int(b[1])*cellRecord {
		return nil, bad
	}
	days, marks := b[2:2+int(b[1])*cellRecord], b[2+int(b[1])*cellRecord:]
	if len(marks)%markRecord != 0 || len(marks) > maxMarks*markRecord {
		return nil, bad
	}
	c := new(cellState)
	for r := days; len(r) > 0; r = r[cellRecord:] {
		u16 := func(at int) uint16 { return binary.BigEndian.Uint16(r[at:]) }
		d := cellDay{Day: binary.BigEndian.Uint32(r), Devices: u16(4), Owners: u16(6), Yield: u16(8), Base: u16(10), Upper: u16(12)}
		if len(c.days) > 0 && d.Day <= c.days[len(c.days)-1].Day {
			return nil, bad
		}
		c.days = append(c.days, d)
	}
	for r := marks; len(r) > 0; r = r[markRecord:] {
		u32 := func(at int) uint32 { return binary.BigEndian.Uint32(r[at:]) }
		k := mark{meter: types.Hash(r[:32]), day: u32(32), alarms: r[36] &^ markOpen, open: r[36]&markOpen != 0}
		k.freeze = freeze{Until: u32(37), On: u32(41), For: r[45]}
		if n := len(c.marks); n > 0 && bytes.Compare(k.meter[:], c.marks[n-1].meter[:]) <= 0 {
			return nil, bad
		}
		c.marks = append(c.marks, k)
	}
	return c, nil
}

// remember takes the epoch's comparisons over into the cells' lines and returns them. A day that more devices
// were seen of before stays as it was; today is the region's latest day, and what is older than cellDays goes.
func (p *peers) remember(today uint32) []tally.CellState {
	for at := range p.pools {
		if at.by != byYield {
			continue
		}
		r := p.ranking(at)
		yield, _, ok := r.without(nil, 0, p.limits)
		if !ok {
			continue
		}
		d := cellDay{Day: at.day, Devices: clip(len(r.values)), Owners: clip(len(r.lasts)), Yield: clip(yield)}
		if base, upper, ok := p.ranking(pool{at.cell, byBase, at.day}).without(nil, 0, p.limits); ok {
			d.Base, d.Upper = clip(base), clip(upper)
		}
		if p.cells[at.cell] == nil {
			p.cells[at.cell] = new(cellState)
		}
		p.cells[at.cell].put(d)
	}
	var out []tally.CellState
	for cell, c := range p.cells {
		c.days = slices.DeleteFunc(c.days, func(d cellDay) bool { return d.Day+cellDays <= today })
		if len(c.days) > cellDays {
			c.days = c.days[len(c.days)-cellDays:]
		}
		if len(c.days)+len(c.marks) > 0 {
			out = append(out, tally.CellState{Cell: cell, State: c.encode()})
		}
	}
	slices.SortFunc(out, func(a, b tally.CellState) int { return cmp.Compare(a.Cell, b.Cell) })
	return out
}

func (c *cellState) put(d cellDay) {
	at, found := slices.BinarySearchFunc(c.days, d.Day, func(x cellDay, day uint32) int { return cmp.Compare(x.Day, day) })
	switch {
	case !found:
		c.days = slices.Insert(c.days, at, d)
	case d.Devices >= c.days[at].Devices:
		c.days[at] = d
	}
}

// clip returns n, or the greatest that 16 bits hold.
func clip[T int | uint64](n T) uint16 { return uint16(min(n, 1<<16-1)) }
