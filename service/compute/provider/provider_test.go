package provider

import (
	"bytes"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// TestJob: a job's output and result come to the gateway, and the tally pays for it.
func TestJob(t *testing.T) {
	w := newWorld(t, nil)
	s := w.session(100)
	j := w.runCall(s, w.callWith(s, bytes.Repeat([]byte("x"), 300_000), nil, "out:hello ", "err:oops", "burn:3000000000", "cat", "exit:3"))
	e := w.end(j)
	if e.Result == nil || e.Result.Exit != 3 || e.Result.Fuel != 3_000_000_000 || e.Leaf.Leaf.Mode != compute.Public {
		t.Fatalf("%+v", e)
	}
	if got := j.out[1].String(); got != "hello "+string(bytes.Repeat([]byte("x"), 300_000)) || j.out[2].String() != "oops" || j.twice != 0 {
		t.Errorf("%d bytes of output, %q, %d came twice", len(got), j.out[2].String(), j.twice)
	}
	market := w.market
	if list, _, err := market.Offers(t.Context(), wantWasm); err != nil || len(list) != 1 || list[0].Beat == nil || list[0].Beat.Free != types.Mul64(4, compute.Slot(compute.Wasm)) {
		t.Errorf("%+v, %v", list, err)
	}
	second := w.end(w.run(s, "burn:500000000"))
	if second.Leaf.Leaf.Index != 1 {
		t.Errorf("leaf %d", second.Leaf.Leaf.Index)
	}
	w.settled()
	for range 4 {
		w.Next()
	}
	w.clean(types.Superseded)
	if got := w.tallied(); got != 3500 {
		t.Errorf("the tally has %d, want 3500", got)
	}
}

var wantWasm = role.Want{Class: compute.Wasm}
