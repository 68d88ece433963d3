package app

import (
	"fmt"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cairn-network/cairn/chain/refusal"
	core "github.com/cairn-network/cairn/core/types"
)

// waitingPerAccount is how many transactions of one account a node keeps that are in no block yet.
const waitingPerAccount = 64

// Pool is what Gate looks at of CometBFT's mempool.
type Pool interface {
	Size() int
	SizeBytes() int64
}

// gate is the first step of CheckTx. CometBFT refuses everything once its mempool is full, without asking the
// application: so the gate refuses what is not of the lane while there is still room for all that the lane can
// hold. Every node on the way from a validator to the next proposer does so.
type gate struct {
	app      *App
	lane     *Lane
	pool     Pool // nil: no limit
	maxTxs   int
	maxBytes int64
}

// placeKey is that of a *laneTx in a context: the place that a transaction finds if it passes CheckTx.
type placeKey struct{}

// LimitMempool tells the application of the mempool of the node that it runs in, and of its limits. It must be
// called before the node starts.
func (a *App) LimitMempool(pool Pool, maxTxs int, maxBytes int64) {
	a.gate.pool, a.gate.maxTxs, a.gate.maxBytes = pool, maxTxs, maxBytes
}

// busy reports whether what is left of the mempool is the lane's.
func (g *gate) busy(size int) bool {
	return g.pool != nil && (g.pool.Size() >= g.maxTxs-g.maxTxs/laneShare ||
		g.pool.SizeBytes()+int64(size) > g.maxBytes-g.maxBytes/laneShare)
}

// AnteHandle implements sdk.AnteDecorator.
func (g *gate) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	fee, ok := tx.(sdk.FeeTx)
	if !ok || simulate || !ctx.IsCheckTx() { // in a block, all that the proposer took
		return next(ctx, tx, simulate)
	}
	w := g.place(ctx, fee)
	if w == nil {
		if !ctx.IsReCheckTx() {
			if err := g.admit(ctx, fee); err != nil {
				return ctx, refusal.Wrap(err)
			}
		}
		return next(ctx, tx, simulate)
	}
	if w.place == ofJail || w.place == ofValidator && OfTally(tx.GetMsgs()) {
		ctx = ctx.WithMinGasPrices(nil)
	}
	return next(ctx.WithValue(placeKey{}, w), tx, simulate)
}

// admit refuses what must wait with all others and cannot.
func (g *gate) admit(ctx sdk.Context, tx sdk.FeeTx) error {
	if g.busy(len(ctx.TxBytes())) {
		return core.Refuse(core.MempoolFull, "%d transactions of %d bytes wait", g.pool.Size(), g.pool.SizeBytes())
	}
	if n := g.waiting(ctx, tx.FeePayer()); n >= waitingPerAccount {
		return core.Refuse(core.MempoolFull, "%d transactions of %s wait", n, sdk.AccAddress(tx.FeePayer()))
	}
	return nil
}

// waiting returns how many transactions of an account wait: by so much its sequence is ahead of the last block's.
func (g *gate) waiting(ctx sdk.Context, account sdk.AccAddress) uint64 {
	now := g.app.AccountKeeper.GetAccount(ctx, account)
	if now == nil {
		return 0
	}
	committed := g.app.NewUncachedContext(true, ctx.BlockHeader())
	if was := g.app.AccountKeeper.GetAccount(committed, account); was != nil {
		return now.GetSequence() - min(was.GetSequence(), now.GetSequence())
	}
	return now.GetSequence()
}

// place returns the place that a transaction has in the lane, or would find there; nil for none.
func (g *gate) place(ctx sdk.Context, tx sdk.FeeTx) *laneTx {
	if ctx.IsReCheckTx() {
		w, ok := g.lane.find(ctx.TxBytes())
		if !ok {
			return nil
		}
		if w.place == ofValidator && g.bonded(ctx, tx.FeePayer()) || w.place != ofValidator && g.succeeds(ctx, tx) {
			return &w
		}
		g.lane.forget(ctx.TxBytes())
		return nil
	}
	w := &laneTx{tx: tx, raw: string(ctx.TxBytes()), sender: string(tx.FeePayer()), height: ctx.BlockHeight()}
	if g.bonded(ctx, tx.FeePayer()) {
		w.place = ofValidator
		if g.lane.hasRoom(w) {
			return w
		}
		return nil
	}
	if w.place, w.header = openPlace(tx); w.place == noPlace {
		return nil
	}
	if w.place == ofJail {
		v, err := g.app.StakingKeeper.GetValidator(ctx, tx.FeePayer())
		if err != nil {
			return nil
		}
		if v.Tokens.IsUint64() {
			w.weight = v.Tokens.Uint64()
		}
	}
	if !g.lane.hasRoom(w) || g.waiting(ctx, tx.FeePayer()) > 0 || !g.succeeds(ctx, tx) {
		return nil
	}
	return w
}

// bonded reports whether an account operates a bonded validator.
func (g *gate) bonded(ctx sdk.Context, account []byte) bool {
	v, err := g.app.StakingKeeper.GetValidator(ctx, account)
	return err == nil && v.IsBonded()
}

// succeeds tries a transaction's one message out on a copy of the state.
func (g *gate) succeeds(ctx sdk.Context, tx sdk.FeeTx) (ok bool) {
	defer func() {
		if r := recover(); r != nil { // out of gas
			g.app.Logger().Debug("not of the lane", "message", sdk.MsgTypeURL(tx.GetMsgs()[0]), "panic", fmt.Sprint(r))
			ok = false
		}
	}()
	copied, _ := ctx.CacheContext()
	msg := tx.GetMsgs()[0]
	_, err := g.app.MsgServiceRouter().Handler(msg)(copied.WithGasMeter(storetypes.NewGasMeter(laneOpenGas)), msg)
	return err == nil
}
