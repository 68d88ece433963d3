package customer

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// Config bounds a customer.
type Config struct {
	Memory int64 // of all transfers together, in bytes; default 96 MiB
	// Transfers bounds how many objects are stored and read at once, of all accounts together; one account gets
	// a quarter. Default 512.
	Transfers int
	// Lifetime is how many epochs ahead sessions with devices expire; they are renewed an eighth of it before.
	// Default, and the most that the protocol takes with room for clocks: 8,736.
	Lifetime types.Epoch
}

// Customer is storage at a gateway, for all of its wallets.
type Customer struct {
	coder  *pipeline.Coder // whose memory all accounts share
	pool   pool
	cfg    Config
	market role.Market

	// mu guards what follows.
	mu       sync.Mutex
	books    map[types.Account]*books
	accounts map[types.Key]*account // by payer
	shares   map[types.Account]*share
	running  int // transfers
}

// share is what one account takes of what all have together.
type share struct {
	pipeline *pipeline.Share
	running  int // transfers
}

// begin lets a transfer of an account begin, if not too many run. end is to be called after it.
func (c *Customer) begin(w role.Wallet) (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shares[w.Account()]
	if s == nil { // its books could not be opened
		return func() {}, nil
	}
	if c.running >= c.cfg.Transfers || s.running >= max(1, c.cfg.Transfers/4) {
		return nil, types.Refuse(role.Busy, "storage: %d transfers run, %d of this account", c.running, s.running)
	}
	c.running++
	s.running++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
		s.running--
	}, nil
}

// New returns the customer's side of storage.
func New(cfg Config) *Customer {
	if cfg.Memory == 0 {
		cfg.Memory = 96 << 20
	}
	if cfg.Transfers == 0 {
		cfg.Transfers = 512
	}
	if cfg.Lifetime == 0 || cfg.Lifetime > defaultLifetime {
		cfg.Lifetime = defaultLifetime
	}
	return &Customer{cfg: cfg, books: map[types.Account]*books{}, accounts: map[types.Key]*account{}, shares: map[types.Account]*share{}}
}

// Role returns c as a gateway runs it.
func (c *Customer) Role() role.Customer {
	return role.Customer{
		Category: types.Storage, Mount: c.Mount, Routes: c.routes(), Run: c.Run, Files: booksIn,
		FirstRound: c.FirstRound, Needs: needs, BuysFrom: c.BuysFrom,
		Command: commands, Tries: []string{"store put FILE", "store list"},
	}
}

// booksIn lists the accounts' books.
func booksIn(dir string) (list []health.File) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.db"))
	for _, path := range paths {
		list = append(list, health.File{Path: filepath.Base(path), Check: health.Bolt, Remedy: health.Aside, Lost: "where the account's objects are: they cannot be read back"})
	}
	return list
}

// Mount returns the handler of /storage/v1/.
func (c *Customer) Mount(market role.Market) (http.Handler, error) {
	c.market = market
	c.pool.dial = market.Dial
	c.coder = pipeline.New(pipeline.Config{Memory: c.cfg.Memory, Spool: market.Dir()}, pipeline.MaskKey{})
	return role.Handler(market, c.routes(), storage.New().Spec.Reasons), nil
}

// Run keeps devices paid until ctx ends, and then closes the books.
func (c *Customer) Run(ctx context.Context) error {
	var last types.Epoch
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.close()
		case <-tick.C:
		}
		if now := c.market.Notice().Epoch; now != last {
			last = now
			c.tend(ctx)
		}
	}
}

// tend looks after every holding of every wallet, a few at once.
func (c *Customer) tend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	slots := make(chan struct{}, 8)
	var group sync.WaitGroup
	var accounts []*account
	for _, w := range c.market.Wallets() {
		a, err := c.account(w)
		if err != nil {
			c.market.Log().Error("storage: books", "account", w.Account(), "err", err)
			continue
		}
		accounts = append(accounts, a)
		devices, err := a.books.sessions(w.Payer())
		if err != nil {
			c.market.Log().Error("storage: sessions", "account", w.Account(), "err", err)
			continue
		}
		for _, key := range devices {
			h, err := a.holder(key)
			if err != nil {
				a.log.Error("storage: holding", "device", key, "err", err)
				continue
			}
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				if err := h.tend(ctx); err != nil && ctx.Err() == nil {
					a.log.Info("storage: tend", "device", key, "err", err)
				}
			})
		}
	}
	group.Wait()
	for _, a := range accounts {
		a.completeSome(ctx)
	}
}

// close publishes what waits and closes the books.
func (c *Customer) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.accounts {
		for _, h := range a.holders {
			h.flush()
			h.pending.Wait()
		}
	}
	var errs []error
	for _, b := range c.books {
		errs = append(errs, b.db.Close())
	}
	clear(c.books)
	clear(c.accounts)
	return errors.Join(errs...)
}

// account is one wallet's side: its keys, and its holders.
type account struct {
	wallet role.Wallet
	market role.Market
	cfg    Config
	books  *books
	pool   *pool
	coder  *pipeline.Coder
	secret pipeline.Secret
	share  *pipeline.Share
	log    *slog.Logger

	mu      sync.Mutex
	holders map[types.Key]*holder

	completing chan struct{}        // one object at a time gets its missing shards: they are read whole
	later      map[ObjectID]waiting // of Run alone
}

// account opens the books of a wallet's account.
func (c *Customer) account(w role.Wallet) (*account, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.accounts[w.Payer()]; a != nil {
		return a, nil
	}
	b := c.books[w.Account()]
	if b == nil {
		var err error
		if b, err = openBooks(filepath.Join(c.market.Dir(), w.Account().String()+".db"), c.market.Log()); err != nil {
			return nil, err
		}
		c.books[w.Account()] = b
	}
	s := c.shares[w.Account()]
	if s == nil { // as many as there are books
		s = &share{pipeline: c.coder.NewShare()}
		c.shares[w.Account()] = s
	}
	secret := pipeline.Secret(w.Secret("storage"))
	a := &account{
		wallet: w, market: c.market, cfg: c.cfg, books: b, pool: &c.pool, secret: secret, share: s.pipeline, log: c.market.Log().With("account", w.Account()),
		coder:      c.coder.For(secret.Mask(), s.pipeline),
		holders:    map[types.Key]*holder{},
		completing: make(chan struct{}, 1), later: map[ObjectID]waiting{},
	}
	c.accounts[w.Payer()] = a
	return a, nil
}

// holder returns what this wallet has with a device.
func (a *account) holder(key types.Key) (*holder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.holders[key]; h != nil {
		return h, nil
	}
	h, err := openHolder(a.wallet, a.market, a.books, a.pool, key, a.cfg.Lifetime)
	if err != nil {
		return nil, err
	}
	a.holders[key] = h
	return h, nil
}

// place chooses a device for each slot of an object of size bytes, below 0 for an unknown number, and says how
// large it can be there.
func (a *account) place(ctx context.Context, p pipeline.Profile, size int64) ([]*holder, *bound, error) {
	if size > maxObject {
		return nil, nil, (&bound{maxObject, types.Oversize, "no object is larger"}).refuse(fmt.Sprintf("an object of %d bytes", size))
	}
	if a.wallet.Balance() == 0 {
		return nil, nil, a.penniless(ctx)
	}
	offers, passed, err := a.market.Offers(ctx, role.Want{Class: storage.Hold})
	if err != nil {
		return nil, nil, err
	}
	offers = slices.DeleteFunc(slices.Clone(offers), func(o role.Offer) bool {
		if _, err := a.holder(o.Ask.Ask.Device); err != nil { // what the books say of it is damaged
			a.log.Error("storage: holding", "device", o.Ask.Ask.Device, "err", err)
			return true
		}
		return a.books.shunned(a.wallet.Payer(), o.Ask.Ask.Device)
	})
	now := a.market.Notice().Epoch
	room := types.U64(max(pipeline.MaxShard, uint64(max(size, 0)+int64(p.K)-1)/uint64(p.K)))
	willing := slices.DeleteFunc(slices.Clone(offers), func(o role.Offer) bool {
		return a.books.rests(a.wallet.Payer(), o.Ask.Ask.Device, now) || o.Ask.Ask.Capacity.Cmp(room) < 0
	})
	chosen, err := choose(p, willing, len(passed))
	if types.ReasonOf(err) == storage.TooFewDevices { // those that are full, or have lost something lately, are better than none
		chosen, err = choose(p, offers, len(passed))
	}
	if err != nil {
		return nil, nil, err
	}
	most := a.bound(p, chosen)
	if size >= 0 && uint64(size) > most.bytes {
		return nil, nil, most.refuse(fmt.Sprintf("an object of %d bytes", size))
	}
	holders := make([]*holder, len(chosen))
	for i, o := range chosen {
		if holders[i], err = a.holder(o.Ask.Ask.Device); err != nil {
			return nil, nil, err
		}
	}
	return holders, most, nil
}

// penniless says why there is nothing to spend: credits that were bought a moment ago count from a later tally on.
func (a *account) penniless(ctx context.Context) error {
	if credits, wait := a.wallet.Awaited(ctx); credits > 0 {
		return role.Later(types.Refuse(role.CreditPending, "account %v has bought %d micro-credits that no tally shows yet", a.wallet.Account(), credits), wait)
	}
	return types.Refuse(types.OverBudget, "account %v has no credits to spend with this key", a.wallet.Account())
}

// qualityClass is how wide a class of like quality is, in basis points: within one the price decides, so that a
// device which never missed an answer cannot ask what it likes.
const qualityClass types.Bp = 1000

func classOf(q types.Bp) types.Bp { return (q + qualityClass/2) / qualityClass }

// chances is how many of a profile's slots are for whoever is cheapest, whatever its quality: one in ten, and
// at least one. A device that nobody knows yet, whose quality is 0, gets work by them; one that is bad gets no
// more than an object can do without.
func chances(p pipeline.Profile) int { return max(1, p.N/10) }

// choose picks the offers that an object is stored under, of distinct owners: best quality first, and of like
// quality the cheapest; for the last slots the cheapest of the rest.
func choose(p pipeline.Profile, offers []role.Offer, passed int) ([]role.Offer, error) {
	offers = slices.Clone(offers)
	owners := map[types.Account]bool{}
	var chosen []role.Offer
	pick := func(upTo int) {
		for _, o := range offers {
			if len(chosen) < upTo && !owners[o.Owner] {
				owners[o.Owner] = true
				chosen = append(chosen, o)
			}
		}
	}
	slices.SortStableFunc(offers, func(a, b role.Offer) int {
		return cmp.Or(cmp.Compare(classOf(b.Quality), classOf(a.Quality)), cmp.Compare(a.Ask.Ask.Price, b.Ask.Ask.Price))
	})
	pick(p.N - chances(p))
	slices.SortStableFunc(offers, func(a, b role.Offer) int { return cmp.Compare(a.Ask.Ask.Price, b.Ask.Ask.Price) }) // equals stay by quality
	pick(p.N)
	if len(chosen) < p.N {
		return nil, types.Refuse(storage.TooFewDevices, "profile %s needs %d devices of distinct owners, %d offer storage (%d passed over)", p.Name, p.N, len(chosen), passed)
	}
	return chosen, nil
}

// find returns an object of the account, with the side of the wallet that stored it. Of one whose record is
// damaged it returns the rest too.
func (c *Customer) find(w role.Wallet, text string) (a *account, id ObjectID, o *object, err error) {
	if a, err = c.account(w); err != nil {
		return nil, id, nil, err
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return nil, id, nil, types.Refuse(storage.NoObject, "object %.64q", text)
	}
	id = ObjectID(raw)
	if o, err = a.books.object(id); err != nil {
		return a, id, nil, err
	}
	if o == nil {
		return nil, id, nil, types.Refuse(storage.NoObject, "object %v", id)
	}
	if o.Payer == w.Payer() {
		return a, id, o, nil
	}
	for _, other := range c.market.Wallets() {
		if other.Payer() == o.Payer && other.Account() == w.Account() {
			a, err = c.account(other)
			return a, id, o, err
		}
	}
	return a, id, o, nil
}
