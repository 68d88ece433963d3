package lot

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// ID names a certificate: by its device, and by where its range of the register begins. Ranges never overlap,
// so there is one at most, and who knows a sheet and its lots knows all ids before anything is issued. It
// prints as `did:key:z6Mk…/120000`.
type ID struct {
	Device types.Key
	From   uint64 // watt-hours
}

// String returns i as text.
func (i ID) String() string { return i.Device.String() + "/" + strconv.FormatUint(i.From, 10) }

// Compare orders ids by device, then by range.
func (i ID) Compare(j ID) int {
	if c := bytes.Compare(i.Device[:], j.Device[:]); c != 0 {
		return c
	}
	switch {
	case i.From < j.From:
		return -1
	case i.From > j.From:
		return 1
	}
	return 0
}

// ParseID reads an id in the form that String writes, and no other.
func ParseID(s string) (ID, error) {
	device, from, ok := strings.Cut(s, "/")
	if !ok {
		return ID{}, fmt.Errorf("lot: certificate %.100q: want did:key:z6Mk…/120000", s)
	}
	key, err := types.ParseKey(device)
	if err != nil {
		return ID{}, fmt.Errorf("lot: certificate: %w", err)
	}
	wh, err := strconv.ParseUint(from, 10, 64)
	if id := (ID{key, wh}); err == nil && id.String() == s {
		return id, nil
	}
	return ID{}, fmt.Errorf("lot: certificate %.100q: its range begins at no watt-hour: %.30q", s, from)
}

// MarshalText implements encoding.TextMarshaler.
func (i ID) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err == nil {
		*i = parsed
	}
	return err
}
