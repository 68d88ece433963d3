package source

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cairn-network/cairn/service/energy"
)

// Map says which values of a device are the registers of a site.
type Map struct {
	About    string                    `yaml:"about"`
	Protocol string                    `yaml:"protocol"` // sunspec, dsmr, sml or mqtt
	Topics   []string                  `yaml:"topics"`   // mqtt: what is subscribed to, below the source's topic
	Meter    Names                     `yaml:"meter"`
	Power    Entry                     `yaml:"power"`
	Roles    map[Role]map[string]Entry `yaml:"roles"` // by role, then by register: export, import, pv, charge, discharge
}

// Names are where a device says what it is: of each, the first that is there.
type Names struct {
	Manufacturer []string `yaml:"manufacturer"`
	Model        []string `yaml:"model"`
	Serial       []string `yaml:"serial"`
}

// Entry is where a value comes from.
type Entry struct {
	Path  []string `yaml:"path"`  // alternatives: the first whose terms are all there
	Scale string   `yaml:"scale"` // what one is in Wh or W, a decimal; "" is 1
	Wrap  uint8    `yaml:"wrap"`  // bits of the counter, where the protocol does not say; 0 never goes over

	scale Number
}

//go:embed maps/*.yaml
var builtin embed.FS

// maxMap bounds a map's file, in bytes.
const maxMap = 64 << 10

// Maps lists the maps that are built in.
func Maps() []string {
	files, _ := builtin.ReadDir("maps") // it is embedded: it cannot fail
	var list []string
	for _, f := range files {
		list = append(list, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return list
}

// LoadMap returns the built-in map of a name, or the map in the file that a name with a slash or a dot stands for.
func LoadMap(name string) (*Map, error) {
	if strings.ContainsAny(name, "/.") {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("map: %w", err)
		}
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, maxMap+1))
		if err != nil {
			return nil, fmt.Errorf("map: %w", err)
		}
		return ParseMap(raw)
	}
	raw, err := builtin.ReadFile("maps/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("map %.40q is not built in: want one of %s, or the path of a file", name, strings.Join(Maps(), ", "))
	}
	return ParseMap(raw)
}

// ParseMap reads a map, and refuses what is not part of one.
func ParseMap(raw []byte) (*Map, error) {
	if len(raw) > maxMap {
		return nil, fmt.Errorf("map: longer than %d bytes", maxMap)
	}
	m := new(Map)
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return m, nil
}

func (m *Map) check() error {
	if !slices.Contains([]string{"sunspec", "dsmr", "sml", "mqtt"}, m.Protocol) {
		return fmt.Errorf("protocol %.40q: want sunspec, dsmr, sml or mqtt", m.Protocol)
	}
	if len(m.Roles) == 0 {
		return fmt.Errorf("it has no roles")
	}
	if err := m.Power.check(); err != nil {
		return fmt.Errorf("power: %w", err)
	}
	for role, entries := range m.Roles {
		for name, e := range entries {
			if !slices.ContainsFunc(role.Registers(), func(r energy.Register) bool { return r.String() == name }) {
				return fmt.Errorf("role %.20q has no register %.20q", role, name)
			}
			if len(e.Path) == 0 {
				return fmt.Errorf("%s.%s: no path", role, name)
			}
			if err := e.check(); err != nil {
				return fmt.Errorf("%s.%s: %w", role, name, err)
			}
			entries[name] = e
		}
	}
	return nil
}

func (e *Entry) check() error {
	e.scale = Number{Mantissa: 1}
	if e.Scale != "" {
		n, ok := parseNumber(e.Scale)
		if !ok || n.Mantissa == 0 || n.Mantissa > 1e9 || n.Mantissa < -1e9 {
			return fmt.Errorf("scale %.20q: want a decimal", e.Scale)
		}
		e.scale = n
	}
	if e.Wrap > 62 {
		return fmt.Errorf("wrap %d: at most 62 bits", e.Wrap)
	}
	return nil
}

// paths returns all paths that are read for a role.
func (m *Map) paths(role Role) []string {
	var list []string
	add := func(alternatives []string) {
		for _, p := range alternatives {
			list = append(list, terms(p)...)
		}
	}
	add(m.Meter.Manufacturer)
	add(m.Meter.Model)
	add(m.Meter.Serial)
	add(m.Power.Path)
	for _, e := range m.Roles[role] {
		add(e.Path)
	}
	return list
}

func terms(path string) []string {
	list := strings.Split(path, " + ")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// Read takes what the map names for a role out of fields.
func (m *Map) Read(role Role, fields Fields) *Reading {
	r := &Reading{Meter: Meter{first(fields, m.Meter.Manufacturer), first(fields, m.Meter.Model), first(fields, m.Meter.Serial)}}
	for _, reg := range role.Registers() {
		e, ok := m.Roles[role][reg.String()]
		if !ok {
			continue
		}
		r.Counters[reg] = e.find(fields, r)
	}
	if c := m.Power.find(fields, nil); c != nil {
		watts := int64(0)
		for _, c := range c {
			if n, ok := c.Value.Times(c.Scale); ok {
				if w, ok := n.Floor(0); ok {
					watts += w
				}
			}
		}
		r.Power = &watts
	}
	return r
}

// find returns the counters of the first alternative that is there, and has r be as old as the oldest of them.
func (e *Entry) find(fields Fields, r *Reading) []Counter {
	for _, path := range e.Path {
		var list []Counter
		names := terms(path)
		for _, name := range names {
			f, ok := fields[name]
			if !ok || f.Number == nil {
				break
			}
			bits := f.Bits
			if bits == 0 {
				bits = e.Wrap
			}
			list = append(list, Counter{Path: name, Value: *f.Number, Scale: e.scale, Bits: bits, Loose: f.Loose})
		}
		if len(list) < len(names) {
			continue
		}
		for _, name := range names {
			if at := fields[name].At; r != nil && (r.At.IsZero() || at.Before(r.At)) {
				r.At = at
			}
		}
		return list
	}
	return nil
}

func first(fields Fields, paths []string) string {
	for _, p := range paths {
		if f, ok := fields[p]; ok && f.Text != "" {
			return f.Text
		}
	}
	return ""
}

// parseNumber reads a decimal as JSON has it: digits, a point, an exponent. What needs more than 18 digits is not read, but zeros behind
// the point do not count.
func parseNumber(s string) (Number, bool) { return parseDecimal(s, true) }

// parseFixed reads a decimal whose digits say how finely it counts: zeros behind the point do.
func parseFixed(s string) (Number, bool) { return parseDecimal(s, false) }

func parseDecimal(s string, trim bool) (Number, bool) {
	base, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	exp := 0
	if scientific {
		var err error
		if exp, err = strconv.Atoi(exponent); err != nil {
			return Number{}, false
		}
	}
	whole, fraction, point := strings.Cut(base, ".")
	if point {
		if trim {
			fraction = strings.TrimRight(fraction, "0")
		}
		if len(fraction) > 9 {
			fraction = fraction[:9] // binary fractions written out
		}
	}
	digits := strings.TrimPrefix(strings.TrimPrefix(whole, "-"), "+")
	if digits == "" || strings.Trim(digits+fraction, "0123456789") != "" || len(whole) > 24 {
		return Number{}, false
	}
	v, err := strconv.ParseInt(whole+fraction, 10, 64)
	exp -= len(fraction)
	if err != nil || exp < -30 || exp > 30 {
		return Number{}, false
	}
	return Number{Mantissa: v, Exp: int8(exp)}, true
}
