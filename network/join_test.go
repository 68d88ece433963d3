package network

import (
	"context"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/spf13/viper"

	"github.com/cosmos/cosmos-sdk/baseapp"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"

	"cosmossdk.io/log/v2"
)

// joins gives verifier i, which is stopped, a chain node that has joined by a snapshot just now, and takes away
// all that it kept but its keys.
func (p *panel) joins(i int) (stop func()) {
	p.Helper()
	pin, err := client.ParsePin(p.n.Addresses().Trust)
	if err != nil {
		p.Fatal(err)
	}
	home := p.TempDir()
	joining := local.Joining{Home: home, RPC: []string{p.n.Addresses().RPC}, Height: pin.Height, Hash: pin.Hash, BlockTime: p.n.cfg.BlockTime}
	joining.Hash[0] ^= 1
	if _, err := local.Join(p.Context(), joining); err == nil {
		p.Fatal("it joined a chain that is not the trusted one")
	}
	joining.Hash = pin.Hash
	if _, err := local.Join(p.Context(), joining); err != nil {
		p.Fatal(err)
	}
	m, err := local.Start(p.Context(), local.Config{Home: home, Logger: quieter(p.n.log).With("chain", "joined")})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { m.Stop() })
	ctx, cancel := context.WithTimeout(p.Context(), 2*time.Minute)
	defer cancel()
	if err := m.WaitHeight(ctx, 1); err != nil { // the snapshot's: it is not ready yet
		p.Fatal(err)
	}
	keys, err := local.Keyring(p.n.chainHome(i), app.NewEncoding().Codec)
	if err != nil {
		p.Fatal(err)
	}
	l, err := client.New(ctx, client.Config{RPC: m.Client().Client, Keyring: keys, Log: p.n.log})
	if err != nil {
		p.Fatal(err)
	}
	p.n.ledgers[i].Close()
	p.n.ledgers[i] = l
	kept, err := os.ReadDir(p.n.path("verifier", "1"))
	if err != nil {
		p.Fatal(err)
	}
	for _, f := range kept {
		if f.Name() != "keys" {
			if err := os.RemoveAll(p.n.path("verifier", "1", f.Name())); err != nil {
				p.Fatal(err)
			}
		}
	}
	p.start(i)
	return func() {
		if base := m.Comet().BlockStore().Base(); base < int64(pin.Height) {
			p.Errorf("the node that joined has blocks from %d: it replayed", base)
		}
		m.Stop()
	}
}

// renewed exports the chain of a home in which nothing runs, as the validator has it whose last block is the
// highest, and has all begin anew from that.
func renewed(t *testing.T, n *Network) *genutiltypes.AppGenesis {
	t.Helper()
	var last *genutiltypes.AppGenesis
	for i := range n.layout.Validators {
		home := n.chainHome(i)
		db, err := dbm.NewDB("application", dbm.GoLevelDBBackend, home+"/data")
		if err != nil {
			t.Fatal(err)
		}
		a, err := app.Open(log.NewNopLogger(), db, viper.New(), baseapp.SetChainID(n.layout.ChainID))
		if err != nil {
			t.Fatal(err)
		}
		out, err := a.Export(nil)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		if last != nil && last.InitialHeight >= out.Height {
			continue
		}
		if last, err = genutiltypes.AppGenesisFromFile(home + "/config/genesis.json"); err != nil {
			t.Fatal(err)
		}
		last.AppState, last.InitialHeight = out.AppState, out.Height
		last.Consensus = genutiltypes.NewConsensusGenesis(out.ConsensusParams, out.Validators)
		if err := local.Dated(home, last); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n.layout.Validators {
		if _, err := local.Renew(n.chainHome(i), last); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// TestTwoVerifiers: two make a header together, and neither alone. One that lost everything and whose own chain
// node has just joined by a snapshot starts from the last final state, and signs within two epochs. A network
// that begins anew from its export goes on.
func TestTwoVerifiers(t *testing.T) {
	whole(t)
	cfg := Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Log: logTo(""), Validators: 2, Nodes: 1, Homes: -1, BlockTime: quick,
		ChainOptions: map[string]any{"state-sync.snapshot-interval": 20}}
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if n != nil {
			n.Stop()
		}
	}()
	p := newPanel(t, n)
	h := p.next(1, "a final header", ledger.Final)
	if _, all := p.signed(h, 0); all != 2 {
		t.Errorf("%d signed", all)
	}
	n.StopVerifier(1)
	e := p.epoch() + 1
	if h := p.next(e, "what one of two makes", append(taken, ledger.Skipped)...); h.Status != ledger.Skipped {
		t.Errorf("one of two verifiers, and epoch %d is %s", h.Epoch, h.Status)
	}
	leave := p.joins(1)
	e = p.epoch()
	h = p.next(e-1, "a header with the verifier that joined", taken...)
	if _, all := p.signed(h, 1); all != 2 || h.Epoch > e+2 {
		t.Errorf("it joined in epoch %d, and %d signed the header of epoch %d", e, all, h.Epoch)
	}
	p.isRight(h)

	account, err := n.Ledger().Lookup(CustomerName)
	if err != nil {
		t.Fatal(err)
	}
	before, err := n.Ledger().Account(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	n.Stop()
	leave()
	genesis := renewed(t, n)
	if n, err = Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	p = newPanel(t, n)
	head, err := n.Ledger().Block(t.Context(), uint64(genesis.InitialHeight))
	if err != nil || !head.Time.Equal(genesis.GenesisTime) {
		t.Errorf("the first block: %+v, %v; genesis of %v", head, err, genesis.GenesisTime)
	}
	if _, err := n.Ledger().Block(t.Context(), head.Height-1); types.ReasonOf(err) != types.NotFound {
		t.Errorf("a block of the first chain: %v", err)
	}
	h = p.next(head.Epoch+1, "a header of an epoch that began after the export", taken...)
	if _, all := p.signed(h, 0); all != 2 {
		t.Errorf("%d signed", all)
	}
	p.isRight(h)
	old := p.next(head.Epoch-1, "the tally of an epoch that began before", append(taken, ledger.Skipped)...)
	t.Logf("exported in epoch %d: %d is %s", head.Epoch, old.Epoch, old.Status)
	after, err := n.Ledger().Account(t.Context(), account)
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("an account: %+v, before the export %+v; %v", after, before, err)
	}
	if supply, err := n.Ledger().Supply(t.Context()); err != nil || !supply.Balanced {
		t.Errorf("%+v, %v", supply, err)
	}
}
