package street

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/internal/testutil"
)

// found is what a client that others wrote makes of a unit.
type found struct {
	Base   int          `json:"base"`
	Models []foundModel `json:"models"`
}

type foundModel struct {
	ID     uint16         `json:"id"`
	Length int            `json:"length"`
	Words  []uint16       `json:"words"`
	Values map[string]any `json:"values"` // numbers as float64, strings
}

// clients are programs that others wrote. Each returns what it finds of a unit, nil where it is not installed.
var clients = map[string]func(t *testing.T, host, port string, unit int) *found{
	"pymodbus": func(t *testing.T, host, port string, unit int) *found {
		return script(t, "testdata/pymodbus", testutil.Python(t, "pymodbus"), "read.py", host, port, strconv.Itoa(unit))
	},
	"modbus-serial": func(t *testing.T, host, port string, unit int) *found {
		return script(t, "testdata/modbus-serial", testutil.Node(t, "testdata/modbus-serial"), "read.mjs", host, port, strconv.Itoa(unit))
	},
	"mbpoll": func(t *testing.T, host, port string, unit int) *found {
		testutil.Program(t, "mbpoll")
		return poll(t, host, port, unit)
	},
}

// script runs a client that prints JSON.
func script(t *testing.T, dir, program string, args ...string) *found {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, stderr.Bytes())
	}
	f := new(found)
	if err := json.Unmarshal(raw, f); err != nil {
		t.Fatalf("%s: %v: %.200s", program, err, raw)
	}
	return f
}

// pollLine is how mbpoll prints a register: "[40000]:     21365", with a negative number in brackets where it
// can be one.
var pollLine = regexp.MustCompile(`(?m)^\[(\d+)\]:\s+(\d+)`)

// poll walks a unit's models with mbpoll, which prints the registers that it is asked for.
func poll(t *testing.T, host, port string, unit int) *found {
	t.Helper()
	read := func(at, n int) []uint16 {
		var words []uint16
		for n > 0 {
			part := min(n, 125)
			raw, err := exec.CommandContext(t.Context(), "mbpoll", "-m", "tcp", "-p", port, "-a", strconv.Itoa(unit), "-t", "4", "-0", "-r", strconv.Itoa(at),
				"-c", strconv.Itoa(part), "-1", "-o", "10", host).CombinedOutput()
			if err != nil {
				return nil
			}
			for _, m := range pollLine.FindAllStringSubmatch(string(raw), -1) {
				if m[1] != strconv.Itoa(at) {
					t.Fatalf("mbpoll: register %s, want %d", m[1], at)
				}
				w, _ := strconv.ParseUint(m[2], 10, 16)
				words, at, n = append(words, uint16(w)), at+1, n-1
			}
		}
		return words
	}
	f := &found{Base: -1}
	for _, base := range sunspec.Bases {
		if mark := read(int(base), 2); len(mark) == 2 && mark[0] == 'S'<<8|'u' && mark[1] == 'n'<<8|'S' {
			f.Base = int(base)
			break
		}
	}
	for at := f.Base + 2; ; {
		head := read(at, 2)
		if len(head) != 2 {
			t.Fatalf("mbpoll: no model at %d", at)
		}
		if head[0] == 0xffff {
			return f
		}
		f.Models = append(f.Models, foundModel{ID: head[0], Length: int(head[1]), Words: read(at, int(head[1])+2)})
		at += 2 + int(head[1])
	}
}

// TestClients: clients that others wrote find the same models as are there, with every register as it is, and
// read of each what it says, down to what is not implemented.
func TestClients(t *testing.T) {
	s, now := open(t, nil)
	now.Add(14 * 3600_000) // and then it stands still
	for name, read := range clients {
		t.Run(name, func(t *testing.T) {
			for _, home := range []int{0, 1, 2, 5, 7} {
				h := s.Homes()[home]
				host, port, err := net.SplitHostPort(h.Address())
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range h.units() {
					check(t, u, read(t, host, port, int(u.kind)+1))
				}
			}
			// A meter that has no energy registers says so.
			meter := s.Homes()[0].Grid
			meter.Fail(Fault{Missing: true})
			defer meter.Fail(Fault{})
			host, port, _ := net.SplitHostPort(meter.home.Address())
			check(t, meter, read(t, host, port, UnitGrid))
		})
	}
}

// check holds what a client found up to what the unit is and what flowed through it.
func check(t *testing.T, u *Unit, got *found) {
	t.Helper()
	if got.Base != int(u.base) {
		t.Fatalf("%s: models at %d, want %d", u.serial, got.Base, u.base)
	}
	u.home.street.mu.Lock()
	space := u.registers()
	u.home.street.mu.Unlock()
	at := u.base + 2
	for _, m := range got.Models {
		want, ok := space.Read(at, uint16(m.Length)+2)
		if !ok {
			t.Fatalf("%s: model %d at %d", u.serial, m.ID, at)
		}
		if diff := cmp.Diff(want, m.Words); diff != "" {
			t.Errorf("%s: model %d: %s", u.serial, m.ID, diff)
		}
		values(t, u, &m)
		at += uint16(m.Length) + 2
	}
	if end, ok := space.Read(at, 2); !ok || end[0] != 0xffff {
		t.Errorf("%s: %d models end at %d, the unit's do not", u.serial, len(got.Models), at)
	}
}

// values holds what a model's registers say, and what the client read in them, up to what flowed.
func values(t *testing.T, u *Unit, m *foundModel) {
	t.Helper()
	model := sunspec.ModelOf(m.ID)
	if model == nil || model.Words != m.Length+2 {
		t.Fatalf("%s: model %d of %d registers", u.serial, m.ID, m.Length)
	}
	b := &sunspec.Block{Model: model, Words: m.Words}
	wh := func(c Counter) map[string]float64 {
		v, unit := float64((u.flowed(c)+u.offset[c])/3600), 0.0
		if u.scale == -1 {
			v, unit = float64((u.flowed(c)+u.offset[c])*10/3600), -1
		}
		return map[string]float64{"value": v, "scale": unit}
	}
	want := map[string]any{}
	energy := func(point, scale string, c Counter) {
		want[point], want[scale] = wh(c)["value"], wh(c)["scale"]
		if n, ok := b.Number(point); ok == (u.fault.Missing || want[point] == 0.0) || ok && float64(n.Mantissa) != want[point] {
			t.Errorf("%s: %d.%s is %v, %v, want %v", u.serial, m.ID, point, n, ok, want[point])
		}
		if u.fault.Missing {
			want[point], want[scale] = 0.0, -32768.0
		}
	}
	p := u.home.power
	switch m.ID {
	case 1:
		want["Mn"], want["Md"], want["SN"] = u.maker, u.model, u.serial
	case 103:
		want["W"], want["W_SF"], want["Hz"], want["St"] = float64(p.pv), 0.0, 5000.0, 4.0
		energy("WH", "WH_SF", Given)
		for _, absent := range []string{"DCA", "DCV", "DCW", "TmpSnk", "StVnd", "EvtVnd1"} {
			if n, ok := b.Number(absent); ok {
				t.Errorf("%s: 103.%s is implemented: %v", u.serial, absent, n)
			}
		}
	case 120:
		want["DERTyp"], want["WRtg"], want["WRtg_SF"] = 4.0, float64(u.home.PAC/10), 1.0
	case 203:
		w := float64(p.imp) - float64(p.exp)
		if u.kind == battery {
			w = float64(p.in) - float64(p.out)
		}
		want["W"], want["W_SF"] = w, 0.0
		energy("TotWhExp", "TotWh_SF", Given)
		energy("TotWhImp", "TotWh_SF", Taken)
	case 701:
		want["W"], want["W_SF"], want["InvSt"] = float64(p.pv/10), 1.0, 4.0
		energy("TotWhInj", "TotWh_SF", Given)
		for _, absent := range []string{"TmpAmb", "Var", "TotVarhInj", "ThrotPct"} {
			if n, ok := b.Number(absent); ok {
				t.Errorf("%s: 701.%s is implemented: %v", u.serial, absent, n)
			}
		}
	}
	if m.Values == nil {
		return // the client prints bare registers
	}
	if diff := cmp.Diff(want, m.Values); diff != "" {
		t.Errorf("%s: model %d: %s", u.serial, m.ID, diff)
	}
}
