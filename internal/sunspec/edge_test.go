package sunspec_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/internal/sunspec"
)

// short answers with one word less than was asked for.
type short struct{ words }

func (s short) Read(address, count uint16) ([]uint16, error) {
	out, err := s.words.Read(address, count)
	if err != nil {
		return nil, err
	}
	return out[:count-1], nil
}

// TestMark: half of the mark is none, and so is an answer that is too short.
func TestMark(t *testing.T) {
	for name, r := range map[string]sunspec.Reader{
		"its first word":         words{0: 0x5375, 1: 0, 2: 0xffff, 3: 0},
		"its second word":        words{0: 0, 1: 0x6e53, 2: 0xffff, 3: 0},
		"one word of an answer":  short{words{0: 0x5375, 1: 0x6e53}},
		"the words of the end":   words{0: 0xffff, 1: 0},
		"the mark the other way": words{0: 0x6e53, 1: 0x5375, 2: 0xffff, 3: 0},
	} {
		if got, err := sunspec.Walk(r); !errors.Is(err, sunspec.ErrNone) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestRangeEnd: the last block may reach to the last word but the two that its end would take.
func TestRangeEnd(t *testing.T) {
	for length, want := range map[uint16]error{65530: nil, 65531: sunspec.ErrBroken, 65532: sunspec.ErrBroken, 65533: sunspec.ErrBroken} {
		w := words{0: 0x5375, 1: 0x6e53, 2: 5, 3: length}
		if end := 4 + length; want == nil {
			w[end], w[end+1] = 0xffff, 0
		}
		got, err := sunspec.Walk(w)
		places := []sunspec.Place{{ID: 5, Address: 2, Length: length}}
		if length == 65533 {
			places = nil // it leaves the range itself
		}
		if !errors.Is(err, want) || want == nil && err != nil || !cmp.Equal(got, places) {
			t.Errorf("a block of %d words: %v, %v", length, got, err)
		}
	}
}
