package tally

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// The category of these tests: "thing" has two classes, units per receipt, work that the network orders, a note
// that counts also in a later epoch, a witness's report that may prove misconduct, openings that both sides
// signed (taken on trust here), asks with a number that rises, rules of its own, and a Cross that lets each
// order buy from every device that worked, counts in their lines how often they did, and puts that out.
const (
	thing = types.Category(40)
	other = types.Category(41) // the same, without Cross, density and reports

	kindWork   = evidence.Kind(1) // body {class, units, quality}
	kindNote   = evidence.Kind(2) // cumulative; body ignored
	kindReport = evidence.Kind(3) // body {device, proof}
	kindOpen   = evidence.Kind(4) // body {session, ask, price}
	kindClose  = evidence.Kind(5) // body {session}
	kindBreak  = evidence.Kind(6) // makes Verify break its bounds
)

type workBody struct {
	_       struct{} `cbor:",toarray"`
	Class   types.Class
	Units   types.U128
	Quality types.Bp
}

type reportBody struct {
	_      struct{} `cbor:",toarray"`
	Device types.Key
	Proof  bool
}

type openBody struct {
	_       struct{} `cbor:",toarray"`
	Session SessionKey
	Terms   types.Hash
	Price   uint64
}

const badThing types.Reason = "thing.bad"

// thingLine is a device's line: notes, the number of its newest ask, and how often Cross met it; after four
// times Cross forgets all.
type thingLine struct{ notes, number, crossed uint64 }

func parseThing(b []byte) (l thingLine) {
	if len(b) == 24 {
		l = thingLine{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	}
	return l
}

func (l thingLine) encode() []byte {
	if l == (thingLine{}) {
		return nil
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.notes), l.number), l.crossed)
}

// ruleOf reads rules: one byte, how many things of class 2 Cross orders from each device. Broken ones are the
// default, 10; longer ones than there can be must never get here.
func ruleOf(raw []byte) uint64 {
	switch {
	case len(raw) == 1:
		return uint64(raw[0])
	case len(raw) > MaxRules:
		return 77
	}
	return 10
}

// things is the test category. most bounds the units that a session may be paid, 0 for no bound.
type things struct {
	category types.Category
	most     uint64
}

func (v things) verifier() Verifier { return Verifier{Spec: v.spec(), Verify: v.verify} }

func (v things) spec() *Spec {
	s := &Spec{
		Category: v.category, Name: "thing",
		Classes: []Class{{Class: 1, Name: "small", Unit: "thing", Scale: 1000}, {Class: 2, Name: "large", Unit: "thing", Scale: 1}},
		Kinds: []Kind{{Kind: kindWork, Name: "work"}, {Kind: kindNote, Name: "note", Cumulative: true},
			{Kind: kindOpen, Name: "open"}, {Kind: kindClose, Name: "close"}, {Kind: kindBreak, Name: "break"}},
		Quota: Quota{Count: 8, Bytes: 4096}, MaxState: 64, ProofDelay: 2,
		Params: Params{Bond: 1000, Penalty: 300}, Economy: Economy{Quota: 1 << 40},
	}
	if v.category == thing {
		s.Kinds = append(s.Kinds, Kind{Kind: kindReport, Name: "report", Witness: true})
		s.Params.Threshold, s.Params.Hex, s.Params.Rules = 2_000_000, 9, []byte{10}
		s.Witness = Quota{Count: 100, Bytes: 1 << 20}
	}
	return s
}

func (v things) verify(in *Input) *Output {
	out := &Output{Quality: 5000, Evidence: make([]Verdict, len(in.Evidence)), Receipts: make([]types.Reason, len(in.Receipts)),
		Asks: make([]types.Reason, len(in.Asks))}
	line := parseThing(in.State)
	var worked uint64
	newest := line.number
	for i, a := range in.Asks {
		var n uint64
		switch {
		case len(a.Terms) == 0: // a receipt names it
		case types.Decode(a.Terms, &n) != nil || n <= line.number:
			out.Asks[i] = badThing
		default:
			newest = max(newest, n)
		}
	}
	line.number = newest
	for i, e := range in.Evidence {
		switch e.Kind {
		case kindWork:
			var b workBody
			if types.Decode(e.Body, &b) != nil || b.Quality > 10_000 {
				out.Evidence[i].Reason = badThing
				continue
			}
			out.Quality = b.Quality
			out.Ordered = append(out.Ordered, Ordered{Class: b.Class, Units: b.Units})
			worked += b.Units.Lo
		case kindNote:
			line.notes++
		case kindOpen:
			var b openBody
			if types.Decode(e.Body, &b) != nil {
				out.Evidence[i].Reason = badThing
				continue
			}
			out.Open = append(out.Open, Opening{Session: b.Session, Terms: b.Terms, Class: 1, Price: b.Price, Evidence: i})
		case kindClose:
			var b openBody
			if types.Decode(e.Body, &b) != nil {
				out.Evidence[i].Reason = badThing
				continue
			}
			out.Close = append(out.Close, b.Session)
		case kindBreak:
			out.Quality = 10_001
		}
	}
	for _, e := range in.Reports {
		var b reportBody
		v := Verdict{}
		if types.Decode(e.Body, &b) != nil || b.Proof {
			v = Verdict{Reason: badThing, Proof: b.Proof}
		}
		out.Reports = append(out.Reports, v)
	}
	for i, r := range in.Receipts {
		if v.most != 0 && r.Receipt.Units.Cmp(types.U64(v.most)) > 0 {
			out.Receipts[i] = badThing
		}
	}
	out.State = line.encode()
	out.Totals = []uint64{1, line.notes, ruleOf(in.Params.Rules)}
	if worked > 0 {
		out.Summary = append(binary.BigEndian.AppendUint64(nil, worked), out.State...)
	}
	return out
}

// crossing is the test category with Cross and reports.
type crossing struct{ things }

func (c crossing) verifier() Verifier {
	return Verifier{Spec: c.spec(), Verify: c.verify, Subject: c.subject, Cross: c.cross}
}

func (c crossing) subject(e *evidence.Envelope) (types.Key, error) {
	var b reportBody
	err := types.Decode(e.Body, &b)
	return b.Device, err
}

// cross lets each order buy what its cap leaves from all devices that worked, in equal parts, and gives each a little
// ordered work in class 2. It counts epochs in each device's cell and line.
func (c crossing) cross(in *CrossInput) *CrossOutput {
	out := &CrossOutput{Cells: slices.Clone(in.Cells)}
	for _, s := range in.Summaries {
		out.Ordered = append(out.Ordered, CrossOrdered{Device: s.Device.Key, Class: 2, Units: types.U64(ruleOf(in.Params.Rules)), Quality: 10_000})
		line := parseThing(s.Summary[8:])
		if line.crossed++; line.crossed == 4 {
			line = thingLine{}
		}
		out.States = append(out.States, DeviceState{Device: s.Device.Key, State: line.encode()})
		detail := binary.BigEndian.AppendUint64(nil, line.crossed)
		digest := types.Sum(detail)
		out.Outputs = append(out.Outputs, OutputData{Data: slices.Concat(s.Device.Key[:], digest[:]), Detail: detail})
		i, ok := slices.BinarySearchFunc(out.Cells, s.Device.Cell, func(a CellState, b types.Cell) int {
			return int(int64(a.Cell>>1) - int64(b>>1))
		})
		if !ok {
			out.Cells = slices.Insert(out.Cells, i, CellState{Cell: s.Device.Cell, State: []byte{0}})
		}
		out.Cells[i].State = []byte{out.Cells[i].State[0] + 1}
	}
	slices.SortFunc(out.States, func(a, b DeviceState) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	for _, o := range in.Orders {
		for _, s := range in.Summaries {
			part := o.Reserved / types.Credit(len(in.Summaries))
			if part > 0 {
				out.Fills = append(out.Fills, Fill{
					Session: SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}, Device: s.Device.Key,
					Units: types.U64(uint64(part)), Amount: part,
				})
			}
		}
	}
	return out
}
