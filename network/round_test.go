package network

import (
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// TestVigil: who waits for a tally hears of it, and waits neither for one that never comes nor for a chain that
// stands still.
func TestVigil(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, c := range []struct {
		name   string
		epoch  func(second int) types.Epoch // of a block; 0: none
		words  int
		end    int // seconds
		reason types.Reason
	}{
		{"no tally", func(s int) types.Epoch { return 100 + types.Epoch(s/8) }, 4, 8 * 25, types.NotFinal},
		{"long epochs", func(s int) types.Epoch { return 100 + types.Epoch(s/3600) }, 4, 3600 * 25, types.NotFinal},
		{"no block", func(int) types.Epoch { return 0 }, 18, 301, types.ChainStalled},
		{"no block after a while", func(s int) types.Epoch {
			if s < 20 {
				return 100
			}
			return 0
		}, 18, 19 + 301, types.ChainStalled},
	} {
		v, words := newVigil(100, start), 0
		for s := 0; ; s++ {
			word, err := v.look(c.epoch(s), start.Add(time.Duration(s)*time.Second))
			if word != "" {
				words++
			}
			if err != nil {
				if types.ReasonOf(err) != c.reason || s != c.end || words != c.words {
					t.Errorf("%s: after %d s and %d words: %v; want %s after %d s and %d words", c.name, s, words, err, c.reason, c.end, c.words)
				}
				break
			}
			if s > c.end {
				t.Errorf("%s: it still waits after %d s", c.name, s)
				break
			}
		}
	}
}
