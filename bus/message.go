package bus

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// ItemType says what an item is.
type ItemType = tally.ItemType

// The types of items.
const (
	Evidence = tally.Evidence // an evidence.Envelope
	Receipt  = tally.Receipt  // a receipt.Signed, by both sides
	Order    = tally.Order    // a receipt.SignedOrder
	Ask      = tally.Ask      // a receipt.SignedAsk that receipts name
)

// Item is one thing that goes into a batch: its encoding, as it was signed.
type Item struct {
	_    struct{} `cbor:",toarray"`
	Type ItemType
	Raw  []byte
}

// Hash names the item: SHA-256 of its encoding.
func (i Item) Hash() types.Hash { return types.Sum(i.Raw) }

// Bounds of a Submit.
const (
	MaxItems       = 1024
	MaxSubmitBytes = MaxMessage - 32<<10 // of the items' encodings, together
)

// Submit hands in items of one author for a region: each receipt comes with the ask that it names. It carries
// no signature: each item has its own. Verifiers answer with an Ack; the author resends what less than two
// thirds of power acknowledged.
type Submit struct {
	_     struct{} `cbor:",toarray"`
	Chain string
	Items []Item // at least one, at most MaxItems and MaxSubmitBytes
}

func (s *Submit) chainID() string { return s.Chain }

func (s *Submit) check() error {
	if n := len(s.Items); n == 0 || n > MaxItems {
		return tooMany("items", n, MaxItems)
	}
	bytes := 0
	for _, item := range s.Items {
		if item.Type < Evidence || item.Type > Ask {
			return types.Refuse(types.BadEncoding, "an item of type %d", item.Type)
		}
		if len(item.Raw) == 0 || len(item.Raw) > evidence.MaxEnvelope {
			return tooMany("bytes of an item", len(item.Raw), evidence.MaxEnvelope)
		}
		bytes += len(item.Raw)
	}
	if bytes > MaxSubmitBytes {
		return tooMany("bytes of items", bytes, MaxSubmitBytes)
	}
	return nil
}

// Ack is a verifier's answer to a Submit: it keeps the accepted items for the batch of Epoch, or knew them
// already, and says why it will not keep the others. An item that is in neither list is to be sent again later.
type Ack struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Epoch    types.Epoch // in whose batch the accepted items will be
	Region   types.Region
	Accepted []types.Hash // in the order of the Submit
	Refused  []Refusal
}

// Refusal is one item that was not taken, and why.
type Refusal struct {
	_      struct{} `cbor:",toarray"`
	Item   types.Hash
	Reason types.Reason
}

func (a *Ack) domain() string  { return "ack" }
func (a *Ack) chainID() string { return a.Chain }

func (a *Ack) check() error {
	if n := len(a.Accepted) + len(a.Refused); n > MaxItems {
		return tooMany("items", n, MaxItems)
	}
	return checkRefusals(a.Refused)
}

// maxReason bounds the name of a reason, in bytes.
const maxReason = 64

func checkRefusals(list []Refusal) error {
	for _, r := range list {
		if r.Reason == "" || len(r.Reason) > maxReason {
			return types.Refuse(types.BadEncoding, "a reason of %d bytes", len(r.Reason))
		}
	}
	return nil
}
