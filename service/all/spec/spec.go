// Package spec lists the categories that this program knows, as pure verifiers: what a tally needs of them.
// There is no other registration. A new category adds one line here, and one in the list of each of its roles
// beside this package.
//
// docs/spec/reasons.md, the table of every coded reason, and docs/spec/rest.md are generated from the lists
// (`make generate`).
package spec

import (
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/storage"
)

//go:generate go test -run ^(TestReasons|TestREST)$ -update .

// Categories returns the categories, in the order of their numbers.
func Categories() []service.Verifier {
	return []service.Verifier{
		compute.New(),
		storage.New(),
		energy.New(),
	}
}

// Reasons returns the reasons of all categories.
func Reasons() []types.ReasonInfo {
	var all []types.ReasonInfo
	for _, c := range Categories() {
		all = append(all, c.Spec.Reasons...)
	}
	return all
}
