package bus

import "github.com/cairn-network/cairn/core/types"

// MaxCall bounds the body of a Call, in bytes.
const MaxCall = 1 << 10

// Call is what a verifier says to the witnesses of a category beside all verifiers, in all regions: that something
// begins now, or asks for what somebody has. Gateways hear it too. It seals and publishes it once; nobody keeps it.
type Call struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Category types.Category
	Time     uint64 // Unix milliseconds, by the caller's clock
	Body     []byte // the category's own, at most MaxCall
}

func (c *Call) domain() string  { return "call" }
func (c *Call) chainID() string { return c.Chain }

func (c *Call) check() error {
	if n := len(c.Body); n > MaxCall {
		return types.Refuse(types.Oversize, "a call of %d bytes, at most %d are taken", n, MaxCall)
	}
	return nil
}

// Check refuses what nobody would take.
func (c *Call) Check() error { return c.check() }

const callWord = "call"

// CallSubject is where a verifier calls the witnesses of a category. They subscribe to it with the zero key.
func CallSubject(verifier types.Key, c types.Category) string {
	return callWord + "." + Word(verifier) + "." + orAny(c)
}
