// Package ledgertest is the suite that every ledger.Ledger passes: the twin in memory and the adapter to the
// real chain.
//
// It plays one network through: devices register, keys are granted, credits are bought, headers are committed,
// settled, made final and claimed; then everything that must be refused, with its reason. After each step the
// supply must balance. The headers are made by Books, a tally of sums without evidence: the chain cannot tell
// the difference, which is the point of checking totals in O(1).
package ledgertest

import (
	"context"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/beacon"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Category is what the suite's devices provide. Its Params.Bond must not be zero.
const Category = types.Storage

// Economy is what a chain of a test may start with: the defaults, with a category that the network orders densely,
// one that it orders, and Category, of which it orders nothing.
func Economy() econ.Params {
	return econ.Default(
		econ.NewCategory(types.Wireless, 1_000_000_000, 100_000_000, 100_000, true),
		econ.NewCategory(types.Compute, 10_000, 10_000, 10_000, false),
		econ.NewCategory(Category, 1<<40, 0, 2_291, false),
	)
}

// Verifier is a genesis validator with its attestation and VRF keys. All have equal power.
type Verifier struct {
	Owner    types.Account
	Key, VRF types.PrivateKey
}

// NewVerifier makes the keys of validator n from fixed seeds.
func NewVerifier(owner types.Account, n byte) Verifier {
	return Verifier{Owner: owner, Key: types.NewPrivateKey([32]byte{1, n}), VRF: types.NewPrivateKey([32]byte{2, n})}
}

// Network is a fresh chain in epoch 1, with epochs of at least 10 blocks and an appeal window of one epoch.
type Network struct {
	Ledger    ledger.Ledger
	Verifiers []Verifier
	Accounts  []types.Account // at least 3 besides the verifiers', each with 10,000 STONE or more, whose keys the ledger holds
	// AdvanceTo returns once block height is committed: it makes the blocks, or waits for them.
	AdvanceTo func(t *testing.T, height uint64)
}

// Open starts a network with that many verifiers and regions, and stops it with the test.
type Open func(t *testing.T, verifiers, regions int) *Network

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("Life", func(t *testing.T) { testLife(t, open(t, 4, 1)) })
	t.Run("Membership", func(t *testing.T) { testMembership(t, open(t, 1, 1)) })
	t.Run("Commit", func(t *testing.T) { testCommit(t, open(t, 4, 1)) })
	t.Run("Skip", func(t *testing.T) { testSkip(t, open(t, 4, 1)) })
	t.Run("Void", func(t *testing.T) { testVoid(t, open(t, 4, 1)) })
	t.Run("Upheld", func(t *testing.T) { testUpheld(t, open(t, 4, 1)) })
	t.Run("Equivocation", func(t *testing.T) { testEquivocation(t, open(t, 4, 1)) })
	t.Run("Regions", func(t *testing.T) { testRegions(t, open(t, 4, 2)) })
}

// Rig is a network with what every test needs of it. A category that adds a module to the chain plays its own
// suite with it.
type Rig struct {
	*Network
	t   *testing.T
	ctx context.Context
}

// NewRig returns n with t and its context.
func NewRig(t *testing.T, n *Network) *Rig { return &Rig{n, t, t.Context()} }

// Do submits and expects the reason, "" for success.
func (r *Rig) Do(want types.Reason, from types.Account, msgs ...ledger.Msg) {
	r.t.Helper()
	_, err := r.Ledger.Submit(r.ctx, from, msgs...)
	if got := types.ReasonOf(err); got != want || (err == nil) != (want == "") {
		r.t.Fatalf("submit %T: got %v, want reason %q", msgs[0], err, want)
	}
	r.balanced()
}

func (r *Rig) balanced() {
	r.t.Helper()
	s := must(r.Ledger.Supply(r.ctx))(r.t)
	if !s.Balanced {
		r.t.Fatalf("supply does not balance: %+v", s)
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (r *Rig) epoch(e types.Epoch) *ledger.Epoch {
	r.t.Helper()
	return must(r.Ledger.Epoch(r.ctx, e))(r.t)
}

// toRound advances until the next block belongs to a round of e's tally.
func (r *Rig) toRound(e types.Epoch, round uint64) {
	r.t.Helper()
	n := r.epoch(1)
	length := n.Cut - n.First + 1
	r.AdvanceTo(r.t, uint64(e)*length+round*n.Round)
	r.balanced()
}

// ToEpoch advances to the first block of e.
func (r *Rig) ToEpoch(e types.Epoch) {
	r.t.Helper()
	n := r.epoch(1)
	r.AdvanceTo(r.t, uint64(e-1)*(n.Cut-n.First+1)+1)
	r.balanced()
}

// DeviceKey is the key of device n.
func DeviceKey(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{3, n}) }

// statement is what device n says when owner registers it.
func (r *Rig) statement(owner types.Account, n byte) evidence.Statement {
	return evidence.Statement{
		Chain: r.Ledger.Chain(), Device: DeviceKey(n).Public(), Owner: owner, Nonce: [16]byte{n},
		Categories: []types.Category{Category}, Cell: Cells[1], Expiry: 1000,
	}
}

func (r *Rig) bond() types.Ustone {
	r.t.Helper()
	for _, p := range r.epoch(1).Params {
		if p.Category == Category {
			return p.Bond
		}
	}
	r.t.Fatalf("no parameters of %v", Category)
	return 0
}

// Register registers device n for owner.
func (r *Rig) Register(owner types.Account, n byte) {
	r.t.Helper()
	r.Do("", owner, ledger.Register{Statement: *r.statement(owner, n).Sign(DeviceKey(n)), Bond: r.bond()})
}

// Books is a tally of sums: what it says was paid, it just says.
type Books struct {
	Region   types.Region
	Lines    map[types.Key]*Line
	Previous types.Hash
	Last     types.Epoch
	Outputs  []tally.OutputLeaf // of the next header
	weight   types.U128         // of the epoch before
}

// Line is a device's.
type Line struct {
	Amount        types.Ustone
	Paid, Settled types.Credit
	Weight        types.U128
	Penalty       types.Ustone
}

// NewBooks returns empty books.
func NewBooks() *Books { return &Books{Lines: map[types.Key]*Line{}} }

// Copy returns books of their own.
func (b *Books) Copy() *Books {
	c := *b
	c.Outputs = slices.Clone(b.Outputs)
	c.Lines = map[types.Key]*Line{}
	for k, l := range b.Lines {
		line := *l
		c.Lines[k] = &line
	}
	return &c
}

// Line returns a device's line, which it makes.
func (b *Books) Line(device types.Key) *Line {
	if b.Lines[device] == nil {
		b.Lines[device] = &Line{}
	}
	return b.Lines[device]
}

// Fold shares out the settlement of the last header.
func (b *Books) Fold(s *tally.Settlement) error {
	f, err := econ.NewFold(*s, []econ.Weight{{Category: Category, Weight: b.weight}})
	if err != nil {
		return err
	}
	for _, l := range b.Lines {
		settled, amount, err := f.Device(l.Paid-l.Settled, []econ.Weight{{Category: Category, Weight: l.Weight}})
		if err != nil {
			return err
		}
		l.Settled += settled
		l.Amount += amount
		l.Weight = types.U128{}
	}
	return nil
}

// Leaves returns the leaves of the devices tree, by key.
func (b *Books) Leaves() []tally.Leaf {
	var out []tally.Leaf
	for _, k := range sortedKeys(b.Lines) {
		l := b.Lines[k]
		out = append(out, tally.Leaf{Device: k, Amount: l.Amount, Penalty: l.Penalty, Rest: types.Sum(types.Encode([]any{l.Paid, l.Settled}))})
	}
	return out
}

func nodes(leaves []tally.Leaf) []merkle.Node {
	out := make([]merkle.Node, len(leaves))
	for i := range leaves {
		out[i] = leaves[i].Node()
	}
	return out
}

// Header closes the books of an epoch: the header of the round's leader.
func (b *Books) Header(chain string, ep *ledger.Epoch, round uint8, vrf types.PrivateKey) (*tally.Header, error) {
	leaves := b.Leaves()
	root, err := merkle.SumRoot(nodes(leaves))
	if err != nil {
		return nil, err
	}
	h := &tally.Header{
		Chain: chain, Epoch: ep.Epoch, Region: b.Region, Round: round, Rules: ep.Rules, Previous: b.Previous,
		Devices: root, Count: uint64(len(leaves)), Outputs: tally.OutputTree(b.Outputs).Root(), OutCount: uint64(len(b.Outputs)),
		Leader: ep.Leaders[b.Region][round], VRF: beacon.Prove(vrf, chain, ep.Seed, b.Region),
	}
	total := tally.CategoryTotal{Category: Category}
	for _, l := range b.Lines {
		h.Totals.Amount += l.Amount
		h.Totals.Spent += l.Paid
		h.Totals.Settled += l.Settled
		h.Totals.Penalty += l.Penalty
		total.Paid += l.Paid
		if total.Weight, err = total.Weight.Add(l.Weight); err != nil {
			return nil, err
		}
	}
	h.Totals.Categories = []tally.CategoryTotal{total}
	b.weight, b.Outputs = total.Weight, nil
	b.Previous, b.Last = h.Hash(), ep.Epoch
	return h, nil
}

// Claim returns the claim of a device against the header that the books closed last.
func (b *Books) Claim(e types.Epoch, device types.Key) (ledger.Claim, error) {
	leaves := b.Leaves()
	for i := range leaves {
		if leaves[i].Device == device {
			proof, err := merkle.SumProve(nodes(leaves), i)
			return ledger.Claim{Epoch: e, Region: b.Region, Leaf: leaves[i], Proof: proof}, err
		}
	}
	return ledger.Claim{}, ledger.ErrNotFound
}

// fold folds the settlement of the books' last header, if there is one.
func (r *Rig) fold(b *Books) {
	r.t.Helper()
	if b.Last == 0 {
		return
	}
	s := must(r.Ledger.Settlement(r.ctx, b.Last))(r.t)
	if err := b.Fold(s); err != nil {
		r.t.Fatal(err)
	}
}

// vrf returns the VRF key of the leader of a region's round.
func (r *Rig) vrf(ep *ledger.Epoch, region types.Region, round uint8) types.PrivateKey {
	leader, _ := ep.Leader(region, round)
	for _, v := range r.Verifiers {
		if v.Key.Public() == leader {
			return v.VRF
		}
	}
	r.t.Fatalf("leader %v is no verifier of the network", leader)
	return types.PrivateKey{}
}

// header closes b for round of e.
func (r *Rig) header(b *Books, e types.Epoch, round uint8) *tally.Header {
	r.t.Helper()
	ep := r.epoch(e)
	return must(b.Header(r.Ledger.Chain(), ep, round, r.vrf(ep, b.Region, round)))(r.t)
}

// signatures lets the verifiers that who selects sign h.
func (r *Rig) signatures(h *tally.Header, who ...int) ([]byte, []types.Signature) {
	ep := r.epoch(h.Epoch)
	bitmap := make([]byte, (len(ep.Verifiers)+7)/8)
	hash := h.Hash()
	var sigs []types.Signature
	for i, seat := range ep.Verifiers {
		for _, n := range who {
			if v := r.Verifiers[n]; v.Key.Public() == seat.Key {
				bitmap[i/8] |= 1 << (i % 8)
				sigs = append(sigs, v.Key.Sign("header", r.Ledger.Chain(), hash[:]))
			}
		}
	}
	return bitmap, sigs
}

func (r *Rig) commitMsg(h *tally.Header, who ...int) ledger.Commit {
	bitmap, sigs := r.signatures(h, who...)
	return ledger.Commit{Header: h.Encode(), Bitmap: bitmap, Signatures: sigs}
}

// Commit closes b in round 0 of e and commits the header with three of four signatures.
func (r *Rig) Commit(b *Books, e types.Epoch) *tally.Header {
	r.t.Helper()
	r.toRound(e, 0)
	h := r.header(b, e, 0)
	r.Do("", r.Accounts[0], r.commitMsg(h, 0, 1, 2))
	return h
}

// Status returns the header of e, which must stand so.
func (r *Rig) Status(e types.Epoch, want ledger.Status) *ledger.Header {
	r.t.Helper()
	return r.statusIn(0, e, want)
}

func (r *Rig) statusIn(region types.Region, e types.Epoch, want ledger.Status) *ledger.Header {
	r.t.Helper()
	h := must(r.Ledger.Header(r.ctx, e, region))(r.t)
	if h.Status != want || h.Region != region {
		r.t.Fatalf("header of epoch %d, region %d is %s, want %s in region %d", e, h.Region, h.Status, want, region)
	}
	return h
}
