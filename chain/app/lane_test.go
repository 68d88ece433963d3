package app

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"

	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
)

// fakeTx is as much of a transaction as the lane looks at.
type fakeTx struct {
	sdk.FeeTx
	name  string
	gas   uint64
	payer string
	msgs  []sdk.Msg
}

func (f *fakeTx) GetMsgs() []sdk.Msg { return f.msgs }
func (f *fakeTx) GetGas() uint64     { return f.gas }
func (f *fakeTx) FeePayer() []byte   { return []byte(f.payer) }

func encodeFake(tx sdk.Tx) ([]byte, error) { return []byte(tx.(*fakeTx).name), nil }

func waiting(name, payer string, gas uint64, p place) laneTx {
	f := &fakeTx{name: name, payer: payer, gas: gas, msgs: []sdk.Msg{&tallytypes.MsgCommitTally{}}}
	return laneTx{tx: f, raw: name, sender: payer, place: p}
}

// commit is a transaction of a validator.
func commit(name, payer string, gas uint64) laneTx { return waiting(name, payer, gas, ofValidator) }

func names(txs [][]byte) string {
	var list []string
	for _, raw := range txs {
		list = append(list, string(raw))
	}
	return strings.Join(list, " ")
}

func valid(sdk.Tx) bool { return true }

// TestLane floods the mempool and still finds a validator's tally at the head of the block.
func TestLane(t *testing.T) {
	l := newLane()
	l.insert(commit("honest", "val-a", 10))
	l.insert(commit("honest", "val-a", 10))
	if l.CountTx() != 1 {
		t.Fatalf("the lane holds %d transactions", l.CountTx())
	}
	for i := range 100 { // one validator cannot fill it
		l.insert(commit(fmt.Sprint("spam-", i), "val-b", 10))
	}
	if l.CountTx() != 1+lanePerSender {
		t.Errorf("after a flood by one validator the lane holds %d", l.CountTx())
	}
	known := map[string]*fakeTx{"honest": {name: "honest", gas: 10, payer: "val-a"}}
	var flood [][]byte
	for i := range 1000 {
		name := fmt.Sprintf("flood-%04d", i)
		known[name] = &fakeTx{name: name, gas: 10, payer: name, msgs: []sdk.Msg{&credittypes.MsgBuyCredits{}}}
		flood = append(flood, []byte(name))
	}
	flood = append(flood, []byte("honest"))
	decode := func(raw []byte) (sdk.Tx, error) { return known[string(raw)], nil }
	noSpam := func(tx sdk.Tx) bool { return !strings.HasPrefix(tx.(*fakeTx).name, "spam") }
	txs := propose(l.snapshot(), flood, budget{bytes: 1000, gas: 900}, decode, noSpam)
	if len(txs) != 90 || string(txs[0]) != "honest" || string(txs[1]) != "flood-0000" {
		t.Errorf("%d transactions, beginning with %s", len(txs), txs[:min(2, len(txs))])
	}
	if slices.ContainsFunc(txs[1:], func(b []byte) bool { return bytes.Equal(b, []byte("honest")) }) {
		t.Error("the lane's transaction is in the block twice")
	}
	heavy := newLane()
	heavy.insert(commit("heavy", "val-a", 500))
	if txs := propose(heavy.snapshot(), nil, budget{bytes: 1000, gas: 900}, decode, valid); len(txs) != 0 {
		t.Error("the lane took more than its share")
	}
	m := &laneMempool{l, encodeFake}
	m.Remove(&fakeTx{name: "honest"})
	if l.CountTx() != lanePerSender {
		t.Error("what is in a block stays in the lane")
	}
	l.insert(laneTx{tx: &fakeTx{name: "later"}, raw: "later", sender: "val-c", place: ofValidator, height: laneBlocks + 1})
	if l.CountTx() != 1 {
		t.Errorf("what never came into a block keeps %d places", l.CountTx()-1)
	}
}

// TestLaneTurns: of the lane's gas, each sender gets a transaction's worth before any gets two, whoever came
// first; and who was served goes behind those who were not.
func TestLaneTurns(t *testing.T) {
	l := newLane()
	for i := range lanePerSender {
		l.insert(commit(fmt.Sprint("greedy-", i), "greedy", laneGas))
	}
	l.insert(commit("a", "a", 1_000_000))
	l.insert(commit("b", "b", 1_000_000))
	all := budget{bytes: MaxBlockBytes, gas: MaxBlockGas}
	txs := propose(l.snapshot(), nil, all, nil, valid)
	if got := names(txs[:3]); got != "greedy-0 a b" || len(txs) != 9 {
		t.Errorf("a block of %d, beginning with %s", len(txs), got)
	}
	small := budget{bytes: MaxBlockBytes, gas: laneShare * laneGas} // there is room for one of the greedy one's
	txs = propose(l.snapshot(), nil, small, nil, valid)
	if got := names(txs); got != "greedy-0" {
		t.Fatalf("a small block of %s", got)
	}
	l.forget([]byte("greedy-0"))
	if got := names(propose(l.snapshot(), nil, small, nil, valid)); got != "a b" {
		t.Errorf("the next small block is of %s", got)
	}
	for _, w := range []laneTx{commit("gas", "c", laneGas+1), commit(strings.Repeat("x", laneBytes+1), "c", 1)} {
		if l.insert(w); l.hasRoom(&w) || l.queues["c"] != nil {
			t.Errorf("a place for %d bytes and %d gas", len(w.raw), gasOf(w.tx))
		}
	}
}

// TestLaneOpen: what strangers may have of the lane: an account has one place, a header a few, and of
// validators in jail those with the most stake; together they take half of the lane's gas.
func TestLaneOpen(t *testing.T) {
	l := newLane()
	for i := range 2 * laneOpen {
		w := waiting(fmt.Sprint("jail-", i), fmt.Sprint("jailed-", i), laneOpenGas, ofJail)
		w.weight = uint64(i)
		l.insert(w)
	}
	if _, ok := l.find([]byte("jail-0")); ok || l.count[ofJail] != laneOpen {
		t.Errorf("%d wait to leave jail, the one of no stake among them: %v", l.count[ofJail], ok)
	}
	if _, ok := l.find(fmt.Appendf(nil, "jail-%d", 2*laneOpen-1)); !ok {
		t.Error("the one with the most stake does not")
	}
	for i := range 2 * laneOpen {
		w := waiting(fmt.Sprint("appeal-", i), fmt.Sprint("appellant-", i), laneOpenGas, ofAppeal)
		w.header.epoch = uint64(i / 10)
		l.insert(w)
	}
	if want := (2*laneOpen/10)*lanePerHeader + lanePerHeader; l.count[ofAppeal] != want {
		t.Errorf("%d appeals wait, want %d", l.count[ofAppeal], want)
	}
	again := waiting("appeal-again", "appellant-0", 1, ofAppeal)
	again.header.epoch = 1000
	if l.hasRoom(&again) {
		t.Error("an account has two places")
	}
	l.insert(commit("commit", "val", laneGas))
	txs := propose(l.snapshot(), nil, budget{bytes: MaxBlockBytes, gas: MaxBlockGas}, nil, valid)
	if n := MaxBlockGas / laneShare / 2 / laneOpenGas; len(txs) != n+1 || !strings.Contains(names(txs), "commit") {
		t.Errorf("a block of %d, want %d and the commit", len(txs), n)
	}
	for msg, want := range map[sdk.Msg]place{&tallytypes.MsgAppeal{}: ofAppeal, &slashingtypes.MsgUnjail{}: ofJail, &tallytypes.MsgClaim{}: noPlace} {
		if got, _ := openPlace(&fakeTx{msgs: []sdk.Msg{msg}}); got != want {
			t.Errorf("%T has place %d", msg, got)
		}
	}
	if got, _ := openPlace(&fakeTx{msgs: []sdk.Msg{&tallytypes.MsgAppeal{}, &credittypes.MsgBuyCredits{}}}); got != noPlace {
		t.Error("a purchase beside an appeal is in the lane")
	}
}

// TestHeavyStranger: a transaction that does not fit keeps its own account waiting and nobody else.
func TestHeavyStranger(t *testing.T) {
	known := map[string]*fakeTx{
		"heavy": {payer: "mallory", gas: 950}, "later": {payer: "mallory", gas: 1}, "other": {payer: "alice", gas: 10},
	}
	decode := func(raw []byte) (sdk.Tx, error) { return known[string(raw)], nil }
	lane := newLane()
	lane.insert(commit("c", "val", 100))
	txs := propose(lane.snapshot(), [][]byte{[]byte("heavy"), []byte("later"), []byte("other")}, budget{bytes: 1000, gas: 1000}, decode, valid)
	if got := names(txs); got != "c other" {
		t.Errorf("a block of %s", got)
	}
}
