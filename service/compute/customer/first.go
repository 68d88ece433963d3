package customer

import (
	"bytes"
	"context"
	_ "embed" // the program
	"fmt"
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// The program of the first round counts lines, words and bytes. It is made from its source by `wat2wasm` of wabt.
var (
	//go:embed program/count.wasm
	countProgram []byte
	//go:embed program/count.wat
	countSource []byte
)

// firstBytes is how much the first round has counted: enough that it costs a credit.
const firstBytes = 16 << 20

// firstText is what it has counted: the program's own source, over and over.
func firstText() []byte { return bytes.Repeat(countSource, firstBytes/len(countSource)) }

// firstWait is how long the first round waits for a device that takes its job.
const firstWait = 3 * time.Minute

// count is what the program prints.
func count(p []byte) string {
	lines, words, in := 0, 0, false
	for _, c := range p {
		if c == '\n' {
			lines++
		}
		space := c == ' ' || c >= '\t' && c <= '\r'
		if !space && !in {
			words++
		}
		in = !space
	}
	return fmt.Sprintf("%d %d %d\n", lines, words, len(p))
}

// FirstRound has a device count words, and counts them itself.
func (c *Customer) FirstRound(ctx context.Context, w role.Wallet) (string, error) {
	var p pins
	p.c = c
	keep := func(content []byte) (types.Hash, error) {
		h, n, err := c.inputs.Add(bytes.NewReader(content), compute.MaxModule)
		if err == nil {
			p.list = append(p.list, size{h, n})
		}
		return h, err
	}
	code, err := keep(countProgram)
	if err != nil {
		return "", err
	}
	text := firstText()
	stdin, err := keep(text)
	if err != nil {
		p.drop()
		return "", err
	}
	s := &submitted{
		name: "count", files: compute.Files{}, want: want{Slots: 1, Price: defaultPrice, Mode: compute.Public}, sizes: p.list,
		job: compute.Job{
			Profile: compute.WasmProfile, Code: code, Args: []string{"count"}, Env: []string{}, Stdin: stdin, Input: compute.Files{}.Root(),
			Limit: defaultLimit, Pages: 16,
		},
	}
	var j *job
	for end := time.Now().Add(firstWait); ; {
		if j, err = c.submit(ctx, w, s); err == nil {
			break
		}
		// Devices may have to begin first, and to hear of the customer's credits.
		if why := types.ReasonOf(err); why != compute.NoMatch && why != compute.Unpaid || time.Now().After(end) {
			p.drop()
			return "", err
		}
		select {
		case <-ctx.Done():
			p.drop()
			return "", ctx.Err()
		case <-time.After(lookEvery / 2):
		}
	}
	rec, err := j.wait(ctx)
	if err != nil {
		return "", err
	}
	if rec.State != Done || rec.Result.Exit != 0 {
		return "", types.Refuse(rec.Reason, "compute: first job %v: %s %s", rec.ID, rec.State, rec.Message)
	}
	out, closer, err := c.outputs(rec)
	if err != nil {
		return "", err
	}
	defer closer()
	got, err := io.ReadAll(&reader{out, 0})
	if err != nil {
		return "", err
	}
	if want := count(text); string(got) != want {
		return "", types.Refuse(compute.ResultWrong, "compute: first job %v wrote %.80q, want %q", rec.ID, got, want)
	}
	return fmt.Sprintf("compute: ran a program of %d bytes on a stranger's device, which used %d fuel for %s, and got the right result", len(countProgram), rec.Fuel, command.Dollars(rec.Paid)), nil
}

// reader reads what there is of standard output.
type reader struct {
	out *spool.Outputs
	at  uint64
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.out.ReadAt(context.Background(), spool.Stdout, p, r.at)
	r.at += uint64(n)
	return n, err
}
