package keeper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/device/keeper"
	"github.com/cairn-network/cairn/chain/x/device/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

// world stands in for the modules beside: epoch, price, economy and final headers are what a test says.
type world struct {
	epoch   core.Epoch
	behind  core.Epoch // epochs that no tally has taken in
	price   uint64
	params  econ.Params
	headers map[core.Epoch]*tally.Header
}

func (w *world) Epoch(context.Context) (core.Epoch, error)    { return w.epoch, nil }
func (w *world) Regions(context.Context) (uint16, error)      { return 1, nil }
func (w *world) Folded(context.Context) (core.Epoch, error)   { return w.epoch - 1 - w.behind, nil }
func (w *world) Economy(context.Context) (econ.Params, error) { return w.params, nil }
func (w *world) Band(context.Context) (econ.Band, error)      { return econ.Fixed(w.price), nil }
func (w *world) FinalHeader(_ context.Context, e core.Epoch, _ core.Region) (*tally.Header, error) {
	if h := w.headers[e]; h != nil {
		return h, nil
	}
	return nil, core.Refuse(core.NotFinal, "epoch %d", e)
}

type fixture struct {
	*world
	bank   *testbank.Bank
	ctx    sdk.Context
	keeper keeper.Keeper
	msg    types.MsgServer
	query  types.QueryServer
}

const fee = 10_000_000 // $5 at half a dollar

func setup(t interface{ Fatal(...any) }) *fixture {
	f := &fixture{world: &world{epoch: 5, price: 500_000_000, params: ledgertest.Economy(), headers: map[core.Epoch]*tally.Header{}}}
	f.bank, f.ctx = testbank.New(types.ModuleName)
	var err error
	f.keeper, err = keeper.New(f.bank.Codec, f.bank.Store(types.StoreKey), f.bank.Addresses, f.bank.Authority, f.bank, f, f)
	if err != nil {
		t.Fatal(err)
	}
	f.keeper.SetTally(f, f)
	if err := f.keeper.InitGenesis(f.ctx, types.DefaultGenesis()); err != nil {
		t.Fatal(err)
	}
	f.msg, f.query = keeper.NewMsgServer(f.keeper), keeper.NewQueryServer(f.keeper)
	return f
}

func (f *fixture) account(t interface{ Fatal(...any) }, name byte, amount uint64) core.Account {
	a := core.Account{name}
	if amount > 0 {
		if err := f.bank.Fund(f.ctx, a[:], amount); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func coin(amount uint64) sdk.Coin { return sdk.NewCoin(testbank.Denom, math.NewIntFromUint64(amount)) }

// munich is a cell of resolution 9.
const munich = core.Cell(0x891f8d7a49bffff)

func device(seed byte) core.PrivateKey { return core.NewPrivateKey([32]byte{1: seed}) }

func statement(seed byte, owner core.Account, change func(*evidence.Statement)) []byte {
	s := evidence.Statement{
		Chain: testbank.ChainID, Device: device(seed).Public(), Owner: owner, Nonce: [16]byte{seed},
		Categories: []core.Category{core.Wireless}, Cell: munich, Expiry: 1000,
	}
	if change != nil {
		change(&s)
	}
	return s.Sign(device(seed)).Encode()
}

func (f *fixture) register(ctx context.Context, owner core.Account, statement []byte, bond uint64) error {
	_, err := f.msg.RegisterDevice(ctx, &types.MsgRegisterDevice{Owner: owner.String(), Statement: statement, Bond: coin(bond)})
	return err
}

func wantReason(t *testing.T, what string, err error, want core.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestRegister(t *testing.T) {
	f := setup(t)
	owner := f.account(t, 1, 100_000_000)
	supply := f.bank.GetSupply(f.ctx, testbank.Denom)
	res, err := f.msg.RegisterDevice(f.ctx, &types.MsgRegisterDevice{Owner: owner.String(), Statement: statement(1, owner, nil), Bond: coin(20_000_000)})
	if err != nil {
		t.Fatal(err)
	}
	if res.Device != device(1).Public().String() || res.Fee != fee || res.From != 6 {
		t.Errorf("%+v", res)
	}
	if got := f.bank.Balance(f.ctx, owner[:]); got != 70_000_000 {
		t.Errorf("the owner holds %d", got)
	}
	if burned := supply.Sub(f.bank.GetSupply(f.ctx, testbank.Denom)); burned.Amount.Uint64() != fee {
		t.Errorf("burned %s", burned)
	}
	want := []tally.Change{{Device: &tally.Device{
		Key: device(1).Public(), Owner: owner, Categories: []core.Category{core.Wireless}, Cell: munich, Bond: 20_000_000,
	}}}
	got, err := f.keeper.Changes(f.ctx, 6, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(core.Encode(want), core.Encode(got)); diff != "" {
		t.Errorf("changes: %s", diff)
	}
	list, err := f.query.DevicesByOwner(f.ctx, &types.QueryDevicesByOwnerRequest{Owner: owner.String()})
	if err != nil || len(list.Devices) != 1 || list.Devices[0].Bond != 20_000_000 {
		t.Errorf("by owner: %v, %v", list, err)
	}
}

// TestRegisterRefused shows each rule catching who breaks it.
func TestRegisterRefused(t *testing.T) {
	f := setup(t)
	owner, thief := f.account(t, 1, 100_000_000), f.account(t, 2, 100_000_000)
	if err := f.register(f.ctx, owner, statement(9, owner, nil), 20_000_000); err != nil {
		t.Fatal(err)
	}
	flip := func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw }
	for _, c := range []struct {
		what      string
		owner     core.Account
		statement []byte
		bond      uint64
		want      core.Reason
	}{
		{"a known device", owner, statement(9, owner, nil), 0, core.DeviceKnown},
		{"another's statement", thief, statement(1, owner, nil), 0, core.NotOwner},
		{"a signature changed", owner, flip(statement(1, owner, nil)), 0, core.BadSignature},
		{"another chain", owner, statement(1, owner, func(s *evidence.Statement) { s.Chain = "cairn-other" }), 0, core.WrongChain},
		{"an old statement", owner, statement(1, owner, func(s *evidence.Statement) { s.Expiry = 4 }), 0, core.StatementExpired},
		{"an unknown category", owner, statement(1, owner, func(s *evidence.Statement) { s.Categories = []core.Category{77} }), 0, core.UnknownCategory},
		{"an unknown model", owner, statement(1, owner, func(s *evidence.Statement) { s.Model = 3 }), 0, core.UnknownModel},
		{"no cell", owner, statement(1, owner, func(s *evidence.Statement) { s.Cell = 0 }), 0, core.BadEncoding},
		{"a cell too coarse", owner, statement(1, owner, func(s *evidence.Statement) { s.Cell = munich.Parent(2) }), 0, core.BadEncoding},
		{"a bond too small", owner, statement(1, owner, nil), 6_719_999, core.BondLow},
		{"a bond beyond the balance", owner, statement(1, owner, nil), 1_000_000_000, core.InsufficientFund},
	} {
		cached, _ := f.ctx.CacheContext()
		wantReason(t, c.what, f.register(cached, c.owner, c.statement, c.bond), c.want)
	}
	f.price = 0
	if err := f.register(f.ctx, owner, statement(2, owner, nil), 0); err == nil {
		t.Error("registered without a price")
	}
}

func TestTransferAndSuspend(t *testing.T) {
	f := setup(t)
	owner, next := f.account(t, 1, 100_000_000), f.account(t, 2, 0)
	if err := f.register(f.ctx, owner, statement(1, owner, nil), 20_000_000); err != nil {
		t.Fatal(err)
	}
	key := device(1).Public()
	_, err := f.msg.TransferDevice(f.ctx, &types.MsgTransferDevice{Owner: next.String(), NewOwner: next.String(), Device: key.String()})
	wantReason(t, "a stranger transfers", err, core.NotOwner)
	if _, err := f.msg.TransferDevice(f.ctx, &types.MsgTransferDevice{Owner: owner.String(), NewOwner: next.String(), Device: key.String()}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.keeper.Owner(f.ctx, key); err != nil || string(got) != string(next[:]) {
		t.Errorf("owner %s, %v", got, err)
	}
	if list, err := f.query.DevicesByOwner(f.ctx, &types.QueryDevicesByOwnerRequest{Owner: owner.String()}); err != nil || len(list.Devices) != 0 {
		t.Errorf("the old owner still has %v, %v", list, err)
	}
	suspend := func(authority string, epochs uint64) error {
		_, err := f.msg.SuspendDevice(f.ctx, &types.MsgSuspendDevice{Authority: authority, Device: key.String(), Epochs: epochs, Reason: core.Sum(nil).String()})
		return err
	}
	if suspend(owner.String(), 1) == nil {
		t.Error("anybody may suspend")
	}
	wantReason(t, "eleven epochs", suspend(f.bank.Authority, 11), core.ParamBound)
	if err := suspend(f.bank.Authority, 10); err != nil {
		t.Fatal(err)
	}
	changes, err := f.keeper.Changes(f.ctx, 6, 0)
	if err != nil || len(changes) != 1 || changes[0].Device.Suspended != 15 || changes[0].Device.Owner != next {
		t.Errorf("one line with everything of the epoch: %v, %v", changes, err)
	}
	if err := suspend(f.bank.Authority, 0); err != nil {
		t.Fatal(err)
	}
	if d, err := f.keeper.Get(f.ctx, key); err != nil || d.SuspendedUntil != 0 || d.SuspensionReason != "" {
		t.Errorf("lifted: %v, %v", d, err)
	}
}

// header makes a final header of epoch e in which device(1) has a penalty, and the message that completes its
// unbonding.
func (f *fixture) header(e core.Epoch, sender core.Account, penalty core.Ustone) *types.MsgCompleteUnbond {
	var nodes []merkle.Node
	var leaves []tally.Leaf
	for i := range byte(5) {
		l := tally.Leaf{Device: device(i).Public(), Amount: core.Ustone(i) * 1000}
		if i == 1 {
			l.Penalty = penalty
		}
		leaves, nodes = append(leaves, l), append(nodes, l.Node())
	}
	root, _ := merkle.SumRoot(nodes)
	proof, _ := merkle.SumProve(nodes, 1)
	f.headers[e] = &tally.Header{Epoch: e, Devices: root, Count: 5}
	msg := &types.MsgCompleteUnbond{
		Sender: sender.String(), Device: device(1).Public().String(), Epoch: uint64(e), Leaf: core.Encode(&leaves[1]), Index: 1,
	}
	for _, n := range proof.Siblings {
		msg.Siblings = binary.BigEndian.AppendUint64(msg.Siblings, n.Sum)
		msg.Siblings = append(msg.Siblings, n.Hash[:]...)
	}
	return msg
}

// TestUnbondAtOnce: a device that no view has seen leaves with its bond, and the view never sees it.
func TestUnbondAtOnce(t *testing.T) {
	f := setup(t)
	owner := f.account(t, 1, 100_000_000)
	if err := f.register(f.ctx, owner, statement(1, owner, nil), 50_000_000); err != nil {
		t.Fatal(err)
	}
	if _, err := f.msg.UnbondDevice(f.ctx, &types.MsgUnbondDevice{Owner: owner.String(), Device: device(1).Public().String()}); err != nil {
		t.Fatal(err)
	}
	if got := f.bank.Balance(f.ctx, owner[:]); got != 100_000_000-fee {
		t.Errorf("the owner holds %d", got)
	}
	if changes, err := f.keeper.Changes(f.ctx, 6, 0); err != nil || len(changes) != 0 {
		t.Errorf("the next view shows %v, %v", changes, err)
	}
	wantReason(t, "registered again", f.register(f.ctx, owner, statement(1, owner, nil), 50_000_000), core.DeviceKnown)
	if err := f.keeper.Audit(f.ctx); err != nil {
		t.Error(err)
	}
}

func TestUnbond(t *testing.T) {
	f := setup(t)
	owner, stranger := f.account(t, 1, 100_000_000), f.account(t, 2, 0)
	if err := f.register(f.ctx, owner, statement(1, owner, nil), 50_000_000); err != nil {
		t.Fatal(err)
	}
	key := device(1).Public()
	unbond := func(who core.Account) error {
		_, err := f.msg.UnbondDevice(f.ctx, &types.MsgUnbondDevice{Owner: who.String(), Device: key.String()})
		return err
	}
	complete := func(msg *types.MsgCompleteUnbond) error {
		cached, write := f.ctx.CacheContext()
		_, err := f.msg.CompleteUnbond(cached, msg)
		if err == nil {
			write()
		}
		return err
	}
	f.epoch = 8
	wantReason(t, "completed before it began", complete(f.header(12, owner, 0)), core.AlreadyClaimed)
	wantReason(t, "by a stranger", unbond(stranger), core.NotOwner)
	if err := unbond(owner); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "twice", unbond(owner), core.WrongEpoch)
	changes, err := f.keeper.Changes(f.ctx, 9, 0)
	if err != nil || len(changes) != 1 || changes[0].Remove != key {
		t.Errorf("changes: %v, %v", changes, err)
	}
	if burned, err := f.keeper.Penalize(f.ctx, key, 1_000_000); err != nil || burned != 1_000_000 { // a claim shows a penalty meanwhile
		t.Errorf("penalized %d, %v", burned, err)
	}
	if again, err := f.keeper.Penalize(f.ctx, key, 1_000_000); err != nil || again != 0 {
		t.Errorf("the same penalty burned another %d, %v", again, err)
	}
	if later, _ := f.keeper.Changes(f.ctx, 9, 0); len(later) != 1 || later[0].Remove != key {
		t.Errorf("a penalty put the device back into the registry: %v", later)
	}
	wantReason(t, "with a header too early", complete(f.header(11, owner, 0)), core.NotFinal)
	msg := f.header(12, stranger, 3_000_000)
	good := f.headers[12]
	delete(f.headers, 12)
	wantReason(t, "with a header that is not final", complete(msg), core.NotFinal)
	f.headers[12] = good
	forged := *msg
	forged.Leaf = core.Encode(&tally.Leaf{Device: key})
	wantReason(t, "with a leaf without the penalty", complete(&forged), core.BadClaim)
	other := *msg
	other.Leaf = core.Encode(&tally.Leaf{Device: device(2).Public(), Amount: 2000})
	wantReason(t, "with another's leaf", complete(&other), core.BadClaim)
	short := *msg
	short.Siblings = short.Siblings[1:]
	wantReason(t, "with siblings cut", complete(&short), core.BadEncoding)
	if err := complete(msg); err != nil { // anybody may complete; the owner is paid
		t.Fatal(err)
	}
	if got := f.bank.Balance(f.ctx, owner[:]); got != 100_000_000-fee-3_000_000 {
		t.Errorf("the owner holds %d", got)
	}
	wantReason(t, "completed twice", complete(msg), core.AlreadyClaimed)
	wantReason(t, "the key again", f.register(f.ctx, owner, statement(1, owner, nil), 20_000_000), core.DeviceKnown)
	if got, err := f.keeper.Owner(f.ctx, key); err != nil || string(got) != string(owner[:]) {
		t.Errorf("what it earned cannot be claimed any more: %s, %v", got, err)
	}
	if err := f.keeper.Audit(f.ctx); err != nil {
		t.Error(err)
	}
}

func TestMakers(t *testing.T) {
	f := setup(t)
	maker, other := f.account(t, 1, 1_000_000_000), f.account(t, 2, 1_000_000_000)
	res, err := f.msg.RegisterMaker(f.ctx, &types.MsgRegisterMaker{Account: maker.String(), Name: "Stonemason", Url: "https://example.org"})
	if err != nil || res.Id != 1 {
		t.Fatal(res, err)
	}
	if got := f.bank.Balance(f.ctx, maker[:]); got != 800_000_000 { // $100
		t.Errorf("the maker holds %d", got)
	}
	_, err = f.msg.RegisterMaker(f.ctx, &types.MsgRegisterMaker{Account: maker.String(), Name: "a\x1b[31mb"})
	wantReason(t, "a name with an escape", err, core.BadEncoding)
	_, err = f.msg.RegisterModel(f.ctx, &types.MsgRegisterModel{Account: other.String(), Maker: 1, Name: "M", Categories: []uint32{1}})
	wantReason(t, "another's model", err, core.NotOwner)
	_, err = f.msg.RegisterModel(f.ctx, &types.MsgRegisterModel{Account: maker.String(), Maker: 1, Name: "M", Categories: []uint32{2, 1}})
	wantReason(t, "categories out of order", err, core.BadEncoding)
	if _, err := f.msg.RegisterModel(f.ctx, &types.MsgRegisterModel{Account: maker.String(), Maker: 1, Name: "M", Categories: []uint32{1}}); err != nil {
		t.Fatal(err)
	}
	model := func(c core.Category) []byte {
		return statement(1, other, func(s *evidence.Statement) { s.Model, s.Categories = 1, []core.Category{c} })
	}
	wantReason(t, "a category the model is not made for", f.register(f.ctx, other, model(core.Storage), 0), core.UnknownCategory)
	if err := f.register(f.ctx, other, model(core.Wireless), 20_000_000); err != nil {
		t.Error(err)
	}
}
