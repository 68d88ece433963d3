package verifier

import (
	"slices"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

// TestParts: what a part's lock guards only the part's own methods touch. And the Verifier, which puts the
// parts together, guards nothing.
func TestParts(t *testing.T) {
	if parts := testutil.Guarded(t, "."); len(parts) < 10 || slices.Contains(parts, "Verifier") {
		t.Errorf("what has a lock: %v", parts)
	}
}
