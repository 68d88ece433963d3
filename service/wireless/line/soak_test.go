//go:build soak && linux

package line

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var doc = flag.String("doc", "", "write the table into this document")

// TestTable runs every scenario on simulated lines, with seeds, and in network namespaces, at 10, 50 and 200 Mbit/s, and
// writes what they read as a table.
func TestTable(t *testing.T) {
	rates := []uint64{10_000_000, 50_000_000, 200_000_000}
	const seeds = 5
	var b strings.Builder
	fmt.Fprintf(&b, "Readings in shares of the line. Simulated: the least and most of %d seeds. Last: what the plain sum of what all eight report\n"+
		"would say, of 10 Mbit/s, simulated.\n\n| | simulated 10 | 50 | 200 Mbit/s | namespaces 10 | 50 | 200 Mbit/s | plain sum |\n|---|---|---|---|---|---|---|---|\n", seeds)
	list := append([]scenario{honest(0), honest(2)}, attacks...)
	for _, s := range list {
		fmt.Fprintf(&b, "| %s |", s.name)
		naive := 0.0
		for _, rate := range rates {
			low, high := 99.0, 0.0
			for seed := range uint64(seeds) {
				got := simulate(t, s, rate, seed, nil)
				low, high = min(low, got.proven), max(high, got.proven)
				if rate == rates[0] {
					naive = max(naive, got.naive)
				}
			}
			if low < s.least || high > s.most {
				t.Errorf("%s at %d bit/s: %.3f to %.3f, want %v to %v", s.name, rate, low, high, s.least, s.most)
			}
			fmt.Fprintf(&b, " %.2f–%.2f |", low, high)
		}
		for _, rate := range rates {
			if s.slice { // the line of a kernel can't be told to
				b.WriteString(" – |")
				continue
			}
			got := reads(t, s, rate)
			fmt.Fprintf(&b, " %.2f |", got.proven)
		}
		fmt.Fprintf(&b, " %.2f |\n", naive)
	}
	t.Log("\n" + b.String())
	if *doc == "" {
		return
	}
	raw, err := os.ReadFile(*doc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin table -->\n", "<!-- end table -->"
	before, rest, ok := strings.Cut(string(raw), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", *doc)
	}
	if err := os.WriteFile(*doc, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
