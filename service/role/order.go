package role

import (
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// CheckOrder refuses an order of a category that no tally after epoch would count, whoever the payer is and
// whatever it has bought: another chain, region or category, bounds, a session that has ended, a wrong
// signature. Every Market does so before it takes one.
func CheckOrder(s *receipt.SignedOrder, chain string, region types.Region, category types.Category, epoch types.Epoch) error {
	o := &s.Order
	switch expiry := o.Session.Expiry(); {
	case o.Chain != chain:
		return types.Refuse(types.WrongChain, "order of chain %.50q, want %q", o.Chain, chain)
	case o.Region != region:
		return types.Refuse(types.WrongRegion, "order for region %d, want %d", o.Region, region)
	case o.Category != category:
		return types.Refuse(types.UnknownCategory, "order of %s at the door of %s", o.Category, category)
	case len(o.Selector) > receipt.MaxTerms:
		return types.Refuse(types.Oversize, "order with a selector of %d bytes, at most %d are taken", len(o.Selector), receipt.MaxTerms)
	case expiry <= epoch:
		return types.Refuse(types.SessionExpired, "order of session %s, which ends with epoch %d", o.Session, expiry)
	case o.First > epoch+1 || expiry > epoch+receipt.MaxExpiry:
		return types.Refuse(types.WrongEpoch, "order from epoch %d to %d, in epoch %d", o.First, expiry, epoch)
	case !s.Verify():
		return types.Refuse(types.BadSignature, "order not signed by %v", o.Payer)
	}
	return nil
}
