package bus

import (
	"slices"
	"strings"
)

// keptWords are the kinds of kept messages, with how many words their subjects have.
var keptWords = map[string]int{"ask": 6, "receipt": 5, "notice": 4, "held": 4, "handover": 4, "proposal": 4, "signature": 4}

// SentHeader names the header that says when a message was published to be kept: a decimal number of microseconds by
// its publisher's clock, higher than that of the one before. A publisher that goes from one server to another may be
// overtaken by itself on the way; keepers know by it which of two is the newer one.
const SentHeader = "Cairn-Sent"

// KeptByVerifiers are the kinds that verifiers publish.
var KeptByVerifiers = []string{"notice", "held", "handover", "proposal", "signature"}

// KeptPlan says where the kept messages of a pattern lie, in one of two orders of their subjects: as they are,
// or turned (Turn). All that begin with Prefix fit the pattern, so that an answer costs no more than what is in
// it.
type KeptPlan struct {
	Prefix string
	Turned bool
	Exact  bool // Prefix is the only subject
}

// PlanKept returns the plan of a pattern. false stands for one that no query may have: of the kept messages
// there is `last.>`, and else the kind, and after it words that are known, then words that are not; or the
// publisher's word as `*`, and the same after it.
func PlanKept(pattern string) (KeptPlan, bool) {
	if pattern == Last+".>" {
		return KeptPlan{Prefix: Last + "."}, true
	}
	words := strings.Split(pattern, ".")
	n := len(words)
	if !validPattern(pattern) || words[0] != Last || n < 3 {
		return KeptPlan{}, false
	}
	open := words[n-1] == ">"
	if want := keptWords[words[1]]; n > want || n < want && !open {
		return KeptPlan{}, false
	}
	if known, ok := knownFirst(words); ok {
		return KeptPlan{Prefix: known, Exact: known == pattern}, true
	}
	// A known word behind a wildcard can't be found in either order, so that of the publisher is a wildcard here.
	known, ok := knownFirst(slices.Concat([]string{Last, words[1]}, words[3:], []string{"*"}))
	return KeptPlan{Prefix: known, Turned: true}, ok
}

// knownFirst returns the words before the first wildcard, each with its dot, or all of them, and whether
// nothing but wildcards follows.
func knownFirst(words []string) (string, bool) {
	known := 0
	for known < len(words) && words[known] != "*" && words[known] != ">" {
		known++
	}
	if known == len(words) {
		return strings.Join(words, "."), true
	}
	for _, w := range words[known:] {
		if w != "*" && w != ">" {
			return "", false
		}
	}
	return strings.Join(words[:known], ".") + ".", true
}

// Turn moves the publisher's word of a kept message's subject to its end: those that one pattern finds over all
// publishers lie together then.
func Turn(subject string) string {
	kind, rest := cutKind(subject)
	by, rest, _ := strings.Cut(rest, ".")
	return kind + rest + "." + by
}

// Unturn undoes Turn.
func Unturn(turned string) string {
	kind, rest := cutKind(turned)
	i := strings.LastIndexByte(rest, '.')
	return kind + rest[i+1:] + "." + rest[:max(i, 0)]
}

// cutKind cuts a subject after its second word.
func cutKind(subject string) (kind, rest string) {
	first, rest, _ := strings.Cut(subject, ".")
	second, rest, _ := strings.Cut(rest, ".")
	return first + "." + second + ".", rest
}
