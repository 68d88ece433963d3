package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cometbft/cometbft/libs/bytes"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	"github.com/cometbft/cometbft/rpc/client/http"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/chain/client"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// liar is a node's RPC whose answers somebody changes on the way.
type liar struct {
	*http.HTTP
	state  func(key []byte, res *coretypes.ResultABCIQuery) // answers from the store
	query  func(path string, res *coretypes.ResultABCIQuery)
	blocks func(*coretypes.ResultBlockchainInfo) error
}

func (l *liar) ABCIQuery(ctx context.Context, path string, data bytes.HexBytes) (*coretypes.ResultABCIQuery, error) {
	return l.ABCIQueryWithOptions(ctx, path, data, rpcclient.DefaultABCIQueryOptions)
}

func (l *liar) ABCIQueryWithOptions(ctx context.Context, path string, data bytes.HexBytes, o rpcclient.ABCIQueryOptions) (*coretypes.ResultABCIQuery, error) {
	res, err := l.HTTP.ABCIQueryWithOptions(ctx, path, data, o)
	switch {
	case err != nil:
	case o.Prove && l.state != nil:
		l.state(data, res)
	case !o.Prove && l.query != nil:
		l.query(path, res)
	}
	return res, err
}

func (l *liar) BlockchainInfo(ctx context.Context, from, to int64) (*coretypes.ResultBlockchainInfo, error) {
	res, err := l.HTTP.BlockchainInfo(ctx, from, to)
	if err == nil && l.blocks != nil {
		err = l.blocks(res)
	}
	return res, err
}

// TestProven holds what is proven against what the node says, through the socket of a real node; then the node
// lies about each answer, and the lie is found.
func TestProven(t *testing.T) {
	c := start(t, 1, 20)
	inside := c.open(t, c.nodes[0].Client().Client)
	payer := types.NewPrivateKey([32]byte{4, 1})
	for _, msg := range []ledger.Msg{
		ledger.Buy{Amount: 10 * stone},
		ledger.GrantKey{Key: payer.Public(), Limit: 1000, Expiry: 100, Proof: payer.Sign("grant", chainID, evidence.GrantBytes(c.accounts[0]))},
	} {
		if _, err := inside.Submit(t.Context(), c.accounts[0], msg); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(t, 47)
	remote, err := http.New("http://"+c.validators[0].Addresses.RPC, "/websocket")
	if err != nil {
		t.Fatal(err)
	}
	node := &liar{HTTP: remote}
	outside, err := client.New(t.Context(), client.Config{RPC: node})
	if err != nil {
		t.Fatal(err)
	}
	second, err := inside.Block(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	pin := client.Pin{Height: 2, Hash: second.Hash}
	if again, err := client.ParsePin(pin.String()); err != nil || again != pin {
		t.Fatalf("%v, %v", again, err)
	}
	proven, err := outside.Prove(t.Context(), pin, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		pin    client.Pin
		period time.Duration
	}{
		{client.Pin{Height: 2, Hash: types.Hash{1}}, time.Hour}, {client.Pin{Height: 100_000, Hash: pin.Hash}, time.Hour}, {pin, time.Nanosecond},
	} {
		if _, err := outside.Prove(t.Context(), x.pin, x.period); !errors.Is(err, client.ErrPin) {
			t.Errorf("pin %v, %v old at most: %v", x.pin, x.period, err)
		}
	}
	for _, bad := range []string{"", "2", ":" + pin.Hash.String(), "2:", "2:xy", "0:" + pin.Hash.String(), "-1:" + pin.Hash.String(), "2" + pin.Hash.String(), "2:" + pin.Hash.String() + ":"} {
		if p, err := client.ParsePin(bad); err == nil {
			t.Errorf("%q is block %v", bad, p)
		}
	}
	if _, err := inside.Prove(t.Context(), pin, time.Hour); err == nil || errors.Is(err, client.ErrPin) {
		t.Errorf("a node in this process is asked for proofs: %v", err)
	}
	newest := proven.Newest().Height
	for _, x := range [][2]uint64{{0, 5}, {6, 5}, {5, newest}, {newest, newest}} {
		if list, err := proven.Hashes(t.Context(), x[0], x[1]); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("hashes of %v of %d blocks: %d, %v", x, newest, len(list), err)
		}
	}
	if list, err := proven.Hashes(t.Context(), newest-1, newest-1); err != nil || len(list) != 1 {
		t.Errorf("the newest that the state names: %v, %v", list, err)
	}
	node.query = func(_ string, res *coretypes.ResultABCIQuery) { // it makes up a region without changes
		res.Response.Code = 0
		res.Response.Value, _ = (&tallytypes.QueryChangesResponse{Sum: types.Hash{}.String()}).Marshal()
	}
	if list, err := proven.Changes(t.Context(), 2, 99); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("changes of a region that there is not: %v, %v", list, err)
	}
	node.query = nil
	// answers lists what can be asked. Each is the same from both.
	type source interface {
		Epoch(context.Context, types.Epoch) (*ledger.Epoch, error)
		Changes(context.Context, types.Epoch, types.Region) ([]tally.Change, error)
		Header(context.Context, types.Epoch, types.Region) (*ledger.Header, error)
		Settlement(context.Context, types.Epoch) (*tally.Settlement, error)
		Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error)
	}
	answers := map[string]func(source) (any, error){
		"epoch":      func(s source) (any, error) { return s.Epoch(t.Context(), 2) },
		"changes":    func(s source) (any, error) { return s.Changes(t.Context(), 2, 0) },
		"header":     func(s source) (any, error) { return s.Header(t.Context(), 1, 0) },
		"settlement": func(s source) (any, error) { return s.Settlement(t.Context(), 1) },
		"hashes":     func(s source) (any, error) { return s.Hashes(t.Context(), 3, 40) },
		"new hashes": func(s source) (any, error) { return s.Hashes(t.Context(), 41, 44) },
		"one hash":   func(s source) (any, error) { return s.Hashes(t.Context(), 20, 20) },
	}
	for what, ask := range answers {
		want, err1 := ask(inside)
		got, err2 := ask(proven)
		if err1 != nil || err2 != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v, %v (- said, + proven):\n%s", what, err1, err2, cmp.Diff(want, got))
		}
	}
	if _, err := proven.Header(t.Context(), 99, 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a header that there is not: %v", err)
	}

	lies := map[string]struct {
		about []string
		tell  func()
	}{
		"another value": {[]string{"epoch", "changes", "header", "settlement", "hashes"}, func() {
			node.state = func(_ []byte, res *coretypes.ResultABCIQuery) { res.Response.Value[len(res.Response.Value)-1] ^= 1 }
		}},
		"nothing": {[]string{"epoch", "changes", "header", "settlement"}, func() {
			node.state = func(_ []byte, res *coretypes.ResultABCIQuery) { res.Response.Value = nil }
		}},
		"no proof": {[]string{"epoch", "header", "settlement"}, func() {
			node.state = func(_ []byte, res *coretypes.ResultABCIQuery) { res.Response.ProofOps = nil }
		}},
		"credits that nobody bought": {[]string{"changes"}, func() {
			node.query = func(_ string, res *coretypes.ResultABCIQuery) {
				var out tallytypes.QueryChangesResponse
				if out.Unmarshal(res.Response.Value) != nil || len(out.Changes) == 0 {
					return
				}
				var list []tally.Change
				for _, raw := range out.Changes {
					var c tally.Change
					if err := types.Decode(raw, &c); err != nil {
						t.Error(err)
					}
					if c.Holder != nil {
						c.Holder.Bought *= 2
					}
					list = append(list, c)
				}
				out.Sum, out.Changes = tally.AddChanges(types.Hash{}, list).String(), nil
				for i := range list {
					out.Changes = append(out.Changes, types.Encode(&list[i]))
				}
				res.Response.Value, _ = out.Marshal()
			}
		}},
		"another block": {[]string{"hashes", "new hashes", "one hash"}, func() {
			node.blocks = func(res *coretypes.ResultBlockchainInfo) error {
				for _, m := range res.BlockMetas {
					m.Header.Time = m.Header.Time.Add(time.Second)
				}
				return nil
			}
		}},
	}
	for lie, x := range lies {
		x.tell()
		for _, what := range x.about {
			if got, err := answers[what](proven); !errors.Is(err, client.ErrProof) {
				t.Errorf("%s in the place of %s: %v, %v", lie, what, got, err)
			}
		}
		node.state, node.query, node.blocks = nil, nil, nil
	}
	// What the node can't answer is no lie, and not taken for an answer.
	node.state = func(_ []byte, res *coretypes.ResultABCIQuery) { res.Response.Code, res.Response.Log = 1, "pruned" }
	if got, err := proven.Header(t.Context(), 1, 0); err == nil || errors.Is(err, client.ErrProof) || errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a node that has pruned its state: %v, %v", got, err)
	}
	node.state = nil
	// Before there were proofs, the node's word was all: it is believed.
	lies["credits that nobody bought"].tell()
	if list, err := outside.Changes(t.Context(), 2, 0); err != nil || len(list) == 0 {
		t.Errorf("%v, %v", list, err)
	}
	node.query = nil
	// A node without the blocks themselves proves the hashes that the state keeps.
	node.blocks = func(*coretypes.ResultBlockchainInfo) error {
		return errors.New("min height 3 can't be greater than max height 2")
	}
	want, err1 := answers["new hashes"](inside)
	got, err2 := answers["new hashes"](proven)
	if err1 != nil || err2 != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v, %v (- said, + proven):\n%s", err1, err2, cmp.Diff(want, got))
	}
}
