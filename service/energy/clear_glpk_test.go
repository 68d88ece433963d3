package energy

import (
	"bufio"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

// TestClearOptimal: on 1,200 random books the welfare of Clear's fills is that of the linear program
//
//	maximize Σ bid·x − Σ ask·y   subject to   Σ x = Σ y,  0 ≤ x ≤ Wh,  0 ≤ y ≤ Wh
//
// as glpsol solves it (GLPK, https://www.gnu.org/software/glpk). Books differ in size (1 to 60 quotes, some of
// up to 4,000), width, and in how often prices are equal or out of range. A file holds hundreds of books: none
// shares a variable with another, and each one's welfare is a variable of its own.
func TestClearOptimal(t *testing.T) {
	testutil.Program(t, "glpsol")
	trading, volume := 0, new(big.Int)
	for file := range 6 {
		r := rand.New(rand.NewPCG(uint64(file), 2026))
		var books []definition
		var ours []*big.Int
		for i := range 200 {
			n := 1 + r.IntN(60)
			if i == 0 {
				n = []int{500, 1000, 1500, 2000, 3000, 4000}[file]
			}
			b := definition{Auction: &Auction{Floor: r.Uint64N(200), Seed: types.Hash{byte(i)}, Interval: uint64(file)}}
			b.Ceiling = b.Floor + r.Uint64N([]uint64{1, 3, 10, 300, 1001}[r.IntN(5)])
			b.bids, b.asks = randomBook(r, b.Auction, n, []uint64{1, 5, 2500, 1e7}[r.IntN(4)])
			c := b.Clear(b.bids, b.asks)
			fair(t, b.Auction, b.bids, b.asks, &c)
			matched(t, &c, b.bids, b.asks)
			if !c.Volume.IsZero() {
				trading++
			}
			volume.Add(volume, new(big.Int).SetUint64(c.Volume.Lo))
			books, ours = append(books, b), append(ours, b.welfare(&c))
		}
		for i, best := range solve(t, books) {
			if ours[i].Cmp(best) != 0 {
				t.Errorf("file %d, book %d: welfare %d, glpsol finds %d", file, i, ours[i], best)
			}
		}
	}
	if t.Logf("1,200 books, %d of them with trades, of %d Wh in all", trading, volume); trading < 900 {
		t.Error("too few trades to mean anything")
	}
}

// welfare is what trades are worth to buyers above what they cost sellers, in µcredits, with prices as counted.
func (b definition) welfare(c *Clearing) *big.Int {
	sum := new(big.Int)
	value := func(q Quote, bid bool, wh uint64) *big.Int {
		p, _ := b.counted(q, bid)
		return new(big.Int).Mul(new(big.Int).SetUint64(p), new(big.Int).SetUint64(wh))
	}
	for i, q := range b.bids {
		sum.Add(sum, value(q, true, c.Bids[i]))
	}
	for i, q := range b.asks {
		sum.Sub(sum, value(q, false, c.Asks[i]))
	}
	return sum
}

// solve returns each book's best welfare.
func solve(t *testing.T, books []definition) []*big.Int {
	t.Helper()
	dir := t.TempDir()
	problem, solution := filepath.Join(dir, "books.lp"), filepath.Join(dir, "books.sol")
	if err := os.WriteFile(problem, []byte(program(books)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("glpsol", "--lp", problem, "--write", solution).CombinedOutput(); err != nil {
		t.Fatalf("glpsol: %v\n%s", err, out)
	}
	f, err := os.Open(solution)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	best := make([]*big.Int, 0, len(books))
	status := ""
	for lines := bufio.NewScanner(f); lines.Scan() && len(best) < len(books); {
		// "s bas rows columns primal dual objective" and "j column status value dual": columns are numbered as
		// the objective names them.
		switch words := strings.Fields(lines.Text()); {
		case len(words) == 7 && words[0] == "s":
			status = words[4] + words[5]
		case len(words) == 5 && words[0] == "j":
			value, ok := new(big.Rat).SetString(words[3])
			if !ok {
				t.Fatalf("glpsol: %q", lines.Text())
			}
			best = append(best, nearest(value))
		}
	}
	if status != "ff" || len(best) != len(books) {
		t.Fatalf("glpsol: %d solutions of %d, status %q, want both feasible", len(best), len(books), status)
	}
	return best
}

// nearest rounds what a solver with 53 bits finds; a basic solution of these programs is whole.
func nearest(r *big.Rat) *big.Int {
	n := new(big.Int).Add(new(big.Int).Lsh(r.Num(), 1), r.Denom())
	return n.Div(n, new(big.Int).Lsh(r.Denom(), 1))
}

// program is the books in CPLEX LP format, one term on a line.
func program(books []definition) string {
	var objective, rows, bounds strings.Builder
	for i, b := range books {
		fmt.Fprintf(&objective, " + w%d\n", i)
		var worth, balance strings.Builder
		side := func(name string, quotes []Quote, bid bool, in, out byte) {
			for j, q := range quotes {
				if p, ok := b.counted(q, bid); ok {
					fmt.Fprintf(&worth, " %c %d %s%d_%d\n", out, p, name, i, j)
					fmt.Fprintf(&balance, " %c %s%d_%d\n", in, name, i, j)
					fmt.Fprintf(&bounds, " 0 <= %s%d_%d <= %d\n", name, i, j, q.Wh)
				}
			}
		}
		side("x", b.bids, true, '+', '-')
		side("y", b.asks, false, '-', '+')
		fmt.Fprintf(&rows, " worth%d: w%d\n%s = 0\n", i, i, worth.String())
		if balance.Len() > 0 {
			fmt.Fprintf(&rows, " balance%d:\n%s = 0\n", i, balance.String())
		}
	}
	return "Maximize\n welfare:\n" + objective.String() + "Subject To\n" + rows.String() + "Bounds\n" + bounds.String() + "End\n"
}
