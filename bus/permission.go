package bus

import (
	"slices"

	"github.com/cairn-network/cairn/core/types"
)

// Role is what somebody is on the bus.
type Role int

// The roles.
const (
	Nobody       Role = iota
	RoleDevice        // a registered device
	RolePayer         // a session key
	RoleVerifier      // an attestation key of a validator
	RoleGateway       // a customers' door: publishes for the payers whose keys it holds
	RolePending       // an attestation key that does not count yet: hears what verifiers hear, and keeps nothing
)

var roleNames = [...]string{"nobody", "device", "payer", "verifier", "gateway", "pending"}

// String returns the role's name.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return "unknown"
	}
	return roleNames[r]
}

// inbox is the first word of the subjects on which answers arrive: _INBOX.<asker>.…
const inbox = "_INBOX"

// Publishes returns the patterns that key may publish under as role: always its own.
func Publishes(role Role, key types.Key) []string {
	w := Word(key)
	asks := []string{"query." + w + ".>", "find." + w, KeepSubject(key), "blob." + w + ".*", "submit." + w + ".*", requestWord + "." + w + ".*"}
	switch role {
	case RoleDevice:
		return append(asks, "last.ask."+w+".*.*.*", answerWord+"."+w+".*.*", beatWord+"."+w+".*.*.*")
	case RolePayer, RoleGateway:
		return append(asks, "last.receipt."+w+".*.*", tellWord+"."+w+".*")
	case RoleVerifier:
		return append(asks, "ack."+w+".*", "last.notice."+w+".*", "last.held."+w+".*", "last.handover."+w+".*",
			"last.proposal."+w+".*", "last.signature."+w+".*", callWord+"."+w+".*", inbox+".>")
	case RolePending:
		return append(asks, "ack."+w+".*")
	}
	return nil
}

// Subscribes returns the patterns that key may listen to as role. What is kept is for everybody; what others
// hand in, and what they ask, is for verifiers; what devices beat, for gateways; what verifiers call, for both: whoever hears all of it costs
// the bus much.
func Subscribes(role Role, key types.Key) []string {
	w := Word(key)
	own := []string{inbox + "." + w + ".>", answerWord + ".*." + w + ".*", "ack.*." + w, "last.>"}
	switch role {
	case RoleDevice:
		return append(own, requestWord+".*."+w)
	case RolePayer:
		return own
	case RoleGateway:
		return append(own, beatWord+".*.*.*.*", callWord+".*.*")
	case RoleVerifier, RolePending:
		return append(own, "submit.>", "ack.>", "query.>", "find.*", "blob.*."+w, callWord+".*.*", tellWord+".*."+w)
	}
	return nil
}

// mayPublish reports whether key as role may publish under subject.
func mayPublish(role Role, key types.Key, subject string) bool {
	return slices.ContainsFunc(Publishes(role, key), func(p string) bool { return Match(p, subject) })
}

// maySubscribe reports whether key as role may listen to every subject that fits pattern.
func maySubscribe(role Role, key types.Key, pattern string) bool {
	return slices.ContainsFunc(Subscribes(role, key), func(p string) bool { return covers(p, pattern) })
}

// covers reports whether every subject that fits inner also fits outer.
func covers(outer, inner string) bool {
	// With its wildcards read as words, inner fits outer exactly if outer has a wildcard wherever inner has
	// one: `*` is no word of a subject, and a final `>` fits only `>`, never `*`.
	if len(inner) > 0 && inner[len(inner)-1] == '>' && (len(outer) == 0 || outer[len(outer)-1] != '>') {
		return false
	}
	return Match(outer, inner)
}
