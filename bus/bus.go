// Package bus carries messages between devices, verifiers and gateways. Bus is the interface, NATS (embedded or a cluster) its
// implementation, and Memory the twin that tests of engines use; both pass the suite in bustest.
//
// A message is bytes under a subject: words separated by dots, matched by patterns in which `*` stands for one word and a closing `>` for the
// rest. Delivery is at most once and in order per publisher; whoever needs more resends until acknowledged. Some subjects keep
// their last message (PublishLast): whoever subscribes gets it first. The bus proves who logged on (a device's or session's or
// verifier's key), and lets each publish only under its own subjects; what a message means is proved by its own signature.
//
// The subjects, and the messages that engines exchange, are in subject.go and message.go.
package bus

import (
	"context"

	"github.com/cairn-network/cairn/core/types"
)

// MaxMessage bounds one message, in bytes. Longer things (batches, states) travel in chunks: see Fetch.
const MaxMessage = 1 << 20

// Message is what arrives.
type Message struct {
	Subject string
	Reply   string // where an answer is expected; "" for none
	Data    []byte
}

// Bus sends and receives. All methods are safe for concurrent use.
type Bus interface {
	// Publish sends data once, to whoever listens now.
	Publish(ctx context.Context, subject string, data []byte) error
	// PublishLast sends data and keeps it as the subject's last message.
	PublishLast(ctx context.Context, subject string, data []byte) error
	// Subscribe calls handle for each message, one at a time, until ctx ends. Behind a slow handler at most Pending messages
	// wait; further ones are dropped, counted in Dropped and logged.
	Subscribe(ctx context.Context, pattern string, handle func(Message)) error
	// SubscribeLast is Subscribe which starts with the kept last message of each matching subject.
	SubscribeLast(ctx context.Context, pattern string, handle func(Message)) error
	// Request publishes data and returns the first answer; bus_unavailable if nobody listens.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Gather publishes data and calls handle for each answer until it returns false or ctx ends.
	Gather(ctx context.Context, subject string, data []byte, handle func([]byte) bool) error
	// Respond answers m.
	Respond(ctx context.Context, m Message, data []byte) error
	// Dropped is how many messages slow handlers missed.
	Dropped() uint64
	Close()
}

// Pending is how many messages wait for a slow handler.
const Pending = 1 << 14

// Role is what somebody is on the bus.
type Role int

// The roles.
const (
	Nobody Role = iota
	RoleDevice
	RolePayer
	RoleVerifier
	RoleGateway
)

// Authorizer says what a key may log on as. It is asked at each log-on and must answer within a second.
type Authorizer interface {
	Authorize(ctx context.Context, key types.Key) (Role, error)
}
