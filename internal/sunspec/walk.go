package sunspec

import (
	"errors"
	"fmt"
)

// Bases are the addresses at which a device's models can begin, in the order in which they are tried.
var Bases = []uint16{40000, 0, 50000}

const (
	mark0, mark1 = 0x5375, 0x6e53 // "SunS"
	last         = 0xffff         // the number that ends the models
	// MaxModels bounds how many blocks Walk takes from one device.
	MaxModels = 128
	// MaxRead is how many words one Modbus request can ask for (Modbus Application Protocol 1.1b3, §6.3).
	MaxRead = 125
)

// ErrNone says that a device answers, but has no SunSpec models.
var ErrNone = errors.New("no SunSpec models")

// Reader reads count words, at most MaxRead, from an address on.
type Reader interface {
	Read(address, count uint16) ([]uint16, error)
}

// Place is where a block lies.
type Place struct {
	ID      uint16
	Address uint16 // of its number
	Length  uint16 // in words, behind number and length
	Device  int    // whose it is: how many Common blocks went before, its own aside. A unit may show several devices
}

// Walk finds the blocks of a unit. It is ErrNone if all Bases were read, and none begins with the mark, and an
// error of the reader if none of them could be read. Where the chain of blocks breaks off instead of ending,
// the error says how, and the blocks before are returned beside it: many devices have no end model, and answer
// with zeros or an exception there.
func Walk(r Reader) ([]Place, error) {
	var failed error
	answered := false
	for _, base := range Bases {
		words, err := r.Read(base, 2)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("sunspec: read address %d: %w", base, err))
			continue
		}
		answered = true
		if len(words) == 2 && words[0] == mark0 && words[1] == mark1 {
			return follow(r, base+2)
		}
	}
	if answered {
		return nil, ErrNone
	}
	return nil, failed
}

// ErrBroken says that the blocks break off without an end model.
var ErrBroken = errors.New("no end model")

// follow goes from block to block.
func follow(r Reader, address uint16) ([]Place, error) {
	var places []Place
	device := -1
	for range MaxModels {
		words, err := r.Read(address, 2)
		switch {
		case err != nil:
			return places, fmt.Errorf("sunspec: read the model at address %d: %w: %w", address, ErrBroken, err)
		case len(words) != 2:
			return places, fmt.Errorf("sunspec: the model at address %d: %d words of 2: %w", address, len(words), ErrBroken)
		case words[0] == last:
			return places, nil
		case words[0] == 0:
			return places, fmt.Errorf("sunspec: model 0 at address %d: %w", address, ErrBroken)
		}
		if words[0] == Common.ID {
			device++
		}
		p := Place{ID: words[0], Address: address, Length: words[1], Device: max(device, 0)}
		next := uint32(address) + 2 + uint32(p.Length)
		if next > 1<<16 {
			return places, fmt.Errorf("sunspec: model %d at address %d, of %d words, leaves the address range: %w", p.ID, address, p.Length, ErrBroken)
		}
		places = append(places, p)
		if next > 1<<16-2 {
			return places, fmt.Errorf("sunspec: no room behind model %d: %w", p.ID, ErrBroken)
		}
		address = uint16(next)
	}
	return places, fmt.Errorf("sunspec: more than %d models: %w", MaxModels, ErrBroken)
}

// ReadBlock reads a block in one request; where it is longer than MaxRead words, only what one request takes.
// It is an error if another model lies there now.
func ReadBlock(r Reader, p Place) (*Block, error) {
	model := ModelOf(p.ID)
	if model == nil {
		return nil, fmt.Errorf("sunspec: model %d is not known", p.ID)
	}
	count := min(int(p.Length)+2, model.Words, MaxRead)
	words, err := r.Read(p.Address, uint16(count))
	if err != nil {
		return nil, fmt.Errorf("sunspec: read model %d at address %d: %w", p.ID, p.Address, err)
	}
	if len(words) != count || words[0] != p.ID || words[1] != p.Length {
		return nil, fmt.Errorf("sunspec: model %d is not at address %d any more", p.ID, p.Address)
	}
	return &Block{model, words}, nil
}

// Space is the registers of a device: the mark, its blocks, and their end.
type Space struct {
	base   uint16
	blocks []*Block
	words  int
}

// NewSpace lays blocks out from base on; they stay the caller's to change, under a lock of its own.
func NewSpace(base uint16, blocks ...*Block) *Space {
	s := &Space{base: base, blocks: blocks, words: 4}
	for _, b := range blocks {
		s.words += len(b.Words)
	}
	return s
}

// Read returns count words from an address on; false if one of them is not the device's.
func (s *Space) Read(address, count uint16) ([]uint16, bool) {
	from := int(address) - int(s.base)
	if from < 0 || count == 0 || from+int(count) > s.words {
		return nil, false
	}
	all := make([]uint16, 0, s.words)
	all = append(all, mark0, mark1)
	for _, b := range s.blocks {
		all = append(all, b.Words...)
	}
	all = append(all, last, 0)
	return all[from : from+int(count)], true
}
