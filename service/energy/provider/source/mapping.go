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
	// Channel says what {channel} in a path is where the owner sets none: "" for the first, "all" for the sum
	// of all that there are.
	Channel string `yaml:"channel"`
	// Apart are beginnings of names of devices whose channels are never added up: the first is read where the
	// owner sets none.
	Apart []string `yaml:"apart"`
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
	Back  []string `yaml:"back"`  // the same for a meter that is wired the other way round, where no other register of the role is that
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
	if m.Channel != "" && m.Channel != "all" {
		return fmt.Errorf("channel %.20q: want all, or none", m.Channel)
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
		add(e.Back)
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

// choice is what is read of a device that has several of a kind, and what was read of it before.
type choice struct {
	channel *uint8 // nil: the first, or all
	all     bool   // nil is all
	reverse bool   // it is wired the other way round
	// taken is the alternative that each register was read from, from 1; 0 for none yet. One that the map names
	// later is not read any more: it counts something else, and would come and go with the first.
	taken [energy.Registers]int
	named Meter
	from  [3]int // the alternatives that its names came from
}

// Read takes what the map names for a role out of fields.
func (m *Map) Read(role Role, fields Fields) *Reading { return m.read(role, fields, new(choice)) }

func (m *Map) read(role Role, fields Fields, c *choice) *Reading {
	r := new(Reading)
	for i, n := range []struct {
		to, kept *string
		paths    []string
	}{{&r.Meter.Manufacturer, &c.named.Manufacturer, m.Meter.Manufacturer}, {&r.Meter.Model, &c.named.Model, m.Meter.Model},
		{&r.Meter.Serial, &c.named.Serial, m.Meter.Serial}} {
		text, at := first(fields, n.paths, c)
		if at > 0 && (c.from[i] == 0 || at <= c.from[i]) {
			*n.kept, c.from[i] = text, at
		}
		if at > 0 {
			*n.to = *n.kept // a name that is less of one does not replace it
		}
	}
	registers := role.Registers()
	for i, reg := range registers {
		named := reg
		if c.reverse && len(registers) > 1 {
			named = registers[len(registers)-1-i]
		}
		e, ok := m.Roles[role][named.String()]
		if !ok {
			continue
		}
		if c.reverse && len(registers) == 1 {
			e.Path = e.Back
		}
		var at int
		if r.Counters[reg], at = e.find(fields, r, c, c.taken[reg]); at > 0 {
			c.taken[reg] = at
		}
	}
	if list, _ := m.Power.find(fields, nil, c, 0); list != nil {
		sum := watts(list)
		if c.reverse {
			sum = -sum
		}
		r.Power = &sum
	}
	return r
}

// find returns the counters of the first alternative that is there, of the first so many if that is not 0, and
// which it is, from 1. It has r be as old as the oldest of them.
func (e *Entry) find(fields Fields, r *Reading, c *choice, limit int) ([]Counter, int) {
	for i, path := range e.Path {
		if limit > 0 && i >= limit {
			break
		}
		names, ok := resolve(path, fields, c)
		var list []Counter
		for _, name := range names {
			f := fields[name]
			if ok = ok && f.Number != nil; !ok {
				break
			}
			bits := f.Bits
			if bits == 0 {
				bits = e.Wrap
			}
			list = append(list, Counter{Path: name, Value: *f.Number, Scale: e.scale, Bits: bits, Loose: f.Loose})
		}
		if !ok {
			continue
		}
		for _, name := range names {
			if at := fields[name].At; r != nil && (r.At.IsZero() || at.Before(r.At)) {
				r.At = at
			}
		}
		return list, i + 1
	}
	return nil, 0
}

// What stands for part of a path.
const (
	numbered = "{channel}" // the channel's number, or with "channel: all" every one
	every    = "*"         // every name or number that is there: they are added up
	any1     = "{any}"     // the one name that is there, or of several, by the alphabet, the one that the channel says
)

// resolve returns the paths of fields that a path of the map stands for.
func resolve(path string, fields Fields, c *choice) (names []string, ok bool) {
	for _, term := range terms(path) {
		number := uint8(0)
		if c.channel != nil {
			number = *c.channel
		} else if c.all {
			term = strings.Replace(term, numbered, every, 1)
		}
		term = strings.Replace(term, numbered, strconv.Itoa(int(number)), 1)
		if head, tail, found := strings.Cut(term, any1); found {
			list := middles(fields, head, tail)
			if int(number) >= len(list) || c.channel == nil && len(list) > 1 {
				return nil, false
			}
			term = head + list[number] + tail
		}
		if head, tail, found := strings.Cut(term, every); found {
			list := middles(fields, head, tail)
			if len(list) == 0 {
				return nil, false
			}
			for _, m := range list {
				names = append(names, head+m+tail)
			}
			continue
		}
		if _, there := fields[term]; !there {
			return nil, false
		}
		names = append(names, term)
	}
	return names, true
}

// middles lists what stands between head and tail in the paths of fields: one name or number each, in order.
func middles(fields Fields, head, tail string) (list []string) {
	for path := range fields {
		if m, ok := strings.CutPrefix(path, head); ok {
			if m, ok = strings.CutSuffix(m, tail); ok && !strings.ContainsAny(m, "/.") {
				list = append(list, m)
			}
		}
	}
	slices.Sort(list)
	return list
}

// first returns the first name that is there, and which it is, from 1.
func first(fields Fields, paths []string, c *choice) (string, int) {
	for i, p := range paths {
		names, ok := resolve(p, fields, c)
		if ok && len(names) == 1 && fields[names[0]].Text != "" {
			return fields[names[0]].Text, i + 1
		}
	}
	return "", 0
}

// parseNumber reads a decimal as JSON has it: digits, a point, an exponent. What needs more than 18 digits is
// not read, but zeros behind the point do not count.
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
	if digits == "" {
		return Number{}, false
	}
	v, err := strconv.ParseInt(whole+fraction, 10, 64)
	exp -= len(fraction)
	if err != nil || exp < -30 || exp > 30 {
		return Number{}, false
	}
	return Number{Mantissa: v, Exp: int8(exp)}, true
}
