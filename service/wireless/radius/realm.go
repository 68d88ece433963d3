package radius

import "strings"

// Interim is how often, in seconds, access points account for a session (Acct-Interim-Interval).
const Interim = 60

// Realm returns the realm of a user's name, in small letters: what follows the last "@" (RFC 7542); "" for none.
func Realm(user string) string {
	i := strings.LastIndexByte(user, '@')
	if i < 0 || len(user) > 253 {
		return ""
	}
	return strings.ToLower(user[i+1:])
}
