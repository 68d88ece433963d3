package sml

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
)

// MaxFile bounds a file on the wire, in bytes.
const MaxFile = 16 << 10

var (
	escape = []byte{0x1b, 0x1b, 0x1b, 0x1b}
	begin  = []byte{0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1}
)

// ErrCRC says that a file is not what the meter sent.
var ErrCRC = errors.New("the checksum is wrong")

// Next reads the next file off a stream as it is on the wire, with both of its escape sequences, skipping what
// goes before. One that grows beyond MaxFile is an error; the next call goes on behind it.
func Next(r *bufio.Reader) ([]byte, error) {
	var raw []byte
	for !bytes.Equal(raw, begin) {
		c, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		if raw = append(raw, c); len(raw) > len(begin) {
			raw = raw[1:]
		}
	}
	for {
		var four [4]byte
		for i := range four { // escape sequences lie at multiples of four bytes
			c, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			four[i] = c
		}
		raw = append(raw, four[:]...)
		n := len(raw)
		if n > MaxFile {
			return nil, fmt.Errorf("sml: a file of more than %d bytes", MaxFile)
		}
		switch tail := raw[n-4:]; {
		case n < 16 || !bytes.Equal(raw[n-8:n-4], escape) || escaped(raw, n-8):
		case tail[0] == 0x1a:
			return raw, nil
		case tail[0] == 1: // the one before was cut off
			raw = append([]byte(nil), begin...)
		}
	}
}

// escaped reports whether the escape at n is the second half of an escaped one.
func escaped(raw []byte, n int) bool {
	k := 0
	for n -= 4; n >= len(begin) && bytes.Equal(raw[n:n+4], escape); n -= 4 {
		k++
	}
	return k%2 == 1
}

// unwrap checks a file's checksum and takes it out of its escape sequences (BSI TR-03109-1, SML 1.04, §8).
func unwrap(raw []byte) ([]byte, error) {
	n := len(raw)
	if n > MaxFile || n < 16 || n%4 != 0 || !bytes.HasPrefix(raw, begin) || !bytes.Equal(raw[n-8:n-4], escape) || raw[n-4] != 0x1a || raw[n-3] > 3 {
		return nil, errors.New("sml: no file: want its two escape sequences")
	}
	if crc := CRC(raw[:n-2]); raw[n-2] != byte(crc) || raw[n-1] != byte(crc>>8) {
		return nil, fmt.Errorf("sml: %w", ErrCRC)
	}
	var out []byte
	for i := 8; i < n-8; i += 4 {
		if bytes.Equal(raw[i:i+4], escape) {
			if i += 4; i >= n-8 || !bytes.Equal(raw[i:i+4], escape) {
				return nil, errors.New("sml: an escape sequence inside a file")
			}
		}
		out = append(out, raw[i:i+4]...)
	}
	if pad := int(raw[n-3]); pad <= len(out) {
		return out[:len(out)-pad], nil
	}
	return nil, errors.New("sml: a file of padding")
}

// CRC is CRC-16/X-25 (ISO/IEC 13239): polynomial x¹⁶+x¹²+x⁵+1, least significant bit first, beginning with all
// ones, inverted.
func CRC(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			if odd == 1 {
				crc ^= 0x8408
			}
		}
	}
	return ^crc
}
