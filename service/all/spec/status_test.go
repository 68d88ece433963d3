package spec

import (
	"net/http"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/role"
)

// ours are the reasons that nobody outside the gateway's machine can do anything about: only they are answered with 500.
var ours = []types.Reason{role.Internal, types.EconRange, types.PortInUse, types.HomeUnwritable, types.HomeBusy, types.HomeFormat, types.HomeChanged, types.HomeDamaged, types.ClockOff}

// TestStatuses: every reason that there is has an HTTP status at the gateway, and says what to do.
func TestStatuses(t *testing.T) {
	check := func(rows []types.ReasonInfo, own map[types.Reason]int, where string) {
		for _, r := range rows {
			status := role.Status(r.Reason, own)
			if (status == http.StatusInternalServerError) != slices.Contains(ours, r.Reason) {
				t.Errorf("%s has status %d: give it one in %s", r.Reason, status, where)
			}
			if status < 400 || status > 599 {
				t.Errorf("%s: status %d refuses nothing", r.Reason, status)
			}
			if r.Sentence == "" || r.Try == "" {
				t.Errorf("%s does not say what happened and what to do", r.Reason)
			}
		}
	}
	check(types.Reasons(), nil, "service/role/reason.go")
	check(role.Reasons(), nil, "service/role/reason.go")
	for _, c := range customer.Customers() {
		coded, ok := c.(role.Coded)
		at := slices.IndexFunc(Categories(), func(v service.Verifier) bool { return v.Spec().Category == c.Category() })
		if !ok || at < 0 {
			t.Errorf("%v: its Customer has no Statuses (role.Coded), or it has no Spec", c.Category())
			continue
		}
		check(Categories()[at].Spec().Reasons, coded.Statuses(), "the Customer's Statuses")
	}
}
