package energy

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// cross compares devices and clears the region: who has which meter, what neighbours make likely, which days
// close; then the intervals that are over, neighbours first and certificates after; last, what nobody bought
// becomes lots.
func (v verifier) cross(in *tally.CrossInput) *tally.CrossOutput {
	c := &crossing{in: in, rules: v, market: rulesOf(in.Params.Rules), places: map[types.Cell]*Place{}, shine: map[shineAt]uint64{}, out: &tally.CrossOutput{}}
	c.done = c.market.Clock.Done(in.Time)
	c.peers = newPeers(&c.rules.limits, in.Cells)
	c.ledger = newLedger(&c.rules.limits, c.peers.cells)
	c.gather()
	c.claim()
	c.inherit()
	c.rank()
	today := uint32(0)
	for i := range c.members {
		m := &c.members[i]
		c.live(m)
		today = max(today, c.today(m))
	}
	c.ledger.write(c.peers.cells, today)
	c.out.Cells = c.peers.remember(today)
	orders := c.trade()
	for i := range c.members {
		c.keep(&c.members[i]) // sheets come first: no number of orders takes their room
	}
	c.state(orders)
	slices.SortFunc(c.out.States, func(a, b tally.DeviceState) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	return c.out
}

// crossing is one call of Cross.
type crossing struct {
	in      *tally.CrossInput
	rules   verifier
	market  *Rules
	done    uint64 // the first interval that is not over
	members []member
	byKey   map[types.Key]*member
	places  map[types.Cell]*Place
	shine   map[shineAt]uint64 // what the sun's bound comes to
	peers   *peers
	ledger  *ledger
	out     *tally.CrossOutput
	bytes   int // of out.Outputs

	clearing Clearing // its memory is used again
	trades   []Trade
	markets  []Market
}

// member is a device with what Cross finds of it.
type member struct {
	device   *tally.Device
	owner    uint32 // its account, by number
	zone     types.Cell
	place    *Place // the zone's: it has no altitude
	state    *State
	waited   bool   // another device had one of its meters until now
	line     []byte // as Verify left it
	flows    []Flow
	sold     []uint64 // beside flows: Wh
	parts    []segment
	closings []closing
	next     int       // the first flow that was not cleared yet
	orders   [2]*order // for the meter, by class
	bought   uint64    // Wh that the meter's order bought from neighbours …
	boughtIn uint64    // … in this interval
}

// gather reads the summaries. One that Verify did not write is left out.
func (c *crossing) gather() {
	c.members = make([]member, 0, len(c.in.Summaries))
	c.byKey = make(map[types.Key]*member, len(c.in.Summaries))
	owners := map[types.Account]uint32{}
	for i := range c.in.Summaries {
		sum := &c.in.Summaries[i]
		flows, state, line, err := readSummary(sum.Summary)
		if err != nil {
			continue
		}
		owner, known := owners[sum.Device.Owner]
		if !known {
			owner = uint32(len(owners))
			owners[sum.Device.Owner] = owner
		}
		m := member{device: sum.Device, owner: owner, zone: sum.Device.Cell.Parent(3), state: state, line: line, flows: flows, sold: make([]uint64, len(flows))}
		if m.place = c.places[m.zone]; m.place == nil {
			p := PlaceOf(m.zone, 0)
			m.place, c.places[m.zone] = &p, &p
		}
		m.parts = m.segments()
		c.members = append(c.members, m)
		c.byKey[m.device.Key] = &c.members[len(c.members)-1]
	}
}

// claim gives each meter to the device that named it first. Of one epoch, the lot decides: a key that is low
// enough to win for every meter can be made beforehand, one that wins for a meter not before its name is known.
func (c *crossing) claim() {
	type claim struct {
		m     *member
		since types.Epoch
	}
	first := make(map[types.Hash]claim, 2*len(c.members))
	each := func(do func(types.Hash, claim)) {
		for i := range c.members {
			m := &c.members[i]
			for role, meter := range m.state.Site.roles() {
				if !meter.IsZero() {
					do(meter, claim{m, m.state.Since[role]})
				}
			}
		}
	}
	each(func(meter types.Hash, mine claim) {
		old, ok := first[meter]
		if !ok || cmp.Or(cmp.Compare(mine.since, old.since), draw(meter, mine.m, old.m)) < 0 {
			first[meter] = mine
		}
	})
	for i := range c.members {
		m := &c.members[i]
		m.waited, m.state.Taken = m.state.Taken, false
	}
	if !c.rules.on(ruleMeters) {
		return
	}
	each(func(meter types.Hash, mine claim) {
		if first[meter].m != mine.m {
			mine.m.state.Taken = true
		}
	})
}

// draw compares two devices that named a meter in one epoch.
func draw(meter types.Hash, a, b *member) int {
	x, y := types.Sum(meter[:], a.device.Key[:]), types.Sum(meter[:], b.device.Key[:])
	return bytes.Compare(x[:], y[:])
}

// rank puts the devices that can be held up to into their neighbourhoods.
func (c *crossing) rank() {
	for i := range c.members {
		m := &c.members[i]
		s := m.state
		if s.meters() != 2 || s.Site.PDC == 0 || s.Taken {
			continue
		}
		at := standing{owner: m.owner}
		for _, part := range m.parts {
			at.k, at.value = part.k, yield(part.pv, s.Site.PDC)
			c.peers.add(m.device.Cell, byAny, part.day, at)
		}
		if !s.known(&c.rules.limits) {
			continue
		}
		at.k, at.value = 0, s.shown(&c.rules.limits)
		c.peers.add(m.device.Cell, byEnvelope, 0, at)
		for _, part := range m.parts {
			at.k, at.value = part.k, yield(part.pv, s.Site.PDC)
			c.peers.add(m.device.Cell, byYield, part.day, at)
			if s.Base > 0 {
				at.value = at.value * econ.Bps / uint64(s.Base)
				c.peers.add(m.device.Cell, byBase, part.day, at)
			}
		}
	}
}

// keep lays what a device did not sell into lots, seals the days that closed, and writes its line.
func (c *crossing) keep(m *member) {
	s := m.state
	closings := m.closings
	for _, part := range m.parts {
		for len(closings) > 0 && closings[0].day < part.day {
			c.seal(m, &closings[0])
			closings = closings[1:]
		}
		for i := range part.flows {
			f := &part.flows[i]
			sold := m.sold[m.at(f)]
			left := f.Accepted - sold
			switch {
			case left == 0:
			case s.meters() != 2:
				more(&s.Sums.Uncertified, left)
			case len(s.Lots) == lot.MaxLots:
				more(&s.Sums.Crowded, left)
			default:
				s.Lots = append(s.Lots, lot.Lot{K: f.K, From: f.From + sold, To: f.From + f.Accepted})
			}
		}
	}
	if line := s.Encode(); !bytes.Equal(line, m.line) {
		c.out.States = append(c.out.States, tally.DeviceState{Device: m.device.Key, State: line})
	}
}

// at returns the place of a flow among the member's.
func (m *member) at(f *Flow) int {
	i, _ := slices.BinarySearchFunc(m.flows, f.K, func(f Flow, k uint64) int { return cmp.Compare(f.K, k) })
	return i
}

// seal turns the lots of a day that closed into a sheet, or lets them lapse.
func (c *crossing) seal(m *member, day *closing) {
	s := m.state
	lots := s.Lots
	s.Lots = nil
	if len(lots) == 0 {
		return
	}
	if day.alarm || !c.room() {
		more(&s.Sums.Lapsed, lots.Total())
		return
	}
	more(&s.Sums.Sealed, lots.Total())
	sheet := lot.Sheet{
		Device: m.device.Key, Day: day.day, Zone: m.zone, Technology: uint8(s.Site.Technology), Power: s.Site.PAC,
		Stored: types.Bp(day.share), Total: lots.Total(), Digest: lots.Digest(),
	}
	c.put(sheet.Encode(), lots.Encode())
}

// room reports whether another leaf fits.
func (c *crossing) room() bool { return len(c.out.Outputs) < tally.MaxOutputs }

// put adds a leaf. Where there is no room for its detail, the leaf stands alone.
func (c *crossing) put(data, detail []byte) {
	c.bytes += len(data) + len(detail)
	if c.bytes > tally.MaxOutputBytes-tally.MaxOutputs*maxStatement {
		c.bytes -= len(detail)
		detail = nil
	}
	c.out.Outputs = append(c.out.Outputs, tally.OutputData{Data: data, Detail: detail})
}
