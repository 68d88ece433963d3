// Package service says what a category of infrastructure is: a Spec, which is data, and a Verifier, which is pure.
//
// A category is one folder below this one. The folder itself holds the evidence that its devices give, the unit
// that it is paid in, and Verify, which says what the evidence proves; beside it lie provider (what runs on the
// device), customer (what runs at the gateway) and, where the category has live checks, witness. Engines know
// no category: the lists in service/all are handed to them. To add a category, write its folder, pass
// servicetest, and add one line to each list of service/all.
package service

import (
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
)

// Spec is what a category declares of itself.
type Spec = tally.Spec

// Verifier is a category's heart: its Spec, and what its evidence proves.
type Verifier = tally.Verifier

// Input is what a Verifier sees of one device in one epoch.
type Input = tally.Input

// Output is what it found.
type Output = tally.Output

// Verdict is the judgement on one item of evidence.
type Verdict = tally.Verdict

// Genesis are the economic parameters of categories on a chain that starts with them.
func Genesis(all []Verifier) []econ.Category {
	list := make([]econ.Category, len(all))
	for i, v := range all {
		list[i] = v.Spec.Genesis()
	}
	return list
}
