package customer

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute/fuel"
	"github.com/cairn-network/cairn/service/role"
)

// TestProgram: the program is what its source makes, and it can run.
func TestProgram(t *testing.T) {
	if _, err := fuel.Rewrite(countProgram); err != nil {
		t.Error(err)
	}
	tool := testutil.Program(t, "wat2wasm")
	file := filepath.Join(t.TempDir(), "count.wasm")
	if out, err := exec.Command(tool, "program/count.wat", "-o", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if made, err := os.ReadFile(file); err != nil || !bytes.Equal(made, countProgram) {
		t.Errorf("program/count.wasm is not what wat2wasm makes of program/count.wat: %v", err)
	}
}

// TestFirstRound: the first round waits for a device, and believes none that counts wrongly.
func TestFirstRound(t *testing.T) {
	w, m := newWorld(t)
	g := newGateway(t, m)
	counts := func(out string) play {
		return func(r *run) error {
			r.out = []byte(out)
			s, at, err := r.join()
			if err != nil {
				return err
			}
			defer s.Close()
			_ = r.write(s, at)
			e := r.ended()
			e.Result.Exit = 0
			l := e.Leaf.Leaf
			l.Result = e.Result.Hash()
			e.Leaf = r.leaf(l)
			return r.finish(s, e)
		}
	}
	right := count(firstText())
	var wallet role.Wallet = m
	d := newDevice(t, w, "a", 4, counts("1 2 3\n"))
	if _, err := g.FirstRound(t.Context(), wallet); err == nil {
		t.Error("a wrong count was believed")
	}
	_ = d.Stop()
	newDevice(t, w, "b", 3, counts(right))
	g.sees(2)
	if did, err := g.FirstRound(t.Context(), wallet); err != nil || did == "" {
		t.Errorf("%q, %v", did, err)
	}
}
