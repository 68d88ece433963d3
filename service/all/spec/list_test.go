package spec

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/provider"
	"github.com/cairn-network/cairn/service/all/simulator"
)

// TestLists: each list is in the order of the categories' numbers, with none twice and none that no tally knows, and
// says of each what is not optional.
func TestLists(t *testing.T) {
	known := map[types.Category]bool{}
	for _, v := range Categories() {
		known[v.Spec.Category] = true
	}
	lists := map[string][]types.Category{}
	for _, d := range provider.Devices() {
		lists["devices"] = append(lists["devices"], d.Category)
		if d.Settings == nil || d.Find == nil || d.New == nil {
			t.Errorf("the device of %v lacks Settings, Find or New", d.Category)
		}
	}
	for _, c := range customer.Customers() {
		lists["customers"] = append(lists["customers"], c.Category)
		if c.Mount == nil || len(c.Routes) == 0 || c.Run == nil {
			t.Errorf("the customer of %v lacks Mount, Routes or Run", c.Category)
		}
		for _, rt := range c.Routes {
			if rt.Serve == nil || rt.Summary == "" {
				t.Errorf("%v: %s %s lacks Serve or Summary", c.Category, rt.Method, rt.Path)
			}
		}
	}
	for _, s := range simulator.Simulators() {
		lists["simulators"] = append(lists["simulators"], s.Category)
	}
	for name, list := range lists {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("%s: %v", name, list)
		}
		for _, c := range list {
			if !known[c] {
				t.Errorf("%s: no tally knows %v", name, c)
			}
		}
	}
}
