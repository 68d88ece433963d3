// Package servicetest holds what every category must pass, and a small category to test engines with.
//
// Run is the conformance suite. A category calls it from its own tests with a function that draws inputs which
// mean something to it: honest epochs, and bent ones. The suite checks what core/tally relies on and cannot
// check itself: that Verify gives the same output for the same input, keeps nothing between calls, changes
// nothing it is handed, survives any bytes, keeps to its own bounds, and refuses with reasons that are
// documented.
//
//	func TestConformance(t *testing.T) {
//		servicetest.Run(t, energy.New(), drawInput)
//	}
//
// Meter is a category of fifty lines of rules that uses every ability a category has: challenges, receipts,
// network-ordered work that earns emission, witnesses, rules and asks of its own, a Cross with orders, cells,
// lines and outputs, and proofs of misconduct. Networks, verifiers and chains are tested with it, so that they
// need not know a real one.
package servicetest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// Limits that keep one device's share of a batch small, whatever its category.
const (
	MaxItems    = 4096    // of a Spec's quotas
	MaxBytes    = 1 << 20 // of a Spec's quotas
	MaxState    = 1 << 20 // bytes of a device's line
	MaxPerBatch = 4 << 20 // bytes: the sum of the quotas of all categories
)

var word = regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)

// Spec checks that a category's Spec is well formed. Run includes it.
func Spec(t *testing.T, v service.Verifier) {
	t.Helper()
	s := v.Spec
	if diff := cmp.Diff(s, v.Spec); diff != "" {
		t.Errorf("the Spec differs from call to call:\n%s", diff)
	}
	if s.Category == 0 || !word.MatchString(s.Name) {
		t.Errorf("category %d, name %q", s.Category, s.Name)
	}
	if name := s.Category.String(); !strings.HasPrefix(name, "category(") && name != s.Name {
		t.Errorf("category %d is called %q by the protocol, %q by its Spec", s.Category, name, s.Name)
	}
	if s.MaxState <= 0 || s.MaxState > MaxState {
		t.Errorf("MaxState %d, want 1 to %d", s.MaxState, MaxState)
	}
	if s.Params.Category != 0 || s.Params.Quota != 0 {
		t.Errorf("the parameters say category %d and quota %d, which the Spec says elsewhere", s.Params.Category, s.Params.Quota)
	}
	if s.Economy.PriceUnit == 0 {
		t.Error("the economy has no price unit")
	}
	if s.Economy.Quota > 0 && (s.Economy.Reference == 0 || s.Params.Bond == 0) {
		t.Errorf("network-ordered units without a reference value or a bond: %+v, %+v", s.Economy, s.Params)
	}
	p := econ.Default(s.Genesis())
	if err := p.Validate(&p); err != nil {
		t.Errorf("no chain starts with it: %v", err)
	}
	quota(t, s)
	classes(t, s)
	kinds(t, v, s)
	reasons(t, s)
}

func quota(t *testing.T, s *service.Spec) {
	t.Helper()
	if q := s.Quota; q.Count == 0 || q.Count > MaxItems || q.Bytes < 1024 || q.Bytes > MaxBytes {
		t.Errorf("quota %+v, want 1 to %d items of 1,024 to %d bytes", q, MaxItems, MaxBytes)
	}
}

func classes(t *testing.T, s *service.Spec) {
	t.Helper()
	names := map[string]bool{}
	for i, c := range s.Classes {
		if c.Class == 0 || i > 0 && c.Class <= s.Classes[i-1].Class {
			t.Errorf("class %d follows %d: want ascending numbers from 1", c.Class, s.Classes[max(0, i-1)].Class)
		}
		if !word.MatchString(c.Name) || names[c.Name] || c.Unit == "" || c.Scale == 0 {
			t.Errorf("class %+v: want a name of its own, a unit and a scale", c)
		}
		names[c.Name] = true
	}
	if len(s.Classes) == 0 {
		t.Error("no classes")
	}
}

func kinds(t *testing.T, v service.Verifier, s *service.Spec) {
	t.Helper()
	names, witness := map[string]bool{}, false
	for i, k := range s.Kinds {
		if k.Kind == 0 || i > 0 && k.Kind <= s.Kinds[i-1].Kind {
			t.Errorf("kind %d follows %d: want ascending numbers from 1", k.Kind, s.Kinds[max(0, i-1)].Kind)
		}
		if !word.MatchString(k.Name) || names[k.Name] {
			t.Errorf("kind %d: name %q", k.Kind, k.Name)
		}
		names[k.Name] = true
		witness = witness || k.Witness
	}
	if (v.Subject != nil) != witness {
		t.Errorf("kinds of witnesses: %t; Subject: %t", witness, v.Subject != nil)
	}
}

func reasons(t *testing.T, s *service.Spec) {
	t.Helper()
	seen := map[types.Reason]bool{}
	for _, r := range s.Reasons {
		name, ok := strings.CutPrefix(string(r.Reason), s.Name+".")
		if !ok || !word.MatchString(name) || seen[r.Reason] {
			t.Errorf("reason %q: want %s.… once", r.Reason, s.Name)
		}
		if !strings.HasSuffix(r.Sentence, ".") || !strings.HasSuffix(r.Try, ".") {
			t.Errorf("reason %q: want two sentences, got %q and %q", r.Reason, r.Sentence, r.Try)
		}
		if r.Status < 400 || r.Status > 599 {
			t.Errorf("reason %q: status %d refuses nothing", r.Reason, r.Status)
		}
		seen[r.Reason] = true
	}
}

// Quotas checks that the quotas of all categories fit a device's share of a batch together, and that no two
// share a number or a name.
func Quotas(t *testing.T, all []service.Verifier) {
	t.Helper()
	total := 0
	names := map[string]bool{}
	numbers := map[types.Category]bool{}
	for _, v := range all {
		s := v.Spec
		total += int(s.Quota.Bytes)
		if names[s.Name] || numbers[s.Category] {
			t.Errorf("category %d, %s: there is another", s.Category, s.Name)
		}
		names[s.Name], numbers[s.Category] = true, true
	}
	if total > MaxPerBatch {
		t.Errorf("the quotas add up to %d bytes, at most %d are taken", total, MaxPerBatch)
	}
}
