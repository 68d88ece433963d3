package servicetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// MeterCategory is Meter's number, out of the protocol's own range.
const MeterCategory types.Category = 60

// Class and kinds of Meter.
const (
	MeterTicks types.Class = 1 // unit tick
	MeterLive  types.Class = 2 // not sold: its ask says at which address witnesses can look at the register (MeterAddress)
	MeterStock types.Class = 3 // ticks that a device gives away to whoever asks it for some (MeterTake)

	MeterReading evidence.Kind = 1 // MeterRegister of the device's own
	MeterEcho    evidence.Kind = 2 // MeterChallenge
	MeterSighted evidence.Kind = 3 // MeterRegister, by a witness
	MeterThing   evidence.Kind = 4 // MeterShown: what one of the things behind the device counted
)

// Figures of Meter's rules.
const (
	MeterScale  = 1000    // prices are micro-credits per 1,000 ticks
	MeterPrice  = 5000    // of what orders buy, per MeterScale, unless rules say another
	MeterMost   = 1 << 20 // ticks of a device in one epoch
	MeterSeats  = 4       // witnesses that are drawn for a device in an epoch
	MeterPanel  = 3       // of them that make a verdict
	MeterLeeway = 100     // ticks that a register may be above what witnesses saw
	meterStep   = 500     // basis points of quality that one echo is worth
	meterState  = 8 + 4 + 3*8
)

// Meter's reasons.
const (
	MeterFalls      types.Reason = "meter.register_falls"
	MeterFast       types.Reason = "meter.too_fast"
	MeterOverstated types.Reason = "meter.overstated"
	MeterEchoWrong  types.Reason = "meter.echo_wrong"
	MeterBeyond     types.Reason = "meter.units_beyond_register"
	MeterNotDrawn   types.Reason = "meter.witness_not_drawn"
	MeterAskStale   types.Reason = "meter.ask_stale"
	MeterSoldOut    types.Reason = "meter.sold_out"
)

// MeterSight is the purpose for which witnesses are drawn: to look at the register.
const MeterSight = "sight"

// MeterRules are Meter's own rules (tally.Params.Rules).
type MeterRules struct {
	_     struct{} `cbor:",toarray"`
	Price uint64   // of what orders buy, per MeterScale; above 0
}

// Encode returns the rules as the chain keeps them.
func (r *MeterRules) Encode() []byte { return types.Encode(r) }

// checkMeterRules refuses rules that Meter would replace by its defaults.
func checkMeterRules(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var r MeterRules
	if err := types.Decode(raw, &r); err != nil {
		return fmt.Errorf("meter: rules: %w", err)
	}
	if r.Price == 0 {
		return types.Refuse(types.ParamBound, "meter: rules: no price")
	}
	return nil
}

// meterPrice returns what orders pay by rules, and the default by broken ones.
func meterPrice(raw []byte) uint64 {
	var r MeterRules
	if checkMeterRules(raw) != nil || types.Decode(raw, &r) != nil {
		return MeterPrice
	}
	return r.Price
}

// MeterRegister is the body of a reading: what the register shows, in ticks since the meter was made.
type MeterRegister struct {
	_        struct{} `cbor:",toarray"`
	Device   types.Key
	Register uint64
}

// Encode returns the body.
func (m *MeterRegister) Encode() []byte { return types.Encode(m) }

// MeterChallenge is the body of an echo: what every device has to answer in an epoch whose challenges bind.
func MeterChallenge(seed types.Hash, device types.Key) []byte {
	h := types.Sum([]byte("cairn/meter"), seed[:], device[:])
	return h[:]
}

// Meter is a category for tests. A device counts ticks and reads its register out once an epoch. What it adds
// is network-ordered work, of which its quality says how much weight it has. A right echo of the seed raises
// quality by 5 %, a wrong or missing one lowers it. Of four verifiers, or devices, that are drawn to look at
// it, three or more who see less than the register claims prove it a lie. A customer pays for ticks up to the
// register, by receipt; or orders ticks of the next epochs, which Cross sells at the price of the rules in the
// order of accounts. A device may say the least that it sells for, by an ask whose terms are a number that
// rises. Each cell and each device's line counts what was sold, and each device's sales are an output, with the
// buyers as its detail. What things behind a device count (MeterThing) is its work as well, within the same
// bounds as its own ticks; a thing that several devices show counts for the first of them.
func Meter() service.Verifier { return meter(tally.Verifiers) }

// PeerMeter is Meter with devices that are drawn as witnesses, not verifiers.
func PeerMeter() service.Verifier { return meter(tally.Peers) }

func meter(drawn tally.Candidates) service.Verifier {
	return service.Verifier{Spec: meterSpec(drawn), Verify: verifyMeter, Cross: crossMeter, Subject: meterSubject, CheckRules: checkMeterRules}
}

func meterSpec(drawn tally.Candidates) *service.Spec {
	return &service.Spec{
		Category: MeterCategory,
		Name:     "meter",
		Classes: []tally.Class{
			{Class: MeterTicks, Name: "ticks", Unit: "tick", Scale: MeterScale},
			{Class: MeterLive, Name: "live", Unit: "look", Scale: 1},
			{Class: MeterStock, Name: "stock", Unit: "tick", Scale: 1},
		},
		Kinds: []tally.Kind{
			{Kind: MeterReading, Name: "reading", Cumulative: true},
			{Kind: MeterEcho, Name: "echo"},
			{Kind: MeterSighted, Name: "sighted", Witness: true},
			{Kind: MeterThing, Name: "thing"},
		},
		Quota:   tally.Quota{Count: 16, Bytes: 16 << 10},
		Witness: tally.Quota{Count: 256, Bytes: 256 << 10},
		Drawn:   drawn,
		Draws:   []tally.Draw{{Purpose: MeterSight, Seats: MeterSeats}},
		Params: tally.Params{Threshold: 5 * MeterMost * 10000, Hex: 9, Bond: 1000000, Penalty: 500000,
			Rules: (&MeterRules{Price: MeterPrice}).Encode()},
		Economy:    tally.Economy{Reference: 5000, PriceUnit: MeterScale, Quota: MeterMost},
		MaxState:   meterState,
		ProofDelay: 2,
		Reasons: []types.ReasonInfo{
			{Reason: MeterFalls, Status: 409, Sentence: "The register is below the last reading.", Try: "Registers only count up."},
			{Reason: MeterFast, Status: 409, Sentence: "The register moved further than a meter can in one epoch.", Try: "Read it out every epoch."},
			{Reason: MeterOverstated, Status: 409, Sentence: "Witnesses saw less than the register claims.", Try: "Report what the register shows."},
			{Reason: MeterEchoWrong, Status: 409, Sentence: "The echo is not that of the epoch's seed, or not the first.", Try: "Answer this epoch's challenge, once."},
			{Reason: MeterSoldOut, Status: 409, Sentence: "The device has fewer ticks left.", Try: "Ask for less, or ask another one."},
			{Reason: MeterAskStale, Status: 409, Sentence: "The ask's number is not above that of the newest one that counted.", Try: "Number asks upwards."},
			{Reason: MeterNotDrawn, Status: 403, Sentence: "The report is by somebody who was not drawn to look at the device.",
				Try: "Report on those that you were drawn for."},
			{Reason: MeterBeyond, Status: 409, Sentence: "The receipt shows more units than the register.", Try: "Hand it in when the register has got there."},
		},
	}
}

// meterSubject returns the device that a witness's report names.
func meterSubject(e *evidence.Envelope) (types.Key, error) {
	var m MeterRegister
	err := types.Decode(e.Body, &m)
	return m.Device, err
}

// MeterLine is what Meter keeps of a device.
type MeterLine struct {
	Register uint64
	Quality  types.Bp
	Number   uint64 // of the newest ask that counted
	Least    uint64 // what the device sells for at least, per MeterScale
	Sold     uint64 // ticks, ever, to orders
}

// ParseMeterLine reads a line; that of a new device is the default.
func ParseMeterLine(line []byte) MeterLine {
	if len(line) != meterState {
		return MeterLine{Quality: 5000}
	}
	return MeterLine{
		Register: binary.BigEndian.Uint64(line), Quality: types.Bp(binary.BigEndian.Uint32(line[8:])),
		Number: binary.BigEndian.Uint64(line[12:]), Least: binary.BigEndian.Uint64(line[20:]), Sold: binary.BigEndian.Uint64(line[28:]),
	}
}

// Encode returns the line as the tally keeps it.
func (l MeterLine) Encode() []byte {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, l.Register), uint32(l.Quality))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, l.Number), l.Least), l.Sold)
}

// MeterState is what most want to know of a line: the register, and quality in basis points.
func MeterState(line []byte) (register uint64, quality types.Bp) {
	l := ParseMeterLine(line)
	return l.Register, l.Quality
}

// MeterAsk returns an ask that says what a device sells for at least, per MeterScale.
func MeterAsk(number, least uint64, until types.Epoch) receipt.Ask {
	return receipt.Ask{Category: MeterCategory, Class: MeterTicks, Price: least, Terms: types.Encode(number), Until: until}
}

// verifyMeter judges one device's epoch.
func verifyMeter(in *service.Input) *service.Output {
	line := ParseMeterLine(in.State)
	register, quality := line.Register, line.Quality
	out := &service.Output{
		Evidence: make([]service.Verdict, len(in.Evidence)),
		Reports:  make([]service.Verdict, len(in.Reports)),
		Receipts: make([]types.Reason, len(in.Receipts)),
		Asks:     line.ask(in.Asks),
	}
	seen, panel := sighted(in, out)
	start, echoed := register, false
	var shown []int // evidence about things
	for i, e := range in.Evidence {
		switch e.Kind {
		case MeterReading:
			out.Evidence[i] = read(in, e, &register, start, seen, panel)
		case MeterEcho:
			if echoed || !in.Challenged || !bytes.Equal(e.Body, MeterChallenge(in.Seed, in.Device.Key)) {
				out.Evidence[i].Reason = MeterEchoWrong
			} else {
				echoed = true
			}
		case MeterThing:
			shown = append(shown, i)
		default:
			out.Evidence[i].Reason = types.UnknownKind
		}
	}
	if in.Challenged && echoed {
		quality = min(quality+meterStep, 10000)
	} else if in.Challenged {
		quality -= min(quality, meterStep)
	}
	for i, item := range in.Receipts {
		if item.Receipt.Units.Cmp(types.U64(register)) > 0 {
			out.Receipts[i] = MeterBeyond
		}
	}
	ticks := register - start
	things := countThings(in, out, shown, MeterMost-ticks)
	out.Quality, out.Totals = quality, []uint64{1, ticks}
	line.Register, line.Quality = register, quality
	out.State = line.Encode()
	if ticks > 0 {
		out.Ordered = []tally.Ordered{{Class: MeterTicks, Units: types.U64(ticks)}}
	}
	if ticks > 0 || len(things) > 0 {
		out.Summary = append(binary.BigEndian.AppendUint64(nil, ticks), out.State...)
		for _, t := range things {
			out.Summary = binary.BigEndian.AppendUint64(append(out.Summary, t.Key[:]...), t.Ticks)
		}
	}
	return out
}

// ask takes in asks with a number, of which the highest counts. Those without are for receipts.
func (l *MeterLine) ask(asks []*receipt.Ask) []types.Reason {
	verdicts := make([]types.Reason, len(asks))
	newest, number := -1, l.Number
	for i, a := range asks {
		var n uint64
		switch {
		case len(a.Terms) == 0:
		case types.Decode(a.Terms, &n) != nil:
			verdicts[i] = types.BadEncoding
		case n <= number:
			verdicts[i] = MeterAskStale
		default:
			if newest >= 0 {
				verdicts[newest] = MeterAskStale
			}
			newest, number = i, n
		}
	}
	if newest >= 0 {
		l.Number, l.Least = number, asks[newest].Price
	}
	return verdicts
}

// sighted returns the median of what witnesses saw, and whether there are enough of them. One author counts once.
func sighted(in *service.Input, out *service.Output) (median uint64, enough bool) {
	var all []uint64
	authors := map[types.Key]bool{}
	drawn := in.Panel.Draw(in.Device, MeterSight)
	for i, e := range in.Reports {
		var m MeterRegister
		switch err := types.Decode(e.Body, &m); {
		case e.Kind != MeterSighted:
			out.Reports[i].Reason = types.UnknownKind
		case err != nil:
			out.Reports[i].Reason = types.ReasonOf(err)
		case !slices.Contains(drawn, e.Author):
			out.Reports[i].Reason = MeterNotDrawn
		case m.Device != in.Device.Key || authors[e.Author]:
			out.Reports[i].Reason = types.BadEncoding
		default:
			authors[e.Author] = true
			all = append(all, m.Register)
		}
	}
	if len(all) < MeterPanel {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}

// read moves the register, or says why not.
func read(in *service.Input, e *evidence.Envelope, register *uint64, start, seen uint64, panel bool) service.Verdict {
	var m MeterRegister
	switch err := types.Decode(e.Body, &m); {
	case err != nil:
		return service.Verdict{Reason: types.ReasonOf(err)}
	case m.Device != in.Device.Key:
		return service.Verdict{Reason: types.UnknownAuthor}
	case m.Register < *register:
		return service.Verdict{Reason: MeterFalls}
	case m.Register-start > MeterMost:
		return service.Verdict{Reason: MeterFast}
	case panel && m.Register > seen && m.Register-seen > MeterLeeway:
		return service.Verdict{Reason: MeterOverstated, Proof: true}
	}
	*register = m.Register
	return service.Verdict{}
}

// MeterSale is an output: ticks that a device sold to orders in one epoch, and the digest of who bought, which
// is its detail.
type MeterSale struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	Ticks  uint64
	Buyers types.Hash // SHA-256 of the encoding of a list of MeterBuyer
}

// MeterBuyer is one order that bought from a device.
type MeterBuyer struct {
	_       struct{} `cbor:",toarray"`
	Session tally.SessionKey
	Ticks   uint64
}

// MeterSalePrefix is what the outputs of a device's sales start with.
func MeterSalePrefix(device types.Key) []byte { return append([]byte{0x83, 0x58, 0x20}, device[:]...) }

// crossMeter sells the epoch's ticks to orders, both sides in the order given.
func crossMeter(in *tally.CrossInput) *tally.CrossOutput {
	out := &tally.CrossOutput{Ordered: crossThings(in)}
	price := meterPrice(in.Params.Rules)
	sold := make([]uint64, len(in.Summaries))
	buyers := make([][]MeterBuyer, len(in.Summaries))
	next := 0 // the first device that has something left
	for _, o := range in.Orders {
		if o.Order.Limit < price {
			continue
		}
		session := tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}
		want := uint64(o.Reserved) / price // whole thousands, so that every fill is exact
		want = min(want, MeterMost) * MeterScale
		if most, ok := o.Order.Most.Uint64(); ok {
			want = min(want, most/MeterScale*MeterScale)
		}
		for want > 0 && next < len(in.Summaries) {
			s := &in.Summaries[next]
			have := uint64(0)
			if summaryLine(s.Summary).Least <= price {
				have = ticks(s.Summary)/MeterScale*MeterScale - sold[next]
			}
			n := min(want, have)
			if n == 0 {
				next++
				continue
			}
			sold[next] += n
			want -= n
			buyers[next] = append(buyers[next], MeterBuyer{Session: session, Ticks: n})
			out.Fills = append(out.Fills, tally.Fill{Session: session, Device: s.Device.Key, Units: types.U64(n), Amount: types.Credit(n / MeterScale * price)})
		}
	}
	out.Cells = count(in, sold)
	for i, n := range sold {
		if n == 0 {
			continue
		}
		s := &in.Summaries[i]
		line := summaryLine(s.Summary)
		line.Sold += n
		out.States = append(out.States, tally.DeviceState{Device: s.Device.Key, State: line.Encode()})
		detail := types.Encode(buyers[i])
		out.Outputs = append(out.Outputs, tally.OutputData{Data: types.Encode(&MeterSale{Device: s.Device.Key, Ticks: n, Buyers: types.Sum(detail)}), Detail: detail})
	}
	slices.SortFunc(out.States, func(a, b tally.DeviceState) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	return out
}

// ticks reads a summary.
func ticks(summary []byte) uint64 { return binary.BigEndian.Uint64(summary) }

// count adds what was sold to the cells' lines.
func count(in *tally.CrossInput, sold []uint64) []tally.CellState {
	cells := slices.Clone(in.Cells)
	for i, n := range sold {
		if n == 0 {
			continue
		}
		cell := in.Summaries[i].Device.Cell
		at, ok := slices.BinarySearchFunc(cells, cell, func(c tally.CellState, cell types.Cell) int {
			if c.Cell < cell {
				return -1
			} else if c.Cell > cell {
				return 1
			}
			return 0
		})
		if !ok {
			cells = slices.Insert(cells, at, tally.CellState{Cell: cell, State: make([]byte, 8)})
		}
		cells[at].State = binary.BigEndian.AppendUint64(nil, ticks(cells[at].State)+n)
	}
	return cells
}
