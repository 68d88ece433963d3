package customer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// unit reads a unit over a connection.
type unit struct {
	conn net.Conn
	id   byte
}

// exception is what a read was refused with.
type exception byte

func (e exception) Error() string { return fmt.Sprintf("exception %d", byte(e)) }

func (u unit) Read(address, count uint16) ([]uint16, error) {
	u.conn.SetDeadline(time.Now().Add(20 * time.Second))
	m := []byte{0, 1, 0, 0, 0, 6, u.id, 3}
	m = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(m, address), count)
	if _, err := u.conn.Write(m); err != nil {
		return nil, err
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(u.conn, head); err != nil {
		return nil, err
	}
	if head[7] != 3 {
		return nil, exception(head[8])
	}
	raw := make([]byte, head[8])
	if _, err := io.ReadFull(u.conn, raw); err != nil {
		return nil, err
	}
	words := make([]uint16, len(raw)/2)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(raw[2*i:])
	}
	return words, nil
}

// listen has the town's customer answer energy managers.
func (c *town) listen() map[string]string {
	c.t.Helper()
	at, err := c.Listen(role.Place{IP: "127.0.0.1"})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() { c.serve(ctx); close(done) }()
	c.t.Cleanup(func() { cancel(); <-done })
	return at
}

// sunny is a town in which three hours have passed.
func sunny(t *testing.T) *town {
	c := newTown(t)
	c.settle()
	c.seller.wh[energy.Export] = 1 << 33 // an acc32 has gone over
	c.hours(2, flow{pv: 500, exp: 400}, flow{imp: 100})
	return c
}

// want is what the town's seller shows.
func (c *town) want() map[uint16]map[string]any {
	s, err := energy.DecodeState(c.State().CategoryLine(c.seller.d.Key(), types.Energy))
	if err != nil {
		c.t.Fatal(err)
	}
	if s.Wh[energy.Export] <= 1<<33 || s.Wh[energy.PV] != 8*500 {
		c.t.Fatalf("registers %v", s.Wh)
	}
	key := c.seller.d.Key()
	exp := float64(s.Wh[energy.Export])
	return map[uint16]map[string]any{
		1:   {"Mn": "Cairn", "Md": "solar", "SN": fmt.Sprintf("%x", key[:16])},
		103: {"W": 2000.0, "W_SF": 0.0, "WH": 4000.0, "WH_SF": 0.0},
		203: {"W": -1600.0, "W_SF": 0.0, "TotWhExp": exp - 1<<33, "TotWhImp": 0.0, "TotWh_SF": 0.0},
		701: {"W": 1600.0, "W_SF": 0.0, "TotWhInj": exp, "TotWh_SF": 0.0},
	}
}

// TestModbus: on this machine every device is a SunSpec unit whose values are those of its line; numbers and
// port stay over a restart.
func TestModbus(t *testing.T) {
	c := sunny(t)
	at := c.listen()
	conn, err := net.Dial("tcp", at["modbus"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := do[Modbus](c, 200, "GET", "/modbus", nil)
	if seen.Address != at["modbus"] || seen.TLS != at["modbus_tls"] || len(seen.Units) != 1 || seen.Units[0].Device != c.consumer.d.Key() || seen.Units[0].Unit != 1 {
		t.Fatalf("%+v", seen)
	}
	other := 3 - seen.Units[0].Local // of two devices
	u := unit{conn, other}
	places, err := sunspec.Walk(u)
	if err != nil || len(places) != 4 {
		t.Fatalf("%v, %v", places, err)
	}
	for _, p := range places {
		b, err := sunspec.ReadBlock(u, p)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range c.want()[p.ID] {
			var got any
			if text, ok := b.Text(name); ok {
				got = text
			} else if n, ok := b.Number(name); ok {
				got = float64(n.Mantissa)
			} else {
				got = 0.0 // a counter at 0
			}
			if got != want {
				t.Errorf("%d.%s is %v, want %v", p.ID, name, got, want)
			}
		}
		for _, absent := range []string{"A", "Hz", "PhV", "TmpCab", "LNV"} {
			if n, ok := b.Number(absent); ok {
				t.Errorf("%d.%s is implemented: %v", p.ID, absent, n)
			}
		}
	}
	for id, want := range map[byte]exception{9: 11, 0: 11} {
		if _, err := (unit{conn, id}).Read(base, 2); err != want {
			t.Errorf("unit %d: %v", id, err)
		}
	}
	if _, err := u.Read(0, 2); err != exception(2) {
		t.Errorf("address 0: %v", err)
	}
	// A new tally shows at once.
	c.hours(1, flow{pv: 300, exp: 300}, flow{})
	words, err := u.Read(base+2+68+14, 1)
	if err != nil || words[0] != 1200 {
		t.Errorf("103.W is %v after the next tally, want 1200: %v", words, err)
	}
	// A device that comes later takes no number from anybody.
	before := do[Modbus](c, 200, "GET", "/modbus", nil).Units
	c.market.Device("a later one")
	after := do[Modbus](c, 200, "GET", "/modbus", nil).Units
	if len(after) != 2 || after[0].Unit != 1 || after[0].Device != before[0].Device {
		t.Errorf("%+v after %+v", after, before)
	}
}

// TestModbusPort: the ports are those of before, where nobody has taken them.
func TestModbusPort(t *testing.T) {
	c := sunny(t)
	first, err := c.Listen(role.Place{IP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c.listener.plain.Close()
	c.listener.tls.Close()
	c.crash()
	again, err := c.Listen(role.Place{IP: "127.0.0.1"})
	if diff := cmp.Diff(first, again); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
	c.listener.tls.Close()
	c.crash() // and the plain port is taken
	third, err := c.Listen(role.Place{IP: "127.0.0.1"})
	if err != nil || third["modbus"] == first["modbus"] || third["modbus_tls"] != first["modbus_tls"] {
		t.Errorf("%v after %v: %v", third, first, err)
	}
	c.listener.plain.Close()
	c.listener.tls.Close()
}

// TestModbusTLS: whoever has a certificate that an account named reads that account's devices, and nobody else
// reads anything.
func TestModbusTLS(t *testing.T) {
	c := sunny(t)
	at := c.listen()
	mine, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(mine, mine)
	if err != nil {
		t.Fatal(err)
	}
	server := do[Modbus](c, 200, "GET", "/modbus", nil).Server
	read := func(id byte, certs ...tls.Certificate) ([]uint16, error) {
		conn, err := tls.Dial("tcp", at["modbus_tls"], &tls.Config{Certificates: certs, InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if got := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw); fmt.Sprintf("%x", got) != server {
			t.Errorf("the listener's certificate is %x, the gateway says %s", got, server)
		}
		return unit{conn, id}.Read(base, 2)
	}
	if _, err := read(1); err == nil {
		t.Error("read without a certificate")
	}
	if _, err := read(1, cert); err == nil {
		t.Error("read with a certificate that nobody named")
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	named := do[Modbus](c, 200, "PUT", "/modbus/clients", ModbusClient{Certificate: string(body), Label: "EMS"})
	if len(named.Clients) != 1 || named.Clients[0].Label != "EMS" {
		t.Fatalf("%+v", named.Clients)
	}
	if words, err := read(1, cert); err != nil || words[0] != 0x5375 {
		t.Errorf("the account's device: %x, %v", words, err)
	}
	if _, err := read(2, cert); err != exception(11) {
		t.Errorf("a device of somebody else's: %v", err)
	}
	for what, in := range map[string]string{"nothing": "", "a key too": string(mine), "no certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if p := do[role.Problem](c, 400, "PUT", "/modbus/clients", ModbusClient{Certificate: in}); p.Reason != role.BadRequest {
			t.Errorf("%s: %+v", what, p)
		}
	}
	for range maxClients - 1 {
		pair, err := selfSigned()
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(pair)
		do[Modbus](c, 200, "PUT", "/modbus/clients", ModbusClient{Certificate: string(pem.EncodeToMemory(block))})
	}
	pair, _ := selfSigned()
	block, _ := pem.Decode(pair)
	do[role.Problem](c, 429, "PUT", "/modbus/clients", ModbusClient{Certificate: string(pem.EncodeToMemory(block))})
	do[Modbus](c, 200, "DELETE", "/modbus/clients/"+named.Clients[0].Fingerprint, nil)
	do[role.Problem](c, 404, "DELETE", "/modbus/clients/"+named.Clients[0].Fingerprint, nil)
	if _, err := read(1, cert); err == nil {
		t.Error("read with a certificate that was taken back")
	}
}

// found is what a client that others wrote makes of a unit.
type found struct {
	Base   int `json:"base"`
	Models []struct {
		ID     uint16         `json:"id"`
		Length int            `json:"length"`
		Words  []uint16       `json:"words"`
		Values map[string]any `json:"values"`
	} `json:"models"`
}

// TestModbusClients: pymodbus, modbus-serial and mbpoll read every field that a device has.
func TestModbusClients(t *testing.T) {
	c := sunny(t)
	host, port, err := net.SplitHostPort(c.listen()["modbus"])
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(3 - int(do[Modbus](c, 200, "GET", "/modbus", nil).Units[0].Local))
	const scripts = "../provider/street/testdata/"
	run := func(t *testing.T, dir, program string, args ...string) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = scripts + dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		raw, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, stderr.Bytes())
		}
		var got found
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if got.Base != base || len(got.Models) != 4 {
			t.Fatalf("%s", raw)
		}
		for _, m := range got.Models {
			for name, want := range c.want()[m.ID] {
				if have, ok := m.Values[name]; ok && have != want {
					t.Errorf("%d.%s is %v, want %v", m.ID, name, have, want)
				}
			}
			if len(m.Values) < 3 {
				t.Errorf("model %d: %v", m.ID, m.Values)
			}
		}
	}
	t.Run("pymodbus", func(t *testing.T) {
		run(t, "pymodbus", testutil.Python(t, "pymodbus"), "read.py", host, port, id)
	})
	t.Run("modbus-serial", func(t *testing.T) {
		run(t, "modbus-serial", testutil.Node(t, scripts+"modbus-serial"), "read.mjs", host, port, id)
	})
	t.Run("mbpoll", func(t *testing.T) {
		mbpoll := testutil.Program(t, "mbpoll")
		raw, err := exec.CommandContext(t.Context(), mbpoll, "-m", "tcp", "-p", port, "-a", id, "-t", "4", "-0", "-r", strconv.Itoa(base+2+68),
			"-c", "52", "-1", "-o", "10", host).CombinedOutput()
		lines := regexp.MustCompile(`(?m)^\[(\d+)\]:\s+(\d+)`).FindAllStringSubmatch(string(raw), -1)
		if err != nil || len(lines) != 52 || lines[0][2] != "103" || lines[1][2] != "50" || lines[14][2] != "2000" || lines[25][2] != "4000" {
			t.Errorf("%v\n%s", err, raw)
		}
	})
	if !strings.HasPrefix(host, "127.") {
		t.Errorf("in the clear at %s", host)
	}
}

// TestModbusStranger: one address that opens connections and says nothing leaves places for the energy managers
// of others.
func TestModbusStranger(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a second loopback address")
	}
	c := sunny(t)
	at := c.listen()
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range maxConns + 20 {
		conn, err := stranger.Dial("tcp", at["modbus"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	conn, err := net.Dial("tcp", at["modbus"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if places, err := sunspec.Walk(unit{conn, 1}); err != nil || len(places) != 4 {
		t.Fatalf("%v, %v", places, err)
	}
}
