package cuda

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/compute/provider/card"
)

// standIn compiles a driver whose card is this processor (testdata/driver.c), with what else it should be.
func standIn(t *testing.T, defines ...string) string {
	t.Helper()
	lib := filepath.Join(t.TempDir(), "libcuda.so.1")
	args := append([]string{"-x", "c", "-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-Wall", "-Werror"}, defines...)
	if out, err := exec.Command(testutil.Program(t, "clang"), append(args, "-o", lib, "testdata/driver.c")...).CombinedOutput(); err != nil {
		t.Fatalf("clang: %v\n%s", err, out)
	}
	return lib
}

// TestCardAgrees: the kernels, run by a processor, come to the rows that package mac comes to, for one order
// after another, from many goroutines, and the memory of the card comes back.
func TestCardAgrees(t *testing.T) {
	c, err := Open(standIn(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "a processor" || c.Memory == 0 {
		t.Errorf("%q with %d bytes", c.Name, c.Memory)
	}
	seed := types.Sum([]byte("a seed"))
	want := map[int]*mac.Product{512: mac.Compute(seed, 512), 1024: mac.Compute(seed, 1024)}
	var group sync.WaitGroup
	for _, n := range []int{512, 1024, 512} {
		group.Go(func() {
			if got, shown, err := c.Compute(seed, n, 0, n-1); err != nil || !slices.Equal(got, want[n].Leaves()) || len(shown) != 2 || !bytes.Equal(shown[0], want[n].Row(0)) || !bytes.Equal(shown[1], want[n].Row(n-1)) {
				t.Errorf("order %d: other rows: %v", n, err)
			}
		})
	}
	group.Wait()
	if _, _, err := c.Compute(seed, 8192); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("384 MiB of 64: %v", err)
	}
	if got, _, err := c.Compute(seed, 512); err != nil || !slices.Equal(got, want[512].Leaves()) {
		t.Errorf("after that: %v", err)
	}
	for _, i := range []int{-1, 512} {
		if _, _, err := c.Compute(seed, 512, i); err == nil {
			t.Errorf("row %d is shown", i)
		}
	}
	for _, n := range []int{0, -1, 500, 1 << 14} {
		if _, _, err := c.Compute(seed, n); err == nil {
			t.Errorf("order %d is computed", n)
		}
	}
	c.Close()
	c.Close()
}

// TestOpen: what can't be used is refused with why.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		defines []string
		index   int
		says    string
	}{
		"no card":             {[]string{"-DINIT=100"}, 0, "no CUDA-capable device"},
		"another number":      {nil, 1, "card 1: there are 1"},
		"one that is too old": {[]string{"-DMAJOR=5"}, 0, "compute capability 5.0"},
		"one without memory":  {[]string{"-DMEMORY=4096"}, 0, "out of memory"},
		"one that is wrong":   {[]string{"-DWRONG"}, 0, "computes something else"},
	} {
		if _, err := Open(standIn(t, c.defines...), c.index); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), Library), 0); !errors.Is(err, ErrNoDriver) {
		t.Errorf("no driver: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.so")
	if out, err := exec.Command("clang", "-shared", "-fPIC", "-x", "c", "-o", other, "/dev/null").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := Open(other, 0); !errors.Is(err, ErrNoDriver) || !strings.Contains(err.Error(), "cuInit") {
		t.Errorf("another library: %v", err)
	}
}

// TestProgram: a device has its rounds from the program, which may be killed, and says why it has no card.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), card.Program)
	build := exec.Command("go", "build", "-o", program, "../cairn-card")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lib := standIn(t)
	c, err := card.Start(func() *exec.Cmd { return exec.Command(program, "0", lib) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Hello().Name != "a processor" {
		t.Errorf("it says %+v", c.Hello())
	}
	seed := types.Sum([]byte("another"))
	if got, shown, err := c.Compute(seed, 512, 9); err != nil || !slices.Equal(got, mac.Compute(seed, 512).Leaves()) || !bytes.Equal(shown[0], mac.ProductRow(seed, 512, 9)) {
		t.Errorf("other rows: %v", err)
	}
	if _, _, err := c.Compute(seed, 500); err == nil || !strings.Contains(err.Error(), "order 500") {
		t.Errorf("an order that no round has: %v", err)
	}
	if _, err := card.Start(func() *exec.Cmd { return exec.Command(program, "0", filepath.Join(t.TempDir(), Library)) }); err == nil || !strings.Contains(err.Error(), "no driver") {
		t.Errorf("no driver: %v", err)
	}
}

// TestKernelsCurrent: what is shipped is what the kernels say, as far as the names and the bounds of a card go.
func TestKernelsCurrent(t *testing.T) {
	for _, want := range []string{".version 6.0", ".target sm_61", ".visible .entry cairn_fill", ".visible .entry cairn_multiply", ".visible .entry cairn_hash", "dp4a.s32.s32"} {
		if !strings.Contains(string(kernels), want) {
			t.Errorf("kernel.ptx has no %s", want)
		}
	}
}
