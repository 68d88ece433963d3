package fleet

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a file of things.
const (
	maxLine = 1024 // bytes
	maxBad  = 8    // lines that an error names
)

// ReadList reads a file of things: one on each line, its key as did:key and, after a blank, its attributes in
// hexadecimal if it has any. Empty lines, and those that begin with #, are left out. Lines that are no things are
// refused with types.BadArgument; the error names the first of them by their numbers.
func ReadList(r io.Reader) ([]Thing, error) {
	var (
		list  []Thing
		bad   []string
		wrong int
		at    = map[types.Key]int{} // the line of each
		lines = bufio.NewScanner(r)
		n     = 0
	)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	for lines.Scan() {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		if len(list) == MaxCount {
			return nil, types.Refuse(types.Oversize, "line %d: the %dth thing, at most %d are taken", n, MaxCount+1, MaxCount)
		}
		t, err := parseThing(string(text))
		if before, twice := at[t.Key]; err == nil && twice {
			err = fmt.Errorf("the key of line %d again", before)
		}
		if err != nil {
			if wrong++; wrong <= maxBad {
				bad = append(bad, fmt.Sprintf("line %d: %v", n, err))
			}
			continue
		}
		at[t.Key], list = n, append(list, t)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, types.Refuse(types.BadArgument, "line %d is longer than %d bytes", n+1, maxLine)
	case err != nil:
		return nil, err
	case wrong > maxBad:
		return nil, types.Refuse(types.BadArgument, "%s; and %d more", strings.Join(bad, "; "), wrong-maxBad)
	case wrong > 0:
		return nil, types.Refuse(types.BadArgument, "%s", strings.Join(bad, "; "))
	}
	return list, nil
}

func parseThing(text string) (t Thing, err error) {
	fields := strings.Fields(text)
	if t.Key, err = types.ParseKey(fields[0]); err != nil {
		return t, fmt.Errorf("%.60q is no key: want did:key:z6Mk…", fields[0])
	}
	if len(fields) > 2 {
		return t, fmt.Errorf("%d words: want a key and its attributes", len(fields))
	}
	if len(fields) == 2 {
		t.Attributes, err = hex.DecodeString(fields[1])
		if err != nil || len(t.Attributes) > MaxAttributes {
			return t, fmt.Errorf("attributes %.20q: want at most %d bytes in hexadecimal", fields[1], MaxAttributes)
		}
	}
	return t, nil
}
