package node

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/settings"
)

// meter is a category's section with everything that one may hold.
type meter struct {
	Sources []source `json:"sources" doc:"What is read."`
	Site    *site    `json:"site" doc:"Where it is."`
	On      bool     `json:"on" doc:"Whether it is on."`
}

type source struct {
	Map     string `json:"map" doc:"Of registers."`
	Address string `json:"address" doc:"Of the meter."`
}

type site struct {
	Height int16      `json:"height" doc:"Above the sea, in metres."`
	Cell   types.Cell `json:"cell" doc:"Of the site."`
}

func filled() Settings {
	return Settings{
		Owner: types.Account{7}, Cell: 0x871fb4662ffffff, Model: 1<<64 - 1, Nonce: Nonce{1, 2}, Expiry: 99, Listen: "127.0.0.1:9464",
		Categories: map[string]json.RawMessage{
			"storage": json.RawMessage(`{"listen":":7440","capacity_bytes":18446744073709551615,"note":"yes: 0x1 #5"}`),
			"energy":  json.RawMessage(`{"sources":[{"map":"sunspec","address":"127.0.0.1:502"}],"site":{"height":-3,"cell":"871fb4662ffffff"},"on":true}`),
		},
	}
}

func key9() types.Key { return types.NewPrivateKey([32]byte{9}).Public() }

// TestSettingsRoundTrip: what is written is read back the same, and has each setting's meaning above it.
func TestSettingsRoundTrip(t *testing.T) {
	s := filled()
	text, err := s.encode(map[string]any{"energy": new(meter)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSettings(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	same := cmp.Transformer("object", func(o json.RawMessage) (v map[string]any) { json.Unmarshal(o, &v); return v })
	if diff := cmp.Diff(s, *got, same, cmpopts.IgnoreUnexported(Settings{})); diff != "" {
		t.Errorf("(-written +read)\n%s\n%s", diff, text)
	}
	for _, want := range []string{
		"# The account that owns the device and is paid.", "energy:\n  # What is read.\n  sources:\n    -", "# Of registers.\n", "    # Above the sea, in metres.\n    height: -3",
		"storage:\n  listen: :7440",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, name := range settings.Undocumented(reflect.TypeFor[Settings]()) {
		if !strings.HasPrefix(name, "join.pin.") {
			t.Errorf("%s is not documented", name)
		}
	}
	var m meter
	if err := got.Check("energy", &m); err != nil || len(m.Sources) != 1 || m.Sources[0].Address != "127.0.0.1:502" || m.Site.Height != -3 || !m.On {
		t.Errorf("%+v: %v", m, err)
	}
}

// TestSettingsStrict: each mistake is an error that names its line.
func TestSettingsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line int
		says string
	}{
		"unknown":         {"region: 0\nregoin: 1\n", 2, `unknown setting "regoin"`},
		"unknown inside":  {"energy:\n  site:\n    heigth: 1\n", 3, `"energy.site.heigth"`},
		"twice":           {"region: 0\nregion: 1\n", 2, "set already in line 1"},
		"section twice":   {"energy: {}\nregion: 0\nenergy: {}\n", 3, "set already"},
		"a cell":          {"region: 0\ncell: nowhere\n", 2, "cell: "},
		"an owner":        {"owner: 12\n", 1, "owner: "},
		"no number":       {"region: many\n", 1, "whole number from 0 to 65535"},
		"too large":       {"region: 65536\n", 1, "whole number from 0 to 65535"},
		"no text":         {"listen: 7\n", 1, "text"},
		"no list":         {"energy:\n  sources: nats://x\n", 2, "energy.sources: want a list"},
		"no settings":     {"energy:\n  site: 5\n", 2, "want settings"},
		"alias":           {"energy: &a\n  x: *a\n", 2, "aliases"},
		"merge":           {"energy: {<<: {on: true}}\n", 1, "name of a setting"},
		"a section's":     {"energy:\n  sources:\n    - {map: a, adress: b}\n", 3, `"energy.sources[0].adress": there are address, map`},
		"a section twice": {"energy:\n  on: true\n  on: false\n", 3, "set already in line 2"},
		"a section's bit": {"energy:\n  on: 7\n", 2, "true or false"},
	} {
		s, err := parseSettings([]byte(c.text))
		if err == nil {
			err = s.Check("energy", new(meter))
		}
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("line %d: ", c.line)) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want line %d and %q", name, err, c.line, c.says)
		}
	}
	for _, bad := range []string{"", "- a\n", "just text", "a: b\n---\nc: d\n", "\tregion: 0", "region: [\n"} {
		if _, err := parseSettings([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzSettings: no text makes the reader panic, and what it takes can be written and read again.
func FuzzSettings(f *testing.F) {
	s := filled()
	text, err := s.encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{"", "energy:\n", "energy: &a [*a]\n", "join: {<<: *x}", "cell: 2001-01-01\n", "storage: !!binary aGk=\n", "? [a]\n: b\n", "storage: {a: .inf}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSettings(text)
		if err != nil {
			return
		}
		if _, err := s.categories(); err != nil {
			return
		}
		again, err := s.encode(nil)
		if err != nil {
			return // what is no address or cell cannot be written
		}
		if _, err := parseSettings(again); err != nil {
			t.Errorf("%v\n%s", err, again)
		}
	})
}
