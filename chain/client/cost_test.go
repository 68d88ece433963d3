package client_test

import (
	"encoding/binary"
	"testing"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/solo"
	"github.com/cairn-network/cairn/chain/client"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// numbered is the key of device n: nobody has to sign for it.
func numbered(n int) (k types.Key) {
	k[0] = 0xd
	binary.BigEndian.PutUint32(k[1:], uint32(n))
	return k
}

// period has verifiers tally an epoch of that many devices, each of which was paid something.
type period struct {
	t     testing.TB
	made  *chain
	chain *solo.Chain
	real  *client.Client
	books *ledgertest.Books
}

func newPeriod(t testing.TB, c *chain, devices int) *period {
	p := &period{t: t, made: c, chain: c.solo(t), books: ledgertest.NewBooks()}
	p.real = c.open(t, p.chain)
	for i := range devices {
		p.books.Line(numbered(i))
	}
	_, err := p.real.Submit(t.Context(), c.accounts[0], ledger.Buy{Amount: 1_000_000 * stone})
	p.must(err)
	return p
}

func (p *period) must(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Fatal(err)
	}
}

// commit closes epoch e in round 0, after each device was paid 1 micro-credit more, and returns the header.
func (p *period) commit(e types.Epoch) *tally.Header {
	ctx := p.t.Context()
	ep, err := p.real.Epoch(ctx, e)
	p.must(err)
	p.must(p.chain.AdvanceTo(ep.Cut))
	if p.books.Last != 0 {
		s, err := p.real.Settlement(ctx, p.books.Last)
		p.must(err)
		p.must(p.books.Fold(s))
	}
	for _, l := range p.books.Lines {
		l.Paid += 1_000_000 / types.Credit(len(p.books.Lines)) // the same in all, however many share it
	}
	var vrf types.PrivateKey
	for _, v := range p.made.verifiers {
		if v.Key.Public() == ep.Leaders[0] {
			vrf = v.VRF
		}
	}
	h, err := p.books.Header(chainID, ep, 0, vrf)
	p.must(err)
	hash := h.Hash()
	msg := ledger.Commit{Header: h.Encode(), Bitmap: make([]byte, (len(ep.Verifiers)+7)/8)}
	for i, seat := range ep.Verifiers {
		for _, v := range p.made.verifiers {
			if v.Key.Public() == seat.Key {
				msg.Bitmap[i/8] |= 1 << (i % 8)
				msg.Signatures = append(msg.Signatures, v.Key.Sign("header", chainID, hash[:]))
			}
		}
	}
	_, err = p.real.Submit(ctx, p.made.accounts[0], msg)
	p.must(err)
	return h
}

// TestCost: what an epoch takes of the chain does not depend on how many devices were counted in it.
func TestCost(t *testing.T) {
	type cost struct{ gas, bytes int64 }
	var all []cost
	sizes := []int{10, 1_000, 100_000}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, devices := range sizes {
		p := newPeriod(t, made(t, 4, 20), devices)
		var before cost
		for e := types.Epoch(1); e <= 4; e++ {
			if e == 2 {
				before.gas, before.bytes = p.chain.Used()
			}
			p.commit(e)
		}
		gas, bytes := p.chain.Used()
		all = append(all, cost{(gas - before.gas) / 3, (bytes - before.bytes) / 3})
		t.Logf("%d devices: %d gas, %d bytes an epoch", devices, all[len(all)-1].gas, all[len(all)-1].bytes)
	}
	// Only integers of other lengths differ: counts and amounts in the header, each at most 8 bytes longer.
	for i := 1; i < len(all); i++ {
		if d := all[i].bytes - all[0].bytes; d > 60 || d < -60 {
			t.Errorf("%d bytes at %d devices, %d at %d", all[i].bytes, sizes[i], all[0].bytes, sizes[0])
		}
		if d := all[i].gas - all[0].gas; d*50 > all[0].gas || d*50 < -all[0].gas {
			t.Errorf("%d gas at %d devices, %d at %d", all[i].gas, sizes[i], all[0].gas, sizes[0])
		}
	}
}

// signer signs transactions of one account, in order.
type signer struct {
	p        *period
	from     types.Account
	number   uint64
	sequence uint64
}

func (p *period) signer(from types.Account) *signer {
	res, err := authtypes.NewQueryClient(p.real.Context()).AccountInfo(p.t.Context(), &authtypes.QueryAccountInfoRequest{Address: from.String()})
	p.must(err)
	return &signer{p, from, res.Info.AccountNumber, res.Info.Sequence}
}

func (s *signer) tx(gas uint64, msg sdk.Msg) cmttypes.Tx {
	ctx := s.p.real.Context()
	record, err := s.p.made.keys.KeyByAddress(sdk.AccAddress(s.from[:]))
	s.p.must(err)
	public, err := record.GetPubKey()
	s.p.must(err)
	b := ctx.TxConfig.NewTxBuilder()
	s.p.must(b.SetMsgs(msg))
	b.SetGasLimit(gas)
	mode := signing.SignMode_SIGN_MODE_DIRECT
	sig := signing.SignatureV2{PubKey: public, Sequence: s.sequence, Data: &signing.SingleSignatureData{SignMode: mode}}
	s.p.must(b.SetSignatures(sig))
	raw, err := authsigning.GetSignBytesAdapter(s.p.t.Context(), ctx.TxConfig.SignModeHandler(), mode, authsigning.SignerData{
		Address: s.from.String(), ChainID: chainID, AccountNumber: s.number, Sequence: s.sequence, PubKey: public,
	}, b.GetTx())
	s.p.must(err)
	made, _, err := s.p.made.keys.Sign(record.Name, raw, mode)
	s.p.must(err)
	sig.Data = &signing.SingleSignatureData{SignMode: mode, Signature: made}
	s.p.must(b.SetSignatures(sig))
	out, err := ctx.TxConfig.TxEncoder()(b.GetTx())
	s.p.must(err)
	s.sequence++
	return out
}

// deliver makes one block of transactions, all of which must succeed, and returns how long that took.
func (p *period) deliver(txs []cmttypes.Tx) time.Duration {
	start := time.Now()
	results, err := p.chain.Deliver(txs...)
	took := time.Since(start)
	p.must(err)
	for _, r := range results {
		if r.Code != 0 {
			p.t.Fatalf("transaction refused: %s", r.Log)
		}
	}
	return took
}

// BenchmarkClaims pays devices by proofs in a tree of 100,000, in batches, beside bank sends in blocks of the same chain: twice as many
// claims as sends a second is the least that is wanted.
func BenchmarkClaims(b *testing.B) {
	const (
		devices = 100_000
		claimed = 4_000
		batch   = 200
		sends   = 1_000
	)
	for b.Loop() {
		c := madeWith(b, 4, 20, func(g *devicetypes.GenesisState, owners []types.Account) {
			for i := range claimed {
				g.Devices = append(g.Devices, devicetypes.Device{
					Device: numbered(i).String(), Owner: owners[i%len(owners)].String(), Categories: []uint32{uint32(ledgertest.Category)},
					Cell: types.Cell(0x8a1fb46622dffff).String(), Status: devicetypes.Status_STATUS_ACTIVE,
				})
			}
		})
		p := newPeriod(b, c, devices)
		p.commit(1)
		p.commit(2)
		h := p.commit(3)
		p.must(p.chain.AdvanceTo(100))
		leaves, nodes := p.leaves()
		tree, err := merkle.NewSumTree(nodes)
		p.must(err)
		if tree.Root() != h.Devices {
			b.Fatal("the tree is not the header's")
		}
		from := p.signer(c.accounts[0])
		var txs []cmttypes.Tx
		for i := 0; i < claimed; i += batch {
			msg := &tallytypes.MsgClaimBatch{Sender: c.accounts[0].String()}
			for j := i; j < i+batch; j++ {
				msg.Claims = append(msg.Claims, p.claim(3, leaves[j], tree.Proof(j)))
			}
			txs = append(txs, from.tx(60_000_000, msg))
		}
		var spent time.Duration
		for i := 0; i < len(txs); i += 4 {
			spent += p.deliver(txs[i : i+4])
		}
		claims := float64(claimed) / spent.Seconds()

		txs = txs[:0]
		for i := range sends {
			to := c.accounts[1+i%2]
			txs = append(txs, from.tx(200_000, &banktypes.MsgSend{
				FromAddress: c.accounts[0].String(), ToAddress: to.String(), Amount: sdk.NewCoins(sdk.NewCoin(app.Denom, math.NewInt(1))),
			}))
		}
		rate := float64(sends) / p.deliver(txs).Seconds()
		b.ReportMetric(claims, "claims/s")
		b.ReportMetric(rate, "sends/s")
		b.ReportMetric(claims/rate, "claims/send")
	}
}

func (p *period) leaves() ([]tally.Leaf, []merkle.Node) {
	leaves := p.books.Leaves()
	nodes := make([]merkle.Node, len(leaves))
	for i := range leaves {
		nodes[i] = leaves[i].Node()
	}
	return leaves, nodes
}

func (p *period) claim(e uint64, leaf tally.Leaf, proof merkle.SumProof) tallytypes.Claim {
	c := tallytypes.Claim{Epoch: e, Leaf: types.Encode(&leaf), Index: proof.Index}
	for _, n := range proof.Siblings {
		c.Siblings = append(binary.BigEndian.AppendUint64(c.Siblings, n.Sum), n.Hash[:]...)
	}
	return c
}
