package energy

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a device's line.
const (
	MaxState    = 1024 // bytes
	MaxPending  = 8    // intervals that a record may be ahead of the last one that is over, and so intervals that wait
	MaxLate     = 672  // intervals after which a record says nothing any more: 7 days
	MaxRegister = 1 << 48
	maxVirtual  = 1 << 50
	maxRatios   = 60
	window      = 7 // days that intervals are counted and alarms remembered for
	dayRecords  = 96
)

// State is what the tally keeps of a device. Watt-hours, unless a field says otherwise. Days are solar days at
// the device's longitude, since 1970-01-01.
type State struct {
	Site  Site                    // the zero Site: none has been declared
	Since [meterRoles]types.Epoch // when its grid, pv and battery meters were named: of two that claim one, the earlier has it
	Named uint64                  // the first interval that its meters count for it: what they count before, another device may have read
	Taken bool                    // another device had one of the site's meters before: nothing counts
	Asks  [2]Ask                  // what the device asks for Community and Certificate

	// Readings.
	Done    uint64            // the first interval that was not over at the start of the last epoch
	K       uint64            // the interval of the last record …
	Boot    uint32            // … its boot …
	Present Mask              // … and the registers that it had: a step from one that it had not means nothing
	Wh      [Registers]uint64 // the registers as last read
	V       uint64            // the virtual register: what the export register would show had it never been reset
	Pending []Interval        // that are not over yet, ascending

	// What the panels can do.
	Stored       uint64   // green energy in the battery, in 10⁻⁴ Wh
	Unshown      uint16   // Wh that the panels made and an export register in whole kWh has not shown yet, or those of another one may show later
	Unlit        uint16   // Wh that the sun allowed and a register in whole kWh has not shown yet
	Peak         uint16   // the largest ratio to the bound while commissioning, in bp
	PeerEnvelope uint16   // the neighbours' median envelope in bp; 0 without neighbours
	Commissioned uint8    // days so far, up to Thresholds.Commissioning
	Ratios       []uint16 // of the device's day to its neighbours' median day, in bp: the last Thresholds.Ratios that taught something
	Base         uint16   // follows their median; 0 until there are enough
	FirstBase    uint16   // what it was at first
	Ahead        uint16   // Wh per kW by which the days that closed ran ahead of what neighbours make likely …
	AheadNow     uint16   // … and with the day that runs, as of the last comparison

	// The day.
	Day     uint32
	Records uint8  // intervals read
	PV      uint64 // produced, as reported
	Excess  uint64 // … of which above the bound
	Cut     uint64 // … of which above what neighbours make likely
	Over    bool   // PV is above what neighbours make likely, as of the last comparison
	PeerDay uint16 // the neighbours' median yield, as of the last comparison, in Wh per kW; 0 without neighbours
	Clear   uint16 // what a clear day could give the device, as of the last comparison, in Wh per kW; 0 without one
	Bright  bool   // there was sun
	Sold    uint64 // accepted …
	Battery uint64 // … of which out of the battery
	Lots    lot.Lots

	// The days before.
	Counts   [window]uint8 // intervals read, yesterday first
	Alarms   uint8         // bit i: there was an alarm i days before Day; bit 0 is of the site that the day began with
	Frozen   uint32        // nothing is accepted before this day
	FrozeOn  uint32        // the day whose alarm froze the device last
	FrozeFor uint8         // and for how many days

	Sums Sums
}

// Ask is a device's ask of one class, as long as it stands.
type Ask struct {
	Seq   uint64      // of the ask's Terms; the highest counts
	Price uint16      // micro-credits per Wh
	Until types.Epoch // the last epoch in which it stands; 0 is none
}

// Interval is what flowed between two readings.
type Interval struct {
	K     uint64            // the interval of the later reading
	Span  uint8             // intervals between the readings; 0 is more than MaxSpan
	Late  bool              // it came after the interval was cleared
	Known Mask              // the registers whose steps are known
	Whole Mask              // the registers of these that count in whole kWh, of wholes
	Wh    [Registers]uint64 // the steps; that of Export is always given, and moves the virtual register
	From  uint64            // the virtual register before
}

// MaxSpan is how many intervals a step may go over and still count.
const MaxSpan = 4

// Sums say where each watt-hour went that the export register counted since the device began: Exported is the
// sum of all after it, and of the lots and the intervals that wait.
type Sums struct {
	Produced     uint64 // by the panels, up to the bound
	Exported     uint64
	Community    uint64 // sold to neighbours
	Certificate  uint64 // sold with certificate
	Sealed       uint64 // not sold: can be issued as certificates
	Uncertified  uint64 // not sold, and no certificates for it: a site with one meter
	Netted       uint64 // the same interval took as much from the grid
	Gap          uint64 // between readings that lie too far apart, or miss a register
	Conservation uint64 // more came out than went in
	AboveSky     uint64 // more than the sun can have made
	Origin       uint64 // out of a battery that was not charged from the panels
	PeerCap      uint64 // more than neighbours make likely
	Frozen       uint64 // while the device was frozen
	Lapsed       uint64 // not sold on a day with an alarm
	Taken        uint64 // while another device has the meter
	Crowded      uint64 // not sold, and no room to keep the lot
}

// all returns the sums in the order in which they are written.
func (s *Sums) all() []*uint64 {
	return []*uint64{&s.Produced, &s.Exported, &s.Community, &s.Certificate, &s.Sealed, &s.Uncertified, &s.Netted, &s.Gap, &s.Conservation,
		&s.AboveSky, &s.Origin, &s.PeerCap, &s.Frozen, &s.Lapsed, &s.Taken, &s.Crowded}
}

// Withheld returns what was counted and can neither be sold nor issued.
func (s *Sums) Withheld() uint64 {
	return s.Uncertified + s.Gap + s.Conservation + s.AboveSky + s.Origin + s.PeerCap + s.Frozen + s.Lapsed + s.Taken + s.Crowded
}

// meterRoles is how many meters a site can name.
const meterRoles = 3

// roles returns the site's meters in the order of its fields; zero for none.
func (s *Site) roles() [meterRoles]types.Hash { return [...]types.Hash{s.Grid, s.PV, s.Battery} }

// meterIDs returns the site's meters, without those that are not there.
func (s *Site) meterIDs() []types.Hash {
	all := s.roles()
	return slices.DeleteFunc(all[:], types.Hash.IsZero)
}

// meters returns how many meters measure the site's production and its grid connection.
func (s *State) meters() int {
	if s.Site.PV.IsZero() {
		return 1
	}
	return 2
}

// Count is how many watt-hours were counted, and neither sold nor can be issued, for a reason of the Spec's table.
type Count struct {
	Reason types.Reason
	Wh     uint64
}

// Counts returns what was netted and withheld, by reason: what an operator asks about.
func (s *Sums) Counts() []Count {
	return []Count{
		{CountNetted, s.Netted}, {CountGap, s.Gap}, {CountConservation, s.Conservation}, {CountAboveSky, s.AboveSky}, {CountOrigin, s.Origin},
		{CountPeerCap, s.PeerCap}, {CountFrozen, s.Frozen}, {CountLapsed, s.Lapsed}, {CountUncertified, s.Uncertified}, {MeterTaken, s.Taken},
		{CountCrowded, s.Crowded},
	}
}

const stateVersion = 2

// Flags of a line.
const (
	flagTaken = 1 << iota
	flagOver
	flagBright
	flagSite
	flagWhole
)

// Encode returns the line, which is at most MaxState bytes: lots that find no room are given up, newest first,
// and counted in Sums.Crowded. It is nil for a device that has said nothing.
func (s *State) Encode() []byte {
	if s.Site.Grid.IsZero() && s.Asks == [2]Ask{} && s.Sums == (Sums{}) {
		return nil
	}
	for {
		b := s.append(make([]byte, 0, 512))
		if len(b) <= MaxState || len(s.Lots) == 0 {
			return b
		}
		last := s.Lots[len(s.Lots)-1]
		s.Lots = s.Lots[:len(s.Lots)-1]
		more(&s.Sums.Crowded, last.To-last.From)
	}
}

func (s *State) append(b []byte) []byte {
	u := binary.AppendUvarint
	var flags byte
	for i, on := range []bool{s.Taken, s.Over, s.Bright, !s.Site.Grid.IsZero(), s.Unshown > 0 || s.Unlit > 0} {
		if on {
			flags |= 1 << i
		}
	}
	b = append(b, stateVersion, flags)
	if flags&flagSite != 0 {
		b = s.Site.append(b)
	}
	for _, e := range s.Since {
		b = u(b, uint64(e))
	}
	b = u(b, s.Named)
	for i := range s.Asks {
		b = u(u(u(b, s.Asks[i].Seq), uint64(s.Asks[i].Price)), uint64(s.Asks[i].Until))
	}
	b = append(u(u(u(b, s.Done), s.K), uint64(s.Boot)), byte(s.Present))
	for _, wh := range s.Wh {
		b = u(b, wh)
	}
	b = appendIntervals(u(b, s.V), s.Pending)
	b = u(u(u(b, s.Stored), uint64(s.Peak)), uint64(s.PeerEnvelope))
	if flags&flagWhole != 0 {
		b = u(u(b, uint64(s.Unshown)), uint64(s.Unlit))
	}
	b = append(b, s.Commissioned, byte(len(s.Ratios)))
	for _, r := range s.Ratios {
		b = binary.BigEndian.AppendUint16(b, r)
	}
	b = u(u(u(u(b, uint64(s.Base)), uint64(s.FirstBase)), uint64(s.Ahead)), uint64(s.AheadNow))
	b = append(u(b, uint64(s.Day)), s.Records)
	b = u(u(u(u(u(b, s.PV), s.Excess), s.Cut), uint64(s.PeerDay)), uint64(s.Clear))
	b = u(u(b, s.Sold), s.Battery)
	b = append(append(b, s.Counts[:]...), s.Alarms)
	b = append(u(u(b, uint64(s.Frozen)), uint64(s.FrozeOn)), s.FrozeFor)
	for _, sum := range s.Sums.all() {
		b = u(b, *sum)
	}
	b = append(b, byte(len(s.Lots)))
	var k, v uint64
	for _, l := range s.Lots {
		b = u(u(u(b, l.K-k), l.From-v), l.To-l.From)
		k, v = l.K, l.To
	}
	return b
}

// append writes a site as fields of a line.
func (s *Site) append(b []byte) []byte {
	u := binary.AppendUvarint
	b = u(u(append(b, byte(s.Technology)), uint64(s.PDC)), uint64(s.PAC))
	b = append(append(append(append(b, s.Altitude), s.Grid[:]...), s.PV[:]...), s.Battery[:]...)
	return u(u(b, uint64(s.Storage)), uint64(s.Efficiency))
}

// wholes are the registers of which it matters whether they count in whole kWh: what they show too late,
// conservation would hold against a site. Import shown too late or too early is none of these, and charge goes
// with discharge.
var wholes = [...]Register{Export, PV, Discharge}

// pack keeps of a mask what is in wholes.
func (m Mask) pack() (packed Mask) {
	for i, r := range wholes {
		packed |= m >> r & 1 << i
	}
	return packed
}

func unpack(packed Mask) (m Mask) {
	for i, r := range wholes {
		m |= packed >> i & 1 << r
	}
	return m
}

func appendIntervals(b []byte, list []Interval) []byte {
	u := binary.AppendUvarint
	b = u(b, uint64(len(list)))
	k := uint64(0)
	for i := range list {
		v := &list[i]
		b = u(b, v.K-k)
		late := byte(0)
		if v.Late {
			late = 1
		}
		b = append(b, v.Span<<1|late, byte(v.Known|v.Whole.pack()<<Registers))
		b = u(u(b, v.From), v.Wh[Export])
		for r := Import; r < Registers; r++ {
			if v.Known.Has(r) {
				b = u(b, v.Wh[r])
			}
		}
		k = v.K
	}
	return b
}

// DecodeState reads a line as Encode writes it, and nothing else; no bytes are the state of a device that has
// said nothing.
func DecodeState(b []byte) (*State, error) {
	s := new(State)
	if len(b) == 0 {
		return s, nil
	}
	r := reader{b: b}
	if !s.read(&r) || !r.end() || len(b) > MaxState {
		return nil, types.Refuse(types.BadEncoding, "energy: state: a line of %d bytes", len(b))
	}
	if err := s.check(); err != nil {
		return nil, types.Refuse(types.BadEncoding, "energy: state: %v", err)
	}
	return s, nil
}

func (s *State) read(r *reader) bool {
	if r.u8(255) != stateVersion {
		return false
	}
	flags := r.u8(1<<5 - 1)
	s.Taken, s.Over, s.Bright = flags&flagTaken != 0, flags&flagOver != 0, flags&flagBright != 0
	if flags&flagSite != 0 {
		s.Site.read(r)
	}
	for i := range s.Since {
		s.Since[i] = types.Epoch(r.uint(1<<63 - 1))
	}
	s.Named = r.uint(1<<63 - 1)
	for i := range s.Asks {
		s.Asks[i] = Ask{Seq: r.uint(1<<64 - 1), Price: uint16(r.uint(1<<16 - 1)), Until: types.Epoch(r.uint(1<<64 - 1))}
	}
	s.Done, s.K, s.Boot = r.uint(1<<63-1), r.uint(1<<63-1), uint32(r.uint(1<<32-1))
	s.Present = Mask(r.u8(1<<Registers - 1))
	for i := range s.Wh {
		s.Wh[i] = r.uint(MaxRegister)
	}
	s.V = r.uint(maxVirtual)
	s.Pending = readIntervals(r, MaxPending, nil)
	s.Stored, s.Peak, s.PeerEnvelope = r.uint(MaxStorage*econ.Bps), uint16(r.uint(econ.Bps)), uint16(r.uint(econ.Bps))
	if flags&flagWhole != 0 {
		if s.Unshown, s.Unlit = uint16(r.uint(Whole)), uint16(r.uint(Whole)); s.Unshown == 0 && s.Unlit == 0 {
			return false // there is one encoding of everything
		}
	}
	s.Commissioned = r.u8(255)
	if n := r.u8(maxRatios); n > 0 {
		s.Ratios = make([]uint16, n)
		for i := range s.Ratios {
			s.Ratios[i] = r.u16()
		}
	}
	s.Base, s.FirstBase = uint16(r.uint(1<<16-1)), uint16(r.uint(1<<16-1))
	s.Ahead, s.AheadNow = uint16(r.uint(1<<16-1)), uint16(r.uint(1<<16-1))
	s.Day, s.Records = uint32(r.uint(1<<32-1)), r.u8(dayRecords)
	s.PV, s.Excess, s.Cut, s.PeerDay = r.uint(maxVirtual), r.uint(maxVirtual), r.uint(maxVirtual), uint16(r.uint(1<<16-1))
	s.Clear = uint16(r.uint(1<<16 - 1))
	s.Sold, s.Battery = r.uint(maxVirtual), r.uint(maxVirtual)
	r.bytes(s.Counts[:])
	s.Alarms, s.Frozen, s.FrozeOn, s.FrozeFor = r.u8(1<<window-1), uint32(r.uint(1<<32-1)), uint32(r.uint(1<<32-1)), r.u8(255)
	for _, sum := range s.Sums.all() {
		*sum = r.uint(1<<63 - 1)
	}
	var k, v uint64
	n := r.u8(lot.MaxLots)
	if n > 0 {
		s.Lots = make(lot.Lots, 0, n)
	}
	for range n {
		l := lot.Lot{K: k + r.uint(1<<62), From: v + r.uint(maxVirtual)}
		l.To = l.From + r.uint(maxVirtual)
		s.Lots = append(s.Lots, l)
		k, v = l.K, l.To
	}
	return !r.bad
}

func (s *Site) read(r *reader) {
	s.Technology, s.PDC, s.PAC, s.Altitude = Technology(r.u8(255)), uint32(r.uint(MaxPower)), uint32(r.uint(MaxPower)), r.u8(MaxAltitude)
	r.bytes(s.Grid[:])
	r.bytes(s.PV[:])
	r.bytes(s.Battery[:])
	s.Storage, s.Efficiency = uint32(r.uint(MaxStorage)), types.Bp(r.uint(MaxEfficiency))
}

// readIntervals appends at most limit intervals.
func readIntervals(r *reader, limit uint64, to []Interval) []Interval {
	k := uint64(0)
	for range r.uint(limit) {
		v := Interval{K: k + r.uint(1<<62)}
		flags := r.u8(MaxSpan<<1 | 1)
		known := Mask(r.u8(1<<Registers<<len(wholes) - 1))
		v.Late, v.Span, v.Known, v.Whole = flags&1 == 1, flags>>1, known&(1<<Registers-1), unpack(known>>Registers)
		v.From, v.Wh[Export] = r.uint(maxVirtual), r.uint(maxVirtual)
		for i := Import; i < Registers; i++ {
			if v.Known.Has(i) {
				v.Wh[i] = r.uint(MaxRegister)
			}
		}
		if r.bad || len(to) > 0 && v.K == k {
			r.bad = true
			return nil
		}
		to = append(to, v)
		k = v.K
	}
	return to
}

// check holds a line to what every line obeys.
func (s *State) check() error {
	if !s.Site.Grid.IsZero() {
		if err := s.Site.Check(); err != nil {
			return err
		}
	} else if s.Site != (Site{}) || s.K != 0 || len(s.Pending) > 0 {
		return fmt.Errorf("readings without a site")
	}
	if len(s.Lots) > 0 {
		if err := s.Lots.Check(); err != nil {
			return err
		}
		if last := s.Lots[len(s.Lots)-1]; last.To > s.V || last.K > s.K {
			return fmt.Errorf("a lot up to %d of interval %d, the register is at %d in interval %d", last.To, last.K, s.V, s.K)
		}
	}
	for i := range s.Pending {
		if v := &s.Pending[i]; v.K > s.K || v.From+v.Wh[Export] > s.V {
			return fmt.Errorf("interval %d waits, the last record is of %d", v.K, s.K)
		}
	}
	return nil
}

// clone copies a state so deep that changing one cannot change the other.
func (s *State) clone() *State {
	c := *s
	c.Pending, c.Ratios, c.Lots = slices.Clone(s.Pending), slices.Clone(s.Ratios), slices.Clone(s.Lots)
	return &c
}

// reader takes fields off what append wrote, each in its one form.
type reader struct {
	b   []byte
	bad bool
}

// uint reads an unsigned integer of at most max (LEB128, as encoding/binary writes it), in its shortest form.
func (r *reader) uint(max uint64) uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 || x > max || n > 1 && r.b[n-1] == 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) u8(max uint8) uint8 {
	if len(r.b) == 0 || r.b[0] > max {
		r.bad, r.b = true, nil
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

func (r *reader) u16() uint16 { return uint16(r.u8(255))<<8 | uint16(r.u8(255)) }

func (r *reader) bytes(to []byte) {
	if len(r.b) < len(to) {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[copy(to, r.b):]
}

// end reports whether everything was read, and as it should be.
func (r *reader) end() bool { return !r.bad && len(r.b) == 0 }
