package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/testbank"
	"github.com/cairn-network/cairn/chain/x/reward/keeper"
	"github.com/cairn-network/cairn/chain/x/reward/types"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	core "github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger/ledgertest"
)

const escrow = "tally"

type fixture struct {
	t     *testing.T
	bank  *testbank.Bank
	ctx   sdk.Context
	k     keeper.Keeper
	msg   types.MsgServer
	epoch core.Epoch
}

func (f *fixture) Epoch(context.Context) (core.Epoch, error) { return f.epoch, nil }

const supply = 400_000_000_000_000

func setup(t *testing.T) *fixture {
	f := &fixture{t: t, epoch: 1}
	f.bank, f.ctx = testbank.New(types.ModuleName, escrow, authtypes.FeeCollectorName)
	if err := f.bank.Fund(f.ctx, sdk.AccAddress(make([]byte, 20)), supply); err != nil {
		t.Fatal(err)
	}
	f.k = f.keeper(types.ModuleName)
	f.must(f.k.InitGenesis(f.ctx, types.DefaultGenesis(ledgertest.Economy().Category...)))
	f.msg = keeper.NewMsgServer(f.k)
	return f
}

func (f *fixture) keeper(store string) keeper.Keeper {
	k, err := keeper.New(f.bank.Codec, f.bank.Store(store), f.bank.Authority, escrow, f.bank)
	f.must(err)
	k.SetClock(f)
	return k
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) held(module string) core.Ustone {
	return core.Ustone(f.bank.Balance(f.ctx, authtypes.NewModuleAddress(module)))
}

// work is an epoch in which wireless devices earned so much weight.
func work(e core.Epoch, weight uint64) econ.Work {
	return econ.Work{Epoch: e, Price: 500_000_000, Bonus: 1_000_000, Weight: []econ.Weight{{Category: core.Wireless, Weight: core.U64(weight)}}}
}

// TestEmit: what is minted is what core/econ says, and each part arrives where it belongs.
func TestEmit(t *testing.T) {
	f := setup(t)
	p := ledgertest.Economy()
	day := econ.Genesis(supply)
	var minted core.Ustone
	var security core.Ustone
	for e := core.Epoch(1); e <= 60; e++ {
		now := core.Ustone(supply) + minted
		day = day.Advance(econ.DayOf(e), now)
		w := work(e, 1_000_000_000_000_000)
		if e%7 == 0 { // somebody paid fees in the block before
			f.must(f.bank.Fund(f.ctx, authtypes.NewModuleAddress(authtypes.FeeCollectorName), 1_000_000_000))
			f.must(f.k.EndBlock(f.ctx))
			w.Fees = 1_000_000_000
		}
		want, err := econ.Emit(&p, day, w)
		f.must(err)
		w.Fees = 77 // the keeper counts for itself
		got, err := f.k.Emit(f.ctx, w, now)
		f.must(err)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("epoch %d (- econ, + keeper):\n%s", e, d)
		}
		if e%7 == 0 && got.Security >= security {
			t.Errorf("fees do not lower the validators' part: %d, before %d", got.Security, security)
		}
		security = got.Security
		minted += got.Total()
		if f.held(types.ModuleName) != got.Security {
			t.Fatalf("epoch %d: the module holds %d, the validators' part is %d", e, f.held(types.ModuleName), got.Security)
		}
		// The collector is emptied at the start of each block, so it is not counted twice.
		f.must(f.bank.SendCoinsFromModuleToModule(f.ctx, authtypes.FeeCollectorName, escrow,
			f.bank.GetAllBalances(f.ctx, authtypes.NewModuleAddress(authtypes.FeeCollectorName))))
		f.must(f.k.EndBlock(f.ctx))
		if f.held(types.ModuleName) != 0 || f.held(authtypes.FeeCollectorName) != got.Security {
			t.Fatalf("epoch %d: %d stays, %d reached the collector", e, f.held(types.ModuleName), f.held(authtypes.FeeCollectorName))
		}
		f.must(f.bank.SendCoinsFromModuleToModule(f.ctx, authtypes.FeeCollectorName, escrow,
			f.bank.GetAllBalances(f.ctx, authtypes.NewModuleAddress(authtypes.FeeCollectorName))))
		f.must(f.k.Audit(f.ctx))
	}
	if total := core.Ustone(f.bank.GetSupply(f.ctx, testbank.Denom).Amount.Uint64()); total != supply+minted+8*1_000_000_000 {
		t.Errorf("supply %d after %d were minted", total, minted)
	}
}

// change decides new parameters, from the default ones.
func (f *fixture) change(edit func(*types.Params)) (core.Epoch, error) {
	p := types.ParamsOf(ledgertest.Economy())
	edit(&p)
	res, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: f.bank.Authority, Params: p})
	if err != nil {
		return 0, err
	}
	return core.Epoch(res.From), nil
}

func TestParams(t *testing.T) {
	f := setup(t)
	f.epoch = 100
	for _, c := range []struct {
		what string
		edit func(*types.Params)
		want core.Reason
	}{
		{"parts that do not make a whole", func(p *types.Params) { p.Burn++ }, core.ParamBound},
		{"more shortfall than the protocol allows", func(p *types.Params) { p.Shortfall = 3 }, core.ParamBound},
		{"a wash that pays", func(p *types.Params) { p.Bonus = 401 }, core.ParamWash},
		{"a step too far", func(p *types.Params) { p.Spread = 50 }, core.ParamStep},
		{"another unit", func(p *types.Params) { p.Categories[0].Unit++ }, core.ParamBound},
		{"another resolution", func(p *types.Params) { p.Categories[0].Hex++ }, core.ParamBound},
		{"a weight that is no number", func(p *types.Params) { p.Categories[0].Target = "-1" }, core.ParamBound},
		{"long rules", func(p *types.Params) { p.Categories[1].Rules = make([]byte, tally.MaxRules+1) }, core.ParamBound},
		{"a category less", func(p *types.Params) { p.Categories = p.Categories[1:] }, core.ParamBound},
	} {
		if _, err := f.change(c.edit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
	if _, err := f.msg.UpdateParams(f.ctx, &types.MsgUpdateParams{Authority: "somebody", Params: types.ParamsOf(ledgertest.Economy())}); err == nil {
		t.Error("anybody may change parameters")
	}

	from, err := f.change(func(p *types.Params) { p.Spread = 27 }) // dearer credits protect more
	if err != nil || from != 101 {
		t.Fatalf("tightened from epoch %d, %v", from, err)
	}
	if p, _ := f.k.Economy(f.ctx); p.Spread != 25 {
		t.Fatal("it holds before its epoch")
	}
	f.must(f.k.Begin(f.ctx, 101))
	if p, _ := f.k.Economy(f.ctx); p.Spread != 27 {
		t.Fatalf("spread %d", p.Spread)
	}
	f.epoch = 101
	from, err = f.change(func(p *types.Params) { p.Spread, p.Daily = 27, 55 })
	if err != nil || from != 101+econ.TimelockSilent {
		t.Fatalf("loosened from epoch %d, %v", from, err)
	}
	f.must(f.k.Begin(f.ctx, from-1))
	if p, _ := f.k.Economy(f.ctx); p.Daily != 50 {
		t.Fatal("the timelock opened early")
	}
	g, err := f.k.ExportGenesis(f.ctx)
	f.must(err)
	f.must(g.Validate())
	if g.Pending == nil || len(g.History) != 1 {
		t.Fatalf("exported %+v", g)
	}
	again := f.keeper(escrow) // another store
	f.must(again.InitGenesis(f.ctx, g))
	back, err := again.ExportGenesis(f.ctx)
	f.must(err)
	if d := cmp.Diff(g, back); d != "" {
		t.Errorf("export, import, export:\n%s", d)
	}
	f.must(f.k.Begin(f.ctx, from))
	if p, _ := f.k.Economy(f.ctx); p.Daily != 55 {
		t.Fatalf("daily %d", p.Daily)
	}
}

// TestPending: what waits out its timelock is not replaced by what is decided meanwhile, only withdrawn, and
// then in so many words.
func TestPending(t *testing.T) {
	f := setup(t)
	f.epoch = 100
	loosen := func(p *types.Params) { p.Daily = 55 }
	from, err := f.change(loosen)
	f.must(err)
	f.epoch = 300
	for what, edit := range map[string]func(*types.Params){
		"a change that loosens":          func(p *types.Params) { p.Shortfall, p.Outlier = 2, 160 },
		"the same again, with new words": loosen,
		"a change that tightens":         func(p *types.Params) { p.Spread = 27 },
		"parameters out of bounds":       func(p *types.Params) { p.Burn++ },
	} {
		if _, err := f.change(edit); !errors.Is(err, core.ParamPending) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if p, err := f.k.Pending.Get(f.ctx); err != nil || p.From != uint64(from) || p.Params.Daily != 55 {
		t.Fatalf("waits: %+v, %v", p, err)
	}
	if now, err := f.change(func(*types.Params) {}); err != nil || now != 300 {
		t.Fatalf("withdrawn: %d, %v", now, err)
	}
	if has, err := f.k.Pending.Has(f.ctx); err != nil || has {
		t.Fatal("it still waits")
	}
	if from, err = f.change(func(p *types.Params) { p.Spread = 27 }); err != nil || from != 301 { // as one proposal's second message
		t.Fatalf("tightened from %d, %v", from, err)
	}
	f.must(f.k.Begin(f.ctx, 301))
	f.epoch = 301
	if p, _ := f.k.Economy(f.ctx); p.Spread != 27 || p.Daily != 50 {
		t.Fatalf("spread %d, daily %d", p.Spread, p.Daily)
	}
	f.must(f.k.Begin(f.ctx, 100+econ.TimelockSilent)) // nothing comes back
	if p, _ := f.k.Economy(f.ctx); p.Daily != 50 {
		t.Fatal("what was withdrawn took force")
	}
	if _, err := f.change(func(p *types.Params) { p.Spread = 26 }); err != nil { // nothing waits
		t.Fatal(err)
	}
}

// TestDropped: a change that no longer passes when its time comes is dropped, and the chain goes on as it was.
func TestDropped(t *testing.T) {
	f := setup(t)
	f.epoch = 100
	from, err := f.change(func(p *types.Params) { p.Daily = 55 })
	f.must(err)
	p, err := f.k.Pending.Get(f.ctx)
	f.must(err)
	p.Params.Daily = 90 // no step: as if the bounds had moved in an upgrade
	f.must(f.k.Pending.Set(f.ctx, p))
	f.must(f.k.Begin(f.ctx, from))
	if now, _ := f.k.Economy(f.ctx); now.Daily != 50 {
		t.Fatalf("daily %d", now.Daily)
	}
	if has, _ := f.k.Pending.Has(f.ctx); has {
		t.Fatal("it waits for ever")
	}
	f.must(f.k.Audit(f.ctx))
}

// TestRules: a category's own rules wait for the timelock, whatever else changes with them, and then hold for
// that category alone.
func TestRules(t *testing.T) {
	f := setup(t)
	f.epoch = 100
	rules := bytes.Repeat([]byte{7}, tally.MaxRules)
	edit := func(p *types.Params) { p.Spread, p.Categories[1].Rules = 27, rules }
	category := core.Category(types.ParamsOf(ledgertest.Economy()).Categories[1].Category)
	from, err := f.change(edit)
	if err != nil || from != 100+econ.TimelockSilent {
		t.Fatalf("rules from epoch %d, %v", from, err)
	}
	f.must(f.k.Begin(f.ctx, from-1))
	if got, err := f.k.Rules(f.ctx, category); err != nil || len(got) != 0 {
		t.Fatalf("the timelock opened early: %x, %v", got, err)
	}
	f.must(f.k.Begin(f.ctx, from))
	for _, row := range types.ParamsOf(ledgertest.Economy()).Categories {
		got, err := f.k.Rules(f.ctx, core.Category(row.Category))
		if want := core.Category(row.Category) == category; err != nil || bytes.Equal(got, rules) != want || len(got) > 0 != want {
			t.Errorf("%s: rules of %d bytes, %v", core.Category(row.Category), len(got), err)
		}
	}
	if _, err := f.k.Rules(f.ctx, 999); !errors.Is(err, core.UnknownCategory) {
		t.Errorf("rules of a category that is not there: %v", err)
	}
	f.epoch = from
	from, err = f.change(edit) // the same rules
	if err != nil || from != f.epoch+1 {
		t.Errorf("unchanged rules wait until epoch %d, %v", from, err)
	}
	g, err := f.k.ExportGenesis(f.ctx)
	f.must(err)
	again := f.keeper(escrow)
	f.must(again.InitGenesis(f.ctx, g))
	if got, err := again.Rules(f.ctx, category); err != nil || !bytes.Equal(got, rules) {
		t.Errorf("imported rules of %d bytes, %v", len(got), err)
	}
}
