package app

import (
	"context"
	"slices"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/mempool"

	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
)

const (
	laneShare     = 4   // one part in so many of a block's bytes and gas is kept for the lane
	laneSize      = 512 // transactions that wait in the lane at most
	lanePerSender = 16
)

// Lane keeps room in every block for what validators send to agree on tallies, however many other transactions wait. A
// transaction is of the lane if it holds nothing else and a bonded validator's operator account pays for it. What finds the
// lane full, or its sender's part of it, waits with all others, in CometBFT's order.
//
// It is the application's mempool in form only: transactions are kept and gossiped by CometBFT, and the lane remembers
// which of them go first. CheckTx inserts and blocks remove, from different goroutines.
type Lane struct {
	validator func(context.Context, []byte) bool // whether an account operates a bonded validator

	mu      sync.Mutex
	waiting []laneTx // in order of arrival; guarded by mu
}

type laneTx struct {
	tx     sdk.Tx
	raw    string // its encoding, by which it is known
	sender string
}

var _ mempool.Mempool = (*laneMempool)(nil)

// laneMempool is the Lane as the SDK calls it.
type laneMempool struct {
	*Lane
	encode sdk.TxEncoder
}

// ofTally reports whether tx holds nothing but messages by which validators agree on tallies.
func ofTally(tx sdk.Tx) bool {
	for _, m := range tx.GetMsgs() {
		switch m.(type) {
		case *tallytypes.MsgCommitTally, *tallytypes.MsgAddSignatures, *tallytypes.MsgVoteAppeal, *tallytypes.MsgReportEquivocation:
		default:
			return false
		}
	}
	return len(tx.GetMsgs()) > 0
}

// Insert remembers a transaction that passed CheckTx, if it is of the lane and there is room.
func (l *laneMempool) Insert(ctx context.Context, tx sdk.Tx) error {
	fee, ok := tx.(sdk.FeeTx)
	if !ok || !ofTally(tx) || !l.validator(ctx, fee.FeePayer()) {
		return nil
	}
	raw, err := l.encode(tx)
	if err != nil {
		return nil // it stays with the others
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sender, of := string(fee.FeePayer()), 0
	for _, w := range l.waiting {
		if w.raw == string(raw) {
			return nil
		}
		if w.sender == sender {
			of++
		}
	}
	if len(l.waiting) < laneSize && of < lanePerSender {
		l.waiting = append(l.waiting, laneTx{tx, string(raw), sender})
	}
	return nil
}

// Remove forgets a transaction that is in a block or no longer valid.
func (l *laneMempool) Remove(tx sdk.Tx) error {
	if !ofTally(tx) {
		return nil
	}
	raw, err := l.encode(tx)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w laneTx) bool { return w.raw == string(raw) })
	return nil
}

// CountTx returns how many wait.
func (l *laneMempool) CountTx() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Select is not used: proposals are made by propose.
func (l *laneMempool) Select(context.Context, [][]byte) mempool.Iterator { return nil }

func (l *Lane) snapshot() []laneTx {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.waiting)
}

// setLane makes l the mempool and has proposals begin with it.
func (a *App) setLane() {
	l := &Lane{validator: func(ctx context.Context, account []byte) bool {
		v, err := a.StakingKeeper.GetValidator(ctx, account)
		return err == nil && v.IsBonded()
	}}
	a.SetMempool(&laneMempool{l, a.encoding.TxConfig.TxEncoder()})
	a.SetPrepareProposal(func(ctx sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		b := budget{bytes: req.MaxTxBytes, gas: -1}
		if p := ctx.ConsensusParams().Block; p != nil && p.MaxGas > 0 {
			b.gas = p.MaxGas
		}
		return &abci.ResponsePrepareProposal{Txs: propose(l.snapshot(), req.Txs, b, a.TxDecode, a.verify)}, nil
	})
	a.SetProcessProposal(func(sdk.Context, *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		// What does not decode or fails costs its sender the block's room and nobody else anything.
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	})
}

// verify reports whether tx would be taken after those that were verified for this proposal before it.
func (a *App) verify(tx sdk.Tx) bool {
	_, err := a.PrepareProposalVerifyTx(tx)
	return err == nil
}

// budget is what a block, or a part of it, may still hold; gas −1 is without limit.
type budget struct{ bytes, gas int64 }

func (b *budget) take(size int, gas uint64) bool {
	if int64(size) > b.bytes || b.gas >= 0 && gas > uint64(b.gas) {
		return false
	}
	b.bytes -= int64(size)
	if b.gas >= 0 {
		b.gas -= int64(gas)
	}
	return true
}

// propose returns a block's transactions: those of the lane that are valid now, up to their share, then the others in
// CometBFT's order as far as they fit.
func propose(lane []laneTx, others [][]byte, all budget, decode func([]byte) (sdk.Tx, error), valid func(sdk.Tx) bool) (txs [][]byte) {
	part := budget{all.bytes / laneShare, all.gas}
	if all.gas > 0 {
		part.gas = all.gas / laneShare
	}
	first := map[string]bool{}
	for _, w := range lane {
		gas := gasOf(w.tx)
		if p := part; p.take(len(w.raw), gas) && valid(w.tx) {
			part = p
			all.take(len(w.raw), gas)
			first[w.raw] = true
			txs = append(txs, []byte(w.raw))
		}
	}
	for _, raw := range others {
		if first[string(raw)] {
			continue
		}
		tx, err := decode(raw)
		if err != nil {
			continue
		}
		if !all.take(len(raw), gasOf(tx)) {
			break // later ones of the same sender would fail without it
		}
		txs = append(txs, raw)
	}
	return txs
}

func gasOf(tx sdk.Tx) uint64 {
	if f, ok := tx.(sdk.FeeTx); ok {
		return f.GetGas()
	}
	return 0
}
