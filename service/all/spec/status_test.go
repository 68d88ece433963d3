package spec

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// ours are the reasons that nobody outside the gateway's machine can do anything about: only they are answered
// with 500.
var ours = []types.Reason{role.Internal, types.EconRange, types.PortInUse, types.HomeUnwritable, types.HomeBusy, types.HomeFormat, types.HomeChanged, types.HomeDamaged, types.ClockOff}

// TestStatuses: every reason that there is has an HTTP status at the gateway, which is the one that it answers
// with, and says what to do.
func TestStatuses(t *testing.T) {
	for _, r := range slices.Concat(types.Reasons(), role.Reasons(), Reasons()) {
		if (r.Status == http.StatusInternalServerError) != slices.Contains(ours, r.Reason) {
			t.Errorf("%s has status %d: 500 is for what nobody outside the gateway's machine can mend", r.Reason, r.Status)
		}
		if r.Status < 400 || r.Status > 599 {
			t.Errorf("%s: status %d refuses nothing", r.Reason, r.Status)
		}
		if r.Sentence == "" || r.Try == "" {
			t.Errorf("%s does not say what happened and what to do", r.Reason)
		}
		answer := httptest.NewRecorder()
		role.Fail(answer, types.Refuse(r.Reason, "test"), Reasons()...)
		var p role.Problem
		if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if want := (role.Problem{Reason: r.Reason, Message: "test: " + string(r.Reason), Try: r.Try}); answer.Code != r.Status || p != want {
			t.Errorf("%s is answered with %d %+v, want %d %+v", r.Reason, answer.Code, p, r.Status, want)
		}
	}
	answer := httptest.NewRecorder()
	if role.Fail(answer, types.Refuse("nobody.knows", "test")); answer.Code != http.StatusInternalServerError {
		t.Errorf("a reason that is in no table is answered with %d", answer.Code)
	}
}
