// Package dsmr reads the telegrams of DSMR 4 and 5: what smart meters in the Netherlands, Belgium and
// Luxembourg say at their P1 port each second or ten (DSMR P1 companion standard 5.0.2, §6). A telegram is text
// between "/" and "!", then a CRC-16 in four hexadecimal digits; telegrams of older versions, which have none,
// are not read.
//
//	t, err := dsmr.Decode(raw)
//	v, ok := t.Value("1-0:1.8.1") // {Text: "123456.789", Unit: "kWh"}
package dsmr

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Bounds of a telegram.
const (
	MaxTelegram = 8 << 10 // bytes
	MaxLines    = 256
)

// Telegram is one telegram.
type Telegram struct {
	Flag           string // the maker's three letters
	Identification string // the meter's type
	Lines          []Line
}

// Line is an object of a telegram: an OBIS code and its groups.
type Line struct {
	Code   string
	Values []Value
}

// Value is one group of a line.
type Value struct {
	Text string
	Unit string // "" for none
}

// ErrCRC says that a telegram is not what the meter sent.
var ErrCRC = errors.New("the checksum is wrong")

// ErrEncrypted says that a meter encrypts what it says, as those of Luxembourg and some of Austria and Poland
// do (DLMS security suite 0).
var ErrEncrypted = errors.New("the meter encrypts what it says: ask the network's operator for its key, and put something before it that decrypts")

// encrypted reports whether b ends with the head of an encrypted message: general-glo-ciphering, a system title
// of 8 bytes, a length of two, and what it is secured by.
func encrypted(b []byte) bool {
	if len(b) < cipherHead {
		return false
	}
	b = b[len(b)-cipherHead:]
	return b[0] == 0xdb && b[1] == 8 && b[10] == 0x82 && b[13]&^0x3f == 0 && b[13] != 0
}

const cipherHead = 14

// noText is what to say of a telegram that is not sound and holds bytes that are no text.
func noText(raw []byte) string {
	for _, c := range raw {
		if c >= 0x80 || c < ' ' && c != '\r' && c != '\n' && c != '\t' {
			return "; it holds bytes that are no text: there is noise on the line, or the meter encrypts what it says"
		}
	}
	return ""
}

// Decode reads one telegram, from "/" to the end of its checksum's line, which may be missing its end.
func Decode(raw []byte) (*Telegram, error) {
	if len(raw) > MaxTelegram {
		return nil, fmt.Errorf("dsmr: a telegram of %d bytes, at most %d", len(raw), MaxTelegram)
	}
	end := bytes.LastIndexByte(raw, '!')
	if len(raw) < 6 || raw[0] != '/' || end < 0 {
		return nil, errors.New("dsmr: no telegram: want / … !")
	}
	sum, err := strconv.ParseUint(string(bytes.TrimRight(raw[end+1:], "\r\n")), 16, 16)
	if err != nil || end+5 > len(raw) {
		return nil, fmt.Errorf("dsmr: no checksum behind the telegram%s", noText(raw[:end]))
	}
	if CRC(raw[:end+1]) != uint16(sum) {
		return nil, fmt.Errorf("dsmr: %w%s", ErrCRC, noText(raw))
	}
	lines := bytes.Split(raw[:end], []byte("\n"))
	if len(lines) > MaxLines {
		return nil, fmt.Errorf("dsmr: %d lines, at most %d", len(lines), MaxLines)
	}
	head := bytes.TrimRight(lines[0], "\r")
	if len(head) < 5 {
		return nil, fmt.Errorf("dsmr: head %.20q", head)
	}
	t := &Telegram{Flag: string(head[1:4]), Identification: string(head[5:])} // head[4] is the baud rate's number
	for _, line := range lines[1:] {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		l, err := decodeLine(line)
		if err != nil {
			return nil, err
		}
		t.Lines = append(t.Lines, l)
	}
	return t, nil
}

// decodeLine reads "1-0:1.8.1(000671.578*kWh)". What is not of this form is an error: the checksum was right.
func decodeLine(line []byte) (Line, error) {
	code, rest, ok := bytes.Cut(line, []byte("("))
	if !ok {
		// A line that a meter broke in two goes on without a code; nobody asks for what it holds.
		return Line{}, fmt.Errorf("dsmr: line %.40q: no value", line)
	}
	l := Line{Code: string(code)}
	for {
		group, more, ok := bytes.Cut(rest, []byte(")"))
		if !ok {
			return Line{}, fmt.Errorf("dsmr: line %.40q: a value does not end", line)
		}
		text, unit, _ := bytes.Cut(group, []byte("*"))
		l.Values = append(l.Values, Value{string(text), string(unit)})
		if len(more) == 0 {
			return l, nil
		}
		if more[0] != '(' {
			return Line{}, fmt.Errorf("dsmr: line %.40q: %.20q behind a value", line, more)
		}
		rest = more[1:]
	}
}

// Value returns the last value of a code's first line: of a line with a time stamp, what was measured.
func (t *Telegram) Value(code string) (Value, bool) {
	for i := range t.Lines {
		if l := &t.Lines[i]; l.Code == code {
			return l.Values[len(l.Values)-1], true
		}
	}
	return Value{}, false
}

// Name reads a value that writes a name's bytes in hexadecimal, as those of equipment identifiers do. What is
// not hexadecimal, or not printable, is left as it is.
func (v Value) Name() string {
	raw, err := hex.DecodeString(v.Text)
	if err != nil || len(raw) == 0 {
		return v.Text
	}
	for _, c := range raw {
		if c < ' ' || c > '~' {
			return v.Text
		}
	}
	return string(raw)
}

// CRC is CRC-16/ARC: polynomial x¹⁶+x¹⁵+x²+1, least significant bit first, beginning with 0.
func CRC(b []byte) uint16 {
	crc := uint16(0)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			if odd == 1 {
				crc ^= 0xa001
			}
		}
	}
	return crc
}

// Next reads the next telegram off a stream, skipping what goes before its "/". One that grows beyond
// MaxTelegram is an error, and so is an encrypted message (ErrEncrypted); the next call goes on behind it.
func Next(r *bufio.Reader) ([]byte, error) {
	var seen []byte // the last bytes
	read := func() (byte, error) {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if seen = append(seen, c); len(seen) > cipherHead {
			seen = seen[1:]
		}
		if encrypted(seen) {
			return 0, fmt.Errorf("dsmr: %w", ErrEncrypted)
		}
		return c, nil
	}
	for {
		c, err := read()
		if err != nil {
			return nil, err
		}
		if c == '/' {
			break
		}
	}
	raw := []byte{'/'}
	for last := false; ; {
		c, err := read()
		if err != nil {
			return nil, err
		}
		if c == '/' && raw[len(raw)-1] == '\n' { // the one before was cut off
			raw, last = raw[:0], false
		}
		raw = append(raw, c)
		switch {
		case len(raw) > MaxTelegram:
			return nil, fmt.Errorf("dsmr: a telegram of more than %d bytes%s", MaxTelegram, noText(raw))
		case c == '!':
			last = true
		case c == '\n' && last:
			return raw, nil
		}
	}
}
