package command

import (
	"fmt"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// Stone prints ustone as STONE.
func Stone(u types.Ustone) string { return fmt.Sprintf("%d.%06d STONE", u/1e6, u%1e6) }

// Dollars prints micro-credits as dollars.
func Dollars(c types.Credit) string { return fmt.Sprintf("$%d.%06d", c/1e6, c%1e6) }

// ParseStone reads an amount of STONE with up to six decimals.
func ParseStone(s string) (types.Ustone, error) {
	whole, part, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(s), " STONE"), ".")
	if len(part) > 6 || whole == "" {
		return 0, fmt.Errorf("amount %.40q: want STONE with at most six decimals, like 5 or 0.25", s)
	}
	var u uint64
	for _, c := range whole + part + strings.Repeat("0", 6-len(part)) {
		if c < '0' || c > '9' || u > 1e17 {
			return 0, fmt.Errorf("amount %.40q: want STONE with at most six decimals, like 5 or 0.25", s)
		}
		u = u*10 + uint64(c-'0')
	}
	return types.Ustone(u), nil
}

// Bytes prints a size in binary units.
func Bytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	i, f := -1, float64(n)
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
