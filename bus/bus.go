// Package bus carries messages between devices, verifiers and gateways. Bus is the interface; Dial reaches a
// NATS server or cluster (package bus/server embeds one), and Memory is the twin that tests of engines use.
// Both pass the suite in bustest.
//
// A message is bytes under a subject: words separated by dots, matched by patterns in which `*` stands for one
// word and a closing `>` for the rest, which is at least one. Delivery is at most once, and in order per
// publisher; whoever needs more resends until acknowledged. Subjects whose first word is `last` keep their last
// message: whoever subscribes gets it first, and gets it again after the connection was lost. So a reader of
// those may see one message twice, or an older one once more.
//
// The bus proves who logged on: a key signs the server's nonce, and an Authorizer says what the key may do. Everybody
// publishes under subjects of their own only (Publishes) and listens to what concerns them (Subscribes). That keeps
// strangers from flooding each other's subjects; it is not what a message is believed for: that is its own signature.
//
// A device is asked directly (Request): it hears `request.*.<device>` and answers under a subject of its own,
// whose last word only who asked knows. So what it says can't be put into anybody's way, and who asks hears
// nobody else.
//
// The subjects are in subject.go. The messages (message.go, notice.go, query.go, agreement.go) are
// deterministic CBOR; those that speak for somebody are Sealed, and Open refuses every other encoding, another
// chain and a wrong signature, each with its reason. What is longer than a message travels in pieces by its
// hash: ServeBlobs, FetchBlob, and from a device to whom it may Piece. Follower follows notices and believes
// what more than two thirds of power signed.
package bus

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of one message, in bytes; longer ones are refused with oversize.
const (
	MaxMessage = 1 << 20
	MaxLast    = 256 << 10 // of one that is kept
)

// Bounds of what waits for a slow handler; further messages are dropped and counted.
const (
	Pending      = 1 << 14  // messages
	PendingBytes = 64 << 20 // of their data
)

// Bounds of what one key, or all keys of one account, keep under `last`; beyond them the oldest of these go.
const (
	MaxKept       = 4096     // messages
	MaxKeptBytes  = 4 << 20  // of them with their subjects
	DeviceKept    = 64 << 10 // the same, of a device
	KeptPerCredit = 1 << 10  // the same, of a payer, for each least opening amount that its account has bought
)

// Message is what arrives. Its data is the reader's.
type Message struct {
	Subject string
	Reply   string // where an answer is expected; "" for none
	Data    []byte
}

// Bus sends and receives for one key. All methods are safe for concurrent use. What cannot be sent because
// nobody can be reached is refused with bus_unavailable; what the key may not do, with not_permitted.
type Bus interface {
	// Key is who logged on.
	Key() types.Key
	// Publish sends data once, to whoever listens now. The subject does not keep it.
	Publish(ctx context.Context, subject string, data []byte) error
	// PublishLast sends data and keeps it as the last message of a subject below `last`. When it returns, the
	// message is kept.
	PublishLast(ctx context.Context, subject string, data []byte) error
	// Subscribe returns when the subscription is in force; from then on, until ctx ends, handle is called for
	// each message, one at a time, on a goroutine of the bus. It stays in force while the connection is lost
	// and found again. Behind a slow handler at most Pending messages of PendingBytes wait; further ones are
	// dropped, counted in Dropped and logged.
	Subscribe(ctx context.Context, pattern string, handle func(Message)) error
	// SubscribeLast is Subscribe which starts with the kept message of each subject that fits; when it returns,
	// those have been handed over. The pattern is below `last`.
	SubscribeLast(ctx context.Context, pattern string, handle func(Message)) error
	// Kept returns a page of the kept messages that fit a pattern, those behind the subject after ("" for the
	// first page), and whether there are more. They come in the order in which they are kept (KeptPlan).
	Kept(ctx context.Context, pattern, after string) (page []Message, more bool, err error)
	// Request publishes data and returns the first answer; bus_unavailable if nobody listens (ErrNobody).
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Gather publishes data and calls handle for each answer, until handle returns false (nil) or ctx ends (its
	// error).
	Gather(ctx context.Context, subject string, data []byte, handle func([]byte) bool) error
	// Respond answers m.
	Respond(ctx context.Context, m Message, data []byte) error
	// Connected reports whether the bus can be reached now.
	Connected() bool
	// Dropped is how many messages slow handlers missed.
	Dropped() uint64
	// Close logs off. Subscriptions end; nothing is delivered after it returns, but for a handler that is at work.
	Close()
}

// ErrNobody says that nobody listens to what somebody wanted an answer to.
var ErrNobody = fmt.Errorf("nobody listens: %w", types.BusUnavailable)

// Pass is what a key may be on the bus, and how much room it has there.
type Pass struct {
	Role Role
	// Account answers for the key together with its other keys: they share one shelf, and a bounded number of
	// connections. Zero for keys that stand for themselves, each of which costs a bond or a place among the
	// verifiers.
	Account types.Account
	Own     int // bytes that the key may keep below `last`
	Keep    int // the same, of the account's keys together; unused without an account
}

// shared reports whether other keys share the shelf.
func (p Pass) shared() bool { return p.Account != types.Account{} }

// Full is the pass of a key that answers for itself and has all the room of its role.
func Full(role Role) Pass {
	p := Pass{Role: role, Own: MaxKeptBytes}
	switch role {
	case Nobody:
		return Pass{}
	case RoleDevice:
		p.Own = DeviceKept
	}
	return p
}

// Authorizer says what a key may log on as, Nobody if it may not. It is asked at each log-on, from time to time
// while the key stays logged on, and when it wants to keep more than it may; it must answer within a second.
type Authorizer interface {
	Authorize(ctx context.Context, key types.Key) (Pass, error)
}
