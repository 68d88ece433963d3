package customer

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// Config bounds a customer.
type Config struct {
	// Tick is how often it looks whether there is a new tally; default 250 ms.
	Tick time.Duration
}

// Customer is energy at a gateway, for all of its wallets.
type Customer struct {
	cfg      Config
	market   role.Market
	books    *books
	ordering sync.Mutex // one order at a time is checked, written down and handed in
	listener listener
}

// New returns the customer's side of energy.
func New(cfg Config) *Customer {
	if cfg.Tick == 0 {
		cfg.Tick = 250 * time.Millisecond
	}
	return &Customer{cfg: cfg}
}

// Role returns c as a gateway runs it.
func (c *Customer) Role() role.Customer {
	return role.Customer{
		Category: types.Energy, Mount: c.Mount, Routes: c.routes(), Run: c.Run, Listen: c.Listen, Files: files,
		FirstRound: c.FirstRound, Command: commands,
	}
}

// booksFile is what the customer keeps, in the market's folder.
const booksFile = "energy.db"

func files(string) []health.File {
	return []health.File{{Path: booksFile, Check: health.Bolt, Remedy: health.Aside, Lost: "what the gateway knows of orders and fills; sessions that run are still paid"}}
}

// Mount opens the books and returns the handler of /energy/v1/.
func (c *Customer) Mount(market role.Market) (http.Handler, error) {
	c.market = market
	var err error
	if c.books, err = openBooks(filepath.Join(market.Dir(), booksFile)); err != nil {
		return nil, err
	}
	return role.Handler(market, c.routes(), energy.New().Spec.Reasons), nil
}

// Run hands in orders that wait, follows the tallies and answers energy managers until ctx ends, and then
// closes the books.
func (c *Customer) Run(ctx context.Context) error {
	defer c.books.db.Close()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { c.serve(ctx) })
	tick := time.NewTicker(c.cfg.Tick)
	defer tick.Stop()
	var seen role.Notice
	var rest time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n := c.market.Notice()
		if n.Epoch == seen.Epoch && n.Tallied == seen.Tallied && n.Final == seen.Final || time.Now().Before(rest) {
			continue
		}
		if err := c.step(ctx, n); err != nil && ctx.Err() == nil {
			c.market.Log().Info("energy: follow the tallies", "epoch", n.Epoch, "err", err)
			rest = time.Now().Add(time.Second)
			continue
		}
		seen = n
	}
}

// step does what an epoch, or a tally, calls for.
func (c *Customer) step(ctx context.Context, n role.Notice) error {
	if err := c.resume(ctx); err != nil {
		return err
	}
	if err := c.follow(ctx, n); err != nil {
		return err
	}
	return c.observe(ctx)
}

// rowBuffer gathers an answer, so that nobody who reads slowly holds up the books.
type rowBuffer = bytes.Buffer

// replyCSV answers with what write writes.
func replyCSV(w http.ResponseWriter, name string, write func(*rowBuffer) error) error {
	var b rowBuffer
	if err := write(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write(b.Bytes()) // whoever asked may be gone
	return nil
}

// hexOf reads bytes that a request names.
func hexOf(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) > 1024 {
		return nil, types.Refuse(role.BadRequest, "%.40q: want hexadecimal digits", text)
	}
	return raw, nil
}
