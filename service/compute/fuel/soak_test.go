//go:build soak

package fuel

import "testing"

// TestManyRandom is TestRandom, for longer.
func TestManyRandom(t *testing.T) {
	for seed := uint64(1000); seed < 40_000; seed++ {
		compare(t, source(seed, 1500))
	}
}
