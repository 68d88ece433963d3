// Package settings is how a home's settings file is written and read: YAML (1.2 as far as go.yaml.in/yaml takes
// it) of one document without anchors, aliases, tags and merge keys.
//
// What a setting is called and what it means stands at its Go field: in the tags `json` and `doc`. Encode
// writes every setting with its sentence above it. Reading is strict: whatever is not a setting, comes twice or
// has no value that the setting can have is an error that names its line.
package settings

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// textType is what writes and reads itself as text: keys, addresses, cells.
var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// Encode writes v, a struct, with each setting's documentation above it. Values of type json.RawMessage are
// written as the settings that sections holds under their name, if it does.
func Encode(head string, v any, sections map[string]any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil { // JSON is YAML, and keeps the order
		return nil, err
	}
	root := doc.Content[0]
	plain(root)
	document(root, reflect.TypeOf(v))
	for i := 0; i+1 < len(root.Content); i += 2 {
		if s, ok := sections[root.Content[i].Value]; ok {
			document(root.Content[i+1], reflect.TypeOf(s))
		}
	}
	var out bytes.Buffer
	for line := range strings.Lines(head) {
		out.WriteString("# " + line)
	}
	out.WriteString("\n\n")
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(root), e.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// plain takes the look of JSON off.
func plain(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	if len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// document puts what the fields of t say above the settings in n.
func document(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		fields := fieldsOf(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if f, ok := fields[n.Content[i].Value]; ok {
				n.Content[i].HeadComment = f.Tag.Get("doc")
				document(n.Content[i+1], f.Type)
			}
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice && len(n.Content) > 0:
		document(n.Content[0], t.Elem()) // once is enough
	}
}

// fieldsOf returns the settings of a struct by name.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && name != "" && name != "-" {
			fields[name] = f
		}
	}
	return fields
}

// Undocumented lists the settings of a struct, and of those inside it, that say nothing of themselves.
func Undocumented(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(textType) {
		return nil
	}
	for name, f := range fieldsOf(t) {
		if f.Tag.Get("doc") == "" {
			names = append(names, name)
		}
		for _, inside := range Undocumented(f.Type) {
			names = append(names, join(name, inside))
		}
	}
	slices.Sort(names)
	return names
}

// Section is a file's settings, or a part of them, not decoded yet.
type Section = yaml.Node

// Parse reads the one mapping of a file.
func Parse(text []byte) (*Section, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty")
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one document")
	}
	if root := doc.Content[0]; root.Kind == yaml.MappingNode {
		return root, nil
	}
	return nil, LineError(&doc, "want settings, as name: value")
}

// LineError is an error that names the line of n.
func LineError(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

// Decode sets what v points to, to what n says. path names n for people; "" is the file itself.
func Decode(n *Section, v any, path string) error { return decode(n, reflect.ValueOf(v).Elem(), path) }

// decode sets v, which can be set.
func decode(n *yaml.Node, v reflect.Value, path string) error {
	t := v.Type()
	empty := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	if empty && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage]()) {
		return nil // as if it were not there
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(t.Elem()))
		return decode(n, v.Elem(), path)
	}
	leaf := reflect.PointerTo(t).Implements(textType) || t == reflect.TypeFor[json.RawMessage]()
	switch {
	case !leaf && v.Kind() == reflect.Struct:
		return decodeStruct(n, v, path)
	case !leaf && v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return LineError(n, "%s: want a list", path)
		}
		v.Set(reflect.MakeSlice(t, len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			if err := decode(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case n.Kind == yaml.ScalarNode && reflect.PointerTo(t).Implements(textType):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
			return LineError(n, "%s: %v", path, err) // also where YAML takes the text for a number
		}
		return nil
	}
	value, err := Plain(n, path)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return LineError(n, "%s: %v", path, err)
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		return LineError(n, "%s: %.80s is no %v", path, n.Value, kindName(v))
	}
	return nil
}

// kindName says what a setting takes, to people.
func kindName(v reflect.Value) string {
	switch {
	case v.CanUint():
		return fmt.Sprintf("whole number from 0 to %d", uint64(1)<<(v.Type().Bits()-1)-1+uint64(1)<<(v.Type().Bits()-1))
	case v.CanInt():
		return "whole number"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.String:
		return "text (put it in quotes)"
	}
	return v.Type().String()
}

func decodeStruct(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // a section without settings
	}
	entries, err := entriesOf(n, path)
	if err != nil {
		return err
	}
	fields := fieldsOf(v.Type())
	for _, e := range entries {
		f, ok := fields[e.key.Value]
		if !ok {
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			slices.Sort(names)
			return LineError(e.key, "unknown setting %.80q: %s", join(path, e.key.Value), "there are "+strings.Join(names, ", "))
		}
		if err := decode(e.value, v.FieldByIndex(f.Index), join(path, e.key.Value)); err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// entry is one setting in a file.
type entry struct{ key, value *yaml.Node }

// entriesOf returns the settings of a mapping, each of which comes once.
func entriesOf(n *yaml.Node, path string) ([]entry, error) {
	if n.Kind != yaml.MappingNode {
		return nil, LineError(n, "%s: want settings, as name: value", path)
	}
	var list []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch before := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			return nil, LineError(key, "%s: want the name of a setting", path)
		case before > 0:
			return nil, LineError(key, "%s: set already in line %d", join(path, key.Value), before)
		}
		seen[key.Value] = key.Line
		list = append(list, entry{key, n.Content[i+1]})
	}
	return list, nil
}

// Plain returns n as encoding/json takes it.
func Plain(n *yaml.Node, path string) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		entries, err := entriesOf(n, path)
		if err != nil {
			return nil, err
		}
		m := map[string]any{}
		for _, e := range entries {
			if m[e.key.Value], err = Plain(e.value, join(path, e.key.Value)); err != nil {
				return nil, err
			}
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		var err error
		for i, c := range n.Content {
			if list[i], err = Plain(c, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.ScalarNode:
		if n.Tag == "!!timestamp" {
			return n.Value, nil // it is text to everybody else
		}
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, LineError(n, "%s: %v", path, err)
		}
		if b, ok := v.([]byte); ok {
			return string(b), nil
		}
		return v, nil
	}
	return nil, LineError(n, "%s: anchors and aliases are not taken", path)
}
