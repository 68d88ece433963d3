package bus

import (
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// The rules that both implementations check before anything leaves.

// checkPublish refuses what key may not send because of its form or its owner.
func checkPublish(key types.Key, subject string, data []byte, keep bool) error {
	limit := MaxMessage
	if keep {
		limit = MaxLast
	}
	switch {
	case len(data) > limit:
		return types.Refuse(types.Oversize, "bus: %d bytes under %s, at most %d are taken", len(data), subject, limit)
	case !validSubject(subject):
		return types.Refuse(types.BadEncoding, "bus: %q is no subject", subject)
	case strings.HasPrefix(subject, Last+".") != keep:
		return types.Refuse(types.BadEncoding, "bus: %s: subjects below %q keep their last message, and no others do", subject, Last)
	case owner(subject) != Word(key):
		return notPermitted("publish under", subject)
	}
	return nil
}

func checkPattern(pattern string, last bool) error {
	if !validPattern(pattern) || last && !strings.HasPrefix(pattern, Last+".") {
		return types.Refuse(types.BadEncoding, "bus: %q is no pattern", pattern)
	}
	return nil
}

func checkAnswer(m Message, data []byte) error {
	switch {
	case len(data) > MaxMessage:
		return types.Refuse(types.Oversize, "bus: answer %s: %d bytes, at most %d are taken", m.Subject, len(data), MaxMessage)
	case !strings.HasPrefix(m.Reply, inbox+".") && !strings.HasPrefix(m.Reply, answerWord+".") || !validSubject(m.Reply):
		return types.Refuse(types.BadEncoding, "bus: %s expects no answer", m.Subject)
	}
	return nil
}

func notPermitted(what, subject string) error {
	return types.Refuse(types.NotPermitted, "bus: %s %s", what, subject)
}

// notKept is the error of a message that the keeper refused.
func notKept(why types.Reason, subject string) error {
	switch why {
	case types.OverBudget:
		return types.Refuse(why, "bus: keep %s: the payer's account has not bought enough credits for a message of this size", subject)
	case types.OverQuota:
		return types.Refuse(why, "bus: keep %s: the key may not keep a message of this size, or has too many under way", subject)
	case types.DiskFull:
		return types.Refuse(why, "bus: keep %s: the bus's part for this role is full", subject)
	}
	return types.Refuse(why, "bus: keep %s", subject)
}
