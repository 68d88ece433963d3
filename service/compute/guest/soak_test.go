//go:build soak

package guest

import (
	"fmt"
	"testing"
)

// TestManyCalls: however often a guest asks its host for something, the host's own memory does not grow without
// end: it would meet the limit that a child has, and the job would not end twice the same.
func TestManyCalls(t *testing.T) {
	p := pool(t, Config{})
	h := prepare(t, p, guestC(t))
	j := Job{Module: h, Args: []string{"guest", "calls", fmt.Sprint(1_000_000)}}
	if r := do(t, p, j); r.Exit != 0 || r.Trap != "" {
		t.Errorf("%+v %s", r.Result, r.stderr)
	}
}
