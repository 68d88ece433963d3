package provider

import (
	"bufio"
	"fmt"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/source"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// TestPymodbus: an inverter and a meter that pymodbus is are read by a home, and what they count is in the
// tally, under their names.
func TestPymodbus(t *testing.T) {
	t.Parallel()
	python := testutil.Python(t, "pymodbus", "serial_asyncio")
	port := strconv.Itoa(testutil.Port(t, "tcp"))
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

	// An epoch of the world's is 600 intervals of energy time: records of one are late, but not too late, in
	// the next.
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
	// Where a busy machine missed a boundary, that is left out: then it goes on until two boundaries that
	// follow one another were read.
	steps, s := 0, new(energy.State)
	for tries := 0; tries < 6 && s.Sums.Exported == 0; tries++ {
		for range 13 {
			set("wh", 1<<16+2+100*steps)
			set("exp", 1234+500*steps)
			set("imp", 1<<20+100*steps)
			steps++
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
		var err error
		if s, err = energy.DecodeState(w.State().CategoryLine(d.Key(), types.Energy)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Site.Grid != energy.MeterID("Pymodbus", "Meter", "GRID-1") || s.Site.PV != energy.MeterID("Pymodbus", "Inverter", "PV-1") {
		t.Errorf("site %+v", s.Site)
	}
	if s.Sums.Exported == 0 || s.Wh[energy.PV] <= 1<<16+2 || s.Wh[energy.Export] <= 123 || s.Wh[energy.Import] <= 1<<20/10 || s.Wh[energy.Import] > 1<<20/10+10*uint64(steps) {
		t.Errorf("registers %v, sums %+v", s.Wh, s.Sums)
	}
}
