package source

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/dsmr"
)

// telegrams are what two meters say, and what it means.
func telegrams(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("../dsmr/testdata/standard.txt")
	if err != nil {
		t.Fatal(err)
	}
	p1 := strings.ReplaceAll(string(text), "\n", "\r\n") + "!"
	p1 += strings.ToUpper(hex.EncodeToString([]byte{byte(dsmr.CRC([]byte(p1)) >> 8), byte(dsmr.CRC([]byte(p1)))})) + "\r\n"
	code, err := os.ReadFile("../sml/testdata/files/emh.hex")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(code)))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"dsmr": []byte(p1), "sml": raw}
}

var said = map[string]struct {
	milli map[energy.Register]int64
	meter Meter
	power int64
}{
	"dsmr": {map[energy.Register]int64{energy.Export: 2 * 123456789_000, energy.Import: 2 * 123456789_000}, Meter{"ISk", `\2MT382-1000`, "K8EG004046395507"}, 1193},
	"sml":  {map[energy.Register]int64{energy.Import: 15338555_700}, Meter{"EMH", "0100620affff", "0901454d48000041f045"}, 563},
}

func hold(t *testing.T, protocol string, r *Reading) {
	t.Helper()
	want(t, r, said[protocol].milli)
	if r.Meter != said[protocol].meter || r.Power == nil || *r.Power != said[protocol].power {
		t.Errorf("%s: %+v", protocol, r)
	}
	if r.At.IsZero() || time.Since(r.At) > time.Minute {
		t.Errorf("read at %v", r.At)
	}
}

// TestStreams reads meters that speak of themselves over TCP: from the middle of a telegram on, over a damaged
// one and over a connection that ends.
func TestStreams(t *testing.T) {
	for protocol, raw := range telegrams(t) {
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
				broken := append([]byte(nil), raw...)
				broken[len(broken)/2] ^= 1
				for _, b := range [][]byte{raw[50:], raw, broken, raw} {
					conn.Write(b)
				}
				conn.Close()
			}
		}()
		c := Config{Role: Grid, Map: protocol, Address: "tcp://" + l.Addr().String(), Rating: 40_000}
		if protocol == "sml" {
			c.Model = said[protocol].meter.Model
		}
		s := open(t, c)
		good, bad := 0, 0
		for range 8 {
			r, err := s.Read(t.Context())
			if err != nil {
				bad++
				continue
			}
			good++
			hold(t, protocol, r)
		}
		if good < 3 || bad < 2 {
			t.Errorf("%s: %d readings, %d errors", protocol, good, bad)
		}
	}
}

// TestSerial reads them over a serial line.
func TestSerial(t *testing.T) {
	for protocol, raw := range telegrams(t) {
		ours, theirs := wire(t)
		meter, err := os.OpenFile(theirs, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan bool)
		ended := make(chan bool)
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					meter.Write(raw)
				}
			}
		}()
		s := open(t, Config{Role: Grid, Map: protocol, Address: "serial://" + ours, Rating: 40_000, Model: said[protocol].meter.Model})
		hold(t, protocol, firstReading(t, s))
		close(stop)
		<-ended
		meter.Close()
	}
}

// TestSilence: a meter that says nothing does not hold anybody up.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, Config{Role: Grid, Map: "dsmr", Address: "tcp://" + l.Addr().String(), Rating: 40_000})
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	if r, err := s.Read(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// broker starts mosquitto.
func broker(t *testing.T) (address string) {
	t.Helper()
	path := testutil.File(t, "/usr/sbin/mosquitto", "mosquitto")
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-c", conf)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	address = "127.0.0.1:" + port
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
	}
	t.Fatal("the broker does not come up")
	return ""
}

// messages are what devices publish, as their makers' manuals show it (Tasmota: "Smart Meter Interface" and
// "Power Monitoring"; Shelly: Gen2 API, EMData, Switch).
var messages = []struct {
	topic, below, text, mapped string
	role                       Role
	milli                      map[energy.Register]int64
}{
	{"tele/solar", "SENSOR", `{"Time":"2026-06-21T12:00:00","ENERGY":{"TotalStartTime":"2025-01-01T00:00:00","Total":1234.567,"Yesterday":2.1,"Today":0.3,"Power":431,"Voltage":230}}`,
		"tasmota", PV, map[energy.Register]int64{energy.PV: 1234567_000}},
	{"tele/meter", "SENSOR", `{"Time":"2026-06-21T12:00:00","SML":{"Total_in":10955.1391,"Total_out":27.5,"Power_curr":-210,"Meter_Number":"0a0149534b0004316b1e"}}`,
		"tasmota", Grid, map[energy.Register]int64{energy.Import: 10955139_100, energy.Export: 27500_000}},
	{"shellypro3em-c8f09e", "status/emdata:0", `{"id":0,"a_total_act_energy":100.1,"a_total_act_ret_energy":0.0,"total_act":3156.25,"total_act_ret":12.75}`,
		"shelly", Grid, map[energy.Register]int64{energy.Import: 3156_250, energy.Export: 12_750}},
	{"shellyplus1pm-a8", "status/switch:0", `{"id":0,"source":"timer","output":true,"apower":8.9,"voltage":237.5,"aenergy":{"total":6.532,"by_minute":[45.199,47.141,88.397],"minute_ts":1626935779},"temperature":{"tC":23.5,"tF":74.4}}`,
		"shelly", PV, map[energy.Register]int64{energy.PV: 6_532}},
}

// TestMQTT reads meters through a real broker.
func TestMQTT(t *testing.T) {
	at := broker(t)
	publisher := mqttClient(t, at)
	for _, m := range messages {
		s := open(t, Config{Role: m.role, Map: m.mapped, Address: "mqtt://" + at + "/" + m.topic, Rating: 40_000})
		got := make(chan *Reading)
		stop := make(chan bool)
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					publisher.Publish(m.topic+"/"+m.below, 0, false, m.text).Wait()
				}
			}
		}()
		go func() { got <- firstReading(t, s) }()
		r := <-got
		close(stop)
		want(t, r, m.milli)
		if r.Meter.Serial == "" || len(r.Bad) > 0 {
			t.Errorf("%+v", r)
		}
	}
	// What is no JSON is named, and what is retained is left out.
	s := open(t, Config{Role: PV, Map: "tasmota", Address: "mqtt://" + at + "/tele/old", Rating: 1})
	publisher.Publish("tele/old/SENSOR", 1, true, `{"ENERGY":{"Total":1}}`).Wait()
	ctx, cancel := contextWithTimeout(t, 500*time.Millisecond)
	defer cancel()
	if r, err := s.Read(ctx); err == nil {
		t.Errorf("retained: %+v", r)
	}
	publisher.Publish("tele/old/SENSOR", 1, false, `{"ENERGY":`).Wait()
	if r, err := s.Read(t.Context()); err != nil || len(r.Bad) != 1 || r.Counters[energy.PV] != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFlatten(t *testing.T) {
	f := Fields{}
	if err := flatten(f, "status/x", []byte(`{"a":{"b":[1,2.50,-3e2]},"s":"text","n":null,"t":true,"big":123456789012345678901234567890}`)); err != nil {
		t.Fatal(err)
	}
	for path, v := range map[string]Number{"status/x/a.b.0": {Mantissa: 1}, "status/x/a.b.1": {Mantissa: 25, Exp: -1}, "status/x/a.b.2": {Mantissa: -3, Exp: 2}} {
		if n := f[path].Number; n == nil || *n != v {
			t.Errorf("%s is %v, want %v", path, n, v)
		}
	}
	if f["status/x/s"].Text != "text" || f["status/x/big"].Number != nil {
		t.Errorf("%+v", f)
	}
	for _, bad := range []string{"", "{", `{"a":1} 2`, strings.Repeat("[", maxJSON+1) + strings.Repeat("]", maxJSON+1), "[" + strings.Repeat("1,", maxFields) + "1]",
		`"` + strings.Repeat("x", maxMessage) + `"`} {
		if err := flatten(Fields{}, "x", []byte(bad)); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

func FuzzFlatten(f *testing.F) {
	for _, m := range messages {
		f.Add([]byte(m.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fields := Fields{}
		if err := flatten(fields, "x", raw); err == nil && len(fields) > maxFields {
			t.Errorf("%d fields", len(fields))
		}
		for _, name := range []string{"tasmota", "shelly", "shelly1"} {
			m, err := LoadMap(name)
			if err != nil {
				t.Fatal(err)
			}
			m.Read(Grid, fields)
		}
	})
}

// TestMaps: every built-in map is well-formed, and an owner's own is read strictly.
func TestMaps(t *testing.T) {
	if len(Maps()) != 6 {
		t.Errorf("maps %v", Maps())
	}
	for _, name := range Maps() {
		if m, err := LoadMap(name); err != nil || m.About == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	own := filepath.Join(t.TempDir(), "own.yaml")
	text := "about: mine\nprotocol: mqtt\ntopics: [x]\nmeter: {serial: [topic]}\nroles:\n  pv:\n    pv: {path: [x/a + x/b, x/c], scale: \"0.5\", wrap: 16}\n"
	if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := LoadMap(own)
	if err != nil {
		t.Fatal(err)
	}
	one := func(v int64) Field { return Field{Number: &Number{Mantissa: v}} }
	want(t, m.Read(PV, Fields{"x/a": one(3), "x/b": one(4), "x/c": one(100)}), map[energy.Register]int64{energy.PV: 3500})
	r := m.Read(PV, Fields{"x/a": one(3), "x/c": one(100)})
	want(t, r, map[energy.Register]int64{energy.PV: 50_000})
	if r.Counters[energy.PV][0].Bits != 16 {
		t.Errorf("%+v", r.Counters)
	}
	for _, bad := range []string{"protocol: carrier-pigeon", "protocol: sml\nroles: {grid: {pv: {path: [a]}}}", "protocol: sml\nroles: {pv: {pv: {path: []}}}",
		"protocol: sml\nspeed: 1\nroles: {pv: {pv: {path: [a]}}}", "protocol: sml\nroles: {pv: {pv: {path: [a], scale: lots}}}", "protocol: sml\nroles: {pv: {pv: {path: [a], wrap: 63}}}", "protocol: sml"} {
		if m, err := ParseMap([]byte(bad)); err == nil {
			t.Errorf("%q is taken: %+v", bad, m)
		}
	}
	if _, err := LoadMap(filepath.Join(t.TempDir(), "gone.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func mqttClient(t *testing.T, at string) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + at))
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}
