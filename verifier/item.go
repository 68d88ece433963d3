package verifier

import (
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// item is a decoded item with what intake has to know of it.
type item struct {
	tally.Name
	raw      []byte
	category types.Category
	kind     evidence.Kind // of evidence
	epoch    types.Epoch   // of evidence
	anchor   evidence.Anchor
	region   types.Region    // of an order
	session  types.SessionID // of an order
	first    types.Epoch     // of an order
	cap      types.Credit    // of an order
	units    uint64          // of an order: how many least opening amounts have to be behind it
	sigs     []tally.Signed
}

// open decodes an item of chain. The error carries the reason; the item then has its hash and nothing else.
func open(t tally.ItemType, raw []byte, chain string) (*item, error) {
	it := &item{raw: raw, Name: tally.Name{Type: t}}
	switch t {
	case tally.Evidence:
		e, err := evidence.Decode(raw, chain)
		if err != nil {
			it.Hash = types.Sum(raw)
			return it, err
		}
		it.Author, it.Seq, it.Hash = e.Author, e.Seq, e.Hash
		it.category, it.kind, it.epoch, it.anchor = e.Category, e.Kind, e.Epoch, e.Anchor
		it.sigs = []tally.Signed{{Key: e.Author, Message: e.Message(), Sig: e.Signature}}
		return it, nil
	case tally.Receipt:
		s, err := receipt.Decode(raw, chain)
		it.Hash = types.Sum(raw)
		if err != nil {
			return it, err
		}
		r := &s.Receipt
		it.Author, it.Seq, it.category = r.Device, r.Seq, r.Category
		payer, device := s.Messages()
		it.sigs = []tally.Signed{{Key: r.Payer, Message: payer, Sig: s.PayerSig}, {Key: r.Device, Message: device, Sig: s.DeviceSig}}
		return it, nil
	case tally.Order:
		s, err := receipt.DecodeOrder(raw, chain)
		it.Hash = types.Sum(raw)
		if err != nil {
			return it, err
		}
		it.Author, it.Seq, it.category = s.Order.Payer, s.Order.Seq, s.Order.Category
		it.region, it.session, it.first, it.cap = s.Order.Region, s.Order.Session, s.Order.First, s.Order.Cap
		it.units = tally.OrderUnits(&s.Order)
	case tally.Ask:
		s, err := receipt.DecodeAsk(raw, chain)
		it.Hash = types.Sum(raw)
		if err != nil {
			return it, err
		}
		it.Author, it.category = s.Ask.Device, s.Ask.Category
	default:
		it.Hash = types.Sum(raw)
		return it, types.Refuse(types.BadEncoding, "an item of type %d", t)
	}
	var err error
	it.sigs, err = tally.Signatures(&tally.Item{Type: t, Raw: raw}, chain)
	return it, err
}

// lasting reports whether an item counts in a later batch if the epoch that it was kept in has no header.
func (it *item) lasting(rules *ruleBook) bool {
	if it.Type != tally.Evidence {
		return true
	}
	k := rules.kind(it.category, it.kind)
	return k != nil && k.Cumulative
}

// ruleBook is what intake needs of the categories.
type ruleBook struct {
	specs map[types.Category]*tally.Spec
}

func newRuleBook(verifiers []tally.Verifier) *ruleBook {
	b := &ruleBook{specs: map[types.Category]*tally.Spec{}}
	for _, v := range verifiers {
		b.specs[v.Spec.Category] = v.Spec
	}
	return b
}

func (b *ruleBook) kind(c types.Category, k evidence.Kind) *tally.Kind {
	spec := b.specs[c]
	if spec == nil {
		return nil
	}
	for i := range spec.Kinds {
		if spec.Kinds[i].Kind == k {
			return &spec.Kinds[i]
		}
	}
	return nil
}
