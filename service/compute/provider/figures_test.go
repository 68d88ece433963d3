package provider

import (
	"testing"

	"github.com/cairn-network/cairn/core/receipt"

	"github.com/cairn-network/cairn/service/compute"
)

// figure returns one of the device's figures.
func (w *world) figure(name, label string) float64 {
	w.t.Helper()
	for _, f := range w.p.Figures() {
		if f.Name == name {
			if f.Label == "" {
				return f.Value
			}
			return f.Each[label]
		}
	}
	w.t.Fatalf("no figure %s", name)
	return 0
}

// TestFigures: /metrics says what the device is at.
func TestFigures(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Slots = 2 })
	s := w.session(100)
	w.end(w.run(s, "burn:100000000"))
	w.end(w.run(s, "trap"))
	w.settled()
	for name, want := range map[[2]string]float64{
		{"jobs_ended_total", "done"}: 1, {"jobs_ended_total", string(compute.TrapGuest)}: 1, {"units_total", "wasm"}: 100_000_000, {"slots", ""}: 2, {"slots_taken", ""}: 0,
		{"sessions", ""}: 1, {"unpaid_credits", ""}: 0, {"jobs", "running"}: 0, {"jobs_kept", ""}: 2,
	} {
		if got := w.figure(name[0], name[1]); got != want {
			t.Errorf("%v is %v, want %v", name, got, want)
		}
	}
	w.mu.Lock()
	w.pay = func(*receipt.Receipt) bool { return false }
	w.mu.Unlock()
	j := w.run(s, "burn:200000000", "wait:a")
	w.until(j, "it has used that", func() bool { return j.used == 200_000_000 })
	for name, want := range map[[2]string]float64{{"jobs", "running"}: 1, {"slots_taken", ""}: 1, {"unpaid_credits", ""}: 200, {"unpaid_seconds", ""}: 0.2} {
		if got := w.figure(name[0], name[1]); got != want {
			t.Errorf("%v is %v, want %v", name, got, want)
		}
	}
	if _, reason := w.ask(w.session(100), w.callWith(w.session(100), nil, func(c *compute.Call) { c.Order.Order.Price = 1 }, "out:x")); reason == "" || w.figure("orders_refused_total", string(reason)) != 1 {
		t.Errorf("refused as %q", reason)
	}
	close(w.exec.gate("a"))
	w.mu.Lock()
	w.pay = nil
	w.mu.Unlock()
	w.end(j)
}
