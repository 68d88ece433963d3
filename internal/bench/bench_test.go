package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const output = `goos: linux
BenchmarkApply/devices=0010000/cpu=1-2         	       2	 210281140 ns/op	        42.51 MiB	      7142 cpu-ns/device
BenchmarkApply/devices=0010000/cpu=1-2         	       2	 1 ns/op	        1 MiB	      8142 cpu-ns/device
BenchmarkProof 	   45132	     29076 ns/op	      2217 bytes/proof
BenchmarkProof 	   45132	     29078 ns/op	      2217 bytes/proof
BenchmarkProof 	   45132	     99999 ns/op	      2217 bytes/proof
BenchmarkTold
PASS
`

func TestParse(t *testing.T) {
	m := metrics{}
	m.parse([]byte(output))
	want := metrics{
		small + " ns/op": {210281140, 1}, small + " MiB": {42.51, 1}, small + " cpu-ns/device": {7142, 8142},
		"Proof ns/op": {29076, 29078, 99999}, "Proof bytes/proof": {2217, 2217, 2217},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]float64{small + " cpu-ns/device": 7642, "Proof ns/op": 29078} {
		if got, ok := m.median(key); !ok || got != want {
			t.Errorf("median of %s: %v, %v", key, got, ok)
		}
	}
	if _, ok := m.median("Proof MiB"); ok {
		t.Error("a median of nothing")
	}
}

func TestRow(t *testing.T) {
	m := metrics{"A v": {10}, "A limit": {40}, "A ratio": {0.5}}
	for _, c := range []struct {
		figure
		ratio   float64
		verdict string
	}{
		{figure{value: metric("A v"), peer: metric("A limit"), target: half}, 0.25, missed},
		{figure{value: metric("A v"), peer: metric("A limit"), ratio: "A ratio", target: half}, 0.5, met},
		{figure{value: scaled("A v", 5), peer: constant(50), target: within}, 1, met},
		{figure{value: scaled("A v", 5), peer: constant(49), target: within}, 50. / 49, missed},
		{figure{value: metric("A v"), peer: constant(8), target: flat}, 1.25, missed},
		{figure{value: metric("A v"), peer: constant(13), target: flat}, 10. / 13, missed},
		{figure{value: metric("A v"), peer: constant(10), target: flat}, 1, met},
		{figure{value: metric("A v"), peer: constant(10)}, 1, informs},
		{figure{value: metric("A v")}, 0, informs},
		{figure{value: metric("B v"), peer: constant(10), target: half}, 0, unknown},
		{figure{value: metric("A v"), peer: metric("B limit"), target: half}, 0, unknown},
		{figure{value: metric("A v"), peer: metric("A limit"), ratio: "B ratio", target: half}, 0, unknown},
	} {
		if r := c.row("s", m); r.Ratio != c.ratio || r.Verdict != c.verdict {
			t.Errorf("%+v: ratio %v, %q; want %v, %q", c.figure, r.Ratio, r.Verdict, c.ratio, c.verdict)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([]Row{
		{Section: "one", Figure: "a", Value: 1234567, Unit: "B", Beside: "limit", Peer: 2469134, Ratio: 0.5, Target: "≤ 1", Verdict: met, Bound: strings.Repeat("word ", 20)},
		{Section: "two", Figure: "rate", Value: 2.345, Unit: "µs", Verdict: informs},
		{Section: "two", Figure: "gone", Value: 0, Unit: "µs", Target: "≤ 1", Verdict: unknown},
	})
	want := `figure     measured  limit or peer         ratio  target  met           what bounds it
ONE
a       1 234 567 B    2 469 134 B  limit   0.50  ≤ 1     yes           word word word word word word word word word word word word
                                                                        word word word word word word word word
TWO
rate        2.35 µs                                       –
gone                                              ≤ 1     not measured
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSections holds the list against itself: every metric that a figure reads is of a benchmark that its
// section runs.
func TestSections(t *testing.T) {
	for _, s := range sections {
		for _, f := range s.figures {
			for _, key := range []string{f.value.metric, f.peer.metric, f.ratio} {
				name, _, _ := strings.Cut(key, "/")
				name, _, _ = strings.Cut(name, " ")
				run := false
				for _, r := range s.runs {
					run = run || strings.Contains(r.bench, name)
				}
				if !run {
					t.Errorf("%s: %s reads %q, which nothing measures", s.name, f.name, key)
				}
			}
		}
	}
}
