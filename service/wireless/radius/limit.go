package radius

import (
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// W, what may be unpaid, of users of access points: of one payer at one device.
const (
	FirstLimit uint64 = 16 << 20
	MostLimit  uint64 = 512 << 20
)

// NextLimit is W after a receipt for half of it or more.
func NextLimit(w uint64) uint64 { return min(MostLimit, w/3*4) }

// Scale is how many bytes a price is for.
const Scale = 1_000_000_000

// Interim is how often, in seconds, access points account for a session (Acct-Interim-Interval).
const Interim = 60

// Amount is what so many bytes cost, rounded down.
func Amount(bytes uint64, price uint64) (types.Credit, error) {
	v, err := types.U64(bytes).MulDiv(price, Scale)
	if err != nil {
		return 0, err
	}
	n, ok := v.Uint64()
	if !ok {
		return 0, types.ErrOverflow
	}
	return types.Credit(n), nil
}

// Realm returns the realm of a user's name, in small letters: what follows the last "@" (RFC 7542); "" for none.
func Realm(user string) string {
	i := strings.LastIndexByte(user, '@')
	if i < 0 || len(user) > 253 {
		return ""
	}
	return strings.ToLower(user[i+1:])
}
