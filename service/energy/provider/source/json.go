package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// bounds of a JSON message.
const (
	maxMessage = 64 << 10 // bytes
	maxJSON    = 12       // levels
)

// flatten enters a JSON message's numbers and strings under their paths: names and numbers of elements, joined
// by dots, behind prefix.
func flatten(fields Fields, prefix string, raw []byte) error {
	if len(raw) > maxMessage {
		return fmt.Errorf("a message of %d bytes, at most %d", len(raw), maxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := flattenValue(fields, d, prefix, "/", 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

func flattenValue(fields Fields, d *json.Decoder, path, join string, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Number:
		f := Field{Text: t.String(), Loose: true}
		if n, ok := parseNumber(t.String()); ok {
			f.Number = &n
		}
		return fields.put(path, f)
	case string:
		f := Field{Text: t}
		return fields.put(path, f)
	case json.Delim:
		if depth++; depth > maxJSON {
			return fmt.Errorf("more than %d levels", maxJSON)
		}
		for i := 0; d.More(); i++ {
			key := fmt.Sprint(i)
			if t == '{' {
				name, err := d.Token()
				if err != nil {
					return err
				}
				key = fmt.Sprint(name)
			}
			if err := flattenValue(fields, d, path+join+key, ".", depth); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	}
	return nil // true, false, null: no register
}
