package energy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

var updateGolden = flag.Bool("golden", false, "write testdata/golden.json and the fuzz corpus anew")

const goldenFile = "testdata/golden.json"

// samples is one of everything that has bytes, out of an afternoon in a village.
func samples(t *testing.T) map[string][]byte {
	v := newVillage(t, 0, battery("cheat"))
	v.settle()
	v.pass(12 * 3600)
	d := v.cheat
	d.ask(Community, 100)
	d.ask(Certificate, 10)
	buyer := v.device("buyer", flat("buyer"))
	v.buys(buyer, 200, 100, 1<<40)
	v.company("company", home.Parent(3), 20, 70, 1<<40)
	out := map[string][]byte{}
	for _, x := range v.devices {
		x.hand(x.record(v.done() - 1))
	}
	v.step()
	for range 3 {
		for _, x := range v.devices {
			x.hour(func(k uint64) flows {
				if x == buyer {
					return flows{imp: 120}
				}
				f := v.sun(x, k)
				if x == d {
					f.in, f.exp = f.exp/4, f.exp-f.exp/4
				}
				return f
			})
		}
		for _, e := range d.evidence {
			out["meter"] = e.Body
		}
		in := d.input()
		out["summary"] = New().Verify(in).Summary
		v.step()
	}
	out["site"], out["state"] = d.site.Encode(), d.line
	out["reset"] = (&Reset{Register: PV, Last: 1 << 33, First: 7, Cause: Swapped}).Encode()
	out["selector"] = (&Selector{Zone: home.Parent(3), Meter: d.key.Public(), Technology: Solar, Beneficiary: "Company"}).Encode()
	out["terms"] = (&AskTerms{Seq: 300}).Encode()
	rules := DefaultRules()
	rules.Clock = Clock{Chain: 1_700_000_000, Energy: noon, Rate: 450}
	out["rules"] = rules.Encode()
	for _, o := range v.last.Outputs {
		switch o.Data[1] {
		case tagStatement:
			out["statement"], out["sales"] = o.Data, o.Detail
		case tagMarket:
			out["market"] = o.Data
		}
	}
	cell, err := decodeCell(v.cells[0].State)
	if err != nil {
		t.Fatal(err)
	}
	cell.marks = []mark{
		{meter: meterOf("anybody", "grid"), day: 20636, open: true, alarms: 0b1001},
		{meter: meterOf("anybody", "pv"), day: 20630, freeze: freeze{Until: 20645, On: 20630, For: 14}},
	}
	slices.SortFunc(cell.marks, func(a, b mark) int { return bytes.Compare(a.meter[:], b.meter[:]) })
	out["cell"] = cell.encode()
	return out
}

// TestGolden fixes the bytes of everything that has some.
func TestGolden(t *testing.T) {
	got := samples(t)
	if *updateGolden {
		text := map[string]string{}
		for name, raw := range got {
			text[name] = hex.EncodeToString(raw)
		}
		raw, err := json.MarshalIndent(text, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		seedCorpus(t, got)
	}
	raw, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for _, d := range decoders {
		raw, err := hex.DecodeString(want[d.name])
		if err != nil || len(raw) == 0 {
			t.Fatalf("%s: %d bytes, %v", d.name, len(raw), err)
		}
		if diff := cmp.Diff(want[d.name], hex.EncodeToString(got[d.name])); diff != "" {
			t.Errorf("%s (-committed +got)\n%s", d.name, diff)
		}
		if again, err := d.decode(raw); err != nil || hex.EncodeToString(again) != want[d.name] {
			t.Errorf("%s: reads as %x, %v", d.name, again, err)
		}
	}
}

// TestStateSize: the line of a home with battery, all intervals of a day unsold, fits, and so does the largest
// that there is.
func TestStateSize(t *testing.T) {
	d := newVillage(t, 0, battery("cheat"))
	d.settle()
	s := d.cheat.state()
	t.Logf("%d bytes for a home at night", len(s.Encode()))
	s.Lots = nil
	for k := range uint64(96) {
		s.Lots = append(s.Lots, lotOf(s.K-96+k, 1<<20+2000*k, 1500))
	}
	s.V = 1 << 21
	if n := len(s.Encode()); n > 920 || len(s.Lots) != 96 {
		t.Errorf("%d bytes with %d lots", n, len(s.Lots))
	}
	big := State{Site: s.Site, Since: [3]types.Epoch{1 << 62, 1 << 62, 1 << 62}, Done: 1 << 62, K: 1 << 62, Boot: 1<<32 - 1, Present: 31, V: maxVirtual, Stored: MaxStorage * 10_000, Unshown: Whole, Unlit: Whole, Peak: 10_000,
		PeerEnvelope: 10_000, Commissioned: 60, Base: 1<<16 - 1, Day: 1<<32 - 1, Records: 96, PV: maxVirtual, Excess: maxVirtual, Cut: maxVirtual, PeerDay: 1<<16 - 1,
		Sold: maxVirtual, Battery: maxVirtual, Frozen: 1<<32 - 1, FrozeOn: 1<<32 - 1, FrozeFor: 255}
	for i := range big.Asks {
		big.Asks[i] = Ask{Seq: 1<<64 - 1, Price: MaxPrice, Until: 1<<64 - 1}
	}
	for i := range big.Wh {
		big.Wh[i] = MaxRegister
	}
	for range maxRatios {
		big.Ratios = append(big.Ratios, 1)
	}
	for _, sum := range big.Sums.all() {
		*sum = 1<<63 - 1
	}
	for i := range uint64(MaxPending) {
		v := Interval{K: 1<<62 - MaxPending + i, Span: 4, Late: true, Known: 31}
		for r := range v.Wh {
			v.Wh[r] = MaxRegister
		}
		big.Pending = append(big.Pending, v)
	}
	for k := range uint64(96) {
		big.Lots = append(big.Lots, lotOf(k, 1<<44*k, 1<<43))
	}
	line := big.Encode()
	if _, err := DecodeState(line); err != nil || len(line) > MaxState {
		t.Errorf("%d bytes, %d lots: %v", len(line), len(big.Lots), err)
	}
	if big.Lots = nil; len(big.append(nil)) > MaxState {
		t.Errorf("%d bytes without lots", len(big.append(nil)))
	}
}

// TestGarbageState: a line that Verify never wrote counts as none.
func TestGarbageState(t *testing.T) {
	w := newWorld(t)
	d := w.device("d", solar("d"))
	in := d.input()
	in.State = []byte{1, 2, 3}
	if out := New().Verify(in); out.Evidence[0].Reason != "" || out.State == nil {
		t.Errorf("%+v", out)
	}
	c := New().Cross(&tally.CrossInput{Params: w.params, Summaries: []tally.Summary{{Device: &d.reg, Summary: []byte{9}}}, Cells: []tally.CellState{{Cell: types.Cell(1), State: []byte{7}}}})
	if len(c.States)+len(c.Cells)+len(c.Outputs) > 0 {
		t.Errorf("%+v", c)
	}
}
