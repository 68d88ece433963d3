package tally

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// loneAsk hands in an ask that no receipt names.
func (d *device) loneAsk(c types.Category, number uint64) Item {
	a := receipt.Ask{Chain: testChain, Device: d.id, Category: c, Class: 1, Price: 1000, Until: 1 << 20, Terms: types.Encode(number)}
	return d.w.add(Ask, a.Sign(d.key).Encode())
}

// TestLoneAsk: an ask reaches Verify by itself, also that of a device which never handed in anything else, and
// counts; handed in again it is refused, and changes nothing.
func TestLoneAsk(t *testing.T) {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	w.tally()
	first := d.loneAsk(other, 5)
	w.tally()
	w.want(first, "")
	if got := parseThing(w.state.CategoryLine(d.id, other)); got.number != 5 {
		t.Fatalf("line %+v", got)
	}
	if w.state.CategoryLine(e.id, other) != nil {
		t.Fatal("a device that asked for nothing has a line")
	}
	if i := slices.IndexFunc(w.result.Devices, func(s Summarized) bool { return s.Device == d.id && s.Category == other }); i < 0 || w.result.Devices[i].Counted != 1 {
		t.Fatalf("devices %+v", w.result.Devices)
	}
	before := w.state.CategoryLine(d.id, other)
	w.items = append(w.items, first)
	w.tally()
	w.want(first, badThing)
	if !bytes.Equal(before, w.state.CategoryLine(d.id, other)) {
		t.Fatal("a replayed ask changes the line")
	}
	// By somebody else, or spoiled, it never gets there.
	forged := receipt.Ask{Chain: testChain, Device: d.id, Category: other, Class: 1, Price: 1, Until: 1 << 20, Terms: types.Encode(uint64(9))}
	bad := w.add(Ask, forged.Sign(e.key).Encode())
	stranger := &device{w: w, key: key("device", 99)}
	stranger.id = stranger.key.Public()
	unknown := stranger.loneAsk(other, 1)
	w.tally()
	w.want(bad, types.BadSignature)
	w.want(unknown, types.UnknownAuthor)
	if got := parseThing(w.state.CategoryLine(d.id, other)); got.number != 5 {
		t.Fatalf("line %+v", got)
	}
}

// TestAskQuota: a device's asks in one epoch are bounded in each category, and asks of one take nothing from another.
func TestAskQuota(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	var items []Item
	for n := range uint64(MaxAsks + 10) {
		items = append(items, d.loneAsk(other, n+1))
	}
	d.loneAsk(thing, 1)
	w.tally()
	refused := 0
	for _, it := range items {
		if w.reason(it) == types.OverQuota {
			refused++
		}
	}
	if refused != 10 || parseThing(w.state.CategoryLine(d.id, thing)).number != 1 {
		t.Fatalf("%d of %d asks are over quota; line %+v", refused, len(items), parseThing(w.state.CategoryLine(d.id, thing)))
	}
}

// TestSkippedAsk: an ask of an epoch without a header counts in the next batch.
func TestSkippedAsk(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	w.tally()
	ask := d.loneAsk(thing, 3)
	w.epoch += 2
	w.tally()
	w.want(ask, "")
	if parseThing(w.state.CategoryLine(d.id, thing)).number != 3 {
		t.Fatal("it did not count")
	}
}

// TestRules: a category sees its own rules in Verify and in Cross: those of the frame, or, where that has none
// or too long ones, those of its Spec.
func TestRules(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	p := Params{Category: thing, Quota: 1 << 40, Bond: 1000, Penalty: 300}
	for _, c := range []struct {
		rules  []byte
		weight uint64
		other  uint64
	}{
		{nil, 10, 10}, {[]byte{3}, 3, 10}, {[]byte{}, 10, 10}, {[]byte{1, 2}, 10, 10}, {make([]byte, MaxRules+1), 10, 10}, {[]byte{200}, 200, 10},
	} {
		p.Rules = c.rules
		w.params = []Params{p}
		d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(1), Quality: 0})
		d.say(other, kindNote, 1)
		w.tally()
		if got := w.state.CategoryTotals(thing); got[2] != c.weight {
			t.Errorf("rules %.4x: Verify sees %d, want %d", c.rules, got[2], c.weight)
		}
		if got := w.state.CategoryTotals(other); got[2] != c.other {
			t.Errorf("rules %.4x: another category sees %d", c.rules, got[2])
		}
		if got, want := w.state.Totals().Categories[0].Weight, types.U64(c.weight*10_000); got != want {
			t.Errorf("rules %.4x: Cross sees a weight of %s, want %s", c.rules, got, want)
		}
	}
}

// TestIncomplete: a category without Spec or Verify is refused where rules are made, not where they are used.
func TestIncomplete(t *testing.T) {
	for _, v := range []Verifier{{}, {Spec: plain.Spec}, {Verify: plain.Verify}} {
		if _, err := NewRules(1, v); err == nil {
			t.Errorf("%+v is taken", v)
		}
	}
}

// TestCrossStates: Cross replaces and forgets lines of devices with a summary, and of no others; whatever
// breaks the bounds costs its category's Cross, and nothing of what Verify found.
func TestCrossStates(t *testing.T) {
	line := thingLine{notes: 7}.encode()
	sorted := func(in *CrossInput) (out []types.Key) {
		for _, s := range in.Summaries {
			out = append(out, s.Device.Key)
		}
		slices.SortFunc(out, func(a, b types.Key) int { return bytes.Compare(a[:], b[:]) })
		return out
	}
	for what, c := range map[string]struct {
		cross func(in *CrossInput, idle types.Key) []DeviceState
		taken bool
	}{
		"nothing": {func(*CrossInput, types.Key) []DeviceState { return nil }, true},
		"all": {func(in *CrossInput, _ types.Key) (out []DeviceState) {
			for _, k := range sorted(in) {
				out = append(out, DeviceState{Device: k, State: line})
			}
			return out
		}, true},
		"forgotten": {func(in *CrossInput, _ types.Key) []DeviceState { return []DeviceState{{Device: sorted(in)[1]}} }, true},
		"empty": {func(in *CrossInput, _ types.Key) []DeviceState {
			return []DeviceState{{Device: sorted(in)[1], State: []byte{}}}
		}, true},
		"as long as may be": {func(in *CrossInput, _ types.Key) []DeviceState {
			return []DeviceState{{Device: sorted(in)[0], State: make([]byte, 64)}}
		}, true},
		"too long": {func(in *CrossInput, _ types.Key) []DeviceState {
			return []DeviceState{{Device: sorted(in)[0], State: make([]byte, 65)}}
		}, false},
		"without a summary": {func(_ *CrossInput, idle types.Key) []DeviceState { return []DeviceState{{Device: idle, State: line}} }, false},
		"a stranger": {func(*CrossInput, types.Key) []DeviceState {
			return []DeviceState{{Device: types.Key{31: 1}, State: line}}
		}, false},
		"the greatest stranger": {func(*CrossInput, types.Key) []DeviceState {
			return []DeviceState{{Device: types.Key(bytes.Repeat([]byte{255}, 32)), State: line}}
		}, false},
		"descending": {func(in *CrossInput, _ types.Key) []DeviceState {
			k := sorted(in)
			return []DeviceState{{Device: k[1], State: line}, {Device: k[0], State: line}}
		}, false},
		"twice": {func(in *CrossInput, _ types.Key) []DeviceState {
			k := sorted(in)
			return []DeviceState{{Device: k[0], State: line}, {Device: k[0], State: line}}
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			var all []*device
			for n := range 9 {
				all = append(all, w.device(n))
				if n > 0 { // device 0 only notes
					all[n].say(thing, kindWork, workBody{Class: 1, Units: types.U64(1), Quality: 0})
				}
				all[n].say(thing, kindNote, 1)
				all[n].say(other, kindNote, 1)
			}
			var put []DeviceState
			cross := crossing{things{category: thing}}.verifier()
			cross.Cross = func(in *CrossInput) *CrossOutput {
				put = c.cross(in, all[0].id)
				return &CrossOutput{States: put, Outputs: []OutputData{{Data: []byte{1}}}}
			}
			var err error
			if w.rules, err = NewRules(1, things{category: other}.verifier(), cross); err != nil {
				t.Fatal(err)
			}
			frame, batch, changes, prev := w.frame(), NewBatch(testChain, w.items), w.changes, w.state
			w.tally()
			if dropped := len(w.result.Rejections) > 0; dropped == c.taken || (w.header.OutCount == 1) != c.taken {
				t.Fatalf("taken: %t; rejections %+v, %d outputs", !dropped, w.result.Rejections, w.header.OutCount)
			}
			want := map[types.Key][]byte{}
			for _, d := range all {
				want[d.id] = thingLine{notes: 1}.encode()
			}
			for _, s := range put {
				if c.taken {
					want[s.Device] = s.State
				}
			}
			for _, d := range all {
				if got := w.state.CategoryLine(d.id, thing); !bytes.Equal(got, want[d.id]) {
					t.Errorf("line %x, want %x", got, want[d.id])
				}
				if got := w.state.CategoryLine(d.id, other); !bytes.Equal(got, thingLine{notes: 1}.encode()) {
					t.Errorf("another category's line: %x", got)
				}
			}
			for _, p := range []Pool{parallel(3), backwards(40)} {
				_, header, _, err := p.Apply(w.rules, prev, frame, batch, changes, CheckSignatures(batch, testChain))
				if err != nil || header.Hash() != w.header.Hash() {
					t.Errorf("%d parts: another header, %v", p.Parts, err)
				}
			}
		})
	}
}

// TestOutputBounds: outputs and their details are bounded, one by one and together.
func TestOutputBounds(t *testing.T) {
	page := make([]byte, MaxOutput)
	many := func(n int, o OutputData) []OutputData { return slices.Repeat([]OutputData{o}, n) }
	for what, c := range map[string]struct {
		outputs []OutputData
		taken   bool
	}{
		"none":                   {nil, true},
		"data as long as may be": {[]OutputData{{Data: page, Detail: page}}, true},
		"data too long":          {[]OutputData{{Data: append(page, 0)}}, false},
		"a detail too long":      {[]OutputData{{Detail: append(page, 0)}}, false},
		"too many":               {many(MaxOutputs+1, OutputData{}), false},
		"too much together":      {append(many(MaxOutputBytes/(2*MaxOutput), OutputData{Data: page, Detail: page}), OutputData{Data: []byte{1}}), false},
		"as much as may be":      {many(MaxOutputBytes/(2*MaxOutput), OutputData{Data: page, Detail: page}), true},
	} {
		if err := boundOutputs(c.outputs); (err == nil) != c.taken {
			t.Errorf("%s: %v", what, err)
		}
	}
}
