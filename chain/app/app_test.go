package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/tx/signing/aminojson"
	"github.com/cosmos/gogoproto/proto"
	"github.com/spf13/viper"
	protov2 "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"

	"cosmossdk.io/log/v2"
)

// TestMessages holds every message of this chain to what wallets need: a signer, and an Amino name of its own.
func TestMessages(t *testing.T) {
	enc := NewEncoding()
	files, err := proto.MergedRegistry()
	if err != nil {
		t.Fatal(err)
	}
	encoder := aminojson.NewEncoder(aminojson.EncoderOptions{FileResolver: files})
	names := map[string]string{}
	for _, url := range enc.InterfaceRegistry.ListImplementations(sdk.MsgInterfaceProtoName) {
		if !strings.HasPrefix(url, "/cairn.") {
			continue
		}
		d, err := files.FindDescriptorByName(protoreflect.FullName(url[1:]))
		if err != nil {
			t.Fatal(err)
		}
		msg := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
		for i := range msg.Descriptor().Fields().Len() { // messages inside are never nil in Go
			if f := msg.Descriptor().Fields().Get(i); f.Kind() == protoreflect.MessageKind && !f.IsList() {
				msg.Set(f, msg.NewField(f))
			}
		}
		out, err := encoder.Marshal(msg)
		if err != nil {
			t.Errorf("%s cannot be signed as Amino JSON: %v", url, err)
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(out), `{"type":"`), `"`)
		if !strings.HasPrefix(name, "cairn/") || names[name] != "" || len(name) > 39 { // hardware wallets cut longer names
			t.Errorf("%s has the Amino name %q, which is foreign, too long, or that of %s", url, name, names[name])
		}
		names[name] = url
		if _, err := enc.InterfaceRegistry.SigningContext().GetSigners(protov2.Message(msg)); err != nil && !strings.Contains(err.Error(), "empty address") {
			t.Errorf("%s has no signer: %v", url, err)
		}
	}
	if len(names) < 20 {
		t.Errorf("only %d messages were found", len(names))
	}
	if err := enc.InterfaceRegistry.SigningContext().Validate(); err != nil {
		t.Error(err)
	}
}

// TestModules finds every module in every order it belongs to: the manager panics on one that was forgotten.
func TestModules(t *testing.T) {
	a := New(log.NewNopLogger(), dbm.NewMemDB(), true, viper.New())
	enc := a.Encoding()
	state := NewDefaultGenesis(enc.Codec)
	if err := Basics().ValidateGenesis(enc.Codec, enc.TxConfig, state); err != nil {
		t.Error(err)
	}
	for name := range a.Manager().Modules {
		if _, ok := Basics()[name]; !ok {
			t.Errorf("module %s has no codec and no default genesis", name)
		}
	}
	for name := range moduleAccounts {
		if a.AccountKeeper.GetModuleAddress(name) == nil {
			t.Errorf("module account %s is unknown to the bank", name)
		}
	}
	if _, err := Open(log.NewNopLogger(), brokenDB{dbm.NewMemDB()}, viper.New()); err == nil {
		t.Error("a database that cannot be read was opened")
	}
}

type brokenDB struct{ *dbm.MemDB }

func (brokenDB) Get([]byte) ([]byte, error) { return nil, errors.New("disk on fire") }

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

func commit(name, payer string, gas uint64) *fakeTx {
	return &fakeTx{name: name, payer: payer, gas: gas, msgs: []sdk.Msg{&tallytypes.MsgCommitTally{}}}
}

// TestLane floods the mempool and still finds a validator's tally at the head of the block, and nobody else's.
func TestLane(t *testing.T) {
	l := &laneMempool{&Lane{validator: func(_ context.Context, a []byte) bool { return strings.HasPrefix(string(a), "val") }}, encodeFake}
	buy := &fakeTx{name: "buy-from-validator", payer: "val-a", gas: 10, msgs: []sdk.Msg{&credittypes.MsgBuyCredits{}}}
	mixed := &fakeTx{name: "mixed", payer: "val-a", gas: 10, msgs: []sdk.Msg{&tallytypes.MsgCommitTally{}, &credittypes.MsgBuyCredits{}}}
	for _, tx := range []*fakeTx{buy, mixed, commit("stranger", "mallory", 10), commit("honest", "val-a", 10), commit("honest", "val-a", 10)} {
		if err := l.Insert(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	if l.CountTx() != 1 {
		t.Fatalf("the lane holds %d transactions", l.CountTx())
	}
	for i := range 100 { // one validator cannot fill it
		l.Insert(t.Context(), commit(fmt.Sprint("spam-", i), "val-b", 10))
	}
	if l.CountTx() != 1+lanePerSender {
		t.Errorf("after a flood by one validator the lane holds %d", l.CountTx())
	}
	known := map[string]*fakeTx{"honest": commit("honest", "val-a", 10)}
	var flood [][]byte
	for i := range 1000 {
		name := fmt.Sprintf("flood-%04d", i)
		known[name] = &fakeTx{name: name, gas: 10, msgs: []sdk.Msg{&credittypes.MsgBuyCredits{}}}
		flood = append(flood, []byte(name))
	}
	flood = append(flood, []byte("honest"))
	decode := func(raw []byte) (sdk.Tx, error) { return known[string(raw)], nil }
	valid := func(tx sdk.Tx) bool { return !strings.HasPrefix(tx.(*fakeTx).name, "spam") }
	txs := propose(l.snapshot(), flood, budget{bytes: 1000, gas: 900}, decode, valid)
	if len(txs) != 90 || string(txs[0]) != "honest" || string(txs[1]) != "flood-0000" {
		t.Errorf("%d transactions, beginning with %s", len(txs), txs[:min(2, len(txs))])
	}
	if slices.ContainsFunc(txs[1:], func(b []byte) bool { return bytes.Equal(b, []byte("honest")) }) {
		t.Error("the lane's transaction is in the block twice")
	}
	heavy := propose([]laneTx{{commit("heavy", "val-a", 500), "heavy", "val-a"}}, nil, budget{bytes: 1000, gas: 900}, decode, valid)
	if len(heavy) != 0 {
		t.Error("the lane took more than its share")
	}
	l.Remove(commit("honest", "val-a", 10))
	if l.CountTx() != lanePerSender {
		t.Error("what is in a block stays in the lane")
	}
}
