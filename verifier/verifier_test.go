package verifier

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestLife runs networks of one, two and four verifiers from evidence to claim.
func TestLife(t *testing.T) {
	for _, verifiers := range []int{1, 2, 4} {
		testNetwork(t, verifiers, 3, func(t *testing.T, n *network) {
			var last types.Epoch
			for e := types.Epoch(2); e <= 4; e++ {
				n.toEpoch(e)
				for _, d := range n.device {
					d.send(append(d.receipt(1000), evidenceItem(d.envelope(reading, nil)))...)
				}
				h := n.accepted(e)
				if h.Round != 0 || h.Totals.Counted != 9 || h.Totals.Refused != 0 {
					t.Fatalf("%d verifiers, epoch %d: round %d, counted %d, refused %d", verifiers, e, h.Round, h.Totals.Counted, h.Totals.Refused)
				}
				if want := types.Credit(3000 * (uint64(e) - 1)); h.Totals.Spent != want {
					t.Fatalf("%d verifiers, epoch %d: spent %d, want %d", verifiers, e, h.Totals.Spent, want)
				}
				last = e
			}
			n.toEpoch(last + 4)
			if got := n.header(last); got.Status != ledger.Final {
				t.Fatalf("epoch %d is %s", last, got.Status)
			}
			if ep, _ := n.chain.Epoch(n.ctx, last); n.header(last).Signed != ep.Power() {
				t.Fatalf("%d of %d signed", n.header(last).Signed, ep.Power())
			}
			before, _ := n.chain.Account(n.ctx, n.owner)
			for _, d := range n.device {
				claim, err := n.peers[0].v.Proof(n.ctx, d.key.Public(), false)
				if err != nil {
					t.Fatal(err)
				}
				n.submit(n.owner, ledger.Claims{Claims: []ledger.Claim{claim}})
			}
			after, _ := n.chain.Account(n.ctx, n.owner)
			if after.Balance <= before.Balance {
				t.Fatal("nothing was paid")
			}
			n.balanced()
		})
	}
}
