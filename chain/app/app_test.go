package app

import (
	"errors"
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
	state := NewDefaultGenesis(enc.Codec, nil)
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
