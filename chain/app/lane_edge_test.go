package app

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
)

// TestLaneBounds takes the last place of each kind, and finds none behind it.
func TestLaneBounds(t *testing.T) {
	full := func(what string, l *Lane, w laneTx) {
		t.Helper()
		if l.hasRoom(&w) {
			t.Errorf("%s: there is room for one more", what)
		}
	}
	room := func(what string, l *Lane, w laneTx) {
		t.Helper()
		if !l.hasRoom(&w) {
			t.Errorf("%s: there is no room", what)
		}
	}
	l := newLane()
	room("as long as can be", l, commit(strings.Repeat("x", laneBytes), "c", laneGas))
	room("a stranger's gas", l, waiting("a", "a", laneOpenGas, ofAppeal))
	full("more of a stranger's gas", l, waiting("a", "a", laneOpenGas+1, ofAppeal))
	for i := range laneSize {
		room("validators", l, commit(fmt.Sprint(i), fmt.Sprint(i), 1))
		l.insert(commit(fmt.Sprint(i), fmt.Sprint(i), 1))
	}
	full("validators", l, commit("more", "more", 1))

	l = newLane()
	appeal := func(i int) laneTx {
		w := waiting(fmt.Sprint(i), fmt.Sprint(i), 1, ofAppeal)
		w.header.epoch = uint64(i)
		return w
	}
	for i := range laneOpen {
		room("appeals", l, appeal(i))
		l.insert(appeal(i))
	}
	full("appeals", l, appeal(laneOpen))

	l = newLane()
	jail := func(i int, stake uint64) laneTx {
		w := waiting(fmt.Sprint(i), fmt.Sprint(i), 1, ofJail)
		w.weight = stake
		return w
	}
	for i := range laneOpen {
		l.insert(jail(i, uint64(10+i)))
	}
	full("less stake than the least", l, jail(1000, 9))
	full("as much as the least", l, jail(1000, 10))
	room("more than the least", l, jail(1000, 11))

	l = newLane()
	old := commit("old", "a", 1)
	old.height = 7
	l.insert(old)
	later := commit("later", "b", 1)
	later.height = 7 + laneBlocks
	l.insert(later)
	if l.CountTx() != 2 {
		t.Error("a place is lost a block too early")
	}
	latest := commit("latest", "c", 1)
	latest.height = 8 + laneBlocks
	l.insert(latest)
	if l.CountTx() != 2 || len(l.queues) != 2 {
		t.Errorf("%d places, %d senders", l.CountTx(), len(l.queues))
	}
	if !OfTally([]sdk.Msg{&tallytypes.MsgCommitTally{}, &tallytypes.MsgVoteAppeal{}}) || OfTally(nil) ||
		OfTally([]sdk.Msg{&tallytypes.MsgCommitTally{}, &credittypes.MsgBuyCredits{}}) {
		t.Error("what is of the tally is that alone")
	}
}

// TestProposeBounds: what goes into a block, to the byte and the gas.
func TestProposeBounds(t *testing.T) {
	decode := func(raw []byte) (sdk.Tx, error) {
		name, payer, _ := strings.Cut(string(raw), "/")
		if name == "junk" {
			return nil, errors.New("junk")
		}
		return &fakeTx{name: name, payer: payer, gas: 10}, nil
	}
	others := func(list ...string) (out [][]byte) {
		for _, s := range list {
			out = append(out, []byte(s))
		}
		return out
	}
	lane := func(list ...laneTx) [][]laneTx {
		l := newLane()
		for _, w := range list {
			l.insert(w)
		}
		return l.snapshot()
	}
	ofSeven := func(name string, gas uint64) laneTx { return commit(name+"/val-"+name, "val-"+name, gas) } // of so many bytes
	for _, c := range []struct {
		what   string
		lane   [][]laneTx
		others [][]byte
		all    budget
		want   string
	}{
		{"bytes", nil, others("a/a", "b/b"), budget{6, 1000}, "a/a b/b"},
		{"a byte less", nil, others("a/a", "b/b"), budget{5, 1000}, "a/a"},
		{"gas", nil, others("a/a", "b/b"), budget{100, 20}, "a/a b/b"},
		{"less gas", nil, others("a/a", "b/b"), budget{100, 19}, "a/a"},
		{"gas without a bound", nil, others("a/a", "b/b"), budget{100, -1}, "a/a b/b"},
		{"the lane's part of the bytes", lane(ofSeven("x", 1)), nil, budget{7 * laneShare, 1000}, "x/val-x"},
		{"a byte less than that", lane(ofSeven("x", 1)), nil, budget{7*laneShare - 1, 1000}, ""},
		{"the lane's part of the gas", lane(ofSeven("x", 10)), nil, budget{100, 10 * laneShare}, "x/val-x"},
		{"less than that", lane(ofSeven("x", 10)), nil, budget{100, 10*laneShare - 1}, ""},
		{"what the lane has is in no other's part", lane(ofSeven("x", 10)), others("a/a", "b/b"), budget{7 * laneShare, 50}, "x/val-x a/a b/b"},
		{"nor twice", lane(ofSeven("x", 10)), others("x/val-x", "a/a"), budget{100, 1000}, "x/val-x a/a"},
		{"what is none", nil, others("junk", "a/a"), budget{100, 1000}, "a/a"},
	} {
		if got := names(propose(c.lane, c.others, c.all, decode, valid)); got != c.want {
			t.Errorf("%s: a block of %q, want %q", c.what, got, c.want)
		}
	}
	// The second of a sender counts on the first.
	l := lane(commit("1", "val", 1), commit("2", "val", 1), commit("3", "other", 1))
	if got := names(propose(l, nil, budget{100, 1000}, decode, func(tx sdk.Tx) bool { return tx.(*fakeTx).name != "1" })); got != "3" {
		t.Errorf("a block of %q", got)
	}
}
