package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/simulator"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// foreign is what the tests' shared network is made with: its own simulator of homes, but that the first home's
// inverter and meter are pymodbus, which nobody here wrote, where that is installed; and energy's market as its
// customer sees it.
type foreign struct {
	used   bool
	market role.Market
}

func (f *foreign) simulators() []role.Simulator {
	list := simulator.Simulators()
	for i, s := range list {
		if s.Category == types.Energy {
			list[i].Start = func(dir string, n int, rules []byte, log *slog.Logger) ([]role.Simulated, func(), error) {
				devices, stop, err := s.Start(dir, n, rules, log)
				return f.replace(devices, stop, rules, err)
			}
		}
	}
	return list
}

// replace puts pymodbus in the place of the first home's hardware.
func (f *foreign) replace(devices []role.Simulated, stop func(), rules []byte, err error) ([]role.Simulated, func(), error) {
	if err != nil || !testutil.HasPython("pymodbus.server") {
		return devices, stop, err
	}
	address, kill, err := startPython(rules)
	if err != nil {
		stop()
		return nil, nil, err
	}
	devices[0].Settings, err = json.Marshal(map[string]any{
		"p_dc_w": 6000, "p_ac_w": 5000, "altitude_m": 400, "storage_wh": 0, "efficiency_bp": 0, "community_price": 100, "certificate_price": 5, "poll_s": 10,
		"meters": []map[string]any{
			{"role": "grid", "map": "sunspec", "address": address, "unit": 2, "rating_w": 20_000},
			{"role": "pv", "map": "sunspec", "address": address, "unit": 1, "rating_w": 5000},
		},
	})
	f.used = true
	return devices, func() { kill(); stop() }, err
}

func (f *foreign) customers() []role.Customer {
	list := customer.Customers()
	for i, c := range list {
		if c.Category == types.Energy {
			list[i].Mount = func(m role.Market) (http.Handler, error) {
				f.market = m
				return c.Mount(m)
			}
		}
	}
	return list
}

// startPython serves a home made of pymodbus, and returns once it answers.
func startPython(rules []byte) (address string, kill func(), err error) {
	r, err := energy.DecodeRules(rules)
	if err != nil {
		return "", nil, err
	}
	at, err := testutil.FreeAddress()
	if err != nil {
		return "", nil, err
	}
	_, port, _ := net.SplitHostPort(at)
	const ahead = 2050 // seconds: 8.54° east
	cmd := exec.Command(testutil.Interpreter, "home.py", port, fmt.Sprint(r.Clock.Chain), fmt.Sprint(r.Clock.Energy), fmt.Sprint(r.Clock.Rate), strconv.Itoa(ahead))
	cmd.Dir, cmd.Stderr = "testdata/pymodbus", os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	kill = func() { cmd.Process.Kill(); cmd.Wait() }
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
			return "tcp://" + at, kill, nil
		}
		if time.Now().After(end) {
			kill()
			return "", nil, fmt.Errorf("pymodbus does not answer: %w", err)
		}
	}
}

// testHome follows energy from an inverter and a meter to its owner's account: pymodbus shows registers, the
// device reads them over Modbus and hands them in, the tally counts them and clears the quarter hours,
// neighbours pay, and the owner claims.
func testHome(t *testing.T, n *Network, f *foreign) {
	if !f.used {
		testutil.Lacks(t, "Python's pymodbus (the home's hardware is the project's own simulator)")
	}
	device, market := n.Simulated(types.Energy, 0), f.market
	line := func() *energy.State {
		line, err := market.Line(t.Context(), device.Key())
		if err != nil {
			return new(energy.State)
		}
		s, err := energy.DecodeState(line.State)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	until(t, 2*time.Minute, "a tally counts what the home fed in", func() bool { return line().Sums.Exported > 0 })
	until(t, 3*time.Minute, "neighbours buy of it", func() bool { return line().Sums.Community > 0 })
	s := line()
	// A machine that is busy may miss a quarter hour of two seconds; what was read is never in doubt.
	if s.Sums.Conservation+s.Sums.AboveSky+s.Sums.Origin+s.Sums.PeerCap+s.Sums.Frozen > 0 {
		t.Errorf("withheld of an honest home: %+v", s.Sums)
	}
	var claim ledger.Claim
	until(t, 2*time.Minute, "a final tally pays the home", func() bool {
		list, err := n.dues(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.device.Key == device.Key() && o.amount() > 0 {
				claim = o.proof
			}
		}
		return claim.Leaf.Amount > 0
	})
	owner, err := n.Ledger().Lookup(simulatedOwner(types.Energy, 0))
	if err != nil {
		t.Fatal(err)
	}
	before, err := n.Ledger().Account(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	from, err := n.Ledger().Lookup(CustomerName)
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := n.Ledger().Claimed(t.Context(), device.Key())
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := n.Ledger().Submit(t.Context(), from, ledger.Claims{Claims: []ledger.Claim{claim}}); err != nil {
		t.Fatal(err)
	}
	after, err := n.Ledger().Account(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := after.Balance-before.Balance, claim.Leaf.Amount-claimed; got != want || want == 0 {
		t.Errorf("the owner got %d ustone, the leaf says %d", got, want)
	}
}
