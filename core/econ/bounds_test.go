package econ

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// changed returns the defaults after a change; its categories are its own.
func changed(change func(*Params)) *Params {
	p := Six()
	change(&p)
	return &p
}

func wireless(change func(*Category)) func(*Params) {
	return func(p *Params) { change(p.Find(types.Wireless)) }
}

func TestValidate(t *testing.T) {
	genesis := Six()
	if err := genesis.Validate(&genesis); err != nil {
		t.Fatalf("the defaults are not valid: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Params)
		want   types.Reason
	}{
		"split makes 10,001":      {func(p *Params) { p.Supplier++ }, types.ParamBound},
		"wash at its limit":       {func(p *Params) { p.Supplier, p.Burn, p.Bonus = 9_300, 300, 100 }, ""},
		"wash beyond it":          {func(p *Params) { p.Supplier, p.Burn, p.Bonus = 9_300, 300, 101 }, types.ParamWash},
		"bonus raised alone":      {func(p *Params) { p.Bonus++ }, types.ParamWash},
		"no burn":                 {func(p *Params) { p.Supplier, p.Burn, p.Bonus = 9_600, 0, 0 }, types.ParamWash},
		"sum wraps around":        {func(p *Params) { p.Supplier, p.Burn = 1<<64-1, 9_601 }, types.ParamBound},
		"subsidy":                 {func(p *Params) { p.Subsidy = 601 }, types.ParamBound},
		"match at its limit":      {func(p *Params) { p.Match = 15_000 }, ""},
		"match":                   {func(p *Params) { p.Match = 15_001 }, types.ParamBound},
		"spread":                  {func(p *Params) { p.Spread = 201 }, types.ParamBound},
		"daily low":               {func(p *Params) { p.Daily = 9 }, types.ParamBound},
		"daily high":              {func(p *Params) { p.Daily = 101 }, types.ParamBound},
		"shortfall":               {func(p *Params) { p.Shortfall = 3 }, types.ParamBound},
		"sources":                 {func(p *Params) { p.Sources = 2 }, types.ParamBound},
		"outlier":                 {func(p *Params) { p.Outlier = 301 }, types.ParamBound},
		"deviation":               {func(p *Params) { p.Deviation = 1_501 }, types.ParamBound},
		"fee low":                 {func(p *Params) { p.DeviceFee = 49_999 }, types.ParamBound},
		"fee high":                {func(p *Params) { p.DeviceFee = 50_000_001 }, types.ParamBound},
		"bond epochs low":         {func(p *Params) { p.BondEpochs = 239 }, types.ParamBound},
		"bond epochs high":        {func(p *Params) { p.BondEpochs = 1_441 }, types.ParamBound},
		"demand low":              {wireless(func(k *Category) { k.Demand = 9_999_999_999 }), types.ParamBound},
		"demand high":             {wireless(func(k *Category) { k.Demand = 100_000_000_000_001 }), types.ParamBound},
		"target a tenth":          {wireless(func(k *Category) { k.Target = types.U64(100_000_000_000_000) }), ""},
		"target below":            {wireless(func(k *Category) { k.Target = types.U64(99_999_999_999_999) }), types.ParamBound},
		"ref twice":               {wireless(func(k *Category) { k.Ref = 200_000 }), ""},
		"ref beyond":              {wireless(func(k *Category) { k.Ref = 200_001 }), types.ParamBound},
		"quota a tenth":           {wireless(func(k *Category) { k.Quota = 10_000_000 }), ""},
		"quota below":             {wireless(func(k *Category) { k.Quota = 9_999_999 }), types.ParamBound},
		"density beyond":          {wireless(func(k *Category) { k.Density.Full = types.U64(10_000_000_000_001) }), types.ParamBound},
		"density's switch":        {wireless(func(k *Category) { k.Density.On = false }), types.ParamBound},
		"unit":                    {wireless(func(k *Category) { k.Unit++ }), types.ParamBound},
		"half of the shares":      {wireless(func(k *Category) { k.Share = 5_000 }), ""},
		"more than half":          {wireless(func(k *Category) { k.Share = 5_001 }), types.ParamBound},
		"shares wrap around":      {func(p *Params) { p.Category[0].Share, p.Category[1].Share = 1<<63, 1<<63 }, types.ParamBound},
		"a category less":         {func(p *Params) { p.Category = p.Category[1:] }, types.ParamBound},
		"categories out of order": {func(p *Params) { slices.Reverse(p.Category) }, types.ParamBound},
		"quota from nothing":      {func(p *Params) { p.Find(types.Storage).Quota = 1 }, types.ParamBound},
	} {
		if err := changed(c.change).Validate(&genesis); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	one := Six()
	one.Category = one.Category[:1]
	if err := one.Validate(&one); err != nil {
		t.Errorf("a network of one category: %v", err)
	}
	back := Six()
	slices.Reverse(back.Category)
	if err := back.Validate(&back); types.ReasonOf(err) != types.ParamBound {
		t.Errorf("categories out of order at genesis: %v", err)
	}
	bare := Six()
	bare.Category[0].Unit = 0
	if err := bare.Validate(&bare); types.ReasonOf(err) != types.ParamBound {
		t.Errorf("a category without a unit: %v", err)
	}
}

func TestLoosens(t *testing.T) {
	genesis := Six()
	for name, c := range map[string]struct {
		change  func(*Params)
		want    []string
		council bool
	}{
		"nothing":     {func(*Params) {}, nil, true},
		"burn down":   {func(p *Params) { p.Burn, p.Treasury = 390, 210 }, []string{"burn"}, false},
		"burn up":     {func(p *Params) { p.Burn, p.Treasury = 410, 190 }, nil, false},
		"fee down":    {func(p *Params) { p.DeviceFee-- }, []string{"device_fee"}, false},
		"target down": {wireless(func(k *Category) { k.Target = types.U64(1e14) }), []string{"wireless.target"}, false},
		"ref up":      {wireless(func(k *Category) { k.Ref++ }), []string{"wireless.ref"}, true},
		"ref down":    {wireless(func(k *Category) { k.Ref-- }), nil, true},
		"two":         {func(p *Params) { p.Match++; p.Find(types.IoT).Quota++ }, []string{"match", "iot.quota"}, false},
	} {
		p := changed(c.change)
		if diff := cmp.Diff(c.want, Loosens(&genesis, p)); diff != "" || Council(&genesis, p) != c.council {
			t.Errorf("%s: council %t\n%s", name, Council(&genesis, p), diff)
		}
	}
}

func TestPace(t *testing.T) {
	genesis := Six()
	type step struct {
		at, announced types.Epoch
		silent        bool
		fee           types.Credit
		want          types.Reason
	}
	for name, steps := range map[string][]step{
		"a tenth up":           {{1_000, 1_000, false, 5_500_000, ""}},
		"more":                 {{1_000, 1_000, false, 5_500_001, types.ParamStep}},
		"a tenth down, locked": {{1_000, 665, false, 4_500_000, types.ParamTimelock}},
		"a tenth down, in time": {
			{1_000, 664, false, 4_500_000, ""}, {1_100, 0, false, 4_500_001, ""}, {1_819, 0, false, 4_400_000, types.ParamStep},
			{1_820, 0, false, 4_050_001, ""}, {1_820, 0, false, 4_050_000, types.ParamStep},
		},
		"silent chamber":    {{1_000, 329, true, 4_500_000, types.ParamTimelock}, {1_000, 328, true, 4_500_000, ""}},
		"from edge to edge": {{1_000, 0, false, 4_500_000, ""}, {1_719, 0, false, 5_000_000, types.ParamStep}, {1_719, 0, false, 4_950_000, ""}},
		"bound first":       {{1_000, 1_000, false, 60_000_000, types.ParamBound}},
		"announced later":   {{1_000, 2_000, false, 4_900_000, types.ParamTimelock}},
	} {
		now, h := Six(), History(nil)
		for i, s := range steps {
			next := now
			next.DeviceFee = s.fee
			after, err := h.Check(Change{Old: &now, New: &next, Genesis: &genesis, Now: s.at, Announced: s.announced, Silent: s.silent})
			if types.ReasonOf(err) != s.want {
				t.Errorf("%s, step %d: %v, want %q", name, i, err, s.want)
				break
			}
			if err == nil {
				now, h = next, after
			}
		}
	}
}

// TestSmallNumbersMove: a parameter of a few units moves by one, also away from zero, and no further.
func TestSmallNumbersMove(t *testing.T) {
	genesis := Six()
	now, h := Six(), History(nil)
	for i, to := range []uint64{1, 0, 1, 2} {
		next := now
		next.Shortfall = to
		after, err := h.Check(Change{Old: &now, New: &next, Genesis: &genesis, Now: types.Epoch(1_000 + i*StepEpochs)})
		if err != nil {
			t.Fatalf("to %d: %v", to, err)
		}
		now, h = next, after
	}
	next := now
	next.Shortfall = 0
	if _, err := h.Check(Change{Old: &now, New: &next, Genesis: &genesis, Now: 10_000}); types.ReasonOf(err) != types.ParamStep {
		t.Errorf("two at once: %v", err)
	}
}

// TestDrift: whatever is proposed when, no value of a parameter is more than a tenth away from any that it had
// in the 720 epochs before.
func TestDrift(t *testing.T) {
	genesis := Six()
	rapid.Check(t, func(t *rapid.T) {
		now, h := Six(), History(nil)
		type value struct {
			from types.Epoch // had from then on
			fee  types.Credit
		}
		past := []value{{0, now.DeviceFee}}
		at := types.Epoch(2_000)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			at += types.Epoch(rapid.IntRange(0, 800).Draw(t, "wait"))
			next := now
			next.DeviceFee = now.DeviceFee * types.Credit(rapid.IntRange(88, 112).Draw(t, "percent")) / 100
			after, err := h.Check(Change{Old: &now, New: &next, Genesis: &genesis, Now: at})
			if err != nil {
				continue
			}
			if next.DeviceFee != now.DeviceFee {
				past = append(past, value{at, next.DeviceFee})
			}
			now, h = next, after
			for i, p := range past {
				if until := at; i+1 < len(past) {
					if until = past[i+1].from; at-until >= StepEpochs {
						continue
					}
				}
				if d := max(p.fee, now.DeviceFee) - min(p.fee, now.DeviceFee); d*10 > p.fee {
					t.Fatalf("from %d to %d within %d epochs: %v", p.fee, now.DeviceFee, StepEpochs, past)
				}
			}
		}
	})
}
