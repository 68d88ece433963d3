package servicetest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// planted is Meter with a mistake.
type planted struct {
	spec   func(*service.Spec)
	verify func(*service.Input, *service.Output)
	cross  func(*tally.CrossInput, *tally.CrossOutput)
}

func (p planted) verifier() service.Verifier {
	v := Meter()
	if p.spec != nil {
		p.spec(v.Spec)
	}
	if p.verify != nil {
		v.Verify = func(in *service.Input) *service.Output {
			out := verifyMeter(in)
			p.verify(in, out)
			return out
		}
	}
	if p.cross != nil {
		v.Cross = func(in *tally.CrossInput) *tally.CrossOutput {
			out := crossMeter(in)
			p.cross(in, out)
			return out
		}
	}
	return v
}

var calls uint64

// mistakes are categories that must not pass, by what is wrong with them.
var mistakes = map[string]planted{
	"changes evidence": {verify: func(in *service.Input, _ *service.Output) {
		for _, e := range in.Evidence {
			if len(e.Body) > 0 {
				e.Body[0]++
			}
		}
	}},
	"changes state":   {verify: func(in *service.Input, _ *service.Output) { clear(in.State) }},
	"keeps something": {verify: func(_ *service.Input, out *service.Output) { calls++; out.Totals[0] = calls }},
	"panics on a short body": {verify: func(in *service.Input, _ *service.Output) {
		for _, e := range in.Evidence {
			_ = e.Body[0]
		}
	}},
	"undocumented reason": {verify: func(_ *service.Input, out *service.Output) {
		if len(out.Evidence) > 0 {
			out.Evidence[0].Reason = "meter.unheard_of"
		}
	}},
	"too few verdicts": {verify: func(_ *service.Input, out *service.Output) { out.Evidence = out.Evidence[:len(out.Evidence)/2] }},
	"too many verdicts": {verify: func(_ *service.Input, out *service.Output) {
		out.Receipts = append(out.Receipts, "")
	}},
	"line too long":    {verify: func(_ *service.Input, out *service.Output) { out.State = make([]byte, meterState+1) }},
	"empty line":       {verify: func(_ *service.Input, out *service.Output) { out.State = []byte{} }},
	"quality too high": {verify: func(_ *service.Input, out *service.Output) { out.Quality = 10001 }},
	"unknown class": {verify: func(_ *service.Input, out *service.Output) {
		out.Ordered = append(out.Ordered, tally.Ordered{Class: 9})
	}},
	"accepted as a proof": {verify: func(_ *service.Input, out *service.Output) {
		out.Evidence = append(out.Evidence[:0], make([]service.Verdict, len(out.Evidence))...)
		proveAll(out)
	}},
	"does not read its line": {verify: func(in *service.Input, out *service.Output) {
		if in.Epoch > 6 && in.State != nil {
			panic("cannot read")
		}
	}},
	"spends too much": {cross: func(in *tally.CrossInput, out *tally.CrossOutput) {
		for i := range out.Fills {
			out.Fills[i].Amount = in.Orders[0].Reserved + 1<<41
		}
	}},
	"cells out of order": {cross: func(_ *tally.CrossInput, out *tally.CrossOutput) {
		out.Cells = []tally.CellState{{Cell: 9, State: make([]byte, 8)}, {Cell: 8, State: make([]byte, 8)}}
	}},
	"changes cells": {cross: func(in *tally.CrossInput, _ *tally.CrossOutput) {
		for i := range in.Summaries {
			in.Summaries[i].Summary[7]++
		}
	}},
	"foreign reason":     {spec: func(s *service.Spec) { s.Reasons[0].Reason = "storage.full" }},
	"reason twice":       {spec: func(s *service.Spec) { s.Reasons[1] = s.Reasons[0] }},
	"nothing to do":      {spec: func(s *service.Spec) { s.Reasons[0].Try = "" }},
	"kind twice":         {spec: func(s *service.Spec) { s.Kinds[1] = s.Kinds[0] }},
	"no witnesses":       {spec: func(s *service.Spec) { s.Kinds = s.Kinds[:2] }},
	"class without unit": {spec: func(s *service.Spec) { s.Classes[0].Unit = "" }},
	"no bond":            {spec: func(s *service.Spec) { s.Params.Bond = 0 }},
	"no quota":           {spec: func(s *service.Spec) { s.Quota.Count = 0 }},
	"large quota":        {spec: func(s *service.Spec) { s.Quota.Bytes = MaxBytes + 1 }},
	"protocol's number":  {spec: func(s *service.Spec) { s.Category = types.Energy }},
	"others' parameters": {spec: func(s *service.Spec) { s.Params.Category = types.Energy }},
}

func proveAll(out *service.Output) {
	for i := range out.Evidence {
		out.Evidence[i].Proof = true
	}
}

const plantedEnv = "CAIRN_PLANTED_MISTAKE"

// TestPlanted runs in a process of its own, and fails there.
func TestPlanted(t *testing.T) {
	name := os.Getenv(plantedEnv)
	if name == "" {
		t.Skip("a part of TestMistakes")
	}
	Run(t, mistakes[name].verifier(), drawMeter)
}

// TestMistakes: the suite finds every mistake that was planted.
func TestMistakes(t *testing.T) {
	for name := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run", "^TestPlanted$", "-rapid.nofailfile", "-rapid.shrinktime", "1ms")
			cmd.Env = append(os.Environ(), plantedEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestPlanted") && !strings.Contains(string(out), "panic") {
				t.Errorf("the suite passes: %v\n%s", err, out)
			}
		})
	}
}

func TestQuotas(t *testing.T) {
	Quotas(t, []service.Verifier{Meter()})
}
