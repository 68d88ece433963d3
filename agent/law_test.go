package agent

import (
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

// TestGuarded: what a lock guards only its owner's methods touch.
func TestGuarded(t *testing.T) {
	if parts := testutil.Guarded(t, "."); len(parts) < 4 {
		t.Errorf("what has a lock: %v", parts)
	}
}
