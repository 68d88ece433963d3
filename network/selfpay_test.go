package network

import (
	"testing"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/ledger"
)

// testSelfPayment adds up what the customer paid for what it used and what all devices together got for it.
// Whoever is both gets that much back and no more, however many accounts and devices it has: the burn is gone.
func testSelfPayment(t *testing.T, n *Network) {
	l := n.Ledger()
	headers, err := l.Headers(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var settled, out uint64 // credits; ustone
	for _, h := range headers {
		if h.Status != ledger.Final {
			continue
		}
		s, err := l.Settlement(t.Context(), h.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		settled += uint64(s.Settled)
		out += uint64(s.Payout)
	}
	const purchase = 1_000_000 * stoneUnit // large enough that the quote's rounding does not show
	quote, err := l.Quote(t.Context(), purchase)
	if err != nil {
		t.Fatal(err)
	}
	in := settled * purchase / uint64(quote) // what the credits cost, in ustone
	burn := in * econ.Default().Burn / econ.Bps
	if settled == 0 || out == 0 || burn == 0 || out > in-burn {
		t.Errorf("%d credits cost %d ustone, and paid %d: a loss of less than the burn, %d", settled, in, out, burn)
	}
	supply, err := l.Supply(t.Context())
	if err != nil || !supply.Balanced || supply.Burned == 0 {
		t.Errorf("%+v: %v", supply, err)
	}
	t.Logf("%d credits cost %d ustone and paid %d back: %d.%02d %% are lost", settled, in, out, (in-out)*100/in, (in-out)*10000/in%100)
}
