// Package gateway is the customers' door. It mounts each category's Customer under /<category>/v1/, keeps the
// session keys that accounts granted it, finds providers through their signed asks, and pays them with
// receipts.
//
// Anybody can run a gateway, and a customer needs to trust only the one it uses: with its session keys (each
// has a spend limit and an expiry on chain), and with what it stores or sends in the clear. An account's own
// key never comes here. A request carries an API key (`Authorization: Bearer cairn_…`), which stands for one
// session key of one account.
//
// Anybody may ask for an API key, so asking fills nothing: an address gets a few at once and then one every few
// seconds, and a key that no account granted within ten minutes makes room for the next.
//
// The gateway is an agent (package agent) on the bus of one region, where it follows the time and asks
// verifiers. Of the chain it reads grants, accounts, the registry and headers, through a ledger.Reader; it
// never writes to the chain.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/buildinfo"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// Config says who a gateway is, and where it keeps its things.
type Config struct {
	Dir string           // wallets and what categories keep; created where missing, readable by its owner only
	Key types.PrivateKey // of its messages on the bus
	// Pin is whom to believe at first, and in which region; Dial logs on to the bus, and is tried until it succeeds.
	Pin  bus.Pin
	Dial func(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// Proxies are where reverse proxies of this gateway are: of their requests the last address in
	// X-Forwarded-For is who asks. Without this everybody behind a proxy shares one address's allowance of new
	// API keys.
	Proxies []netip.Prefix
	// Private are the addresses beyond the public internet (loopback, private and link-local ones) where
	// devices may be. Whatever else an ask names in there is not dialled: private_address.
	Private []netip.Prefix
	// Hosts are the names that the gateway is reached under, besides its addresses and localhost; role.AnyHost
	// stands for all.
	Hosts []string
}

// Gateway is the door.
type Gateway struct {
	market    *market
	proxies   []netip.Prefix
	hosts     []string
	limit     *limiter // of new API keys
	customers []role.Customer
	handler   http.Handler
}

// New opens a gateway. The customers are mounted under their categories' names.
func New(cfg Config, reader ledger.Reader, customers []role.Customer, log *slog.Logger) (*Gateway, error) {
	m := newMarket(cfg, reader, log)
	for _, dir := range append([]string{""}, names(customers)...) {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, types.Refuse(types.HomeUnwritable, "gateway: %v", err)
		}
	}
	var err error
	if m.store, err = openStore(filepath.Join(cfg.Dir, "wallets.db"), reader.Chain(), m.spendable); err != nil {
		return nil, err
	}
	m.store.awaited = m.awaited
	var lives []*live
	for _, c := range customers {
		m.asks[c.Category] = newAskBook()
		if c.Heard != nil {
			m.asks[c.Category].live = newLive(m, c.Category, c.Heard)
			lives = append(lives, m.asks[c.Category].live)
		}
		if c.Called != nil {
			m.called[c.Category] = c.Called
		}
	}
	for _, l := range lives {
		l.most, l.near = maxBeating/len(lives), maxSought/len(lives)
	}
	m.agent, err = agent.New(agent.Config{Key: cfg.Key, Pin: cfg.Pin, Dial: cfg.Dial, Store: m.store, Log: log})
	if err == nil {
		m.book, err = openBook(m, m.store.db)
	}
	if err != nil {
		m.store.db.Close()
		return nil, err
	}
	g := &Gateway{market: m, proxies: cfg.Proxies, hosts: cfg.Hosts, limit: newLimiter(time.Now), customers: customers}
	if g.handler, err = g.mux(); err != nil {
		m.store.db.Close()
		return nil, err
	}
	return g, nil
}

func names(customers []role.Customer) []string {
	out := make([]string, len(customers))
	for i, c := range customers {
		out[i] = c.Category.String()
	}
	return out
}

// mux mounts the gateway's own routes and each category's.
func (g *Gateway) mux() (http.Handler, error) {
	mux := http.NewServeMux()
	mount(mux, g.routes())
	described := Routes()
	for _, c := range g.customers {
		for _, rt := range c.Routes {
			rt.Path = prefix(c) + rt.Path
			described = append(described, rt)
		}
	}
	description, err := json.Marshal(openAPI(buildinfo.Version, described))
	if err != nil {
		return nil, fmt.Errorf("gateway: describe the API: %w", err)
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(description)
	})
	for _, c := range g.customers {
		name := c.Category.String()
		h, err := c.Mount(&categoryMarket{market: g.market, name: name, category: c.Category})
		if err != nil {
			return nil, fmt.Errorf("gateway: mount %s: %w", name, err)
		}
		mux.Handle(prefix(c)+"/", http.StripPrefix(prefix(c), h))
	}
	return role.Guard(role.Coherent(mux), g.hosts), nil
}

// prefix is where a customer's handler is mounted.
func prefix(c role.Customer) string { return "/" + c.Category.String() + "/v1" }

// Handler serves the REST API.
func (g *Gateway) Handler() http.Handler { return g.handler }

// Wallet returns the wallet of an API key that its account has granted.
func (g *Gateway) Wallet(ctx context.Context, api string) (*Wallet, error) {
	w, err := g.market.store.find(api)
	if err != nil {
		return nil, err
	}
	return g.market.opened(ctx, w)
}

// Run follows the network and runs the customers' background work until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	m := g.market
	group.Go(func() error { m.agent.Run(ctx, m.begin); return nil })
	group.Go(func() error { m.run(ctx); return nil })
	group.Go(func() error { m.chores(ctx); return nil })
	group.Go(func() error { m.book.waiting.Run(ctx, m.agent, m.book.wait); return nil })
	group.Go(func() error { m.book.follow(ctx); return nil })
	for _, o := range m.asks {
		if o.live != nil {
			group.Go(func() error { o.live.run(ctx); return nil })
		}
	}
	for _, c := range g.customers {
		group.Go(func() error {
			if err := c.Run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("gateway: %v: %w", c.Category, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Close closes the wallets. Run must have returned.
func (g *Gateway) Close() error {
	if err := g.market.store.db.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("gateway: close wallets: %w", err)
	}
	return nil
}
