package provider

import (
	"reflect"
	"testing"
)

// TestSettingsAreDocumented: whatever an owner can set of a category says what it means.
func TestSettingsAreDocumented(t *testing.T) {
	for _, d := range Devices() {
		documented(t, d.Category.String(), reflect.TypeOf(d.Settings))
	}
}

func documented(t *testing.T, path string, of reflect.Type) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for f := range of.NumField() {
		field := of.Field(f)
		name := field.Tag.Get("json")
		if !field.IsExported() || name == "-" {
			continue
		}
		if name == "" || field.Tag.Get("doc") == "" {
			t.Errorf("%s.%s needs tags json and doc", path, field.Name)
		}
		documented(t, path+"."+name, field.Type)
	}
}
