package energy

import (
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

// around returns the cells in which a device's neighbours are looked for, the smallest first. A device that stands in a coarse cell has fewer.
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

// median returns the median of a device's neighbours as of an interval (the lower one of two), and whether there are enough of them: devices of
// other owners, in the smallest neighbourhood that has enough.
func (p *peers) median(cell types.Cell, by uint8, day uint32, k uint64, owner uint32) (uint64, bool) {
	for _, in := range around(cell) {
		if m, ok := p.ranking(pool{in, by, day}).median(k, owner, p.limits); ok {
			return m, true
		}
	}
	return 0, false
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
func (p *peers) remembered(cell types.Cell, day uint32) (yield, base uint64, ok bool) {
	for _, in := range around(cell) {
		c := p.cells[in]
		if c == nil {
			continue
		}
		for _, d := range c.days {
			// The device's own owner may be among them: one more of each stands for that.
			if d.Day == day && int(d.Devices) > p.limits.MinPeers && int(d.Owners) > p.limits.MinOwners {
				return uint64(d.Yield), uint64(d.Base), true
			}
		}
	}
	return 0, 0, false
}

// Keep is how many days a cell's line remembers.
const cellDays = 8

// cellDay is what the neighbours below a cell did on a day: their medians in Wh per kW, each its owner's own included.
type cellDay struct {
	Day     uint32
	Devices uint16 // at most 65,535 are told apart
	Owners  uint16
	Yield   uint16
	Base    uint16 // 0 where too few have a base
}

// cellState is the line of a cell.
type cellState struct{ days []cellDay } // ascending

const (
	cellVersion = 1
	cellRecord  = 4 + 2 + 2 + 2 + 2
)

func (c *cellState) encode() []byte {
	b := make([]byte, 0, 1+len(c.days)*cellRecord)
	b = append(b, cellVersion)
	for _, d := range c.days {
		b = binary.BigEndian.AppendUint32(b, d.Day)
		for _, x := range [...]uint16{d.Devices, d.Owners, d.Yield, d.Base} {
			b = binary.BigEndian.AppendUint16(b, x)
		}
	}
	return b
}

func decodeCell(b []byte) (*cellState, error) {
	bad := types.Refuse(types.BadEncoding, "energy: the line of a cell, of %d bytes", len(b))
	if len(b) < 1 || b[0] != cellVersion || (len(b)-1)%cellRecord != 0 || len(b) > 1+cellDays*cellRecord || len(b) == 1 {
		return nil, bad
	}
	c := new(cellState)
	for r := b[1:]; len(r) > 0; r = r[cellRecord:] {
		u16 := func(at int) uint16 { return binary.BigEndian.Uint16(r[at:]) }
		d := cellDay{Day: binary.BigEndian.Uint32(r), Devices: u16(4), Owners: u16(6), Yield: u16(8), Base: u16(10)}
		if len(c.days) > 0 && d.Day <= c.days[len(c.days)-1].Day {
			return nil, bad
		}
		c.days = append(c.days, d)
	}
	return c, nil
}

// remember takes the epoch's comparisons over into the cells' lines and returns them. A day that more devices were seen of before stays
// as it was; today is the region's latest day, and what is older than cellDays goes.
func (p *peers) remember(today uint32) []tally.CellState {
	for at := range p.pools {
		if at.by != byYield {
			continue
		}
		r := p.ranking(at)
		yield, ok := r.without(nil, 0, p.limits)
		if !ok {
			continue
		}
		d := cellDay{Day: at.day, Devices: clip(len(r.values)), Owners: clip(len(r.lasts)), Yield: clip(yield)}
		if base, ok := p.ranking(pool{at.cell, byBase, at.day}).without(nil, 0, p.limits); ok {
			d.Base = clip(base)
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
		if len(c.days) > 0 {
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
