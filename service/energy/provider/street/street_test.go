package street

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/modbus"
	"github.com/cairn-network/cairn/service/energy"
)

const (
	rhine types.Cell = 0x891f8e0c2d7ffff
	june             = 1_781_997_300 // 2026-06-20 23:15 UTC
)

// open opens a street whose clock a test moves.
func open(t testing.TB, edit func(*Config)) (*Street, *atomic.Int64) {
	t.Helper()
	now := new(atomic.Int64)
	cfg := Config{Homes: Profiles(8), Cell: rhine, Altitude: 4, Seed: 1, Begin: june, Now: now.Load}
	if edit != nil {
		edit(&cfg)
	}
	now.Store(cfg.Begin * 1000)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, now
}

// sums returns what flowed in all homes.
func (s *Street) sums() []flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	var out []flow
	for _, h := range s.homes {
		out = append(out, s.sum(h))
	}
	return out
}

// TestConservation: whatever the homes and however time passes, joules come from somewhere and go somewhere,
// counters never fall, the inverter gives no more than it can, and the battery no more than it took.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		homes := make([]Profile, rapid.IntRange(1, 4).Draw(t, "homes"))
		for i := range homes {
			homes[i] = rapid.SampledFrom(profiles).Draw(t, "home")
			homes[i].Tilt, homes[i].Azimuth = rapid.Float64Range(0, 90).Draw(t, "tilt"), rapid.Float64Range(0, 360).Draw(t, "azimuth")
			if rapid.Bool().Draw(t, "battery") {
				homes[i].Storage, homes[i].Charge = rapid.Uint32Range(1, 20_000).Draw(t, "Wh"), rapid.Uint32Range(1, 9_000).Draw(t, "W")
			}
		}
		begin := rapid.Int64Range(0, 4_000_000_000).Draw(t, "begin")
		now := begin * 1000
		s, err := Open(Config{Homes: homes, Cell: rhine, Seed: rapid.Uint64().Draw(t, "seed"), Begin: begin, Hold: rapid.Bool().Draw(t, "hold"), Now: func() int64 { return now }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		last := s.sums()
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			before := s.at
			now += rapid.Int64Range(-1000, 7200_000).Draw(t, "ms")
			for i, f := range s.sums() {
				l, h := last[i], s.homes[i]
				if !f.balanced() || f.pv < l.pv || f.load < l.load || f.exp < l.exp || f.imp < l.imp || f.in < l.in || f.out < l.out {
					t.Fatalf("home %d: %+v after %+v", i+1, f, l)
				}
				if most := uint64(h.PAC) * uint64(s.at-before); f.pv-l.pv > most {
					t.Fatalf("home %d: made %d J, its inverter can give %d", i+1, f.pv-l.pv, most)
				}
				if f.out > f.in*efficiency/100 {
					t.Fatalf("home %d: %d J out of a battery that took %d", i+1, f.out, f.in)
				}
				last[i] = f
			}
		}
	})
}

// TestBelowSky: the model's sun gives honest sites nothing that the category's bound takes away, in any season;
// and it does give: over the street, a year is near what such roofs make there.
func TestBelowSky(t *testing.T) {
	s, now := open(t, nil)
	limits := energy.DefaultThresholds()
	place := energy.PlaceOf(rhine, 4)
	before := s.sums()
	made, most := uint64(0), uint64(0)
	for range 8 {
		for range 4 * 96 { // four days
			now.Add(lot.Interval * 1000)
			k := uint64(s.shown())/lot.Interval - 1
			for i, f := range s.sums() {
				h := s.homes[i]
				wh := (f.pv - before[i].pv) / 3600
				made += wh
				if h.PDC > 0 {
					bright := place.Most(k)
					if limit := energy.Limit(uint64(h.PDC), uint64(h.PAC), bright, types.Bp(limits.Envelope)); wh > limit {
						t.Fatalf("home %d made %d Wh in interval %d, the bound is %d", i+1, wh, k, limit)
					}
					most = max(most, uint64(energy.Performance(wh, uint64(h.PDC), bright)))
				}
				before[i] = f
			}
		}
		now.Add((365*86400/8 - 4*86400) * 1000)
		before = s.sums()
	}
	kwp := uint64(0)
	for _, h := range s.homes {
		kwp += uint64(h.PDC)
	}
	if yield := made * 365 / 32 / kwp; yield < 700 || yield > 1400 {
		t.Errorf("%d kWh for each kW of panels and year, want about 1,000", yield)
	}
	if most < 3000 {
		t.Errorf("at most %d bp of the bound: there is no sun", most)
	}
}

// TestMarket: on the street's first day some homes feed in while others draw, so that there is something to trade.
func TestMarket(t *testing.T) {
	s, now := open(t, func(c *Config) { c.Begin = june + 9*3600 })
	before := s.sums()
	for hour := range 6 {
		now.Add(3600_000)
		sellers, buyers := 0, 0
		for i, f := range s.sums() {
			if f.exp-before[i].exp > f.imp-before[i].imp+200*3600 {
				sellers++
			}
			if f.imp-before[i].imp > f.exp-before[i].exp+200*3600 {
				buyers++
			}
			before[i] = f
		}
		if sellers < 3 || buyers < 2 {
			t.Errorf("hour %d: %d homes sell, %d buy", hour, sellers, buyers)
		}
	}
}

// client is as plain a Modbus client as there can be.
type client struct {
	net.Conn
	n uint16
}

func dial(t testing.TB, h *Home) *client {
	t.Helper()
	conn, err := net.Dial("tcp", h.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{Conn: conn}
}

// ask sends a PDU and returns what answers it.
func (c *client) ask(unit byte, pdu ...byte) ([]byte, error) {
	c.n++
	head := binary.BigEndian.AppendUint16(nil, c.n)
	head = append(head, 0, 0, 0, byte(len(pdu)+1), unit)
	if _, err := c.Write(append(head, pdu...)); err != nil {
		return nil, err
	}
	var got [7]byte
	if _, err := io.ReadFull(c, got[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint16(got[:]) != c.n || got[6] != unit {
		return nil, fmt.Errorf("answer %x to request %d", got, c.n)
	}
	body := make([]byte, binary.BigEndian.Uint16(got[4:])-1)
	_, err := io.ReadFull(c, body)
	return body, err
}

// read reads registers.
func (c *client) read(unit byte, at, n int) ([]uint16, error) {
	body, err := c.ask(unit, 3, byte(at>>8), byte(at), byte(n>>8), byte(n))
	if err != nil {
		return nil, err
	}
	if body[0] != 3 || len(body) != 2+2*n {
		return nil, fmt.Errorf("answer %x", body)
	}
	out := make([]uint16, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint16(body[2+2*i:])
	}
	return out, nil
}

// models walks a unit's models: their numbers, and where each begins.
func (c *client) models(t testing.TB, unit byte) (ids []int, at map[int]int) {
	t.Helper()
	at = map[int]int{}
	for _, base := range []int{40000, 0, 50000} {
		mark, err := c.read(unit, base, 2)
		if err != nil || mark[0] != 'S'<<8|'u' || mark[1] != 'n'<<8|'S' {
			continue
		}
		for next := base + 2; ; {
			head, err := c.read(unit, next, 2)
			if err != nil {
				t.Fatalf("model at %d: %v", next, err)
			}
			if head[0] == 0xffff {
				return ids, at
			}
			ids, at[int(head[0])] = append(ids, int(head[0])), next
			next += 2 + int(head[1])
		}
	}
	t.Fatalf("unit %d: no SunSpec models", unit)
	return nil, nil
}

// TestModels: the models are those that homes have, and honest sites say so.
func TestModels(t *testing.T) {
	s, now := open(t, nil)
	now.Add(14 * 3600_000)
	for i, want := range [][3][]int{
		{{1, 103, 120}, {1, 203}, nil}, {{1, 701}, {1, 203}, nil}, {{1, 103, 120}, {1, 203}, nil}, {{1, 701}, {1, 203}, nil},
		{{1, 103, 120}, {1, 203}, nil}, {nil, {1, 203}, nil}, {{1, 701}, {1, 203}, nil}, {{1, 103, 120}, {1, 203}, {1, 203}},
	} {
		h := s.Homes()[i]
		c := dial(t, h)
		for j, unit := range want {
			if unit == nil {
				if body, err := c.ask(byte(j+1), 3, 0, 0, 0, 2); err != nil || body[0] != 0x83 || body[1] != byte(modbus.NoTarget) {
					t.Errorf("home %d: a unit that is not there answers %x, %v", i+1, body, err)
				}
				continue
			}
			got, _ := c.models(t, byte(j+1))
			if diff := cmp.Diff(unit, got); diff != "" {
				t.Errorf("home %d, unit %d: %s", i+1, j+1, diff)
			}
		}
		site := h.Site()
		if err := site.Check(); err != nil {
			t.Errorf("home %d: %v", i+1, err)
		}
	}
}

// TestReadings: what the registers show is what flowed.
func TestReadings(t *testing.T) {
	s, now := open(t, nil)
	now.Add(14*3600_000 + 123_456)
	for i, f := range s.sums() {
		h := s.Homes()[i]
		c := dial(t, h)
		check := func(unit byte, id, at, n int, want uint64, counter Counter) {
			t.Helper()
			want += h.unit(unit).offset[counter]
			_, models := c.models(t, unit)
			words, err := c.read(unit, models[id]+at, n)
			if err != nil {
				t.Fatal(err)
			}
			got := uint64(0)
			for _, w := range words {
				got = got<<16 | uint64(w)
			}
			if h.Tenths {
				want *= 10
			}
			if got != want/3600 {
				t.Errorf("home %d, model %d: %d, want %d", i+1, id, got, want/3600)
			}
		}
		if h.DER {
			check(1, 701, 19, 4, f.pv, Given)
		} else if h.PDC > 0 {
			check(1, 103, 24, 2, f.pv, Given)
		}
		check(2, 203, 38, 2, f.exp, Given)
		check(2, 203, 46, 2, f.imp, Taken)
		if h.Storage > 0 {
			check(3, 203, 38, 2, f.out, Given)
			check(3, 203, 46, 2, f.in, Taken)
		}
	}
}

// TestFaults: hardware does wrong what it is told to, and nothing else, and is well again afterwards.
func TestFaults(t *testing.T) {
	s, now := open(t, nil)
	now.Add(10 * 3600_000)
	h := s.Homes()[0]
	c := dial(t, h)
	_, models := c.models(t, UnitGrid)
	wh := func() ([]uint16, error) { return c.read(UnitGrid, models[203]+38, 17) }
	good, err := wh()
	if err != nil {
		t.Fatal(err)
	}

	h.Grid.Fail(Fault{Exception: modbus.DeviceBusy})
	if body, err := c.ask(UnitGrid, 3, 0x9c, 0x40, 0, 2); err != nil || body[0] != 0x83 || body[1] != byte(modbus.DeviceBusy) {
		t.Errorf("busy: %x, %v", body, err)
	}
	if _, err := c.read(UnitInverter, 40000, 2); err != nil {
		t.Errorf("the inverter has the meter's fault: %v", err)
	}

	h.Grid.Fail(Fault{Missing: true})
	if got, err := wh(); err != nil || got[0]|got[1]|got[8]|got[9] != 0 || got[16] != 0x8000 {
		t.Errorf("not implemented: %x, %v", got, err)
	}

	h.Grid.Fail(Fault{Frozen: true})
	now.Add(3600_000)
	if got, err := wh(); err != nil || !cmp.Equal(got, good) {
		t.Errorf("frozen: %x, %v, want %x", got, err, good)
	}
	h.Grid.Fail(Fault{})
	if got, err := wh(); err != nil || cmp.Equal(got, good) {
		t.Errorf("thawed: %x, %v, as before", got, err)
	}

	serial, id := h.Grid.Serial(), h.Grid.ID()
	h.Grid.Set(Given, 1<<32-1)
	now.Add(3600_000)
	if got, err := wh(); err != nil || got[0] != 0 || h.Grid.Wh(Given) < 1<<32 {
		t.Errorf("wrapped: %x, %v, of %d Wh", got, err, h.Grid.Wh(Given))
	}
	h.Grid.Swap()
	if got, err := wh(); err != nil || got[0]|got[1]|got[8]|got[9] != 0 || h.Grid.Serial() == serial || h.Grid.ID() == id {
		t.Errorf("swapped: %x, %v, serial number %s", got, err, h.Grid.Serial())
	}

	h.Grid.Fail(Fault{Silent: true})
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if got, err := wh(); err == nil {
		t.Errorf("silent: %x", got)
	}
	c = dial(t, h)
	h.Grid.Fail(Fault{Truncate: 20})
	if got, err := wh(); err != io.ErrUnexpectedEOF {
		t.Errorf("truncated: %x, %v", got, err)
	}
}

// TestProtocol: what is no request is refused as the standard says, or ends the connection.
func TestProtocol(t *testing.T) {
	s, _ := open(t, nil)
	for _, c := range []struct {
		pdu  []byte
		want []byte
	}{
		{[]byte{6, 0x9c, 0x40, 0, 1}, []byte{0x86, byte(modbus.IllegalFunction)}},
		{[]byte{3, 0x9c, 0x40, 0, 0}, []byte{0x83, byte(modbus.IllegalValue)}},
		{[]byte{3, 0x9c, 0x40, 0, 126}, []byte{0x83, byte(modbus.IllegalValue)}},
		{[]byte{3, 0x9c, 0x40}, []byte{0x83, byte(modbus.IllegalValue)}},
		{[]byte{3, 0x9c, 0x3f, 0, 2}, []byte{0x83, byte(modbus.IllegalAddress)}},
		{[]byte{3, 0xff, 0xff, 0, 2}, []byte{0x83, byte(modbus.IllegalAddress)}},
		{[]byte{4, 0x9c, 0x40, 0, 2}, []byte{4, 4, 'S', 'u', 'n', 'S'}},
	} {
		if got, err := dial(t, s.Homes()[0]).ask(UnitGrid, c.pdu...); err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%x: %x, %v, want %x", c.pdu, got, err, c.want)
		}
	}
	for _, raw := range [][]byte{{0, 1, 0, 1, 0, 6, 2}, {0, 1, 0, 0, 1, 0, 2}, {0, 1, 0, 0, 0, 1, 2}} {
		c := dial(t, s.Homes()[0])
		c.Write(raw)
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%x: %d bytes, %v", raw, n, err)
		}
	}
	var conns []*client
	for range maxConns {
		c := dial(t, s.Homes()[1])
		if _, err := c.read(UnitGrid, 40000, 2); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if _, err := dial(t, s.Homes()[1]).read(UnitGrid, 40000, 2); err == nil {
		t.Errorf("connection %d is served", len(conns)+1)
	}
}

// TestHold: where registers hold still, all readings around a boundary are of the boundary.
func TestHold(t *testing.T) {
	s, now := open(t, func(c *Config) { c.Hold = true; c.Begin = june + 36_000 })
	boundary := now.Load() + 4*lot.Interval*1000
	now.Store(boundary)
	want := s.sums()
	for _, ms := range []int64{-lot.Interval * 500, -100_000, -1, 1, 100_000, lot.Interval*500 - 1000} {
		twin, at := open(t, func(c *Config) { c.Hold = true; c.Begin = june + 36_000 })
		at.Store(boundary + ms)
		if diff := cmp.Diff(want, twin.sums(), cmp.AllowUnexported(flow{})); diff != "" {
			t.Errorf("%d ms off: %s", ms, diff)
		}
	}
	now.Add(lot.Interval * 1000)
	if cmp.Equal(want, s.sums(), cmp.AllowUnexported(flow{})) {
		t.Error("nothing flows")
	}
}

// TestState: a street that was stopped goes on as one that was not.
func TestState(t *testing.T) {
	whole, now := open(t, nil)
	now.Add(9*3600_000 + 30_000)
	whole.Homes()[7].Battery.Swap()
	first, at := open(t, nil)
	at.Store(now.Load())
	first.Homes()[7].Battery.Swap()
	raw := first.Save()
	second, at := open(t, nil)
	if err := second.Restore(raw); err != nil {
		t.Fatal(err)
	}
	now.Add(11 * 3600_000)
	at.Store(now.Load())
	if diff := cmp.Diff(whole.sums(), second.sums(), cmp.AllowUnexported(flow{})); diff != "" {
		t.Error(diff)
	}
	if a, b := whole.Homes()[7].Battery, second.Homes()[7].Battery; a.ID() != b.ID() || a.Wh(Given) != b.Wh(Given) {
		t.Errorf("%s %d Wh, %s %d Wh", a.Serial(), a.Wh(Given), b.Serial(), b.Wh(Given))
	}
	other, _ := open(t, func(c *Config) { c.Seed = 2 })
	for _, bad := range []string{"", "{}", string(raw[:100])} {
		if err := second.Restore([]byte(bad)); err == nil {
			t.Errorf("restored from %.20q", bad)
		}
	}
	if err := other.Restore(raw); err == nil {
		t.Error("restored from another street")
	}
}

// TestSleep: what a street slept through it makes up for, but not more than a week of it.
func TestSleep(t *testing.T) {
	s, now := open(t, nil)
	now.Add(400 * 86400_000)
	load := s.sums()[0].load / 3600
	if load < 7*24*150 || load > 8*24*2000 {
		t.Errorf("%d Wh were used", load)
	}
}
