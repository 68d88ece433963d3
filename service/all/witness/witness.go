// Package witness lists what is looked at beside a verifier: one line per category that has live checks or audits.
package witness

import (
	compute "github.com/cairn-network/cairn/service/compute/witness"
	"github.com/cairn-network/cairn/service/role"
)

// Witnesses returns the categories beside a verifier, in the order of their numbers.
func Witnesses() []role.Witness {
	return []role.Witness{
		compute.New(compute.Config{}).Role(),
	}
}
