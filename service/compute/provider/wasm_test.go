package provider

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// TestSettings: what find proposes is taken, every setting has a sentence, and wrong ones are refused.
func TestSettings(t *testing.T) {
	raw, found, err := find(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(found)
	if raw == nil {
		t.Skip("this machine does not offer compute: " + found)
	}
	if _, err := provide(raw); err != nil {
		t.Error(err)
	}
	for f := range reflect.TypeFor[Settings]().Fields() {
		if f.Tag.Get("doc") == "" || f.Tag.Get("json") == "" {
			t.Errorf("%s has no name or sentence", f.Name)
		}
	}
	for name, change := range map[string]func(map[string]any){
		"unknown":      func(m map[string]any) { m["slotz"] = 1 },
		"no slots":     func(m map[string]any) { m["slots"] = 0 },
		"no price":     func(m map[string]any) { m["price"] = 0 },
		"no memory":    func(m map[string]any) { m["memory_bytes"] = 1 },
		"no disk":      func(m map[string]any) { m["disk_bytes"] = 1 },
		"no strangers": func(m map[string]any) { m["unopened_credits"] = 0 },
		"no reach":     func(m map[string]any) { m["egress"] = []string{"home"} },
		"no network":   func(m map[string]any) { m["private_gateways"] = []string{"home"} },
	} {
		m := map[string]any{}
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		bent, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provide(bent); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// program is a module that writes "hi" and goes round a loop of 7 instructions.
func program(rounds int64) []byte {
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	section := func(id byte, body ...[]byte) []byte {
		b := slices.Concat(body...)
		return append([]byte{id, byte(len(b))}, b...)
	}
	var count []byte // signed LEB128
	for v := rounds; ; {
		b := byte(v & 0x7f)
		if v >>= 7; v == 0 && b&0x40 == 0 {
			count = append(count, b)
			break
		}
		count = append(count, b|0x80)
	}
	body := slices.Concat(
		[]byte{1, 1, 0x7e}, // a local i64
		[]byte{0x41, 1, 0x41, 0, 0x41, 1, 0x41, 20, 0x10, 0, 0x1a}, // fd_write(1, 0, 1, 20)
		[]byte{0x42}, count, []byte{0x21, 0}, // rounds
		[]byte{0x03, 0x40, 0x20, 0, 0x42, 1, 0x7d, 0x22, 0, 0x50, 0x45, 0x0d, 0, 0x0b}, // loop
		[]byte{0x0b},
	)
	return slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{2, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 0}),
		section(2, []byte{1}, name("wasi_snapshot_preview1"), name("fd_write"), []byte{0, 0}),
		section(3, []byte{1, 1}),
		section(5, []byte{1, 0, 1}),
		section(7, []byte{2}, name("memory"), []byte{2, 0}, name("_start"), []byte{0, 1}),
		section(10, []byte{1, byte(len(body))}, body),
		section(11, []byte{1, 0, 0x41, 0, 0x0b, 11, 8, 0, 0, 0, 3, 0, 0, 0}, []byte("hi\n")),
	)
}

// newWasmWorld is a world whose device runs real guests.
func newWasmWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	lacks, err := probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		t.Skip("this machine holds no guests: " + lackText(lacks))
	}
	return newWorld(t, func(c *Config) {
		c.Open = func(dir string) ([]Executor, []Lack, error) {
			e, lacks, err := OpenWasm(dir, 2)
			return []Executor{e}, lacks, err
		}
		if change != nil {
			change(c)
		}
	})
}

// TestWasm: a real guest, in its sandbox: paid, then not paid.
func TestWasm(t *testing.T) {
	w := newWasmWorld(t, func(c *Config) { c.patience = 200 * time.Millisecond })
	w.code = program(150_000_000)
	s := w.session(100)
	j := w.run(s, "program")
	e := w.end(j)
	if e.Result == nil || j.out[1].String() != "hi\n" || e.Result.Stdout != types.Sum([]byte("hi\n")) || e.Result.Fuel < 1_050_000_000 {
		t.Fatalf("%+v, %q", e, j.out[1].String())
	}
	w.settled()
	w.mu.Lock()
	w.pay = func(*receipt.Receipt) bool { return false }
	w.mu.Unlock()
	w.code = program(2_000_000_000)
	j = w.run(s, "program")
	e = w.end(j)
	d := w.now()
	d.mu.Lock()
	debt := d.sessions[sessionKey{w.market.Payer(), s.id}].account.trust.Debt
	d.mu.Unlock()
	t.Logf("a guest that nobody pays for ran %d of its fuel, for %v of debt", j.used, time.Duration(debt))
	if e.Leaf.Leaf.Mode != compute.Cut || e.Leaf.Leaf.Fuel != 0 || j.out[1].String() != "hi\n" {
		t.Errorf("%+v", e)
	}
	w.code = []byte("not a module")
	w.mu.Lock()
	w.pay = nil
	w.mu.Unlock()
	w.Next()
	w.Next()
	if e := w.end(w.run(w.session(100), "x")); e.Reason != compute.BadModule {
		t.Errorf("%+v", e)
	}
}

// TestLack: a class that the machine can't hold safely is not offered, and the owner is told why.
func TestLack(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Open = func(string) ([]Executor, []Lack, error) {
			return nil, []Lack{{"seccomp", "the kernel does not filter system calls"}}, nil
		}
	})
	s := w.session(100)
	if _, reason := w.ask(s, w.call(s)); reason != compute.Policy {
		t.Errorf("%q", reason)
	}
	if list, _, err := w.market.Offers(context.Background(), wantWasm); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if list := w.p.Remarks(); len(list) != 1 || list[0].Text != "the kernel does not filter system calls" {
		t.Errorf("%v", list)
	}
	w.Next()
	w.clean(types.Superseded)
}
