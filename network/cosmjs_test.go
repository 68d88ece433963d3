package network

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/ledger"
)

// testWallet lets CosmJS, a wallet library that nobody here wrote, do what a customer and an operator do.
func testWallet(t *testing.T, n *Network) {
	needCosmJS(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l := n.Ledger()
	account, words, err := l.CreateAccount("cosmjs")
	if err != nil {
		t.Fatal(err)
	}
	community, err := l.Lookup(communityName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(ctx, community, ledger.Send{To: account, Amount: 100 * stoneUnit}); err != nil {
		t.Fatal(err)
	}
	// A device of its own, and one of the network's that a final tally owes something.
	key := types.NewPrivateKey([32]byte{1, 2, 3})
	statement := evidence.Statement{
		Chain: n.ChainID(), Device: key.Public(), Owner: account, Categories: []types.Category{types.Storage}, Cell: cell, Expiry: 10_000,
	}.Sign(key)
	device, owner, before := owed(ctx, t, n)
	var out struct {
		Chain, Address, Before, After, Rest, Payer string
		PlainHeight                                uint64
		Bought, Granted, Registered, Claimed       struct{ Height, Events int }
	}
	raw := cosmjs(ctx, t, "wallet.mjs", map[string]any{
		"rpc": n.Addresses().RPC, "rest": n.Addresses().REST, "api": n.Addresses().API, "words": words,
		"statement": base64.StdEncoding.EncodeToString(statement.Encode()), "device": device.String(),
	}, &out)
	if out.Chain != n.ChainID() || out.Address != account.String() || out.PlainHeight == 0 || out.After != out.Rest {
		t.Errorf("%s", raw)
	}
	if out.Bought.Events == 0 || out.Claimed.Events == 0 {
		t.Errorf("the Comet38 client saw no events: %s", raw)
	}
	info, err := l.Account(ctx, account)
	if err != nil || info.Bought == 0 {
		t.Errorf("bought %+v: %v", info, err)
	}
	payer, err := types.ParseKey(out.Payer)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := l.Grant(ctx, payer); err != nil || g.Account != account || g.Limit != 1_000_000 {
		t.Errorf("grant %+v: %v", g, err)
	}
	if d, err := l.Device(ctx, key.Public()); err != nil || d.Owner != account {
		t.Errorf("device %+v: %v", d, err)
	}
	if after, err := l.Claimed(ctx, device); err != nil || after <= before {
		t.Errorf("claimed of %v: %d after %d: %v", device, after, before, err)
	}
	_ = owner
}

func needCosmJS(t *testing.T) {
	t.Helper()
	testutil.Node(t, "testdata/cosmjs")
}

// cosmjs runs a script of testdata/cosmjs with one argument, and returns what it printed, decoded into out too.
func cosmjs(ctx context.Context, t *testing.T, script string, in map[string]any, out any) []byte {
	t.Helper()
	argument, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", script, string(argument))
	cmd.Dir = "testdata/cosmjs"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, raw, stderr.Bytes())
	}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return raw
}

// owed waits for a device that a final tally owes more than was claimed.
func owed(ctx context.Context, t *testing.T, n *Network) (device types.Key, owner types.Account, claimed types.Ustone) {
	t.Helper()
	for range n.Ledger().Watch(ctx) {
		claims, err := n.Claimable(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(claims) == 0 {
			continue
		}
		d, err := n.Ledger().Device(ctx, claims[0].Leaf.Device)
		if err != nil {
			t.Fatal(err)
		}
		claimed, err := n.Ledger().Claimed(ctx, d.Key)
		if err != nil {
			t.Fatal(err)
		}
		return d.Key, d.Owner, claimed
	}
	t.Fatal("no final tally owes anybody")
	return
}
