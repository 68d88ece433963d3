package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/simonvetter/modbus"

	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/sml"
)

// TestProbe: what each device of a unit is, with which channel it is read, and what is left out.
func TestProbe(t *testing.T) {
	rated := block(sunspec.Nameplate, map[string]int64{"WRtg": 500, "WRtg_SF": 1, "WHRtg": 60, "WHRtg_SF": 2, "MaxChaRte": 1, "MaxChaRte_SF": 0})
	wild := block(sunspec.Nameplate, map[string]int64{"WRtg": 500, "WRtg_SF": 10})
	inverter := func() *sunspec.Block { return block(sunspec.Inverter1, map[string]int64{"WH": 1, "WH_SF": 0}) }
	meter := func() *sunspec.Block { return block(sunspec.Meter1, map[string]int64{"TotWhExp": 1, "TotWh_SF": 0}) }
	u := newRegisters(0).add(common("Maker", "Model", "I1", false), inverter(), rated).put(160, 1, 9).
		add(common("Maker", "Nameless", "", false), meter()).
		add(common("Maker", "Model", "I2", false), inverter(), wild, common("Maker", "Model", "M1", false), meter()).
		add(common("Maker", "Model", "M2", false), meter())
	refuses, asked := u.next, 0
	u.add(sunspec.Capacity.New()).put(0xffff, 0)
	u.fault = func(address uint16) error {
		if address == refuses {
			asked++
		}
		if asked > 1 && address == refuses { // its head was read
			return modbus.ErrIllegalDataAddress
		}
		return nil
	}
	at := u.serve(t)
	found, err := Probe(t.Context(), at, 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	named := func(serial string) Meter { return Meter{"Maker", "Model", serial} }
	want := []Found{
		{Meter: named("I1"), Rating: 5000, Storage: 6000, Charges: true, Inverter: true},
		{Meter: named("I2"), Inverter: true, Channel: 1},
		{Meter: named("M1"), Counts: true, Channel: 2},
		{Meter: named("M2"), Counts: true, Channel: 2, Meters: 1},
	}
	if !slices.Equal(found, want) {
		t.Errorf("%+v, want %+v", found, want)
	}
	nameless := newRegisters(0).add(common("Maker", "Nameless", "", false), meter()).put(0xffff, 0).serve(t)
	if found, err := Probe(t.Context(), nameless, 1, time.Second); !errors.Is(err, sunspec.ErrNone) || len(found) > 0 || !strings.Contains(err.Error(), "Nameless") {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestMapRefused: what a map of an owner's own may not say.
func TestMapRefused(t *testing.T) {
	const roles = "\nroles: {pv: {pv: {path: [a]}}}"
	scale := func(s string) string { return "protocol: sml\nroles: {pv: {pv: {path: [a], scale: " + s + "}}}" }
	for _, good := range []string{"protocol: sml" + roles, "protocol: mqtt\nchannel: all" + roles, scale("1e9"), scale("-1e9"), scale("0.001"),
		"protocol: sml\nroles: {pv: {pv: {path: [a], wrap: 62}}}", "protocol: sml" + roles + "\n#" + strings.Repeat("x", maxMap-len("protocol: sml"+roles+"\n#"))} {
		if _, err := ParseMap([]byte(good)); err != nil {
			t.Errorf("%.60q: %v", good, err)
		}
	}
	for _, bad := range []string{"protocol: carrier-pigeon" + roles, "protocol: sml\nchannel: some" + roles, "protocol: sml\npower: {path: [a], scale: lots}" + roles,
		scale("0"), scale("0.0"), scale("1000000001"), scale("-1000000001"), "protocol: sml\nroles: {pv: {pv: {scale: 1}}}",
		"protocol: sml" + roles + "\n#" + strings.Repeat("x", maxMap)} {
		if m, err := ParseMap([]byte(bad)); err == nil {
			t.Errorf("%.60q is taken: %+v", bad, m)
		}
	}
}

// TestPaths: what a path stands for, and what it does not.
func TestPaths(t *testing.T) {
	m, err := ParseMap([]byte("protocol: mqtt\nroles: {pv: {pv: {path: [x/one, x/two, \"x/l.* + x/rest\"]}}}"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f := func(v int64, age time.Duration) Field { return Field{Number: &Number{Mantissa: v}, At: now.Add(-age)} }
	wh := func(v int64) map[energy.Register]int64 { return map[energy.Register]int64{energy.PV: v * 1000} }
	want(t, m.Read(PV, Fields{"x/l.0": f(1, 0), "x/l.1": f(2, 0), "x/l.1.deep": f(100, 0), "x/l.a/b": f(100, 0), "x/rest": f(4, 0)}), wh(7))
	want(t, m.Read(PV, Fields{"x/rest": f(4, 0)}), nil)                  // no list at all
	want(t, m.Read(PV, Fields{"x/l.0": f(1, 0), "x/l.1": f(2, 0)}), nil) // a sum that lacks a term
	r := m.Read(PV, Fields{"x/l.0": f(1, time.Second), "x/l.1": f(2, time.Minute), "x/rest": f(4, 0)})
	if !r.At.Equal(now.Add(-time.Minute)) {
		t.Errorf("as old as the oldest of them is %v, got %v", now.Add(-time.Minute), r.At)
	}
	// Once it was read from one place, it is not read from the next one.
	c := new(choice)
	want(t, m.read(PV, Fields{"x/one": f(5, 0), "x/two": f(6, 0)}, c), wh(5))
	want(t, m.read(PV, Fields{"x/two": f(6, 0)}, c), nil)
	c = new(choice)
	want(t, m.read(PV, Fields{"x/two": f(6, 0)}, c), wh(6))
	want(t, m.read(PV, Fields{"x/one": f(5, 0), "x/two": f(6, 0)}, c), wh(5)) // the map would rather have it
	_, r = hear(t, Config{Role: Grid, Map: "tasmota", Channel: channel(2)}, []say{{"SENSOR", `{"A":{"Total_in":1},"B":{"Total_in":2}}`}})
	want(t, r, nil) // there is no third
}

// TestNumber: decimals as JSON and telegrams have them.
func TestNumber(t *testing.T) {
	for text, v := range map[string]Number{
		"0": {}, "-5": {Mantissa: -5}, "+5": {Mantissa: 5}, "5.": {Mantissa: 5}, "1.50": {Mantissa: 15, Exp: -1}, "1e30": {Mantissa: 1, Exp: 30}, "1e-30": {Mantissa: 1, Exp: -30},
		"2.5e+3": {Mantissa: 25, Exp: 2}, "0.1234567891234": {Mantissa: 123456789, Exp: -9}, "123456789012345678": {Mantissa: 123456789012345678},
	} {
		if n, ok := parseNumber(text); !ok || n != v {
			t.Errorf("%s is %v, %v", text, n, ok)
		}
	}
	if n, ok := parseFixed("1.50"); !ok || n != (Number{Mantissa: 150, Exp: -2}) {
		t.Errorf("1.50 counts in hundredths: %v, %v", n, ok)
	}
	for _, bad := range []string{"", "-", ".", ".5", "-.5", "1x", "1 ", "-+5", "+-5", "1.-5", "1.2.3", "0x10", "1_000", "1e31", "1e-31", "1e", "1e1.5", "12345678901234567890", "٣"} {
		if n, ok := parseNumber(bad); ok {
			t.Errorf("%q is %v", bad, n)
		}
	}
}

// TestFlattenEdges: the longest message, text that is cut, and numbers whose digits say nothing of how finely
// they count.
func TestFlattenEdges(t *testing.T) {
	f := Fields{}
	if err := flatten(f, "x", []byte(`"`+strings.Repeat("y", maxMessage-2)+`"`)); err != nil || len(f["x"].Text) != maxText {
		t.Errorf("%d characters, %v", len(f["x"].Text), err)
	}
	if err := flatten(f, "n", []byte(`1.5`)); err != nil || !f["n"].Loose {
		t.Errorf("%+v, %v", f["n"], err)
	}
}

// gone is a broker's client whose connection ended.
type gone struct {
	mqtt.Client
	left atomic.Bool
}

func (g *gone) IsConnectionOpen() bool { return false }
func (g *gone) Disconnect(uint)        { g.left.Store(true) }

// TestTopics: what is kept of a device's messages has bounds, and goes when the broker does.
func TestTopics(t *testing.T) {
	topics := func(n int) []say {
		list := []say{{"SENSOR", `{"ENERGY":{"Total":1}}`}}
		for i := range n - 1 {
			list = append(list, say{fmt.Sprintf("t%d", i), `{"a":1}`})
		}
		return list
	}
	if s, r := hear(t, Config{Role: PV, Map: "tasmota"}, topics(maxTopics)); len(r.Bad) > 0 || len(s.reader.(*mqttSource).topics) != maxTopics {
		t.Errorf("%d topics: %v", maxTopics, r.Bad)
	}
	s, r := hear(t, Config{Role: PV, Map: "tasmota"}, topics(maxTopics+1))
	m := s.reader.(*mqttSource)
	if len(r.Bad) != 1 || len(m.topics) != maxTopics {
		t.Errorf("%d of %d topics are kept: %v", len(m.topics), maxTopics+1, r.Bad)
	}
	for range 2 * maxTopics {
		m.hear("device/SENSOR", []byte(`{`))
	}
	if _, bad := m.fresh(); len(bad) != maxTopics {
		t.Errorf("%d messages that are none are kept", len(bad))
	}
	g := new(gone)
	m.client = g
	<-m.news
	if _, _, err := m.read(t.Context()); err == nil || !g.left.Load() || m.client != nil || len(m.topics) != 0 {
		t.Errorf("without a broker: %v, %d topics", err, len(m.topics))
	}
}

// TestMQTTAddresses refuses what is no device's topic.
func TestMQTTAddresses(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(own, []byte("protocol: mqtt\nroles: {grid: {import: {path: [a]}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{Map: "shelly", Address: "mqtt://x/a/+"}, {Map: "shelly", Address: "mqtt:///a"}, {Map: "shelly", Address: "http://x/a"},
		{Map: "shelly", Address: "mqtt://x/"}, {Map: own, Address: "mqtt://x/a"}} {
		c.Role, c.Rating = Grid, 1
		if s, err := Open(c); err == nil {
			t.Errorf("%+v is taken: %T", c, s)
		}
	}
}

// TestLines: which of a telegram's values are what.
func TestLines(t *testing.T) {
	const serial = "0-0:96.1.1(41)"
	r, err := once(t, Config{Role: Grid, Map: "dsmr", Serial: "mine"}, telegram(`/XXX5X`, serial, "1-0:1.8.0(231101000000W)(000600.000*kWh)", "1-0:1.8.0(000700.000*kWh)",
		"1-0:2.8.0(000005)"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, map[energy.Register]int64{energy.Import: 600_000_000}) // the last value of the first line; what has no unit is no energy
	if v := r.Counters[energy.Import][0].Value; v != (Number{Mantissa: 600_000}) || r.Meter.Serial != "mine" {
		t.Errorf("%+v of %+v: it counts in whole Wh, and its owner has named it", v, r.Meter)
	}
}

// TestLists: of several entries of one code the first counts, and what is neither energy nor power is no number.
func TestLists(t *testing.T) {
	entry := func(code string, v int64, unit uint8) sml.Entry { return sml.Entry{Code: code, Value: &v, Unit: unit} }
	f, err := listFields([]sml.List{{Server: []byte{10, 1}, Entries: []sml.Entry{entry("1-0:1.8.0", 5, sml.UnitWh), entry("1-0:1.8.0", 6, sml.UnitWh),
		entry("1-0:2.8.0", 7, 0), entry("1-0:16.7.0", -8, sml.UnitW)}}})
	if err != nil || *f["1-0:1.8.0"].Number != (Number{Mantissa: 5}) || f["1-0:2.8.0"].Number != nil || *f["1-0:16.7.0"].Number != (Number{Mantissa: -8}) {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := listFields(nil); err == nil {
		t.Errorf("no list: %+v", f)
	}
}

// TestBadTelegram: one that is damaged is an error, and the next on the same connection is read.
func TestBadTelegram(t *testing.T) {
	good := telegram(`/XXX5X`, "0-0:96.1.1(41)", "1-0:1.8.0(000600.000*kWh)", "1-0:2.8.0(000001.000*kWh)")
	bad := bytes.Replace(good, []byte("600.000"), []byte("700.000"), 1)
	s := open(t, Config{Role: Grid, Map: "dsmr", Address: "tcp://127.0.0.1:1", Rating: 1}).(*mapped)
	opened := 0
	s.reader.(*stream).open = func(context.Context) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(slices.Concat(good, bad, good))), nil
	}
	for i, ok := range []bool{true, false, true} {
		if r, err := s.Read(t.Context()); (err == nil) != ok {
			t.Fatalf("telegram %d: %+v, %v", i, r, err)
		}
	}
	if opened != 1 {
		t.Errorf("%d connections", opened)
	}
}

// TestLook: a meter is looked at until all its registers were there, through errors, and one that says all at
// once is looked at once.
func TestLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const serial = "0-0:96.1.1(41)"
	all := telegram(`/XXX5X`, serial, "1-0:1.8.0(000600.000*kWh)", "1-0:2.8.0(000001.000*kWh)")
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Write(slices.Concat(telegram(`/XXX5X`, serial, "1-0:1.8.0(000600.000*kWh)"), bytes.Replace(all, []byte("600"), []byte("700"), 1), all))
		io.Copy(io.Discard, conn)
	}()
	look, err := TakeALook(t.Context(), Config{Role: Grid, Map: "dsmr", Address: "tcp://" + l.Addr().String(), Rating: 1})
	if err != nil {
		t.Fatal(err)
	}
	want(t, look.Reading, map[energy.Register]int64{energy.Import: 600_000_000, energy.Export: 1_000_000})

	u := newRegisters(0).add(common("Maker", "Model", "1", false), block(sunspec.Meter1, map[string]int64{"TotWhExp": 5, "TotWh_SF": 0})).put(0xffff, 0)
	var asked atomic.Int32
	u.fault = func(address uint16) error {
		if address == 2 {
			asked.Add(1)
		}
		return nil
	}
	look, err = TakeALook(t.Context(), Config{Role: Grid, Map: "sunspec", Address: u.serve(t), Rating: 1})
	if err != nil || len(look.Reading.Sent) == 0 || asked.Load() != 2 { // by the walk, and for what it holds
		t.Errorf("%+v, %v, asked %d times", look, err, asked.Load())
	}
}

// TestChannelsListed: so many channels are listed, and none of a device that has one.
func TestChannelsListed(t *testing.T) {
	var many []say
	for i := range maxChannels + 3 {
		many = append(many, say{fmt.Sprintf("status/em1:%d", i), `{"act_power":5}`}, say{fmt.Sprintf("status/em1data:%d", i), `{"total_act_energy":1}`})
	}
	if s, _ := hear(t, Config{Role: Grid, Map: "shelly"}, many); len(s.channels()) != maxChannels {
		t.Errorf("%v", s.channels())
	}
	if s, _ := hear(t, Config{Role: Grid, Map: "shelly"}, many[:2]); s.channels() != nil {
		t.Errorf("%v", s.channels())
	}
}
