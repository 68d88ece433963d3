package tally

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// The category of these tests: "thing" has two classes, units per receipt, work that the network orders, a note that counts
// also in a later epoch, a witness's report that may prove misconduct, openings that both sides signed (taken on trust here),
// and a Cross that lets each order buy from every device that worked.
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

// things is the test category. most bounds the units that a session may be paid, 0 for no bound.
type things struct {
	category types.Category
	most     uint64
}

func (v things) Spec() *Spec {
	s := &Spec{
		Category: v.category, Name: "thing",
		Classes: []Class{{Class: 1, Name: "small", Unit: "thing", Scale: 1000}, {Class: 2, Name: "large", Unit: "thing", Scale: 1}},
		Kinds: []Kind{{Kind: kindWork, Name: "work"}, {Kind: kindNote, Name: "note", Cumulative: true},
			{Kind: kindOpen, Name: "open"}, {Kind: kindClose, Name: "close"}, {Kind: kindBreak, Name: "break"}},
		Quota: Quota{Count: 8, Bytes: 4096}, MaxState: 64, ProofDelay: 2,
		Params: Params{Quota: 1 << 40, Bond: 1000, Penalty: 300},
	}
	if v.category == thing {
		s.Kinds = append(s.Kinds, Kind{Kind: kindReport, Name: "report", Witness: true})
		s.Params.Threshold, s.Params.Hex = 2_000_000, 9
		s.Witness = Quota{Count: 100, Bytes: 1 << 20}
	}
	return s
}

func (v things) Verify(in *Input) *Output {
	out := &Output{Quality: 5000, Evidence: make([]Verdict, len(in.Evidence)), Receipts: make([]types.Reason, len(in.Receipts))}
	var count uint64
	if in.State != nil {
		count = binary.BigEndian.Uint64(in.State)
	}
	var worked uint64
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
			count++
		case kindOpen:
			var b openBody
			if types.Decode(e.Body, &b) != nil {
				out.Evidence[i].Reason = badThing
				continue
			}
			out.Open = append(out.Open, Opening{Session: b.Session, Terms: b.Terms, Class: 1, Price: b.Price})
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
	if count > 0 {
		out.State = binary.BigEndian.AppendUint64(nil, count)
	}
	out.Totals = []uint64{1, count}
	if worked > 0 {
		out.Summary = binary.BigEndian.AppendUint64(nil, worked)
	}
	return out
}

// crossing is the test category with Cross and reports.
type crossing struct{ things }

func (c crossing) Subject(e *evidence.Envelope) (types.Key, error) {
	var b reportBody
	err := types.Decode(e.Body, &b)
	return b.Device, err
}

// Cross lets each order buy what its cap leaves from all devices that worked, in equal parts, and gives each a little
// ordered work in class 2. It counts epochs in each device's cell.
func (c crossing) Cross(in *CrossInput) *CrossOutput {
	out := &CrossOutput{Cells: slices.Clone(in.Cells)}
	for _, s := range in.Summaries {
		out.Ordered = append(out.Ordered, CrossOrdered{Device: s.Device.Key, Class: 2, Units: types.U64(10), Quality: 10_000})
		out.Outputs = append(out.Outputs, OutputData{Data: s.Device.Key[:]})
		i, ok := slices.BinarySearchFunc(out.Cells, s.Device.Cell, func(a CellState, b types.Cell) int {
			return int(int64(a.Cell>>1) - int64(b>>1))
		})
		if !ok {
			out.Cells = slices.Insert(out.Cells, i, CellState{Cell: s.Device.Cell, State: []byte{0}})
		}
		out.Cells[i].State = []byte{out.Cells[i].State[0] + 1}
	}
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
