package bus

import "github.com/cairn-network/cairn/core/types"

// MaxTell bounds the body of a Tell, in bytes.
const MaxTell = 2 << 10

// Tell is what a customer's door says to the witnesses of a category beside one verifier, mostly because that called
// for it. It is not sealed: what it says has to prove itself. Nobody keeps it.
type Tell struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Category types.Category
	Body     []byte // the category's own, at most MaxTell
}

func (t *Tell) chainID() string { return t.Chain }

func (t *Tell) check() error {
	if n := len(t.Body); n > MaxTell {
		return types.Refuse(types.Oversize, "%d bytes are told, at most %d are taken", n, MaxTell)
	}
	return nil
}

// Check refuses what nobody would take.
func (t *Tell) Check() error { return t.check() }

const tellWord = "tell"

// TellSubject is where teller tells a verifier something. Verifiers subscribe to their own with the zero teller.
func TellSubject(teller, verifier types.Key) string {
	return tellWord + "." + Word(teller) + "." + Word(verifier)
}
