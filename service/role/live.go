package role

import (
	"context"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// MaxAsked bounds the body of a Question, and of each part of its answer, in bytes: 256 KiB of somebody's data,
// and what is said about it. Larger things travel by their hash.
const MaxAsked = 288 << 10

// Question is a request to one device, over the bus and signed. What the device answers it signs, for this
// request and no other. The answer is awaited until the caller's context ends, and at most a minute; three
// seconds without a deadline. The clocks of both may differ by a few seconds.
//
// Of why there is no answer the errors say device_away (nobody listens; it is known at once), device_late (nothing in
// time: the device may have done it), bad_answer, or what the device says itself: device_busy, unknown_key,
// over_budget, a reason of the category's.
type Question struct {
	Device types.Key
	Kind   string // a name of the category's own (Provider.Requests): a–z, 0–9 and -, at most 32
	Body   []byte // at most MaxAsked
	// Each, if it is not nil, is given the parts that the device sends ahead of its answer, in their order and
	// one at a time, while Ask waits. Parts may be lost: the numbers say so.
	Each func(Part)
}

// Part is a part of an answer, which the device signed.
type Part struct {
	Number uint32    // counts from 0
	At     time.Time // when it arrived, by the asker's clock
	Body   []byte
}

// Request is what somebody asks of this device. Its signature, addressee and time have been checked, and that
// it was not served before.
type Request struct {
	From  types.Key // who signed it
	Kind  string
	ID    [16]byte
	Hash  types.Hash // of the request as it was signed: what the answer names
	Body  []byte
	Until time.Time // when who asks stops waiting, by this device's clock
	// Send sends a part ahead of the answer. It does not wait for anybody: who asks may miss parts.
	Send func(part []byte) error
}

// Askers say whose requests a device looks at.
type Askers uint8

// The askers. Others are refused before anything is done for them.
const (
	// Payers are session keys that an account granted, and that can pay something now.
	Payers Askers = 1 << iota
	// Verifiers are those of the current epoch: also as witnesses.
	Verifiers
	// Anybody is who may log on to the bus, under the key that logged on: also devices, as witnesses.
	Anybody
)

// Beat is what a device said last of one of its asks. A device that said nothing for Silent has nothing free.
type Beat struct {
	Device   types.Key
	Class    types.Class
	Ask      types.Hash // of the ask (receipt.Ask.Hash)
	Free     types.U128 // of the ask's capacity, in the class's unit; never above it
	Draining bool       // what runs goes on, and nothing new is taken
	At       time.Time  // when it was heard, by the gateway's clock
}

// Silent is for how long a device that says nothing may still be taken to be there. Devices beat three times in it.
const Silent = 15 * time.Second

// RequestHandler serves requests of one kind.
type RequestHandler struct {
	From Askers // whose; any of them, if there are several
	// Serve answers a request. A device serves 64 at a time, of one who is logged on to the bus at most half of
	// what places are left, and 16 more of verifiers. Its context ends with the asker's patience or with the
	// provider's Run, and it is not called while that does not run. What it returns is signed as the answer: a
	// body of at most MaxAsked, or the reason of the error; an error without a reason is device_failed.
	//
	// A request is served once: a repeated one is answered from memory, or refused, also after a restart. But
	// who got no answer may ask the same anew, with another id: what must not be done twice, the category has
	// to know again.
	Serve func(ctx context.Context, host Host, r *Request) ([]byte, error)
}
