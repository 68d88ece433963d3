// Package sml reads the files that German smart meters send by their optical head every second or so (Smart
// Message Language 1.04, BSI TR-03109-1): from the transport's escape sequences and checksum to the list of
// OBIS values, each with its unit and power of ten.
//
// Only GetList responses are looked at; what else a file holds is skipped, as long as it is well-formed.
package sml

import (
	"errors"
	"fmt"
)

// Units of values (DLMS/COSEM, IEC 62056-62).
const (
	UnitW  = 27
	UnitWh = 30
)

// Entry is one value of a meter's list.
type Entry struct {
	Code  string // OBIS: "1-0:1.8.0"; the group behind the asterisk is in Last
	Last  uint8
	Unit  uint8  // 0: none
	Exp   int8   // power of ten of Value
	Value *int64 // nil for what is not a number, or does not fit one
	Text  []byte // nil for what is not bytes
}

// List is a GetList response.
type List struct {
	Server  []byte
	Name    []byte // nil for none
	Entries []Entry
}

// getList is the tag of a GetList response.
const getList = 0x0701

// Decode reads a file as Next returns it.
func Decode(raw []byte) ([]List, error) {
	body, err := unwrap(raw)
	if err != nil {
		return nil, err
	}
	p := parser{b: body}
	var lists []List
	for len(p.b) > 0 {
		if p.b[0] == 0 { // filling between messages
			p.b = p.b[1:]
			continue
		}
		m := p.value(0)
		if p.err != nil {
			return nil, fmt.Errorf("sml: %w", p.err)
		}
		l, err := listOf(m)
		if err != nil {
			return nil, fmt.Errorf("sml: %w", err)
		}
		if l != nil {
			lists = append(lists, *l)
		}
	}
	return lists, nil
}

// kind is what a value is, as written in its first byte.
type kind uint8

const (
	octets kind = 0
	flag   kind = 4
	signed kind = 5
	whole  kind = 6
	list   kind = 7
)

// value is a part of a message. One that was left out is of no octets.
type value struct {
	kind kind
	raw  []byte  // but of a list
	list []value // of a list
}

// bounds of a message.
const (
	maxDepth  = 8
	maxValues = 4096
)

// parser takes values off a file.
type parser struct {
	b     []byte
	count int
	err   error
}

func (p *parser) fail(text string) value {
	if p.err == nil {
		p.err = errors.New(text)
	}
	p.b = nil
	return value{}
}

// value takes one value. The end of a message, a zero byte, is a value of no octets, too.
func (p *parser) value(depth int) value {
	if p.count++; p.count > maxValues || depth > maxDepth {
		return p.fail("too many values, or too deep")
	}
	if len(p.b) == 0 {
		return p.fail("a message ends too early")
	}
	first := p.b[0]
	p.b = p.b[1:]
	if first == 0 {
		return value{}
	}
	length, head := int(first&15), 1
	for more := first&0x80 != 0; more; head++ {
		if len(p.b) == 0 || head > 3 {
			return p.fail("a length that does not end")
		}
		more = p.b[0]&0x80 != 0
		length = length<<4 | int(p.b[0]&15)
		p.b = p.b[1:]
	}
	v := value{kind: kind(first >> 4 & 7)}
	if v.kind == list {
		for range length {
			v.list = append(v.list, p.value(depth+1))
			if p.err != nil {
				return value{}
			}
		}
		return v
	}
	if length -= head; length < 0 || length > len(p.b) {
		return p.fail("a value leaves its message")
	}
	v.raw, p.b = p.b[:length], p.b[length:]
	return v
}

// number returns a whole number that fits.
func (v *value) number() (int64, bool) {
	if v.kind != signed && v.kind != whole || len(v.raw) == 0 || len(v.raw) > 8 {
		return 0, false
	}
	n := int64(0)
	if v.kind == signed && v.raw[0]&0x80 != 0 {
		n = -1
	}
	for _, c := range v.raw {
		n = n<<8 | int64(c)
	}
	return n, v.kind == signed || n >= 0
}

// listOf reads a message: {transaction, group, abort, {tag, body}, checksum, end}. It is nil for one of another kind.
func listOf(m value) (*List, error) {
	if m.kind != list || len(m.list) != 6 || m.list[3].kind != list || len(m.list[3].list) != 2 {
		return nil, errors.New("not a message")
	}
	if tag, ok := m.list[3].list[0].number(); !ok || tag != getList {
		return nil, nil
	}
	body := m.list[3].list[1] // {client, server, name, time, values, signature, time}
	if body.kind != list || len(body.list) != 7 || body.list[4].kind != list {
		return nil, errors.New("not a list of values")
	}
	l := &List{Server: body.list[1].raw, Name: body.list[2].raw}
	for _, e := range body.list[4].list {
		if e.kind != list || len(e.list) != 7 { // {name, status, time, unit, power of ten, value, signature}
			return nil, errors.New("not a value of a list")
		}
		code := e.list[0].raw
		if len(code) != 6 {
			continue // a name that is not OBIS
		}
		entry := Entry{Code: fmt.Sprintf("%d-%d:%d.%d.%d", code[0], code[1], code[2], code[3], code[4]), Last: code[5]}
		if u, ok := e.list[3].number(); ok && u >= 0 && u < 256 {
			entry.Unit = uint8(u)
		}
		if x, ok := e.list[4].number(); ok && x >= -30 && x <= 30 {
			entry.Exp = int8(x)
		} else if ok {
			continue // out of all reason
		}
		if n, ok := e.list[5].number(); ok {
			entry.Value = &n
		} else if e.list[5].kind == octets {
			entry.Text = e.list[5].raw
		}
		l.Entries = append(l.Entries, entry)
	}
	return l, nil
}
