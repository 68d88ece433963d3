package provider

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// TestPymodbus: an inverter and a meter that pymodbus is are read by a home, and what they count is in the tally, under their names.
func TestPymodbus(t *testing.T) {
	t.Parallel()
	python := testutil.Python(t, "pymodbus", "serial_asyncio")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	c := exec.Command(python, "source/testdata/server.py", "tcp", port)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	set := func(name string, v int) {
		fmt.Fprintf(in, "%s %d\n", name, v)
		lines.Scan()
	}

	// An epoch of the world's is 600 intervals of energy time: records of one are late, but not too late, in the next.
	const rate = 150
	var ahead atomic.Int64
	start := time.Now()
	w := roletest.New(t, energy.New())
	w.Cell = home
	w.Next()
	begin := uint64(roletest.Genesis + (roletest.Blocks+1)*roletest.BlockTime)
	rules := energy.DefaultRules()
	rules.Clock = energy.Clock{Chain: begin, Energy: begin / 900 * 900, Rate: rate}
	w.Rules = map[types.Category][]byte{types.Energy: rules.Encode()}
	d := w.Device("home")
	d.Start(New(Config{
		Site:      energy.Site{Technology: energy.Solar, PDC: 6000, PAC: 5000},
		Community: 100, Certificate: 10,
		Now: func() time.Time { return time.Unix(int64(begin)+ahead.Load(), 0).Add(time.Since(start)) },
		Sources: []source.Config{{Role: source.PV, Map: "sunspec", Address: "tcp://127.0.0.1:" + port, Rating: 5000},
			{Role: source.Grid, Map: "sunspec", Address: "tcp://127.0.0.1:" + port, Unit: 2, Rating: 40_000}},
	}))
	for i := range 13 {
		set("wh", 1<<16+2+100*i)
		set("exp", 1234+500*i)
		set("imp", 1<<20+100*i)
		time.Sleep(time.Second)
	}
	for range 3 { // handed in; counted; seen
		ahead.Add(roletest.Blocks * roletest.BlockTime)
		w.Next()
		time.Sleep(300 * time.Millisecond)
	}
	if list := w.Refused(); len(list) > 0 {
		t.Errorf("refused: %+v", list)
	}
	s, err := energy.DecodeState(w.State().CategoryLine(d.Key(), types.Energy))
	if err != nil {
		t.Fatal(err)
	}
	if s.Site.Grid != energy.MeterID("Pymodbus", "Meter", "GRID-1") || s.Site.PV != energy.MeterID("Pymodbus", "Inverter", "PV-1") {
		t.Errorf("site %+v", s.Site)
	}
	if s.Sums.Exported == 0 || s.Wh[energy.PV] <= 1<<16+2 || s.Wh[energy.Export] <= 123 || s.Wh[energy.Import] <= 1<<20/10 || s.Wh[energy.Import] > 1<<20/10+130 {
		t.Errorf("registers %v, sums %+v", s.Wh, s.Sums)
	}
}
