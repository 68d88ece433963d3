package source

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/energy/provider/dsmr"
)

// telegram seals lines as a P1 port sends them.
func telegram(head string, lines ...string) []byte {
	text := head + "\r\n\r\n" + strings.Join(lines, "\r\n") + "\r\n!"
	return fmt.Appendf(nil, "%s%04X\r\n", text, dsmr.CRC([]byte(text)))
}

// once reads what a meter that speaks of itself says.
func once(t *testing.T, c Config, raw []byte) (*Reading, error) {
	t.Helper()
	c.Address, c.Rating = "tcp://127.0.0.1:1", 40_000
	s := open(t, c).(*mapped)
	s.reader.(*stream).open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	return s.Read(t.Context())
}

// TestTelegrams: what meters of several countries send at their P1 port.
func TestTelegrams(t *testing.T) {
	const serial = "0-0:96.1.1(3953414731313131313131313131)"
	wh := func(imp, exp int64) map[energy.Register]int64 {
		return map[energy.Register]int64{energy.Import: imp * 1000, energy.Export: exp * 1000}
	}
	four := func(code string, v ...int) (list []string) {
		for i, v := range v {
			list = append(list, fmt.Sprintf("1-0:%s.8.%d(%06d.000*kWh)", code, i+1, v))
		}
		return list
	}
	for name, c := range map[string]struct {
		raw  []byte
		want map[energy.Register]int64
	}{
		"four tariffs and totals (ISKRA)": {telegram(`/ISK5\2M550T-1013`, append(append([]string{serial, "1-0:1.8.0(000600.000*kWh)", "1-0:2.8.0(000060.000*kWh)"},
			four("1", 100, 200, 250, 50)...), four("2", 10, 20, 25, 5)...)...), wh(600_000, 60_000)},
		"four tariffs, no total (MT382 in Germany)": {telegram(`/ISK5\2MT382-1008`, append(append([]string{serial}, four("1", 100, 200, 250, 50)...), "1-0:2.8.0(000060.000*kWh)")...), wh(600_000, 60_000)},
		"an import total, four tariffs of export (ESO)": {telegram(`/ESO5\X`, append(append([]string{serial, "1-0:1.8.0(00009548.086*kWh)", "1-0:3.8.0(00000026.348*kvarh)"},
			"1-0:1.8.1(00009548.086*kWh)", "1-0:1.8.2(00000000.000*kWh)", "1-0:2.8.1(00007251.697*kWh)"), four("2", 0, 0, 0, 0)[1:]...)...), wh(9_548_086, 7_251_697)},
		"two tariffs (Belgium)": {telegram(`/FLU5\253769484_A`, "0-0:96.1.4(50217)", "0-0:96.1.1(3153414733313035303536363235)", "1-0:1.8.1(000116.372*kWh)",
			"1-0:1.8.2(000062.193*kWh)", "1-0:2.8.1(000112.716*kWh)", "1-0:2.8.2(000042.757*kWh)", "0-0:96.14.0(0002)", "1-0:1.6.0(240107190000W)(02.485*kW)",
			"0-0:98.1.0(3)(1-0:1.6.0)(1-0:1.6.0)(231101000000W)(231031120000W)(01.747*kW)(231201000000W)(231109164500W)(03.260*kW)", "0-0:96.13.0()"), wh(178_565, 155_473)},
		"totals (Luxembourg, decrypted)":      {telegram(`/Lux5\123_D`, "1-3:0.2.8(42)", "0-0:42.0.0(53414731303330373030303839)", "1-0:1.8.0(005675.956*kWh)", "1-0:2.8.0(000000.002*kWh)"), wh(5_675_956, 2)},
		"with the group of the present value": {telegram(`/LGZ5X`, serial, "1-0:1.8.0*255(000001.000*kWh)", "1-0:2.8.0*255(000002.000*kWh)"), wh(1000, 2000)},
		"in Wh":                               {telegram(`/ELL5X`, serial, "1-0:1.8.0(0000123456*Wh)", "1-0:2.8.0(0000000007*Wh)"), wh(123_456, 7)},
		"one tariff alone":                    {telegram(`/XXX5X`, serial, "1-0:1.8.1(000001.000*kWh)", "1-0:2.8.1(000002.000*kWh)"), wh(1000, 2000)},
		"three tariffs":                       {telegram(`/XXX5X`, append(append([]string{serial}, four("1", 1, 2, 3)...), four("2", 4, 5, 6)...)...), wh(6000, 15_000)},
		"no export":                           {telegram(`/XXX5X`, serial, "1-0:1.8.0(000001.000*kWh)", "1-0:1.7.0(00.132*kW)"), map[energy.Register]int64{energy.Import: 1_000_000}},
	} {
		r, err := once(t, Config{Role: Grid, Map: "dsmr"}, c.raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want(t, r, c.want)
		if missing := r.Counters[energy.Export] == nil; missing != (len(r.Sent) > 0) {
			t.Errorf("%s: sent %q", name, r.Sent)
		}
	}
	// Swedish meters say no serial number: the owner sets it.
	kaifa := telegram(`/KFM5KAIFA-METER`, "0-0:1.0.0(210524094210W)", "1-0:1.8.0(00000424.413*kWh)", "1-0:2.8.0(00000000.000*kWh)", "1-0:3.8.0(00000002.116*kVArh)", "1-0:1.7.0(0000.182*kW)")
	if r, err := once(t, Config{Role: Grid, Map: "dsmr"}, kaifa); err == nil || !strings.Contains(err.Error(), "serial number") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := once(t, Config{Role: Grid, Map: "dsmr", Serial: "7"}, kaifa); err != nil || r.Meter.Serial != "7" {
		t.Errorf("%+v, %v", r, err)
	} else {
		want(t, r, wh(424_413, 0))
	}
	// Encrypted, as in Luxembourg: a system title, a length, the security byte, a counter. It is said, whatever
	// bytes follow.
	secret := append([]byte{0xdb, 8, 'S', 'A', 'G', 'g', 'p', 0, 1, 2, 0x82, 1, 0xf2, 0x30, 0, 0, 0, 9}, bytes.Repeat([]byte{0x2f, 0x99, '!', 0x0a}, 120)...)
	if r, err := once(t, Config{Role: Grid, Map: "dsmr"}, secret); !errors.Is(err, dsmr.ErrEncrypted) {
		t.Errorf("%+v, %v", r, err)
	}
	// … and as in Poland, behind a head in plain text.
	polish := append([]byte("/EGM5G15\r\n\r\n"), bytes.Repeat([]byte{0, 0x82, 2, 0x30, 0x71, 0xd5}, 1500)...)
	if r, err := once(t, Config{Role: Grid, Map: "dsmr"}, polish); err == nil || !strings.Contains(err.Error(), "encrypts") {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestHeads: what meters send by their optical head. The files are rebuilt: what they say is what was met.
func TestHeads(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   map[energy.Register]int64
		exp    int8
	}{
		"only-2.8.1": {Config{Role: PV, Map: "sml"}, map[energy.Register]int64{energy.PV: 110_340_315_100}, -1},
		"whole-kwh":  {Config{Role: Grid, Map: "sml"}, map[energy.Register]int64{energy.Import: 4_469_000_000}, 3},
	} {
		code, err := os.ReadFile("testdata/" + name + ".hex")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.Join(strings.Fields(string(code)), ""))
		if err != nil {
			t.Fatal(err)
		}
		r, err := once(t, c.config, raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want(t, r, c.want)
		if list := r.Counters[c.config.Role.Registers()[len(c.config.Role.Registers())-1]]; len(list) != 1 || list[0].Value.Exp != c.exp || list[0].Loose {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

// say is a message of a device.
type say struct{ topic, text string }

// hear hands messages to a source as a broker does, and reads.
func hear(t *testing.T, c Config, messages []say) (*mapped, *Reading) {
	t.Helper()
	c.Rating = 40_000
	if c.Address == "" {
		c.Address = "mqtt://127.0.0.1/device"
	}
	s := open(t, c).(*mapped)
	m := s.reader.(*mqttSource)
	for _, one := range messages {
		m.hear(m.topic+"/"+one.topic, []byte(one.text))
	}
	m.grown = time.Time{} // long ago
	fields, bad := m.fresh()
	r, err := s.reading(fields, bad)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

var (
	proEM = []say{{"status/em1:0", `{"id":0,"current":0.020,"act_power":0.0}`}, {"status/em1:1", `{"id":1,"act_power":6769.3}`},
		{"status/em1data:0", `{"id":0,"total_act_energy":0.00,"total_act_ret_energy":0.00}`}, {"status/em1data:1", `{"id":1,"total_act_energy":9671.54,"total_act_ret_energy":2595.26}`}}
	gen1 = []say{{"emeter/0/total", "7589.6"}, {"emeter/1/total", "469.4"}, {"emeter/2/total", "435.7"}, {"emeter/0/total_returned", "17706.2"},
		{"emeter/1/total_returned", "3188.7"}, {"emeter/2/total_returned", "943.7"}, {"emeter/0/power", "3269.48"}, {"emeter/1/power", "147.60"}, {"emeter/2/power", "193.11"}}
	threePhases = []say{{"SENSOR", `{"Time":"2023-01-10T13:03:11","ENERGY":{"TotalStartTime":"2023-01-10T00:00:00","Total":16647.945,"Yesterday":26.425,"Today":7.978,` +
		`"ExportActive":[1508.369,1929.488,1696.624],"Power":[-136.495,0.000,-78.478],"ImportActive":[4392.588,2795.954,4301.033]}}`}}
)

// TestMessages: what MQTT meters send, in Wh.
func TestMessages(t *testing.T) {
	grid := func(imp, exp int64) map[energy.Register]int64 {
		return map[energy.Register]int64{energy.Import: imp, energy.Export: exp}
	}
	script := func(name, values string) []say {
		return []say{{"SENSOR", `{"Time":"2023-06-18T12:44:26","` + name + `":{` + values + `}}`}}
	}
	for name, c := range map[string]struct {
		config   Config
		messages []say
		want     map[energy.Register]int64 // milli
	}{
		"Tasmota, three phases":           {Config{Map: "tasmota"}, threePhases, grid(11_489_575_000, 5_134_481_000)},
		"Tasmota, reversed":               {Config{Map: "tasmota", Reverse: true}, threePhases, grid(5_134_481_000, 11_489_575_000)},
		"Tasmota, three phases of panels": {Config{Map: "tasmota", Role: PV}, threePhases, map[energy.Register]int64{energy.PV: 5_134_481_000}},
		"Tasmota, panels the other way":   {Config{Map: "tasmota", Role: PV, Reverse: true}, threePhases, map[energy.Register]int64{energy.PV: 11_489_575_000}},
		"Tasmota, one phase":              {Config{Map: "tasmota"}, script("ENERGY", `"Total":-0.00627,"ExportActive":0.02465,"ImportActive":0.01838`), grid(18_380, 24_650)},
		"Tasmota, a list of totals":       {Config{Map: "tasmota", Role: PV}, script("ENERGY", `"Total":[0.29,265.00,0.00]`), map[energy.Register]int64{energy.PV: 265_290_000}},
		"Tasmota, an empty name":          {Config{Map: "tasmota"}, script("", `"Total_in":2173.5,"Total_out":349.3,"Power_curr":-136.39`), grid(2_173_500_000, 349_300_000)},
		"Tasmota, MT691":                  {Config{Map: "tasmota"}, script("MT691", `"Total_in":2173.5,"Power_cur":17,"Meter_id":"1"`), map[energy.Register]int64{energy.Import: 2_173_500_000}},
		"Tasmota, DWS7612":                {Config{Map: "tasmota"}, script("DWS7612", `"Power":5,"ImportActive":12.5,"ExportActive":1.25`), grid(12_500_000, 1_250_000)},
		"Tasmota, two meters":             {Config{Map: "tasmota"}, []say{{"SENSOR", `{"A":{"Total_in":1},"B":{"Total_in":2}}`}}, nil},
		"Tasmota, the second of two":      {Config{Map: "tasmota", Channel: channel(1)}, []say{{"SENSOR", `{"A":{"Total_in":1},"B":{"Total_in":2}}`}}, map[energy.Register]int64{energy.Import: 2_000_000}},
		"Shelly Pro EM, channel 1":        {Config{Map: "shelly", Channel: channel(1)}, proEM, grid(9_671_540, 2_595_260)},
		"Shelly Pro EM, reversed":         {Config{Map: "shelly", Channel: channel(1), Reverse: true}, proEM, grid(2_595_260, 9_671_540)},
		"Shelly Pro EM, none set":         {Config{Map: "shelly"}, proEM, grid(0, 0)},
		"Shelly Pro EM, panels":           {Config{Map: "shelly", Role: PV, Channel: channel(1)}, proEM, map[energy.Register]int64{energy.PV: 2_595_260}},
		"Shelly Pro EM, panels reversed":  {Config{Map: "shelly", Role: PV, Channel: channel(1), Reverse: true}, proEM, map[energy.Register]int64{energy.PV: 9_671_540}},
		"Shelly Pro EM, no such channel":  {Config{Map: "shelly", Channel: channel(2)}, proEM, nil},
		"Shelly 3EM, first generation":    {Config{Map: "shelly1"}, gen1, grid(8_494_700, 21_838_600)},
		"… one phase":                     {Config{Map: "shelly1", Channel: channel(1)}, gen1, grid(469_400, 3_188_700)},
		"Shelly EM, first generation":     {Config{Map: "shelly1", Address: "mqtt://127.0.0.1/shellies/shellyem-1234"}, gen1, grid(7_589_600, 17_706_200)},
	} {
		if c.config.Role == "" {
			c.config.Role = Grid
		}
		t.Run(name, func(t *testing.T) {
			_, r := hear(t, c.config, c.messages)
			want(t, r, c.want)
			if len(r.Bad) > 0 {
				t.Errorf("%v", r.Bad)
			}
		})
	}
	_, r := hear(t, Config{Role: Grid, Map: "tasmota", Reverse: true}, threePhases)
	if r.Power == nil || *r.Power != 216 {
		t.Errorf("power %v", r.Power)
	}
	_, one := hear(t, Config{Role: Grid, Map: "shelly", Channel: channel(0)}, proEM)
	_, two := hear(t, Config{Role: PV, Map: "shelly", Channel: channel(1)}, proEM)
	if one.Meter.ID() == two.Meter.ID() {
		t.Errorf("two channels are one meter: %v", one.Meter)
	}
	for _, bad := range []Config{{Role: PV, Map: "sunspec", Address: "tcp://x", Rating: 1, Reverse: true}} {
		if s, err := Open(bad); err == nil {
			t.Errorf("%+v is taken: %v", bad, s)
		}
	}
}

// TestChannels: which channel carries power is known of devices that have several.
func TestChannels(t *testing.T) {
	for name, c := range map[string]struct {
		mapped   string
		messages []say
		want     []Channel
	}{"Shelly Pro EM": {"shelly", proEM, []Channel{{0, 0}, {1, 6769}}}, "Shelly 3EM": {"shelly1", gen1, []Channel{{0, 3269}, {1, 147}, {2, 193}}}, "Tasmota": {"tasmota", threePhases, nil}} {
		s, _ := hear(t, Config{Role: Grid, Map: c.mapped}, c.messages)
		if got := s.channels(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestMissing: what a device says beside a register that is not there is listed, and not more than a list holds.
func TestMissing(t *testing.T) {
	_, r := hear(t, Config{Role: Grid, Map: "tasmota"}, []say{{"SENSOR", `{"Strom":{"Verbrauch":5,"Einspeisung":6}}`}})
	if got := strings.Join(r.Sent, " "); got != "SENSOR/Strom.Einspeisung SENSOR/Strom.Verbrauch" {
		t.Errorf("sent %q", got)
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf(`"v%d":1`, i)
	}
	_, r = hear(t, Config{Role: Grid, Map: "tasmota"}, []say{{"SENSOR", "{" + strings.Join(many, ",") + "}"}})
	if len(r.Sent) != maxSent+1 || r.Sent[maxSent] != fmt.Sprintf("and %d more", 300-maxSent) {
		t.Errorf("%d sent: %q", len(r.Sent), r.Sent)
	}
}

// TestSums: what is added up over topics is complete or absent, and does not go on without one that fell silent.
func TestSums(t *testing.T) {
	s, r := hear(t, Config{Role: Grid, Map: "shelly1"}, gen1)
	want(t, r, map[energy.Register]int64{energy.Import: 8_494_700, energy.Export: 21_838_600})
	m := s.reader.(*mqttSource)
	read := func() *Reading {
		fields, bad := m.fresh()
		r, err := s.reading(fields, bad)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for path, f := range m.topics["emeter/1/total"] {
		f.At = time.Now().Add(-2 * staleness)
		m.topics["emeter/1/total"][path] = f
	}
	want(t, read(), map[energy.Register]int64{energy.Export: 21_838_600})
	m.hear("device/emeter/1/total", []byte("470"))
	want(t, read(), map[energy.Register]int64{energy.Import: 8_495_300, energy.Export: 21_838_600})
	m.hear("device/emeter/3/total", []byte("1"))
	want(t, read(), nil) // there may be more to come
}

// TestStays: an alternative that the map names later does not stand in for a register that is silent for a
// while, nor a lesser name for a name.
func TestStays(t *testing.T) {
	s, r := hear(t, Config{Role: Grid, Map: "tasmota"}, []say{{"SENSOR", `{"SML":{"Total_in":5,"Total_out":6,"Meter_Number":"77"},"ENERGY":{"Total":900}}`}})
	want(t, r, map[energy.Register]int64{energy.Import: 5_000_000, energy.Export: 6_000_000})
	m := s.reader.(*mqttSource)
	m.hear("device/SENSOR", []byte(`{"SML":{"Total_out":7,"Meter_Number":""},"ENERGY":{"Total":901}}`))
	fields, _ := m.fresh()
	r, err := s.reading(fields, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, map[energy.Register]int64{energy.Export: 7_000_000})
	if r.Meter.Serial != "77" {
		t.Errorf("%+v", r.Meter)
	}
}
