package dsmr

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

// standard is the example of the P1 companion standard 5.0.2, §6.14, with a checksum of its text: that which is
// printed there is of another.
func standard(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/standard.txt")
	if err != nil {
		t.Fatal(err)
	}
	return seal(string(text))
}

// seal ends a telegram's text with its checksum.
func seal(text string) []byte {
	text = strings.ReplaceAll(text, "\n", "\r\n") + "!"
	return fmt.Appendf(nil, "%s%04X\r\n", text, CRC([]byte(text)))
}

// belgian is a telegram as meters in Flanders send it (e-MUCS P1 1.7).
var belgian = seal("/FLU5\\253769484_A\n\n0-0:96.1.4(50217)\n0-0:96.1.1(3153414733313030303031323334)\n0-0:1.0.0(200512145552S)\n" +
	"1-0:1.8.1(000000.034*kWh)\n1-0:1.8.2(000015.758*kWh)\n1-0:2.8.1(000000.000*kWh)\n1-0:2.8.2(000000.011*kWh)\n0-0:96.14.0(0001)\n" +
	"1-0:1.7.0(00.000*kW)\n1-0:2.7.0(00.030*kW)\n")

func TestDecode(t *testing.T) {
	d, err := Decode(standard(t))
	if err != nil {
		t.Fatal(err)
	}
	if d.Flag != "ISk" || d.Identification != `\2MT382-1000` {
		t.Errorf("head %q %q", d.Flag, d.Identification)
	}
	for code, want := range map[string]Value{"1-0:1.8.1": {"123456.789", "kWh"}, "1-0:1.7.0": {"01.193", "kW"}, "0-1:24.2.1": {"12785.123", "m3"}} {
		if v, ok := d.Value(code); !ok || v != want {
			t.Errorf("%s is %+v, want %+v", code, v, want)
		}
	}
	if v, _ := d.Value("0-0:96.1.1"); v.Name() != "K8EG004046395507" {
		t.Errorf("equipment %q", v.Name())
	}
	if b, err := Decode(belgian); err != nil || b.Flag != "FLU" {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestDamaged: no telegram of which a byte was changed, or that was cut off, is read.
func TestDamaged(t *testing.T) {
	raw := standard(t)
	end := bytes.LastIndexByte(raw, '!') + 5
	for i := range end {
		broken := bytes.Clone(raw)
		broken[i] ^= 0x01
		if d, err := Decode(broken); err == nil && !strings.EqualFold(string(broken), string(raw)) {
			t.Errorf("byte %d changed: %+v", i, d)
		}
		if d, err := Decode(raw[:i]); err == nil {
			t.Errorf("cut off after %d bytes: %+v", i, d)
		}
	}
	broken := bytes.Replace(raw, []byte("123456.789"), []byte("223456.789"), 1)
	if _, err := Decode(broken); !errors.Is(err, ErrCRC) {
		t.Errorf("another reading: %v", err)
	}
	for _, text := range []string{"", "/ISk5x\n1-0:1.8.1", "/ISk5x\n1-0:1.8.1(1", "/ISk5x\n1-0:1.8.1(1)x", "/a\n", "/ISk5x\n" + strings.Repeat("1-0:1.8.1(1)\n", MaxLines), "/" + strings.Repeat("x", MaxTelegram)} {
		if d, err := Decode(seal(text)); err == nil {
			t.Errorf("%.40q: %+v", text, d)
		}
	}
	if d, err := Decode([]byte("/ISk5x\r\n1-0:1.8.1(1*kWh)\r\n!\r\n")); err == nil {
		t.Errorf("no checksum: %+v", d)
	}
}

// TestNext finds telegrams in a stream that begins in the middle of one, and after one that was cut off.
func TestNext(t *testing.T) {
	var stream []byte
	stream = append(stream, standard(t)[200:]...)
	stream = append(stream, standard(t)[:300]...)
	stream = append(stream, "\r\n"...)
	stream = append(stream, belgian...)
	stream = append(stream, standard(t)...)
	r := bufio.NewReader(bytes.NewReader(stream))
	for i, want := range [][]byte{belgian, standard(t)} {
		got, err := Next(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d: %q, %v", i, got, err)
		}
	}
	if _, err := Next(r); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}
	if _, err := Next(bufio.NewReader(strings.NewReader("/" + strings.Repeat("x", MaxTelegram)))); err == nil || err == io.EOF {
		t.Errorf("endless: %v", err)
	}
}

// names are what dsmr-parser calls what is read here.
var names = map[string]string{
	"1-0:1.8.1": "electricity delivered tariff 1", "1-0:1.8.2": "electricity delivered tariff 2", "1-0:2.8.1": "electricity received tariff 1",
	"1-0:2.8.2": "electricity received tariff 2", "1-0:1.7.0": "actual electricity power delivered", "1-0:2.7.0": "actual electricity power received",
}

// TestParser compares with npm's dsmr-parser, on its own example, the standard's and a Belgian one.
func TestParser(t *testing.T) {
	node := testutil.Node(t, "testdata/parser")
	own, err := os.ReadFile("testdata/parser/node_modules/dsmr-parser/example-telegram.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"its own": bytes.TrimSuffix(own, []byte("\r\n")), "standard": standard(t), "belgian": belgian} {
		c := exec.Command(node, "testdata/parser/decode.mjs")
		c.Stdin = bytes.NewReader(raw)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%.500s", name, err, out)
			continue
		}
		theirs := map[string]any{}
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatal(err)
		}
		d, err := Decode(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for code, of := range names {
			v, ok := d.Value(code)
			got, err := strconv.ParseFloat(v.Text, 64)
			if want, there := theirs[of].(float64); !ok || err != nil || !there || got != want {
				t.Errorf("%s: %s is %v, dsmr-parser says %v", name, code, v, theirs[of])
			}
		}
		if v, _ := d.Value("0-0:96.1.1"); v.Name() != theirs["equipment identifier"] {
			t.Errorf("%s: equipment %q, dsmr-parser says %v", name, v.Name(), theirs["equipment identifier"])
		}
	}
}

// FuzzDecode: whatever comes, decoding ends, within its bounds.
func FuzzDecode(f *testing.F) {
	f.Add(standard(f))
	f.Add(belgian)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := Next(bufio.NewReader(bytes.NewReader(raw))); err == nil && len(got) > MaxTelegram {
			t.Errorf("a telegram of %d bytes", len(got))
		}
		Decode(raw)
		d, err := Decode(seal(string(raw))) // the checksum keeps fuzzing out
		if err != nil {
			return
		}
		for _, l := range d.Lines {
			if v, ok := d.Value(l.Code); !ok {
				t.Errorf("%q has no value", l.Code)
			} else {
				v.Name()
			}
		}
	})
}
