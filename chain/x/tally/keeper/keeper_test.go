package keeper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"cosmossdk.io/math"

	"github.com/cairn-network/cairn/chain/testbank"
	creditkeeper "github.com/cairn-network/cairn/chain/x/credit/keeper"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicekeeper "github.com/cairn-network/cairn/chain/x/device/keeper"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	rewardkeeper "github.com/cairn-network/cairn/chain/x/reward/keeper"
	rewardtypes "github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/chain/x/tally/keeper"
	"github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

const (
	stone = 1_000_000
	stake = 1_000_000 * stone // of each validator
	price = 500_000_000       // nUSD: two STONE for a dollar
)

// fixture is x/tally with the modules that it moves money with, all real, over one bank. Only validators are
// the test's own.
type fixture struct {
	t       *testing.T
	ctx     sdk.Context
	bank    *testbank.Bank
	devices devicekeeper.Keeper
	credits creditkeeper.Keeper
	rewards rewardkeeper.Keeper
	k       keeper.Keeper
	msg     types.MsgServer
	query   types.QueryServer
	staking *bonded
	seats   []ledgertest.Verifier
	owner   core.Account // of devices, and the customer
	books   map[core.Region]*ledgertest.Books
}

// whale makes the supply, and so the day's limit of purchases, large; appellant appeals.
var whale, appellant = core.Account{0xee}, core.Account{0xaa}

// setup returns a chain of four validators in block 1: epochs of 20 blocks, a window of one epoch, votes of 10
// blocks, 3 at most.
func setup(t *testing.T, regions uint32) *fixture {
	f := &fixture{t: t, owner: core.Account{0xcc}, books: map[core.Region]*ledgertest.Books{}}
	modules := []string{
		types.ModuleName, credittypes.ModuleName, devicetypes.ModuleName, rewardtypes.ModuleName, authtypes.FeeCollectorName, pool, bondedPool, "again", "spoilt",
	}
	f.bank, f.ctx = testbank.New(modules...)
	for a, amount := range map[core.Account]uint64{whale: uint64(econ.GenesisSupply), f.owner: 1_000_000 * stone, appellant: 1_000 * stone} {
		f.must(f.bank.Fund(f.ctx, a[:], amount))
	}
	f.staking = newBonded(f)
	for i := range 4 {
		seat := ledgertest.NewVerifier(core.Account{0xb0, byte(i)}, byte(i))
		f.seats = append(f.seats, seat)
		f.staking.bond(seat.Owner)
	}
	f.connect()
	f.must(f.rewards.InitGenesis(f.ctx, economy()))
	f.must(f.credits.InitGenesis(f.ctx, credittypes.DefaultGenesis()))
	f.must(f.devices.InitGenesis(f.ctx, devicetypes.DefaultGenesis()))
	g := types.DefaultGenesis()
	g.Params.Regions, g.Params.EpochBlocks, g.Params.AppealWindow, g.Params.VoteBlocks, g.Params.MaxVotes = regions, 20, 1, 10, 3
	for _, s := range f.seats {
		g.Verifiers = append(g.Verifiers, types.NewVerifier(testbank.ChainID, s.Owner, s.Key, s.VRF))
	}
	f.must(f.k.InitGenesis(f.ctx, g))
	f.must(f.k.BeginBlock(f.ctx))
	return f
}

// economy is the default one, where the test's category has a bond and a weight that earns.
func economy() *rewardtypes.GenesisState {
	g := rewardtypes.DefaultGenesis(ledgertest.Economy().Category...)
	for i := range g.Params.Categories {
		if k := &g.Params.Categories[i]; k.Category == uint32(ledgertest.Category) {
			k.Quota, k.Target = 1<<44, "1000000000000000000"
		}
	}
	return g
}

// connect makes the keepers.
func (f *fixture) connect() {
	var err error
	b := f.bank
	f.k = f.tally(types.StoreKey)
	f.rewards, err = rewardkeeper.New(b.Codec, b.Store(rewardtypes.StoreKey), b.Authority, types.ModuleName, b)
	f.must(err)
	f.credits, err = creditkeeper.New(b.Codec, b.Store(credittypes.StoreKey), b.Addresses, b.Authority, types.ModuleName, b, f.rewards)
	f.must(err)
	f.devices, err = devicekeeper.New(b.Codec, b.Store(devicetypes.StoreKey), b.Addresses, b.Authority, b, f.rewards, f.credits)
	f.must(err)
	f.rewards.SetClock(f.k)
	f.credits.SetClock(f.k)
	f.devices.SetTally(f.k, f.k)
	f.k.Connect(f.devices, f.credits, f.rewards)
	b.SetLedger(f.credits)
	f.msg, f.query = keeper.NewMsgServer(f.k), keeper.NewQueryServer(f.k)
}

func (f *fixture) tally(store string) keeper.Keeper {
	b := f.bank
	k, err := keeper.New(b.Codec, b.Store(store), b.Addresses, b.Authority, b, community{b}, f.staking, f.staking)
	f.must(err)
	return k
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// do runs a message as a transaction: all of it or nothing. It must end with that reason, "" for none.
func (f *fixture) do(want core.Reason, msg func(context.Context) error) {
	f.t.Helper()
	cached, write := f.ctx.CacheContext()
	err := msg(cached)
	if core.ReasonOf(err) != want || want == "" && err != nil {
		f.t.Fatalf("block %d: %v, want %q", f.ctx.BlockHeight(), err, want)
	}
	if err == nil {
		write()
	}
}

// next ends the block and begins another. All books must balance at its end.
func (f *fixture) next() {
	f.t.Helper()
	f.must(f.credits.EndBlock(f.ctx))
	f.must(f.rewards.EndBlock(f.ctx))
	f.must(f.devices.EndBlock(f.ctx))
	f.must(f.k.EndBlock(f.ctx))
	f.balanced()
	f.ctx = f.ctx.WithBlockHeight(f.ctx.BlockHeight() + 1).WithBlockTime(f.ctx.BlockTime().Add(5 * time.Second))
	hash := blockHash(uint64(f.ctx.BlockHeight()))
	f.ctx = f.ctx.WithHeaderHash(hash[:])
	f.must(f.k.BeginBlock(f.ctx))
}

func (f *fixture) balanced() {
	f.t.Helper()
	for _, audit := range []func(context.Context) error{f.k.Audit, f.credits.Audit, f.rewards.Audit, f.devices.Audit} {
		if err := audit(f.ctx); err != nil {
			f.t.Fatalf("block %d: %v", f.ctx.BlockHeight(), err)
		}
	}
}

func (f *fixture) to(height uint64) {
	f.t.Helper()
	for uint64(f.ctx.BlockHeight()) < height {
		f.next()
	}
}

// toRound goes to the first block of a round of e's tally.
func (f *fixture) toRound(e core.Epoch, round uint64) { f.t.Helper(); f.to(uint64(e)*20 + 1 + round*4) }

func coin(amount uint64) sdk.Coin { return sdk.NewCoin(testbank.Denom, math.NewIntFromUint64(amount)) }

func deviceKey(n byte) core.PrivateKey { return core.NewPrivateKey([32]byte{3, n}) }

// register adds a device of the owner at a cell.
func (f *fixture) register(n byte, cell core.Cell) core.Key {
	f.t.Helper()
	s := evidence.Statement{
		Chain: testbank.ChainID, Device: deviceKey(n).Public(), Owner: f.owner, Nonce: [16]byte{n},
		Categories: []core.Category{ledgertest.Category}, Cell: cell, Expiry: 1000,
	}
	f.do("", func(ctx context.Context) error {
		_, err := devicekeeper.NewMsgServer(f.devices).RegisterDevice(ctx, &devicetypes.MsgRegisterDevice{
			Owner: f.owner.String(), Statement: s.Sign(deviceKey(n)).Encode(), Bond: coin(100 * stone),
		})
		return err
	})
	return s.Device
}

// buy buys credits for 1,000 STONE: a little less than 500 dollars.
func (f *fixture) buy(r core.Region) {
	f.t.Helper()
	f.do("", func(ctx context.Context) error {
		_, err := creditkeeper.NewMsgServer(f.credits).BuyCredits(ctx, &credittypes.MsgBuyCredits{
			Buyer: f.owner.String(), Amount: coin(1_000 * stone), Region: uint32(r),
		})
		return err
	})
}

func (f *fixture) book(r core.Region) *ledgertest.Books {
	if f.books[r] == nil {
		f.books[r] = ledgertest.NewBooks()
		f.books[r].Region = r
	}
	return f.books[r]
}

func (f *fixture) settlement(e core.Epoch) *tally.Settlement {
	f.t.Helper()
	s, err := f.k.Settlements.Get(f.ctx, uint64(e))
	f.must(err)
	out := &tally.Settlement{Owed: core.Credit(s.Owed), Settled: core.Credit(s.Settled), Payout: core.Ustone(s.Payout)}
	for _, x := range s.Shares {
		w, err := core.ParseU128(x.Weight)
		f.must(err)
		out.Shares = append(out.Shares, econ.Share{Category: core.Category(x.Category), Emitted: core.Ustone(x.Emitted), Weight: w})
	}
	return out
}

// header closes a region's books of e in a round: what was settled of the last header is folded in, then edit
// says what is new.
func (f *fixture) header(e core.Epoch, r core.Region, round uint8, edit func(*ledgertest.Books)) *tally.Header {
	f.t.Helper()
	b := f.book(r)
	if b.Last != 0 {
		f.must(b.Fold(f.settlement(b.Last)))
	}
	if edit != nil {
		edit(b)
	}
	rec, err := f.k.Epochs.Get(f.ctx, uint64(e))
	f.must(err)
	seed, err := core.ParseHash(rec.Seed)
	f.must(err)
	ep := &ledger.Epoch{Epoch: e, Rules: rec.Rules, Seed: seed}
	for _, l := range rec.Leaders {
		var keys []core.Key
		for _, k := range l.Keys {
			key, err := core.ParseKey(k)
			f.must(err)
			keys = append(keys, key)
		}
		ep.Leaders = append(ep.Leaders, keys)
	}
	at := slices.IndexFunc(f.seats, func(v ledgertest.Verifier) bool { return v.Key.Public() == ep.Leaders[r][round] })
	h, err := b.Header(testbank.ChainID, ep, round, f.seats[at].VRF)
	f.must(err)
	return h
}

// commitMsg is a header signed by some validators.
func (f *fixture) commitMsg(h *tally.Header, who ...int) *types.MsgCommitTally {
	f.t.Helper()
	msg := &types.MsgCommitTally{Sender: f.owner.String(), Header: h.Encode()}
	msg.Bitmap, msg.Signatures = f.signatures(h, who...)
	return msg
}

func (f *fixture) signatures(h *tally.Header, who ...int) (bitmap, sigs []byte) {
	f.t.Helper()
	rec, err := f.k.Epochs.Get(f.ctx, uint64(h.Epoch))
	f.must(err)
	bitmap = make([]byte, (len(rec.Verifiers)+7)/8)
	hash := h.Hash()
	for i, v := range rec.Verifiers {
		for _, n := range who {
			if f.seats[n].Key.Public().String() == v.Key {
				bitmap[i/8] |= 1 << (i % 8)
				sig := f.seats[n].Key.Sign("header", testbank.ChainID, hash[:])
				sigs = append(sigs, sig[:]...)
			}
		}
	}
	return bitmap, sigs
}

func (f *fixture) commit(want core.Reason, msg *types.MsgCommitTally) {
	f.t.Helper()
	f.do(want, func(ctx context.Context) error {
		_, err := f.msg.CommitTally(ctx, msg)
		return err
	})
}

// tallied commits a header of e in round 0, signed by all.
func (f *fixture) tallied(e core.Epoch, r core.Region, edit func(*ledgertest.Books)) *tally.Header {
	f.t.Helper()
	f.toRound(e, 0)
	h := f.header(e, r, 0, edit)
	f.commit("", f.commitMsg(h, 0, 1, 2, 3))
	return h
}

func (f *fixture) status(e core.Epoch, r core.Region, want types.Status) types.Header {
	f.t.Helper()
	res, err := f.query.Header(f.ctx, &types.QueryHeaderRequest{Epoch: uint64(e), Region: uint32(r)})
	f.must(err)
	if res.Header.Status != want {
		f.t.Fatalf("block %d: epoch %d in region %d is %s, want %s", f.ctx.BlockHeight(), e, r, res.Header.Status, want)
	}
	return res.Header
}

// claimOf is the claim of a device against the header that the region's books closed last.
func (f *fixture) claimOf(h *tally.Header, device core.Key) types.Claim {
	f.t.Helper()
	c, err := f.book(h.Region).Claim(h.Epoch, device)
	f.must(err)
	out := types.Claim{Epoch: uint64(h.Epoch), Region: uint32(h.Region), Leaf: core.Encode(&c.Leaf), Index: c.Proof.Index}
	for _, s := range c.Proof.Siblings {
		out.Siblings = append(binary.BigEndian.AppendUint64(out.Siblings, s.Sum), s.Hash[:]...)
	}
	return out
}

func (f *fixture) claim(want core.Reason, list ...types.Claim) (paid core.Ustone) {
	f.t.Helper()
	before := f.balance(f.owner)
	f.do(want, func(ctx context.Context) error {
		_, err := f.msg.ClaimBatch(ctx, &types.MsgClaimBatch{Sender: whale.String(), Claims: list})
		return err
	})
	return f.balance(f.owner) - before
}

func (f *fixture) balance(a core.Account) core.Ustone {
	return core.Ustone(f.bank.Balance(f.ctx, a[:]))
}

func (f *fixture) held(module string) core.Ustone {
	return core.Ustone(f.bank.Balance(f.ctx, authtypes.NewModuleAddress(module)))
}

func wantReason(t *testing.T, what string, err error, want core.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}
