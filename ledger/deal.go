package ledger

import (
	"context"
	"errors"

	"github.com/cairn-network/cairn/core/types"
)

// Deal is one transaction of two accounts: what each does happens, or neither. The maker signs it first, for
// this one taker, who completes it by signing too. It lapses with the block Until, and with whatever else the
// maker signs before.
type Deal struct {
	Chain     string
	Maker     types.Account
	Makes     Msg // what the maker does
	Taker     types.Account
	Takes     Msg    // what the taker does; the taker pays the transaction's fee, too
	Until     uint64 // height of the last block that takes it
	Gas       uint64
	Fee       types.Ustone
	Sequence  uint64 // of the maker's transactions
	Key       []byte // the maker's, secp256k1, compressed
	Signature []byte
}

// Dealer makes and takes deals for accounts whose keys it has.
type Dealer interface {
	// MakeDeal signs d for its maker: it fills in Chain, Fee, Sequence, Key and Signature.
	MakeDeal(ctx context.Context, d *Deal) error
	// TakeDeal signs d for its taker, and hands it in. It refuses with ErrLapsed what does not hold, before
	// anything is signed.
	TakeDeal(ctx context.Context, d *Deal) (*Receipt, error)
}

// ErrLapsed says that a Deal does not hold, or no longer.
var ErrLapsed = errors.New("the deal does not hold")
