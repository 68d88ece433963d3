package verifier

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// registry is the registry view of an epoch: that of an earlier state, and what changed since. It never changes
// once made.
type registry struct {
	base     *tally.State
	devices  map[types.Key]*tally.Device // nil: removed
	grants   map[types.Key]*tally.Grant
	holders  map[types.Account]types.Credit
	attester map[types.Key]*tally.Attester // nil: removed
}

var _ tally.Registry = (*registry)(nil)

// newRegistry returns base with changes made, in order.
func newRegistry(base *tally.State, changes []tally.Change) *registry {
	r := &registry{
		base: base, devices: map[types.Key]*tally.Device{}, grants: map[types.Key]*tally.Grant{},
		holders: map[types.Account]types.Credit{}, attester: map[types.Key]*tally.Attester{},
	}
	for _, c := range changes {
		switch {
		case c.Device != nil:
			r.devices[c.Device.Key] = c.Device
		case !c.Remove.IsZero():
			r.devices[c.Remove] = nil
		case c.Grant != nil:
			r.grants[c.Grant.Key] = c.Grant
		case c.Holder != nil:
			r.holders[c.Holder.Account] = c.Holder.Bought
		case c.Attester != nil:
			r.attester[c.Attester.Key] = c.Attester
			if c.Attester.Power == 0 {
				r.attester[c.Attester.Key] = nil
			}
		}
	}
	return r
}

// Device implements tally.Registry.
func (r *registry) Device(key types.Key) *tally.Device {
	if d, ok := r.devices[key]; ok {
		return d
	}
	return r.base.Device(key)
}

// Grant implements tally.Registry.
func (r *registry) Grant(key types.Key) *tally.Grant {
	if g, ok := r.grants[key]; ok {
		return g
	}
	return r.base.Grant(key)
}

// Attester implements tally.Registry.
func (r *registry) Attester(key types.Key) *tally.Attester {
	if a, ok := r.attester[key]; ok {
		return a
	}
	return r.base.Attester(key)
}

// Attesters implements tally.Registry.
func (r *registry) Attesters() iter.Seq[*tally.Attester] {
	return overlay(r.base.Attesters(), r.attester, func(a *tally.Attester) types.Key { return a.Key })
}

// Devices implements tally.Registry.
func (r *registry) Devices(c types.Category) iter.Seq[*tally.Device] {
	return func(yield func(*tally.Device) bool) {
		for d := range overlay(r.base.Devices(c), r.devices, func(d *tally.Device) types.Key { return d.Key }) {
			if slices.Contains(d.Categories, c) && !yield(d) {
				return
			}
		}
	}
}

// overlay lists base, which is ascending by key, with changes made; what changed to nil is left out.
func overlay[T any](base iter.Seq[*T], changed map[types.Key]*T, key func(*T) types.Key) iter.Seq[*T] {
	fresh := slices.SortedFunc(maps.Keys(changed), func(a, b types.Key) int { return slices.Compare(a[:], b[:]) })
	return func(yield func(*T) bool) {
		rest := fresh
		until := func(k *types.Key) bool { // yields what changed up to and with a key
			for len(rest) > 0 && (k == nil || slices.Compare(rest[0][:], k[:]) <= 0) {
				at := changed[rest[0]]
				rest = rest[1:]
				if at != nil && !yield(at) {
					return false
				}
			}
			return true
		}
		for old := range base {
			k := key(old)
			if !until(&k) {
				return
			}
			if _, replaced := changed[k]; !replaced && !yield(old) {
				return
			}
		}
		until(nil)
	}
}

// bought returns what an account has bought, as of the view.
func (r *registry) bought(a types.Account) types.Credit {
	if c, ok := r.holders[a]; ok {
		return c
	}
	return r.base.Balance(a).Bought
}

// changesSince returns the registry changes that lead from the view of epoch from to that of epoch to.
func changesSince(ctx context.Context, l Source, from, to types.Epoch, region types.Region) ([]tally.Change, error) {
	var out []tally.Change
	for e := from + 1; e <= to; e++ {
		c, err := l.Changes(ctx, e, region)
		if err != nil {
			return nil, fmt.Errorf("verifier: registry changes of epoch %d: %w", e, err)
		}
		out = append(out, c...)
	}
	return out, nil
}
