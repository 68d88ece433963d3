package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/chain/app/local"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/manifest"
)

// joinCommand makes the home of a chain node that joins a network.
func joinCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "join FILE|URL", Short: "Make the home of a chain node that joins a network by its manifest", Args: exactly("FILE|URL"), RunE: join,
		Long: `join makes keys, takes the chain's genesis from the nodes that the manifest names, and writes a configuration with which the first start fetches
the newest snapshot of the state instead of all blocks. What nodes say is checked from the manifest's block on: take the manifest from somebody you trust.

A snapshot is taken every 1,000 blocks (state-sync.snapshot-interval in app.toml of the running nodes), and the manifest's block has to be
older than it and younger than a week. The node is a validator once its operator has bonded stake (cairn tx staking create-validator).`,
		Example: "  cairn join https://example.org/manifest.json --home ~/.cairn-chain\n  cairn start --home ~/.cairn-chain",
	}
	f := c.Flags()
	f.String("home", "", "the home of the node, made where there is none (default $CAIRN_HOME, else ~/.cairn)")
	f.String("signer", "", "the key that has to have signed the manifest: did:key:…")
	f.String("name", "node", "what peers see it as")
	f.Duration("block-time", 5*time.Second, "the network's time between blocks")
	f.String("listen-p2p", "0.0.0.0:26656", "where other nodes reach it; \"\" takes a free port of this machine")
	f.String("listen-rpc", "127.0.0.1:26657", "CometBFT's RPC")
	f.String("listen-grpc", "127.0.0.1:9090", "the SDK's gRPC")
	f.String("listen-rest", "127.0.0.1:1317", "the SDK's REST")
	f.Bool("json", false, "print JSON: stable names")
	return c
}

// Joined is what `cairn join --json` prints.
type Joined struct {
	Chain string `json:"chain_id"`
	Home  string `json:"home"`
	Node  string `json:"node_id"`
	P2P   string `json:"p2p"`
	RPC   string `json:"rpc"`
	GRPC  string `json:"grpc"`
	REST  string `json:"rest"`
	Saw   string `json:"signer"`
}

func join(c *cobra.Command, args []string) error {
	signer, err := signerOf(c)
	if err != nil {
		return err
	}
	signed, err := manifest.Fetch(c.Context(), args[0])
	if err != nil {
		return err
	}
	if err := signed.Demand(signer); err != nil {
		return err
	}
	m := &signed.Manifest
	if len(m.RPC) == 0 {
		return types.Refuse(types.BadManifest, "join: the manifest names no RPC node to take the genesis and a snapshot's proof from")
	}
	f := c.Flags()
	text := func(name string) string { v, _ := f.GetString(name); return v }
	wait, _ := f.GetDuration("block-time")
	home, err := homeOf(c)
	if err != nil {
		return err
	}
	addresses := local.Addresses{P2P: text("listen-p2p"), RPC: text("listen-rpc"), GRPC: text("listen-grpc"), REST: text("listen-rest")}
	v, err := local.Join(c.Context(), local.Joining{
		Home: home, Name: text("name"), Addresses: addresses, RPC: m.RPC, Peers: m.Seeds, Height: m.Block.Height, Hash: m.Block.Hash, Genesis: m.Genesis,
		BlockTime: wait,
	})
	if err != nil {
		return err
	}
	out := Joined{Chain: m.Chain, Home: home, Node: v.NodeID, P2P: v.Addresses.P2P, RPC: v.Addresses.RPC, GRPC: v.Addresses.GRPC, REST: v.Addresses.REST,
		Saw: signed.Signer.String()}
	return outputOf(c).print(out, func(w io.Writer) {
		fmt.Fprintf(w, "node %s of %s, by a manifest that %s signed\nstart it with: cairn start --home %s\n", out.Node, out.Chain, out.Saw, out.Home)
	})
}
