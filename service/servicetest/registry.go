package servicetest

import (
	"iter"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Registry is a registry view that a test fills in. Its zero value lists nobody.
type Registry struct {
	Members []tally.Device   // ascending by key
	Voters  []tally.Attester // ascending by key
	Granted map[types.Key]*tally.Grant
}

var _ tally.Registry = (*Registry)(nil)

// Device implements tally.Registry.
func (r *Registry) Device(k types.Key) *tally.Device {
	if i := slices.IndexFunc(r.Members, func(d tally.Device) bool { return d.Key == k }); i >= 0 {
		return &r.Members[i]
	}
	return nil
}

// Grant implements tally.Registry.
func (r *Registry) Grant(k types.Key) *tally.Grant { return r.Granted[k] }

// Attester implements tally.Registry.
func (r *Registry) Attester(k types.Key) *tally.Attester {
	if i := slices.IndexFunc(r.Voters, func(a tally.Attester) bool { return a.Key == k }); i >= 0 {
		return &r.Voters[i]
	}
	return nil
}

// Attesters implements tally.Registry.
func (r *Registry) Attesters() iter.Seq[*tally.Attester] {
	return func(yield func(*tally.Attester) bool) {
		for i := range r.Voters {
			if !yield(&r.Voters[i]) {
				return
			}
		}
	}
}

// Devices implements tally.Registry.
func (r *Registry) Devices(c types.Category) iter.Seq[*tally.Device] {
	return func(yield func(*tally.Device) bool) {
		for i := range r.Members {
			if slices.Contains(r.Members[i].Categories, c) && !yield(&r.Members[i]) {
				return
			}
		}
	}
}
