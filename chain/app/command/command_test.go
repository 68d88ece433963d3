package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/store"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/core/types"
)

// cairn runs a command line as the program would, and returns what it printed.
func cairn(ctx context.Context, args ...string) (string, error) {
	root := &cobra.Command{Use: "cairn", SilenceUsage: true, SilenceErrors: true}
	chain := New(app.NewEncoding, nil)
	root.AddCommand(chain.Commands()...)
	if err := chain.Complete(root, args...); err != nil {
		return "", err
	}
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cairn(t.Context(), args...)
	if err != nil {
		t.Fatalf("cairn %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestValidator makes a chain by hand, as the SDK's users do, and runs it with `start`.
func TestValidator(t *testing.T) {
	home := t.TempDir()
	at := func(args ...string) []string { return append(args, "--home", home) }
	if _, err := cairn(t.Context(), at("start")...); err == nil || !strings.Contains(err.Error(), "cairn init") {
		t.Errorf("start without a chain: %v", err)
	}
	must(t, at("init", "stone", "--chain-id", "cairn-cli")...)
	must(t, at("keys", "add", "me", "--keyring-backend", "test")...)
	must(t, at("genesis", "add-genesis-account", "me", "2000000000ustone", "--keyring-backend", "test")...)
	must(t, at("genesis", "gentx", "me", "1000000000ustone", "--chain-id", "cairn-cli", "--keyring-backend", "test")...)
	must(t, at("genesis", "collect-gentxs")...)
	must(t, at("genesis", "validate")...)
	genesis, err := os.ReadFile(filepath.Join(home, "config", "genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"max_bytes": "4194304"`, `"symbol": "STONE"`, `"bond_denom": "ustone"`} {
		if !bytes.Contains(genesis, []byte(want)) {
			t.Errorf("genesis lacks %s", want)
		}
	}
	addresses := rewrite(t, home)

	node := "tcp://" + addresses.RPC
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := cairn(ctx, at("start", "--log_level", "error")...)
		ended <- err
	}()
	wait(t, func() bool {
		select {
		case err := <-ended:
			t.Fatalf("start ended early: %v", err)
		default:
		}
		out, err := cairn(t.Context(), at("status", "--node", node)...)
		return err == nil && !strings.Contains(out, `"latest_block_height":"0"`)
	})
	if out := must(t, at("query", "bank", "total-supply", "--node", node)...); !strings.Contains(out, "2000000000") {
		t.Errorf("supply: %s", out)
	}
	if out := must(t, at("query", "credit", "quote", "1000000", "--node", node)...); !strings.Contains(out, "498750") {
		t.Errorf("quote: %s", out)
	}
	for path, want := range map[string]string{"/metrics?format=prometheus": "go_goroutines", "/openapi.json": "Cairn ledger", "/cairn/credit/v1/price": `"lo":"500000000"`} {
		if body := get(t, "http://"+addresses.REST+path); !strings.Contains(body, want) {
			t.Errorf("%s lacks %q: %.200s", path, want, body)
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("start ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("start did not end")
	}
	signed := signNext(t, home)
	out := must(t, at("export")...)
	if !strings.Contains(out, `"chain_id": "cairn-cli"`) {
		t.Errorf("export: %.200s", out)
	}

	// The chain begins anew from its export.
	file := filepath.Join(t.TempDir(), "export.json")
	must(t, at("export", "--output-document", file)...)
	if raw, err := os.ReadFile(file); err != nil || !strings.Contains(out, string(raw)) {
		t.Errorf("the export in a file differs: %v", err)
	}
	doc, err := genutiltypes.AppGenesisFromFile(file)
	if err != nil || doc.InitialHeight != signed+1 || time.Since(doc.GenesisTime) > time.Hour {
		t.Fatalf("the export begins with block %d at %v: %v", doc.InitialHeight, doc.GenesisTime, err)
	}
	if _, err := cairn(t.Context(), at("renew", filepath.Join(home, "config", "genesis.json"))...); err == nil || !strings.Contains(err.Error(), "begins with block 1") {
		t.Errorf("renew from a genesis that is no export: %v", err)
	}
	if out := must(t, at("renew", file)...); !strings.Contains(out, fmt.Sprintf("block %d will be the first", doc.InitialHeight)) {
		t.Errorf("renew: %s", out)
	}
	n, err := local.Start(t.Context(), local.Config{Home: home}) // `start` registers metrics, once in a process
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	if err := n.WaitHeight(t.Context(), doc.InitialHeight+1); err != nil {
		t.Fatal(err)
	}
	if out := must(t, at("query", "bank", "total-supply", "--node", node)...); !strings.Contains(out, "2000000000") {
		t.Errorf("supply after renew: %s", out)
	}
	if base := n.Comet().BlockStore().Base(); base != doc.InitialHeight {
		t.Errorf("after renew it has blocks from %d", base)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := cairn(t.Context(), at("renew", file)...); err == nil || !strings.Contains(err.Error(), "has signed block") {
		t.Errorf("renew from an export that the chain is past: %v", err)
	}
}

// signNext has the validator in a home sign for the block after its last, as it has done if it stopped while
// that was decided, and returns its height.
func signNext(t *testing.T, home string) int64 {
	t.Helper()
	db, err := cmtdb.NewDB("blockstore", cmtdb.GoLevelDBBackend, filepath.Join(home, "data"))
	if err != nil {
		t.Fatal(err)
	}
	next := store.NewBlockStore(db).Height() + 1
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	pv := privval.LoadFilePV(filepath.Join(home, "config", "priv_validator_key.json"), filepath.Join(home, "data", "priv_validator_state.json"))
	vote := cmtproto.Vote{Type: cmtproto.PrecommitType, Height: next, Round: 1, Timestamp: time.Now(), BlockID: cmtproto.BlockID{
		Hash: make([]byte, 32), PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: make([]byte, 32)},
	}}
	if err := pv.SignVote("cairn-cli", &vote); err != nil {
		t.Fatal(err)
	}
	return next
}

// rewrite gives the home ports that are free, and short blocks.
func rewrite(t *testing.T, home string) local.Addresses {
	t.Helper()
	var list []string
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	a := local.Addresses{RPC: list[0], P2P: list[1], GRPC: list[2], REST: list[3]}
	edit(t, filepath.Join(home, "config", "config.toml"),
		`laddr = "tcp://127.0.0.1:26657"`, `laddr = "tcp://`+a.RPC+`"`,
		`laddr = "tcp://0.0.0.0:26656"`, `laddr = "tcp://`+a.P2P+`"`,
		`timeout_commit = "5s"`, `timeout_commit = "100ms"`,
		`pprof_laddr = "localhost:6060"`, `pprof_laddr = ""`)
	edit(t, filepath.Join(home, "config", "app.toml"),
		`address = "tcp://localhost:1317"`, `address = "tcp://`+a.REST+`"`,
		`address = "localhost:9090"`, `address = "`+a.GRPC+`"`)
	return a
}

func edit(t *testing.T, path string, pairs ...string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s lacks %s", path, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAddresses: transactions of the SDK's modules that name an account read it, and refuse one that is none.
func TestAddresses(t *testing.T) {
	home, good := t.TempDir(), app.Authority()
	plan := []string{"upgrade", "software-upgrade", "v2", "--title", "t", "--summary", "s", "--upgrade-height", "9", "--upgrade-info", "{}", "--no-validate",
		"--deposit", "1ustone"}
	for what, c := range map[string]struct{ good, bad []string }{
		"send":       {[]string{"bank", "send", good, good, "1ustone"}, []string{"bank", "send", good, "cairn1nobody", "1ustone"}},
		"multi-send": {[]string{"bank", "multi-send", good, good, good, "1ustone"}, []string{"bank", "multi-send", good, "cairn1nobody", good, "1ustone"}},
		"upgrade":    {append(plan, "--authority", good), append(plan, "--authority", "cairn1nobody")},
	} {
		line := func(args []string) (string, error) {
			return cairn(t.Context(), append(append([]string{"tx"}, args...), "--from", good, "--generate-only", "--offline", "--account-number", "1",
				"--sequence", "1", "--home", home)...)
		}
		if out, err := line(c.good); err != nil || !strings.Contains(out, good) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
		if _, err := line(c.bad); err == nil || !strings.Contains(err.Error(), "bech32") {
			t.Errorf("%s of no account: %v", what, err)
		}
	}
}

// TestTestnet makes and runs four validators.
func TestTestnet(t *testing.T) {
	dir := t.TempDir()
	out := must(t, "testnet", "init-files", "--validators", "4", "-o", dir, "--block-time", "100ms", "--home", t.TempDir())
	rest := regexp.MustCompile(`"REST": "([^"]+)"`).FindAllStringSubmatch(out, -1)
	if len(rest) != 4 {
		t.Fatalf("init-files: %s", out)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := cairn(ctx, "testnet", "start", "-o", dir, "--home", t.TempDir())
		ended <- err
	}()
	wait(t, func() bool {
		res, err := http.Get("http://" + rest[3][1] + "/cosmos/base/tendermint/v1beta1/blocks/2")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestUnwritableHome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cairn(t.Context(), "init", "x", "--home", filepath.Join(file, "home")); !errors.Is(err, types.HomeUnwritable) {
		t.Errorf("init in a home that cannot be made: %v", err)
	}
}

func wait(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	b.ReadFrom(res.Body)
	return b.String()
}
