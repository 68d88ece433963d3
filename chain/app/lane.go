package app

import (
	"cmp"
	"context"
	"slices"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/mempool"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"

	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
)

const (
	laneShare     = 4          // one part in so many of a block's bytes and gas, and of the mempool, is kept for the lane
	laneSize      = 896        // transactions of validators that wait in the lane at most
	laneOpen      = 64         // appeals of others that wait in it at most, and as many validators that ask to leave jail
	lanePerSender = 16         // of one validator; of others, one
	lanePerHeader = 4          // appeals of others against one header
	laneBytes     = 16 << 10   // of one transaction; all places taken, that is the lane's share of the mempool of CometConfig
	laneGas       = 10_000_000 // of one transaction of a validator
	laneOpenGas   = 600_000    // of one transaction of others
	laneBlocks    = 500        // a place is taken for so many blocks at most
)

// Lane keeps room, in every mempool and in every block, for what validators send to agree on tallies, however
// much else waits. These transactions are of the lane:
//
//   - what a bonded validator's operator account pays for. It is all that the account sends, as its sequence puts one after the
//     other; only messages of tallies are free of the minimum gas price;
//   - one appeal, and one request to leave jail, which would succeed if they were executed now, and before which nothing else of their
//     sender waits. Both have places of their own: validators in jail in the order of their stake, appeals a few for each header. So
//     what takes a place is in the next block, and takes effect there: it opens the vote, or ends the jail.
//
// A place has limits of bytes and gas. What finds none waits with all others, in CometBFT's order, and is
// refused while the mempool is busy (Gate).
//
// It is the application's mempool in form only: transactions are kept and gossiped by CometBFT, and the lane
// remembers which of them go first. CheckTx inserts and blocks remove, from different goroutines.
type Lane struct {
	mu     sync.Mutex
	queues map[string]*queue // by sender; none is empty; guarded by mu
	count  [places]int       // waiting, by kind; guarded by mu
	clock  uint64            // counts arrivals and departures; guarded by mu
}

// queue is what one sender has in the lane, in order of arrival.
type queue struct {
	waiting []laneTx
	served  uint64 // when one of them last left
}

// place is a kind of transaction of the lane.
type place int

const (
	noPlace place = iota
	ofValidator
	ofAppeal
	ofJail
	places
)

type laneTx struct {
	tx     sdk.Tx
	raw    string // its encoding, by which it is known
	sender string
	place  place
	weight uint64 // of ofJail: stake
	header header // of ofAppeal
	height int64  // at arrival
}

type header struct {
	region uint32
	epoch  uint64
}

var _ mempool.Mempool = (*laneMempool)(nil)

// laneMempool is the Lane as the SDK calls it.
type laneMempool struct {
	*Lane
	encode sdk.TxEncoder
}

// newLane returns an empty lane.
func newLane() *Lane { return &Lane{queues: map[string]*queue{}} }

// OfTally reports whether msgs are nothing but messages by which validators agree on tallies. A bonded
// validator's operator sends them without a fee.
func OfTally(msgs []sdk.Msg) bool {
	for _, m := range msgs {
		switch m.(type) {
		case *tallytypes.MsgCommitTally, *tallytypes.MsgAddSignatures, *tallytypes.MsgVoteAppeal, *tallytypes.MsgReportEquivocation:
		default:
			return false
		}
	}
	return len(msgs) > 0
}

// openPlace returns the place that a stranger's transaction may have.
func openPlace(tx sdk.Tx) (place, header) {
	if msgs := tx.GetMsgs(); len(msgs) == 1 {
		switch m := msgs[0].(type) {
		case *tallytypes.MsgAppeal:
			return ofAppeal, header{m.Region, m.Epoch}
		case *slashingtypes.MsgUnjail:
			return ofJail, header{}
		}
	}
	return noPlace, header{}
}

// room reports whether w would find a place. The caller holds mu.
func (l *Lane) room(w *laneTx) bool {
	q := l.queues[w.sender]
	switch {
	case len(w.raw) > laneBytes:
		return false
	case w.place == ofValidator:
		return gasOf(w.tx) <= laneGas && l.count[ofValidator] < laneSize && (q == nil || len(q.waiting) < lanePerSender)
	case gasOf(w.tx) > laneOpenGas || q != nil:
		return false
	case w.place == ofAppeal:
		same := 0
		for _, q := range l.queues {
			for _, o := range q.waiting {
				if o.place == ofAppeal && o.header == w.header {
					same++
				}
			}
		}
		return l.count[ofAppeal] < laneOpen && same < lanePerHeader
	}
	least := l.least()
	return l.count[ofJail] < laneOpen || least != nil && least.weight < w.weight
}

// least returns the validator in jail with the least stake. The caller holds mu.
func (l *Lane) least() (least *laneTx) {
	for _, q := range l.queues {
		for i := range q.waiting {
			if o := &q.waiting[i]; o.place == ofJail && (least == nil || o.weight < least.weight) {
				least = o
			}
		}
	}
	return least
}

// hasRoom reports whether w would find a place now.
func (l *Lane) hasRoom(w *laneTx) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.room(w)
}

// find returns what is known of a transaction of the lane.
func (l *Lane) find(raw []byte) (laneTx, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queues {
		for _, w := range q.waiting {
			if w.raw == string(raw) {
				return w, true
			}
		}
	}
	return laneTx{}, false
}

// insert gives w a place, if there is room. One in jail takes that of the least stake.
func (l *Lane) insert(w laneTx) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(o *laneTx) bool { return o.height+laneBlocks < w.height }) // CometBFT forgot it, or it can never be
	if !l.room(&w) {
		return
	}
	if w.place == ofJail && l.count[ofJail] >= laneOpen {
		out := l.least().raw
		l.drop(func(o *laneTx) bool { return o.raw == out })
	}
	q := l.queues[w.sender]
	if q == nil {
		l.clock++
		q = &queue{served: l.clock}
		l.queues[w.sender] = q
	}
	if slices.ContainsFunc(q.waiting, func(o laneTx) bool { return o.raw == w.raw }) {
		return
	}
	q.waiting = append(q.waiting, w)
	l.count[w.place]++
}

// drop takes transactions out. The caller holds mu.
func (l *Lane) drop(gone func(*laneTx) bool) {
	for sender, q := range l.queues {
		before := len(q.waiting)
		q.waiting = slices.DeleteFunc(q.waiting, func(o laneTx) bool {
			if !gone(&o) {
				return false
			}
			l.count[o.place]--
			return true
		})
		if len(q.waiting) < before {
			l.clock++
			q.served = l.clock
		}
		if len(q.waiting) == 0 {
			delete(l.queues, sender)
		}
	}
}

// Insert remembers a transaction that passed CheckTx, if Gate found it a place.
func (l *laneMempool) Insert(ctx context.Context, _ sdk.Tx) error {
	if w, ok := ctx.Value(placeKey{}).(*laneTx); ok {
		l.insert(*w)
	}
	return nil
}

// Remove forgets a transaction that is in a block or no longer valid.
func (l *laneMempool) Remove(tx sdk.Tx) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queues) == 0 {
		return nil
	}
	raw, err := l.encode(tx)
	if err != nil {
		return nil
	}
	l.drop(func(o *laneTx) bool { return o.raw == string(raw) })
	return nil
}

// forget takes one transaction out.
func (l *Lane) forget(raw []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(o *laneTx) bool { return o.raw == string(raw) })
}

// CountTx returns how many wait.
func (l *Lane) CountTx() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[ofValidator] + l.count[ofAppeal] + l.count[ofJail]
}

// Select is not used: proposals are made by propose.
func (l *laneMempool) Select(context.Context, [][]byte) mempool.Iterator { return nil }

// snapshot returns the queues, whoever was served longest ago first: so nobody goes before all others for long,
// whatever he sends.
func (l *Lane) snapshot() [][]laneTx {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*queue
	for _, q := range l.queues {
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b *queue) int { return cmp.Compare(a.served, b.served) })
	var out [][]laneTx
	for _, q := range list {
		out = append(out, slices.Clone(q.waiting))
	}
	return out
}

// setLane makes l the mempool and has proposals begin with it.
func (a *App) setLane(l *Lane) {
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

// share returns one part in n.
func (b budget) share(n int64) budget {
	b.bytes /= n
	if b.gas > 0 {
		b.gas /= n
	}
	return b
}

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

// propose returns a block's transactions: those of the lane that are valid now, up to its share, of each sender
// the first before the second of any, others than validators up to half of it; then all that wait, in
// CometBFT's order as far as they fit.
func propose(lane [][]laneTx, others [][]byte, all budget, decode func([]byte) (sdk.Tx, error), valid func(sdk.Tx) bool) (txs [][]byte) {
	part := all.share(laneShare)
	open := part.share(2)
	first, out := map[string]bool{}, map[string]bool{}
	for i := range lanePerSender {
		for _, queue := range lane {
			if i >= len(queue) || out[queue[i].sender] {
				continue
			}
			w, gas := queue[i], gasOf(queue[i].tx)
			p, o := part, open
			if !p.take(len(w.raw), gas) || w.place != ofValidator && !o.take(len(w.raw), gas) || !valid(w.tx) {
				out[w.sender] = true // the next ones would fail without it
				continue
			}
			part, open = p, o
			all.take(len(w.raw), gas)
			first[w.raw] = true
			txs = append(txs, []byte(w.raw))
		}
	}
	clear(out)
	for _, raw := range others {
		if first[string(raw)] {
			continue
		}
		tx, err := decode(raw)
		if err != nil {
			continue
		}
		sender := payer(tx)
		if out[sender] || !all.take(len(raw), gasOf(tx)) {
			out[sender] = true
			continue
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

// payer returns the account that pays for a transaction.
func payer(tx sdk.Tx) string {
	if f, ok := tx.(sdk.FeeTx); ok {
		return string(f.FeePayer())
	}
	return ""
}
