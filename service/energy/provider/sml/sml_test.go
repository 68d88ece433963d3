package sml

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/internal/testutil"
)

// emh is what an EMH eHZ said, as its owner published it.
func emh(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/files/emh.hex")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Files are built here the other way round than they are read: each part says itself how long it is.
func octetString(b ...byte) []byte {
	if n := len(b) + 1; n > 15 {
		return append([]byte{0x80 | byte((n+1)>>4), byte((n + 1) & 15)}, b...)
	}
	return append([]byte{byte(len(b) + 1)}, b...)
}

func integer(kind byte, v int64, size int) []byte {
	out := []byte{kind<<4 | byte(size+1)}
	for i := range size {
		out = append(out, byte(v>>(8*(size-1-i))))
	}
	return out
}

func sequence(parts ...[]byte) []byte {
	n := len(parts)
	head := []byte{0x70 | byte(n)}
	if n > 15 {
		head = []byte{0xf0 | byte(n>>4), byte(n & 15)}
	}
	return append(head, bytes.Join(parts, nil)...)
}

var absent = []byte{1}

func message(tag int64, body []byte) []byte {
	m := sequence(octetString(1, 2, 3), integer(6, 0, 1), integer(6, 0, 1), sequence(integer(6, tag, 2), body), nil, nil)
	crc := CRC(m)
	return append(m, 0x63, byte(crc), byte(crc>>8), 0)
}

// file wraps messages for the wire.
func file(messages ...[]byte) []byte {
	body := bytes.Join(messages, nil)
	pad := (4 - len(body)%4) % 4
	body = append(body, make([]byte, pad)...)
	out := append([]byte(nil), begin...)
	for i := 0; i < len(body); i += 4 {
		if bytes.Equal(body[i:i+4], escape) {
			out = append(out, escape...)
		}
		out = append(out, body[i:i+4]...)
	}
	out = append(out, escape...)
	out = append(out, 0x1a, byte(pad))
	crc := CRC(out)
	return append(out, byte(crc), byte(crc>>8))
}

func entry(c, d byte, unit, scale int64, value []byte) []byte {
	return sequence(octetString(1, 0, c, d, 0, 255), absent, absent, integer(6, unit, 1), integer(5, scale, 1), value, absent)
}

func values(entries ...[]byte) []byte {
	open := message(0x0101, sequence(absent, absent, octetString(9, 9), octetString(10, 1), absent, absent))
	list := message(getList, sequence(absent, octetString(10, 1, 'C', 'R', 'N'), octetString(1, 0, 0x62, 10, 0xff, 0xff), absent, sequence(entries...), absent, absent))
	end := message(0x0201, sequence(absent))
	return file(open, list, end)
}

// samples are files with what meters do: few and many bytes, both signs, powers of ten, bytes that look like an
// escape, long lists.
func samples(t testing.TB) map[string][]byte {
	long := [][]byte{}
	for i := range 20 {
		long = append(long, entry(byte(40+i), 7, UnitW, -1, integer(5, int64(i)*1000-7, 4)))
	}
	return map[string][]byte{
		"emh":   emh(t),
		"short": values(entry(1, 8, UnitWh, 0, integer(6, 250, 1)), entry(2, 8, UnitWh, 3, integer(6, 65535, 2)), entry(16, 7, UnitW, 0, integer(5, -5, 1))),
		"wide":  values(entry(1, 8, UnitWh, -1, integer(6, 1<<40+12345, 8)), entry(16, 7, UnitW, -2, integer(5, -123456, 4))),
		"odd":   values(entry(2, 8, UnitWh, -2, integer(6, 1<<33, 5)), entry(36, 7, UnitW, 0, integer(5, -1000, 3))),
		"escape": values(entry(1, 8, UnitWh, -1, integer(6, 0x1b1b1b1b, 4)), entry(2, 8, UnitWh, -1, integer(6, 0x1b1b1b1b1b1b1b1b>>8, 7)),
			entry(3, 8, UnitWh, -1, integer(6, 0x1b1b1b1b1b1b1b1b, 8)), entry(4, 8, UnitWh, -1, integer(6, 0x1b1b1b1b1b1b1b1b, 8))),
		"long": values(long...),
	}
}

// numbers are a file's values by OBIS code, as floating point numbers: what other decoders print.
func numbers(t testing.TB, raw []byte) map[string]float64 {
	t.Helper()
	lists, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, l := range lists {
		for _, e := range l.Entries {
			if e.Value != nil {
				out[fmt.Sprintf("%s*%d", e.Code, e.Last)] = float64(*e.Value) * math.Pow10(int(e.Exp))
			}
		}
	}
	return out
}

func TestDecode(t *testing.T) {
	want := map[string]float64{"1-0:1.8.0*255": 15338555.7, "1-0:1.8.1*255": 15338555.7, "1-0:1.8.2*255": 0, "1-0:16.7.0*255": 563.5}
	if diff := cmp.Diff(want, numbers(t, emh(t)), near(1e-9)); diff != "" {
		t.Error(diff)
	}
	lists, err := Decode(values(entry(1, 8, UnitWh, -1, integer(6, 77, 2))))
	if err != nil || len(lists) != 1 || !bytes.Equal(lists[0].Server, []byte{10, 1, 'C', 'R', 'N'}) {
		t.Fatalf("%+v, %v", lists, err)
	}
	if e := lists[0].Entries[0]; e.Code != "1-0:1.8.0" || e.Unit != UnitWh || e.Exp != -1 || *e.Value != 77 {
		t.Errorf("%+v", e)
	}
	for name, want := range map[string]map[string]float64{
		"wide": {"1-0:16.7.0*255": -1234.56, "1-0:1.8.0*255": (1<<40 + 12345) / 10.0},
		"odd":  {"1-0:2.8.0*255": (1 << 33) / 100.0, "1-0:36.7.0*255": -1000},
		"escape": {"1-0:1.8.0*255": 0x1b1b1b1b / 10.0, "1-0:2.8.0*255": 0x1b1b1b1b1b1b1b / 10.0,
			"1-0:3.8.0*255": 0x1b1b1b1b1b1b1b1b / 10.0, "1-0:4.8.0*255": 0x1b1b1b1b1b1b1b1b / 10.0},
	} {
		if diff := cmp.Diff(want, numbers(t, samples(t)[name]), near(1e-15)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func near(part float64) cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= part*math.Max(1, math.Abs(a)) })
}

// TestDamaged: no file of which any byte was changed, or that was cut off, is read.
func TestDamaged(t *testing.T) {
	raw := emh(t)
	for i := range raw {
		broken := bytes.Clone(raw)
		broken[i] ^= 0x10
		if l, err := Decode(broken); err == nil {
			t.Errorf("byte %d changed: %+v", i, l)
		}
		if l, err := Decode(raw[:i]); err == nil {
			t.Errorf("cut off after %d bytes: %+v", i, l)
		}
	}
	broken := bytes.Clone(raw)
	broken[len(broken)-1]++
	if _, err := Decode(broken); !errors.Is(err, ErrCRC) {
		t.Errorf("%v", err)
	}
	for name, body := range map[string][]byte{
		"deep":     bytes.Repeat([]byte{0x71}, 100),
		"many":     append([]byte{0xff, 0x8f, 0x8f, 0x0f}, bytes.Repeat([]byte{1}, 10_000)...),
		"negative": {0x71, 0x80, 0x01},
		"long":     {0x8f, 0x8f, 0x8f, 0x8f, 0x0f, 0},
		"end":      {0x76, 0x05},
		"foreign":  sequence(absent),
	} {
		if l, err := Decode(file(body)); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestNext finds files in a stream with noise, a file that was cut off, and escaped escapes.
func TestNext(t *testing.T) {
	all := samples(t)
	var stream []byte
	stream = append(stream, 0x1b, 0x1b, 7, 7)
	stream = append(stream, all["emh"][:40]...)
	for _, name := range []string{"escape", "emh", "long"} {
		stream = append(stream, all[name]...)
	}
	r := bufio.NewReader(bytes.NewReader(stream))
	for _, name := range []string{"escape", "emh", "long"} {
		got, err := Next(r)
		if err != nil || !bytes.Equal(got, all[name]) {
			t.Fatalf("%s: %x, %v", name, got, err)
		}
	}
	if _, err := Next(r); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}
	endless := io.MultiReader(bytes.NewReader(begin), bytes.NewReader(make([]byte, MaxFile+4)))
	if _, err := Next(bufio.NewReader(endless)); err == nil || err == io.EOF {
		t.Errorf("endless: %v", err)
	}
}

// TestSmartmeterObis compares with npm's smartmeter-obis.
func TestSmartmeterObis(t *testing.T) {
	node := testutil.Node(t, "testdata/obis")
	for name, raw := range samples(t) {
		if name == "odd" || name == "escape" {
			continue // it knows no whole numbers of three and five bytes, and leaves escaped escapes as they are
		}
		c := exec.Command(node, "testdata/obis/decode.js")
		c.Stdin = strings.NewReader(hex.EncodeToString(raw))
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%.500s", name, err, out)
			continue
		}
		theirs := map[string]float64{}
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		ours := numbers(t, raw)
		for id := range ours { // it gives energy in kWh
			if strings.Contains(id, ".8.") {
				ours[id] /= 1000
			}
		}
		if diff := cmp.Diff(theirs, ours, near(1e-9)); diff != "" {
			t.Errorf("%s: -smartmeter-obis +ours\n%s", name, diff)
		}
	}
}

// TestLibsml compares with Debian's libsml, through the server that it ships as an example.
func TestLibsml(t *testing.T) {
	const example = "/usr/share/doc/libsml-dev/examples/sml_server.c.gz"
	cc := testutil.Program(t, "gcc")
	testutil.File(t, "/usr/include/sml/sml_file.h", "libsml-dev")
	if _, err := os.Stat(example); err != nil {
		t.Skip("packages leave their documentation out on this machine, and libsml's example with it")
	}
	dir := t.TempDir()
	source, err := exec.Command("gzip", "-dc", example).Output()
	if err != nil {
		t.Fatal(err)
	}
	// Its table of units is not in the package.
	unit := "static char *dlms_get_unit(unsigned char unit) { return unit ? \"\" : 0; }\n"
	for name, text := range map[string][]byte{"server.c": source, "unit.h": []byte(unit)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := filepath.Join(dir, "server")
	if out, err := exec.Command(cc, "-I"+dir, "-o", server, filepath.Join(dir, "server.c"), "-lsml", "-lm").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, raw := range samples(t) {
		if name == "escape" {
			continue // it hands escaped escapes on as they are
		}
		ours := numbers(t, raw)
		theirs := listen(t, server, raw, len(ours))
		if diff := cmp.Diff(theirs, ours, near(1e-4)); diff != "" { // it prints one digit behind the point
			t.Errorf("%s: -libsml +ours\n%s", name, diff)
		}
	}
}

// listen gives a file to the server and returns the numbers that it prints, as many as are expected. It never
// ends by itself.
func listen(t *testing.T, server string, raw []byte, count int) map[string]float64 {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, server, "-")
	c.Stdin = bytes.NewReader(raw)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(\d+-\d+:\d+\.\d+\.\d+\*\d+)#(-?[0-9.]+)#$`)
	theirs := map[string]float64{}
	for s := bufio.NewScanner(out); len(theirs) < count && s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			if theirs[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	c.Wait()
	return theirs
}

// FuzzDecode: whatever comes, decoding ends, and takes no more room than its bounds.
func FuzzDecode(f *testing.F) {
	for _, raw := range samples(f) {
		f.Add(raw)
		f.Add(raw[8:])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := Next(bufio.NewReader(bytes.NewReader(raw))); err == nil && len(got) > MaxFile+4 {
			t.Errorf("a file of %d bytes", len(got))
		}
		Decode(raw)
		for _, wrapped := range [][]byte{file(raw), file(message(getList, raw))} { // the checksum keeps fuzzing out
			lists, err := Decode(wrapped)
			if err != nil {
				continue
			}
			count := 0
			for _, l := range lists {
				count += len(l.Entries)
			}
			if count > maxValues {
				t.Errorf("%d values", count)
			}
		}
	})
}
