package guest

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

func TestMain(m *testing.M) {
	parent() // see TestOrphans
	os.Exit(m.Run())
}

// pool opens one for a test.
func pool(t testing.TB, c Config) *Pool {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// prepare is Prepare of a module that must be taken.
func prepare(t testing.TB, p *Pool, wasm []byte) types.Hash {
	t.Helper()
	h, err := p.Prepare(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ran is a job that ended, with what it wrote.
type ran struct {
	*compute.Result
	stdout, stderr string
	left           compute.Files
}

const plenty = compute.MaxFuel

// do runs a job to its end.
func do(t testing.TB, p *Pool, j Job) ran {
	t.Helper()
	var out, errs bytes.Buffer
	j.Stdout, j.Stderr = &out, &errs
	if j.Fuel == 0 {
		j.Fuel = plenty
	}
	if j.Pages == 0 {
		j.Pages = 1024
	}
	r, err := p.Start(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if types.Sum(out.Bytes()) != res.Stdout || types.Sum(errs.Bytes()) != res.Stderr {
		t.Error("the streams have other digests")
	}
	return ran{res, out.String(), errs.String(), r.Files()}
}

// stdin gives a job what it reads.
func (j Job) stdin(s string) Job {
	j.Stdin, j.Size = strings.NewReader(s), int64(len(s))
	return j
}
