package sunspec

import (
	"fmt"
	"math"
	"strings"
)

// Block is a model's points as a device has them. What lies beyond Words is absent.
type Block struct {
	Model *Model
	Words []uint16 // from the model's number on
}

// New returns a block of m in which nothing is implemented.
func (m *Model) New() *Block {
	b := &Block{Model: m, Words: make([]uint16, m.Words)}
	b.Words[0], b.Words[1] = m.ID, uint16(m.Words-2)
	for i := range m.Points {
		p := &m.Points[i]
		if p.Type != Text {
			b.put(p, typeForms[p.Type].none)
		}
	}
	return b
}

// put writes a point's bits.
func (b *Block) put(p *Point, bits uint64) {
	for i := range p.Words {
		b.Words[p.Offset+i] = uint16(bits >> (16 * (p.Words - 1 - i)))
	}
}

// bits reads the bits of a point; false if the block does not have it, or it is not implemented.
func (b *Block) bits(p *Point) (uint64, bool) {
	if p == nil || p.Type == Text || p.Offset+p.Words > len(b.Words) {
		return 0, false
	}
	bits := uint64(0)
	for _, w := range b.Words[p.Offset : p.Offset+p.Words] {
		bits = bits<<16 | uint64(w)
	}
	return bits, bits != typeForms[p.Type].none
}

// floatUnit is the power of ten that a floating point number is read to.
const floatUnit = -3

// Number returns the value of a point; false if it is not implemented, or its power of ten is not, or it is out
// of range.
func (b *Block) Number(name string) (Number, bool) {
	p := b.Model.Point(name)
	bits, ok := b.bits(p)
	if !ok {
		return Number{}, false
	}
	var n Number
	switch p.Type {
	case Float32:
		f := math.Floor(float64(math.Float32frombits(uint32(bits))) * 1000)
		if math.IsNaN(f) || math.Abs(f) > 1<<62 {
			return Number{}, false
		}
		return Number{int64(f), floatUnit}, true
	case Int16, Scale:
		n.Mantissa = int64(int16(bits))
	case Pad:
		return Number{}, false
	default:
		if bits > math.MaxInt64 {
			return Number{}, false
		}
		n.Mantissa = int64(bits)
	}
	if p.Scale != "" {
		sf, ok := b.Number(p.Scale)
		if !ok {
			return Number{}, false
		}
		n.Exp = int8(sf.Mantissa)
	}
	if p.Type == Scale && (n.Mantissa < -maxScale || n.Mantissa > maxScale) {
		return Number{}, false
	}
	return n, true
}

const maxScale = 10

// Text returns a string; false if it is not implemented. What follows its first zero byte, and spaces around
// it, are not part of it.
func (b *Block) Text(name string) (string, bool) {
	p := b.Model.Point(name)
	if p == nil || p.Type != Text || p.Offset+p.Words > len(b.Words) {
		return "", false
	}
	var raw []byte
	for _, w := range b.Words[p.Offset : p.Offset+p.Words] {
		raw = append(raw, byte(w>>8), byte(w))
	}
	s, _, _ := strings.Cut(string(raw), "\x00")
	s = strings.TrimSpace(s)
	return s, s != ""
}

// Set writes a point: the bare value, which a power of ten scales. What its type cannot hold is an error, and
// so is the value that says "not implemented", but for a counter that stands at 0. A counter goes over at 2³².
func (b *Block) Set(name string, value int64) error {
	p := b.Model.Point(name)
	if p == nil {
		return fmt.Errorf("sunspec: model %d has no point %s", b.Model.ID, name)
	}
	low, high := int64(0), int64(math.MaxInt64)
	switch p.Type {
	case Int16:
		low, high = math.MinInt16+1, math.MaxInt16
	case Scale:
		low, high = -maxScale, maxScale
	case Uint16, Enum16, Bits16:
		high = math.MaxUint16 - 1
	case Uint32, Bits32:
		high = math.MaxUint32 - 1
	case Acc32:
		value &= math.MaxUint32
	case Float32:
		b.put(p, uint64(math.Float32bits(float32(value))))
		return nil
	case Text, Pad:
		return fmt.Errorf("sunspec: %d.%s is a %v", b.Model.ID, name, p.Type)
	}
	if value < low || value > high {
		return fmt.Errorf("sunspec: %d.%s: %d, want %d to %d", b.Model.ID, name, value, low, high)
	}
	b.put(p, uint64(value)&(1<<(16*p.Words)-1))
	return nil
}

// SetText writes a string. One that is longer than its point is an error.
func (b *Block) SetText(name, text string) error {
	p := b.Model.Point(name)
	if p == nil || p.Type != Text || len(text) > 2*p.Words {
		return fmt.Errorf("sunspec: model %d has no string %s of %d bytes", b.Model.ID, name, len(text))
	}
	raw := make([]byte, 2*p.Words)
	copy(raw, text)
	for i := range p.Words {
		b.Words[p.Offset+i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	return nil
}

// Clear marks a point as not implemented.
func (b *Block) Clear(name string) {
	p := b.Model.Point(name)
	switch {
	case p == nil:
	case p.Type == Text:
		clear(b.Words[p.Offset : p.Offset+p.Words])
	default:
		b.put(p, typeForms[p.Type].none)
	}
}
