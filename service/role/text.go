package role

import (
	"strings"
	"unicode/utf8"

	"github.com/cairn-network/cairn/core/types"
)

// CheckText refuses a name or a label that could not be kept, or not be shown as it is: more than most bytes,
// not UTF-8 (a record with such text is written, and can never be read again), or with characters that move a
// terminal's cursor or turn the direction of what follows.
func CheckText(what, text string, most int) error {
	if len(text) > most {
		return types.Refuse(BadText, "%s of %d bytes, at most %d are taken", what, len(text), most)
	}
	if !utf8.ValidString(text) {
		return types.Refuse(BadText, "%s %.60q is not UTF-8", what, text)
	}
	if i := strings.IndexFunc(text, unseen); i >= 0 {
		return types.Refuse(BadText, "%s %.60q: the character at byte %d would not be seen", what, text, i)
	}
	return nil
}

// CleanText is what CheckText takes, made out of any text: what it refuses becomes U+FFFD, and what is too long
// is cut.
func CleanText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unseen(r) {
			return utf8.RuneError
		}
		return r // also RuneError, for a byte that is not UTF-8
	}, text)
	for len(text) > most {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	return text
}

// unseen reports whether a character is a control, ends a line, or turns the direction of text.
func unseen(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
