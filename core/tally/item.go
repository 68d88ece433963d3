package tally

import (
	"fmt"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// opened is a decoded item. Signatures are not kept: the caller has checked them.
type opened struct {
	Name
	reason types.Reason // "" if the item decoded
	body   any          // *evidence.Envelope, *receipt.Receipt, *receipt.Order or *receipt.Ask
}

// slab holds receipts side by side: a million of them apart would keep the garbage collector busy.
type slab []receipt.Receipt

func (s *slab) next() *receipt.Receipt {
	if len(*s) == cap(*s) {
		*s = make(slab, 0, 1024)
	}
	*s = append(*s, receipt.Receipt{})
	return &(*s)[len(*s)-1]
}

// open decodes an item. The strings of what it returns share chain, so that a million receipts keep one copy of it.
func open(it *Item, chain string, receipts *slab) opened {
	o := opened{Name: Name{Type: it.Type}}
	var err error
	switch it.Type {
	case Evidence:
		var e *evidence.Envelope
		if e, err = evidence.Decode(it.Raw, chain); err == nil {
			e.Chain = chain
			o.Author, o.Seq, o.Hash, o.body = e.Author, e.Seq, e.Hash, e
			return o
		}
	case Receipt:
		var s receipt.Signed
		if err = s.Decode(it.Raw, chain); err == nil {
			r := receipts.next()
			*r = s.Receipt
			o.Author, o.Seq, o.body = r.Device, r.Seq, r
		}
	case Order:
		var s *receipt.SignedOrder
		if s, err = receipt.DecodeOrder(it.Raw, chain); err == nil {
			s.Order.Chain = chain
			o.Author, o.Seq, o.body = s.Order.Payer, s.Order.Seq, &s.Order
		}
	case Ask:
		var s *receipt.SignedAsk
		if s, err = receipt.DecodeAsk(it.Raw, chain); err == nil {
			s.Ask.Chain = chain
			o.Author, o.body = s.Ask.Device, &s.Ask
		}
	default:
		err = types.BadEncoding
	}
	o.Hash = types.Sum(it.Raw)
	if err != nil {
		o.reason = types.BadEncoding
		if r := types.ReasonOf(err); r != "" {
			o.reason = r
		}
	}
	return o
}

// NameOf returns the name of an item of chain. An item that does not decode still has one (see Name), and an
// error that carries its reason.
func NameOf(it *Item, chain string) (Name, error) {
	o := open(it, chain, new(slab))
	if o.reason != "" {
		return o.Name, fmt.Errorf("tally: %s %s: %w", it.Type, o.Hash, o.reason)
	}
	return o.Name, nil
}

// Signed is one signature of an item: Sig by Key over Message (ZIP-215).
type Signed struct {
	Key     types.Key
	Message []byte
	Sig     types.Signature
}

// Signatures returns the signatures of an item of chain, all of which must hold, so that a verifier can check
// those of many items at once: two of a receipt, one of anything else.
func Signatures(it *Item, chain string) ([]Signed, error) {
	switch it.Type {
	case Evidence:
		e, err := evidence.Decode(it.Raw, chain)
		if err != nil {
			return nil, err
		}
		return []Signed{{e.Author, e.Message(), e.Signature}}, nil
	case Receipt:
		s, err := receipt.Decode(it.Raw, chain)
		if err != nil {
			return nil, err
		}
		payer, device := s.Messages()
		return []Signed{{s.Receipt.Payer, payer, s.PayerSig}, {s.Receipt.Device, device, s.DeviceSig}}, nil
	case Order:
		s, err := receipt.DecodeOrder(it.Raw, chain)
		if err != nil {
			return nil, err
		}
		return []Signed{{s.Order.Payer, types.SigningBytes("order", chain, types.Encode(&s.Order)), s.Signature}}, nil
	case Ask:
		s, err := receipt.DecodeAsk(it.Raw, chain)
		if err != nil {
			return nil, err
		}
		return []Signed{{s.Ask.Device, types.SigningBytes("ask", chain, types.Encode(&s.Ask)), s.Signature}}, nil
	}
	return nil, types.Refuse(types.BadEncoding, "tally: item of type %d", it.Type)
}

// CheckItem reports whether all signatures of an item of chain hold. What does not decode has none that do.
func CheckItem(it *Item, chain string) bool {
	sigs, err := Signatures(it, chain)
	for i := range sigs {
		if !sigs[i].Key.VerifyMessage(sigs[i].Message, sigs[i].Sig) {
			return false
		}
	}
	return err == nil
}

// CheckSignatures checks the signatures of a batch one after the other: the verdicts that Apply takes.
func CheckSignatures(b *Batch, chain string) []bool {
	ok := make([]bool, len(b.Items))
	for i := range b.Items {
		ok[i] = CheckItem(&b.Items[i], chain)
	}
	return ok
}
