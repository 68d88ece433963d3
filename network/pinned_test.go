package network

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
	"github.com/cairn-network/cairn/process"
)

// TestPinned: a role whose home has a manifest does not use a node that shows another block than the manifest
// names, and does not wait for it to change its mind; a damaged manifest is an error, not none.
func TestPinned(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), `"commit"`) {
			fmt.Fprintf(w, `{"result":{"signed_header":{"commit":{"block_id":{"hash":%q}}}}}`, strings.ToUpper(types.Hash{8}.String()))
			return
		}
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":0,"result":{"node_info":{"network":"home"}}}`)
	}))
	defer node.Close()
	key := types.NewPrivateKey([32]byte{1})
	signed, err := manifest.Manifest{Format: manifest.Format, Chain: "home", Published: 1, Genesis: types.Hash{1}, Block: manifest.Block{Height: 5, Hash: types.Hash{7}}, Epoch: 1,
		Verifiers: bus.Set{{Key: key.Public(), Power: 1}}, Regions: 1, Buses: []string{"nats://127.0.0.1:4222"}}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	s := &ChainSettings{ID: "home", RPC: []string{node.URL}}
	open := func() error {
		l, err := s.open(t.Context(), process.NewProcess("bus", home, slog.New(slog.DiscardHandler)), client.Config{})
		if err == nil {
			l.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Errorf("without a manifest: %v", err)
	}
	if err := manifest.Keep(home, signed, types.Key{}); err != nil {
		t.Fatal(err)
	}
	if err := open(); types.ReasonOf(err) != types.WrongChain {
		t.Errorf("another block: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, manifest.File), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); types.ReasonOf(err) != types.BadManifest {
		t.Errorf("a damaged manifest: %v", err)
	}
}
