package certificate

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// saleGas is the gas limit of a sale, about twice what one takes: the seller cannot simulate what the buyer has
// not signed.
const saleGas = 300_000

// Sale is a certificate offered to one buyer at a price, signed by its owner: one transaction that pays the
// seller and transfers the certificate, of which the buyer's signature is missing (ledger.Deal). It is what the
// seller gives the buyer, as JSON.
type Sale struct {
	Chain       string        `json:"chain"`
	Certificate lot.ID        `json:"certificate"`
	Seller      types.Account `json:"seller"`
	Buyer       types.Account `json:"buyer"` // pays the transaction's fee, too
	Price       types.Ustone  `json:"price_ustone,string"`
	Until       uint64        `json:"until"` // height of the last block that takes it
	Gas         uint64        `json:"gas"`
	Fee         types.Ustone  `json:"fee_ustone,string"`
	Sequence    uint64        `json:"sequence"` // of the seller's transactions
	Key         []byte        `json:"key"`      // the seller's, secp256k1, compressed
	Signature   []byte        `json:"signature"`
}

// deal returns s as the chain's transaction.
func (s *Sale) deal() *ledger.Deal {
	return &ledger.Deal{
		Chain: s.Chain, Maker: s.Seller, Makes: Transfer{ID: s.Certificate, To: s.Buyer},
		Taker: s.Buyer, Takes: ledger.Send{To: s.Seller, Amount: s.Price},
		Until: s.Until, Gas: s.Gas, Fee: s.Fee, Sequence: s.Sequence, Key: s.Key, Signature: s.Signature,
	}
}

// Dealer is a chain, with the keys of those who deal.
type Dealer interface {
	ledger.Reader
	ledger.Dealer
}

// Sell signs, for its owner, the sale of a certificate to a buyer for a price. The offer holds for the next
// blocks, or until the owner signs anything else.
func Sell(ctx context.Context, l Dealer, id lot.ID, buyer types.Account, price types.Ustone, blocks uint64) (*Sale, error) {
	now, err := Reader{l}.Certificate(ctx, id)
	if err != nil {
		return nil, err
	}
	head, err := l.Head(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sale{Certificate: id, Seller: now.Owner, Buyer: buyer, Price: price, Until: head.Height + blocks, Gas: saleGas}
	if err := s.check(now); err != nil {
		return nil, err
	}
	d := s.deal()
	if err := l.MakeDeal(ctx, d); err != nil {
		return nil, refused(err)
	}
	s.Chain, s.Fee, s.Sequence, s.Key, s.Signature = d.Chain, d.Fee, d.Sequence, d.Key, d.Signature
	return s, nil
}

// Buy signs an offer as its buyer, and hands in the sale. It refuses with types.CertificateSale what does not
// hold any more, before anything is signed.
func Buy(ctx context.Context, l Dealer, s *Sale) (*ledger.Receipt, error) {
	if s.Gas > saleGas {
		return nil, types.Refuse(types.CertificateSale, "sale: %d gas, more than %d", s.Gas, saleGas)
	}
	if s.Chain != l.Chain() {
		return nil, types.Refuse(types.WrongChain, "sale: an offer on %.50q", s.Chain)
	}
	now, err := Reader{l}.Certificate(ctx, s.Certificate)
	if err != nil {
		return nil, err
	}
	if err := s.check(now); err != nil {
		return nil, err
	}
	done, err := l.TakeDeal(ctx, s.deal())
	if err != nil {
		return nil, refused(err)
	}
	return done, nil
}

// check says what is wrong with a sale of a certificate as it is now.
func (s *Sale) check(now *Certificate) error {
	refuse := func(format string, args ...any) error {
		return types.Refuse(types.CertificateSale, "sale: "+format, args...)
	}
	switch {
	case now.Owner != s.Seller:
		return refuse("%v has another owner, %v", s.Certificate, now.Owner)
	case now.State != Active:
		return refuse("%v is %s", s.Certificate, now.State)
	case s.Buyer == s.Seller:
		return refuse("%v would buy of itself", s.Buyer)
	case s.Price == 0:
		return refuse("no price: to give it away, transfer it")
	}
	return nil
}

// refused gives a deal that does not hold its reason.
func refused(err error) error {
	if errors.Is(err, ledger.ErrLapsed) {
		return fmt.Errorf("%w: %w", err, types.CertificateSale)
	}
	return err
}
