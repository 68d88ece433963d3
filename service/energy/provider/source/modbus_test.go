package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/energy"
)

// pymodbus starts testdata/server.py and returns what sets its counters.
func pymodbus(t *testing.T, args ...string) (set func(name string, v int)) {
	t.Helper()
	python := testutil.Python(t, "pymodbus", "serial_asyncio")
	c := exec.Command(python, append([]string{"testdata/server.py"}, args...)...)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the server said nothing")
	}
	return func(name string, v int) {
		fmt.Fprintf(in, "%s %d\n", name, v)
		lines.Scan()
	}
}

func freePort(t *testing.T) string { return strconv.Itoa(testutil.Port(t, "tcp")) }

func open(t *testing.T, c Config) Source {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// first reads, as soon as there is something to read.
func firstReading(t *testing.T, s Source) *Reading {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := s.Read(t.Context())
		if err == nil {
			return r
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

// want holds a reading to values in 10⁻³ Wh.
func want(t *testing.T, r *Reading, milli map[energy.Register]int64) {
	t.Helper()
	for reg := range energy.Registers {
		sum, ok := int64(0), r.Counters[reg] != nil
		for _, c := range r.Counters[reg] {
			n, _ := c.Value.Times(c.Scale)
			v, _ := n.Floor(-3)
			sum += v
		}
		if v, expected := milli[reg]; ok != expected || sum != v {
			t.Errorf("%v is %d (%v), want %d (%v)", reg, sum, ok, v, expected)
		}
	}
}

// TestPymodbus reads an inverter and a meter that pymodbus is.
func TestPymodbus(t *testing.T) {
	port := freePort(t)
	set := pymodbus(t, "tcp", port)
	inverter := open(t, Config{Role: PV, Map: "sunspec", Address: "tcp://127.0.0.1:" + port, Rating: 5000})
	grid := open(t, Config{Role: Grid, Map: "sunspec", Address: "tcp://127.0.0.1:" + port, Unit: 2, Rating: 40_000})
	r := firstReading(t, inverter)
	want(t, r, map[energy.Register]int64{energy.PV: (1<<16 + 2) * 1000})
	if r.Meter != (Meter{"Pymodbus", "Inverter", "PV-1"}) || r.Power == nil || *r.Power != 4200 || r.Counters[energy.PV][0].Bits != 32 {
		t.Errorf("%+v", r)
	}
	r = firstReading(t, grid)
	want(t, r, map[energy.Register]int64{energy.Export: 123_400, energy.Import: 1 << 20 * 100})
	if r.Meter.Serial != "GRID-1" || r.Power == nil || *r.Power != -700 {
		t.Errorf("%+v", r)
	}
	set("exp", 1<<32-1)
	want(t, firstReading(t, grid), map[energy.Register]int64{energy.Export: (1<<32 - 1) * 100, energy.Import: 1 << 20 * 100})
	set("exp", 0) // not implemented
	want(t, firstReading(t, grid), map[energy.Register]int64{energy.Import: 1 << 20 * 100})
	f, err := Probe(t.Context(), "tcp://127.0.0.1:"+port, 1, time.Second)
	if err != nil || len(f) != 1 || f[0].Rating != 5000 || !f[0].Inverter || f[0].Counts || f[0].Meter.Serial != "PV-1" {
		t.Errorf("%+v, %v", f, err)
	}
}

// wire is a serial line: what goes into one end comes out of the other.
func wire(t *testing.T) (a, b string) {
	t.Helper()
	end := func() (*os.File, string) {
		f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Skipf("no pseudo-terminals here: %v", err)
		}
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		raw.Control(func(fd uintptr) {
			n, err1 := unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			err2 := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
			if err = errors.Join(err1, err2); err != nil {
				return
			}
			name = fmt.Sprintf("/dev/pts/%d", n)
		})
		if err != nil {
			t.Skipf("no pseudo-terminals here: %v", err)
		}
		// A terminal that nobody holds open ends the line.
		hold, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Skipf("no pseudo-terminals here: %v", err)
		}
		state, err := unix.IoctlGetTermios(int(hold.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		state.Iflag, state.Oflag, state.Lflag = 0, 0, 0
		if err := unix.IoctlSetTermios(int(hold.Fd()), unix.TCSETS, state); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close(); hold.Close() })
		return f, name
	}
	left, a := end()
	right, b := end()
	go io.Copy(left, right)
	go io.Copy(right, left)
	return a, b
}

// TestRTU reads pymodbus over a serial line.
func TestRTU(t *testing.T) {
	ours, theirs := wire(t)
	pymodbus(t, "rtu", theirs)
	grid := open(t, Config{Role: Grid, Map: "sunspec", Address: "rtu://" + ours + "?speed=9600", Unit: 2, Rating: 40_000, Timeout: time.Second})
	want(t, firstReading(t, grid), map[energy.Register]int64{energy.Export: 123_400, energy.Import: 1 << 20 * 100})
}

// bank answers out of a space, or as it is told to.
type bank struct {
	*sunspec.Space
	fault func(address, count uint16) error
}

func (b *bank) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	if b.fault != nil {
		if err := b.fault(r.Addr, r.Quantity); err != nil {
			return nil, err
		}
	}
	words, ok := b.Space.Read(r.Addr, r.Quantity)
	if !ok {
		return nil, modbus.ErrIllegalDataAddress
	}
	return words, nil
}
func (b *bank) HandleCoils(*modbus.CoilsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}
func (b *bank) HandleDiscreteInputs(*modbus.DiscreteInputsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}
func (b *bank) HandleInputRegisters(*modbus.InputRegistersRequest) ([]uint16, error) {
	return nil, modbus.ErrIllegalFunction
}

// TestExceptions: what a device refuses is absent, and named; what it refuses for a while is read again.
func TestExceptions(t *testing.T) {
	names, meter := sunspec.Common.New(), sunspec.Meter3.New()
	names.SetText("SN", "7")
	for name, v := range map[string]int64{"TotWhExp": 5, "TotWhImp": 6, "TotWh_SF": 2} {
		meter.Set(name, v)
	}
	b := &bank{Space: sunspec.NewSpace(50000, names, meter)}
	port := freePort(t)
	server, err := modbus.NewServer(&modbus.ServerConfiguration{URL: "tcp://127.0.0.1:" + port, Timeout: time.Minute, MaxClients: 4}, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	grid := open(t, Config{Role: Grid, Map: "sunspec", Address: "tcp://127.0.0.1:" + port, Rating: 40_000})
	all := map[energy.Register]int64{energy.Export: 500_000, energy.Import: 600_000}
	want(t, firstReading(t, grid), all)
	b.fault = func(_, count uint16) error {
		if count > 70 {
			return modbus.ErrServerDeviceBusy
		}
		return nil
	}
	r := firstReading(t, grid)
	want(t, r, nil)
	if len(r.Bad) != 1 || !errors.Is(r.Bad[0], modbus.ErrServerDeviceBusy) {
		t.Errorf("bad: %v", r.Bad)
	}
	b.fault = nil
	want(t, firstReading(t, grid), all)
	names.SetText("SN", "")
	if r, err := grid.Read(t.Context()); err == nil {
		t.Errorf("a meter without a serial number: %+v", r)
	}
}

// TestTruncated: a frame that is cut off is an error, and the next reading begins anew.
func TestTruncated(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 12)
			if _, err := io.ReadFull(conn, request); err == nil {
				conn.Write([]byte{request[0], request[1], 0, 0, 0, 7, 1, 3, 4, 0x53}) // three bytes are missing
			}
			conn.Close()
		}
	}()
	grid := open(t, Config{Role: Grid, Map: "sunspec", Address: "tcp://" + l.Addr().String(), Rating: 40_000, Timeout: time.Second})
	for range 2 {
		if r, err := grid.Read(t.Context()); err == nil {
			t.Fatalf("%+v", r)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := grid.Read(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestAddresses refuses what is no address, and no map's role.
func TestAddresses(t *testing.T) {
	for _, c := range []Config{
		{Role: Grid, Map: "sunspec", Address: "http://x", Rating: 1}, {Role: Grid, Map: "sunspec", Address: "rtu:///dev/x?parity=mark", Rating: 1},
		{Role: Grid, Map: "sunspec", Address: "rtu:///dev/x?speed=fast", Rating: 1}, {Role: "roof", Map: "sunspec", Address: "tcp://x", Rating: 1},
		{Role: PV, Map: "dsmr", Address: "tcp://x:1", Rating: 1}, {Role: Grid, Map: "nothing", Address: "tcp://x", Rating: 1},
		{Role: Grid, Map: "dsmr", Address: "tcp://x", Rating: 1}, {Role: Grid, Map: "shelly", Address: "mqtt://x", Rating: 1},
		{Role: Grid, Map: "shelly", Address: "mqtt://x/a/#", Rating: 1}, {Role: Grid, Map: "sunspec", Address: "tcp://x"},
	} {
		if s, err := Open(c); err == nil {
			t.Errorf("%+v is taken: %T", c, s)
		} else if strings.Contains(err.Error(), "%!") {
			t.Error(err)
		}
	}
}
