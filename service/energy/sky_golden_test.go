package energy

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
)

var updateSky = flag.Bool("update-sky", false, "write testdata/sky.txt anew")

const skyHead = `# The bound: cell of resolution 3, altitude (m), Unix second; cosine of the zenith angle and bound (W/m²), in 2⁻³⁰; solar day;
# the interval of that second and its largest bound; then p_dc, p_ac (W), env (bp) and the limit (Wh).
# The last line is the SHA-256 of 20,000 such lines, each ended by a line feed, of which the first are here.
`

// TestSkyGolden compares with bytes that every machine computes, and that no change of the code may change.
func TestSkyGolden(t *testing.T) {
	var got bytes.Buffer
	got.WriteString(skyHead)
	h := sha256.New()
	state := uint64(0)
	draw := func(n uint64) uint64 { // splitmix64
		state += 0x9e3779b97f4a7c15
		z := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return (z ^ z>>31) % n
	}
	var sky Sky
	for i := 0; i < 20_000; {
		cell := types.Cell(0x083<<52 | draw(122)<<45 | draw(7)<<42 | draw(7)<<39 | draw(7)<<36 | (1<<36 - 1))
		if !cell.Valid() {
			continue
		}
		altitude, unix := uint8(draw(MaxAltitude+1)), int64(draw(4_133_980_800)) // to the end of 2100
		pdc, env := draw(20_000), types.Bp(draw(10_001))
		pac := pdc * 9 / 10
		p := PlaceOf(cell, altitude)
		c, b := p.Bound(unix)
		k := uint64(unix) / lot.Interval
		most := sky.Most(&p, k)
		line := fmt.Sprint(cell, 100*int(altitude), unix, int64(c), int64(b), p.Day(unix), k, int64(most), pdc, pac, env, Limit(pdc, pac, most, env))
		if i < 100 {
			fmt.Fprintln(&got, line)
		}
		fmt.Fprintln(h, line)
		i++
	}
	fmt.Fprintf(&got, "%x\n", h.Sum(nil))
	const file = "testdata/sky.txt"
	if *updateSky {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("%s is not what was computed:\n%s", file, got.Bytes())
	}
}

// TestSkyOnARM computes the golden vectors of the arithmetic and of the bound in code for 64-bit ARM.
func TestSkyOnARM(t *testing.T) {
	if testing.Short() {
		t.Skip("the tests are compiled for another machine")
	}
	qemu := testutil.Program(t, "qemu-aarch64")
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", dir+"/", "../../core/fixed", ".")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	for _, test := range []struct{ binary, dir, name string }{
		{"fixed.test", "../../core/fixed", "TestGolden"},
		{"energy.test", ".", "TestSkyGolden"},
	} {
		cmd := exec.Command(qemu, filepath.Join(dir, test.binary), "-test.v", "-test.run", "^"+test.name+"$")
		cmd.Dir = test.dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+test.name) {
			t.Errorf("%s on arm64: %v\n%s", test.name, err, out)
		}
	}
}
