package bus

import (
	"fmt"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of what somebody asks of one device, and of what it answers.
const (
	MaxAsked     = 288 << 10 // bytes of a Request's body, and of an Answer's: 256 KiB of somebody's data, and what is said about it
	MaxAskedKind = 32        // bytes of a kind's name
	MaxWait      = 60_000    // milliseconds that an asker waits
)

// Request asks one device for something, and is sealed by who asks: a payer's session key, a verifier, another
// device. Who asks is not always who logged on: a gateway sends what its customers' keys signed. The device
// answers under AnswerSubject.
type Request struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Device   types.Key // of whom it is asked; another one takes no notice
	Category types.Category
	Kind     string   // a name of the category's own: 1 to MaxAskedKind of a–z, 0–9 and -
	ID       [16]byte // drawn by chance: a device serves a request once
	Time     uint64   // Unix milliseconds, by the asker's clock
	Wait     uint32   // milliseconds that the asker waits for the answer; 1 to MaxWait
	Body     []byte   // at most MaxAsked
}

func (r *Request) domain() string  { return "request" }
func (r *Request) chainID() string { return r.Chain }

func (r *Request) check() error {
	if !validKind(r.Kind) {
		return types.Refuse(types.BadEncoding, "a request of kind %.40q", r.Kind)
	}
	if r.Wait == 0 || r.Wait > MaxWait {
		return types.Refuse(types.BadEncoding, "a request that waits %d ms, want 1 to %d", r.Wait, MaxWait)
	}
	return checkAsked(r.Body)
}

// Check refuses what no device would take.
func (r *Request) Check() error { return r.check() }

func checkAsked(body []byte) error {
	if n := len(body); n > MaxAsked {
		return types.Refuse(types.Oversize, "a body of %d bytes, at most %d are taken", n, MaxAsked)
	}
	return nil
}

func validKind(s string) bool {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }
	return s != "" && len(s) <= MaxAskedKind && !strings.ContainsFunc(s, odd)
}

// Answer is what a device says to a Request, sealed by the device. An answer has one or more parts, numbered
// from 0: those before the last one come as the device has them.
type Answer struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Request types.Hash // of the request, sealed as it was
	Part    uint32
	Last    bool
	Reason  types.Reason // of the last part: why the device did not do it; "" if it did
	Body    []byte       // at most MaxAsked
}

func (a *Answer) domain() string  { return "answer" }
func (a *Answer) chainID() string { return a.Chain }

func (a *Answer) check() error {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' }
	if !a.Last && a.Reason != "" || len(a.Reason) > maxReason || strings.ContainsFunc(string(a.Reason), odd) {
		return types.Refuse(types.BadEncoding, "an answer with the reason %.80q", a.Reason)
	}
	return checkAsked(a.Body)
}

// Asked is a request as it arrived.
type Asked struct {
	*Request
	From types.Key  // who signed, once Verify says so
	Hash types.Hash // what answers name
	seal Sealed
}

// ReadRequest reads a request of chain without looking at its signature: what most of the unwanted ones are
// refused for costs less.
func ReadRequest(raw []byte, chain string) (*Asked, error) {
	a := &Asked{Request: new(Request), Hash: types.Sum(raw)}
	if err := types.DecodeLimit(raw, &a.seal, MaxMessage); err != nil {
		return nil, fmt.Errorf("bus: request: %w", err)
	}
	if err := decode(a.seal.Body, a.Request, chain); err != nil {
		return nil, fmt.Errorf("bus: request: %w", err)
	}
	a.From = a.seal.Signer
	return a, nil
}

// Verify reports whether From signed.
func (a *Asked) Verify() bool {
	return a.From.Verify(a.domain(), a.Chain, a.seal.Body, a.seal.Signature)
}
