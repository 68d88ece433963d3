package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"

	rpcclient "github.com/cometbft/cometbft/rpc/client"

	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/types"
)

// maxGenesisChunks bounds a genesis document, in chunks of 16 MiB.
const maxGenesisChunks = 16

// Genesis returns SHA-256 of the genesis document, as the node's genesis_chunked gives it.
func (c *Client) Genesis(ctx context.Context) (types.Hash, error) {
	node, ok := c.rpc.(rpcclient.HistoryClient)
	if !ok {
		return types.Hash{}, errors.New("client: the node shows no genesis")
	}
	sum := sha256.New()
	for i, n := uint(0), 1; i < uint(n); i++ {
		chunk, err := node.GenesisChunked(ctx, i)
		if err != nil {
			return types.Hash{}, fmt.Errorf("client: genesis: %w", err)
		}
		part, err := base64.StdEncoding.DecodeString(chunk.Data)
		if err != nil {
			return types.Hash{}, fmt.Errorf("client: genesis: %w", err)
		}
		if n = chunk.TotalChunks; n > maxGenesisChunks {
			return types.Hash{}, fmt.Errorf("client: genesis: %d chunks, at most %d are read", n, maxGenesisChunks)
		}
		sum.Write(part)
	}
	return types.Hash(sum.Sum(nil)), nil
}

// Regions returns how many regions the chain has.
func (c *Client) Regions(ctx context.Context) (uint64, error) {
	p, err := c.tally.Params(ctx, &tallytypes.QueryParamsRequest{})
	if err != nil {
		return 0, fault("parameters", err)
	}
	return uint64(p.Params.Regions), nil
}

// Peer returns how other nodes connect to the node, ID@host:port; where it does not name a host of its own, at
// that one.
func (c *Client) Peer(ctx context.Context, host string) (string, error) {
	status, err := c.rpc.Status(ctx)
	if err != nil {
		return "", fmt.Errorf("client: ask the node for its status: %w", err)
	}
	listen, err := url.Parse(status.NodeInfo.ListenAddr)
	if err != nil || listen.Port() == "" {
		return "", fmt.Errorf("client: the node names no port for peers: %q", status.NodeInfo.ListenAddr)
	}
	if ip := net.ParseIP(listen.Hostname()); listen.Hostname() != "" && (ip == nil || !ip.IsUnspecified() && !ip.IsLoopback()) {
		host = listen.Hostname()
	}
	return string(status.NodeInfo.ID()) + "@" + net.JoinHostPort(host, listen.Port()), nil
}
