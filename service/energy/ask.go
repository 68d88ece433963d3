package energy

import (
	"fmt"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// AskTerms are what an ask of the category says beside its price: a number of its own. Of a class the highest
// counts, so that nobody who saw an older ask can bring its price back.
type AskTerms struct {
	_   struct{} `cbor:",toarray"`
	Seq uint64
}

// MaxPrice bounds what an ask asks for, in micro-credits per Wh.
const MaxPrice = 1<<16 - 1

const maxAskTerms = 16

// Encode returns the encoding of t.
func (t *AskTerms) Encode() []byte { return types.Encode(t) }

// DecodeAskTerms reads the terms of an ask.
func DecodeAskTerms(raw []byte) (*AskTerms, error) {
	t := new(AskTerms)
	if err := types.DecodeLimit(raw, t, maxAskTerms); err != nil {
		return nil, fmt.Errorf("energy: terms of an ask: %w", err)
	}
	return t, nil
}

// offer takes an ask over into the device's line, or returns why not. An ask that stands already may come again.
func (s *State) ask(a *receipt.Ask) types.Reason {
	terms, err := DecodeAskTerms(a.Terms)
	switch {
	case err != nil || a.Price > MaxPrice:
		return AskBad
	case a.Class != Community && a.Class != Certificate:
		return types.UnknownClass
	}
	old, fresh := &s.Asks[a.Class-1], Ask{Seq: terms.Seq, Price: uint16(a.Price), Until: a.Until}
	if fresh.Seq <= old.Seq && *old != (Ask{}) && fresh != *old {
		return AskStale
	}
	*old = fresh
	return ""
}

// Ask returns the price of a class in an epoch, and whether the device asks one.
func (s *State) Ask(class types.Class, epoch types.Epoch) (price uint64, ok bool) {
	if class != Community && class != Certificate {
		return 0, false
	}
	o := &s.Asks[class-1]
	return uint64(o.Price), o.Until >= epoch && o.Until > 0
}
