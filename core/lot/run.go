package lot

import (
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// Run is what one certificate is issued over: lots whose ranges touch and whose intervals are in one hour. A
// granular certificate covers an hour at most (EnergyTag, Granular Certificate Scheme Standard).
type Run struct {
	From, To   uint64 // watt-hours: From is included, To is not
	Begin, End uint64 // Unix seconds: of the first lot's interval, and of the last one's end
}

// hour is in seconds.
const hour = 3600

// Hour returns the Unix second in which the hour of a Unix second begins.
func Hour(second uint64) uint64 { return second - second%hour }

// Runs cuts l into runs: at most as many as there are lots. Check must have passed.
func (l Lots) Runs() []Run {
	var out []Run
	for i := range l {
		begin := l[i].K * Interval
		if n := len(out); n > 0 && out[n-1].To == l[i].From && Hour(out[n-1].Begin) == Hour(begin) {
			out[n-1].To, out[n-1].End = l[i].To, begin+Interval
			continue
		}
		out = append(out, Run{From: l[i].From, To: l[i].To, Begin: begin, End: begin + Interval})
	}
	return out
}

// MaxBeneficiary bounds the name of whom a certificate is retired for, in bytes.
const MaxBeneficiary = 128

// CheckBeneficiary refuses a name that is too long, or that a terminal or a table would not show as it is: with
// control characters, or with marks that turn the direction of text or take no room. The rule is a list of its
// own, because everybody who runs a chain must agree on it, whatever version of Unicode their programs know.
func CheckBeneficiary(name string) error {
	if len(name) > MaxBeneficiary {
		return types.Refuse(types.Oversize, "beneficiary of %d bytes, %d are allowed", len(name), MaxBeneficiary)
	}
	if !utf8.ValidString(name) {
		return types.Refuse(types.BadEncoding, "beneficiary: not UTF-8")
	}
	for _, r := range name {
		for _, bad := range invisible {
			if r >= bad[0] && r <= bad[1] {
				return types.Refuse(types.BadEncoding, "beneficiary: the character %U would not be seen", r)
			}
		}
	}
	return nil
}

// invisible are ranges of code points that no name needs.
var invisible = [][2]rune{
	{0x0000, 0x001f}, {0x007f, 0x009f}, // controls
	{0x00ad, 0x00ad}, {0x061c, 0x061c}, {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff},
	{0xfff0, 0xfffb}, {0xe0000, 0xe0fff},
}
