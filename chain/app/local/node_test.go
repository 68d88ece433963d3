package local

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/core/types"

	"cosmossdk.io/math"
)

func initHomes(t *testing.T, n int) []Validator {
	t.Helper()
	var homes []string
	for range n {
		homes = append(homes, t.TempDir())
	}
	v, err := Init(Genesis{ChainID: "cairn-test", Homes: homes, Stake: math.NewInt(1_000_000_000), BlockTime: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func start(t *testing.T, home string) *Node {
	t.Helper()
	n, err := Start(t.Context(), Config{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	return n
}

func reach(t *testing.T, n *Node, height int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := n.WaitHeight(ctx, height); err != nil {
		t.Fatal(err)
	}
}

// TestRestart stops and starts one home in one process: the chain goes on, and ports and databases are free again.
func TestRestart(t *testing.T) {
	v := initHomes(t, 1)[0]
	var height int64
	for range 3 {
		n := start(t, v.Home)
		reach(t, n, height+3)
		height = n.App().LastBlockHeight()
		res, err := http.Get("http://" + n.Addresses().REST + "/cosmos/bank/v1beta1/supply/by_denom?denom=ustone")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(body), `"amount":"1000000000"`) {
			t.Errorf("supply over REST: %s", body)
		}
		q, err := banktypes.NewQueryClient(n.Client()).DenomMetadata(t.Context(), &banktypes.QueryDenomMetadataRequest{Denom: "ustone"})
		if err != nil || q.Metadata.Display != "stone" {
			t.Errorf("metadata of ustone: %v, %v", q, err)
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{v.Addresses.RPC, v.Addresses.P2P, v.Addresses.GRPC, v.Addresses.REST} {
			if l, err := net.Listen("tcp", a); err != nil {
				t.Errorf("still in use after Stop: %v", err)
			} else {
				l.Close()
			}
		}
	}
}

// TestFour runs four validators in one process.
func TestFour(t *testing.T) {
	var nodes []*Node
	for _, v := range initHomes(t, 4) {
		nodes = append(nodes, start(t, v.Home))
	}
	for _, n := range nodes {
		reach(t, n, 3)
	}
	if err := nodes[3].Stop(); err != nil { // three of four go on
		t.Fatal(err)
	}
	h := nodes[0].App().LastBlockHeight()
	reach(t, nodes[0], h+3)
}

func TestPortInUse(t *testing.T) {
	v := initHomes(t, 1)[0]
	l, err := net.Listen("tcp", v.Addresses.REST)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Start(t.Context(), Config{Home: v.Home}); !errors.Is(err, types.PortInUse) {
		t.Fatalf("Start on a port in use: %v", err)
	}
	l.Close()
	reach(t, start(t, v.Home), 1) // nothing of the failed start is left
}

func TestSecondNodeInOneHome(t *testing.T) {
	v := initHomes(t, 1)[0]
	n := start(t, v.Home)
	reach(t, n, 1)
	other := func(c *cmtcfg.Config, s *serverconfig.Config) {
		var a Addresses
		if err := a.fill(map[int]bool{}); err != nil {
			t.Fatal(err)
		}
		c.RPC.ListenAddress, c.P2P.ListenAddress, s.GRPC.Address, s.API.Address = "tcp://"+a.RPC, "tcp://"+a.P2P, a.GRPC, "tcp://"+a.REST
	}
	if m, err := Start(t.Context(), Config{Home: v.Home, Configure: other}); !errors.Is(err, types.HomeBusy) {
		if err == nil {
			m.Stop()
		}
		t.Fatalf("a second node in one home: %v", err)
	}
	reach(t, n, n.App().LastBlockHeight()+2)
}

func TestHome(t *testing.T) {
	v := initHomes(t, 1)[0]
	if _, err := Init(Genesis{ChainID: "x", Homes: []string{v.Home}, Stake: math.NewInt(1_000_000)}); !errors.Is(err, ErrHome) {
		t.Errorf("Init over a chain: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Home: filepath.Join(file, "home")}); !errors.Is(err, types.HomeUnwritable) {
		t.Errorf("Start in a home that cannot be made: %v", err)
	}
	if _, err := Start(t.Context(), Config{Home: t.TempDir()}); !errors.Is(err, ErrHome) {
		t.Errorf("Start in a home without a chain: %v", err)
	}
}
