package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"sync"
	"sync/atomic"
	"time"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	"github.com/cometbft/cometbft/rpc/client/http"
	sdkclient "github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cairn-network/cairn/chain/app"
	credittypes "github.com/cairn-network/cairn/chain/x/credit/types"
	devicetypes "github.com/cairn-network/cairn/chain/x/device/types"
	tallytypes "github.com/cairn-network/cairn/chain/x/tally/types"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Config says which node to talk to, and with whose keys. One of RPC, URL and URLs must be set.
type Config struct {
	// RPC is the client of a node in this process (local.Node.Client().Client). The caller stops the node after
	// Close.
	RPC sdkclient.CometRPC
	// URL is that of a node's CometBFT RPC: http://host:26657.
	URL string
	// URLs are those of several nodes. The first that answers is asked, and where it no longer does, the next;
	// one that is of another chain is not. What a node says is believed: these are nodes of the operator's own
	// choice.
	URLs []string
	// Chain is what the nodes behind URL and URLs must be of; "": whatever the first is.
	Chain string
	// Pin is a block that the nodes behind URL and URLs must have, unless they have forgotten it; nil: any.
	Pin *Pin
	// Keyring holds the keys of the accounts that Submit signs for; nil: Submit refuses.
	Keyring keyring.Keyring
	// GasPrice is what is offered for 10⁶ gas at least, in ustone. Where the node asks for more, that is
	// offered, up to 100,000; what verifiers need not pay for (app.OfTally) is sent without a fee first.
	GasPrice types.Ustone
	// Timeout bounds how long Submit waits for a block; zero: 30 s.
	Timeout time.Duration
	// Poll is how often the node is asked for new blocks where its events stay away; zero: 1 s, and 200 ms in
	// process.
	Poll time.Duration
	// Log receives what is tried again; nil: nowhere.
	Log *slog.Logger
}

// Client is a ledger.Ledger. It is safe for concurrent use.
type Client struct {
	cfg   Config
	rpc   sdkclient.CometRPC
	ctx   sdkclient.Context
	enc   app.Encoding
	chain string
	log   *slog.Logger
	stop  func() error
	names atomic.Uint64 // of subscriptions
	among *nodes        // nil for a node in this process

	auth   authtypes.QueryClient
	bank   banktypes.QueryClient
	device devicetypes.QueryClient
	credit credittypes.QueryClient
	tally  tallytypes.QueryClient

	mu      sync.Mutex // guards all below
	senders map[types.Account]*sender
	table   *timetable
	price   price
}

var (
	_ ledger.Ledger = (*Client)(nil)
	_ ledger.Dealer = (*Client)(nil)
)

// timetable is what turns heights into epochs: it never changes while a program runs.
type timetable struct {
	epoch types.Epoch
	first uint64
	n     uint64
}

// New connects to a node and asks it for the chain's id.
func New(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	c := &Client{cfg: cfg, rpc: cfg.RPC, enc: app.NewEncoding(), log: cfg.Log, senders: map[types.Account]*sender{}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.RPC != nil:
		if cfg.Poll == 0 {
			c.cfg.Poll = 200 * time.Millisecond
		}
	case cfg.URL != "" || len(cfg.URLs) > 0:
		if cfg.Poll == 0 {
			c.cfg.Poll = time.Second
		}
		urls := cfg.URLs
		if cfg.URL != "" {
			urls = append([]string{cfg.URL}, urls...)
		}
		among, err := newNodes(urls, cfg.Chain, cfg.Pin, c.log)
		if err != nil {
			return nil, err
		}
		remote, err := http.NewWithClient(urls[0], "/websocket", &nethttp.Client{Transport: among})
		if err != nil {
			return nil, fmt.Errorf("client: %s: %w", urls[0], err)
		}
		if err := remote.Start(); err != nil { // the events' socket, of the first only; without it Watch polls
			c.log.Info("no events from the node, polling", "url", urls[0], "err", err)
		} else {
			c.stop = remote.Stop
		}
		c.rpc, c.among = remote, among
	default:
		return nil, errors.New("client: neither a node nor its URL is given")
	}
	status, err := c.rpc.Status(ctx)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("client: ask the node for its status: %w", err)
	}
	c.chain = status.NodeInfo.Network
	c.ctx = sdkclient.Context{}.
		WithCodec(c.enc.Codec).WithInterfaceRegistry(c.enc.InterfaceRegistry).WithTxConfig(c.enc.TxConfig).
		WithLegacyAmino(c.enc.Amino).WithClient(c.rpc).WithChainID(c.chain).WithKeyring(cfg.Keyring)
	c.auth, c.bank = authtypes.NewQueryClient(c.ctx), banktypes.NewQueryClient(c.ctx)
	c.device, c.credit, c.tally = devicetypes.NewQueryClient(c.ctx), credittypes.NewQueryClient(c.ctx), tallytypes.NewQueryClient(c.ctx)
	return c, nil
}

// Close ends the connection to a node that New dialled.
func (c *Client) Close() error {
	if c.stop == nil {
		return nil
	}
	return c.stop()
}

// Context returns what the SDK's own commands need to query and sign.
func (c *Client) Context() sdkclient.Context { return c.ctx }

// Chain implements ledger.Reader.
func (c *Client) Chain() string { return c.chain }

// events returns the node's events, or nil if it has none to give.
func (c *Client) events() rpcclient.EventsClient {
	e, _ := c.rpc.(rpcclient.EventsClient)
	return e
}
