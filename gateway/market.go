package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// serving names what a device has one quality in.
type serving struct {
	device   types.Key
	category types.Category
}

// market is what the gateway knows of the network, as its Customers see it.
type market struct {
	agent    *agent.Agent
	chain    string
	dir      string
	ledger   ledger.Reader
	store    *store
	book     *book
	asks     map[types.Category]*askBook
	called   map[types.Category]func(role.Called) // whom to tell what verifiers call; never changes
	registry *registryCache
	// patience is how long verifiers have to answer one query.
	patience time.Duration
	private  []netip.Prefix // beyond the public internet, where devices may be
	chore    chan struct{}  // there is a notice
	log      *slog.Logger

	// mu guards what follows. Run and the bus's handler write, requests read.
	mu      sync.RWMutex
	notice  role.Notice
	began   role.Notice   // the epoch's first
	block   time.Duration // about how long one takes; 0 while that is unknown
	quality map[serving]types.Bp
	payers  map[types.Key]bus.PayerLine
	asked   types.Epoch               // in which the lines of all payers were had last
	rules   map[types.Category][]byte // in force in the current epoch
	granted map[types.Key]types.Epoch // wallets whose grant was seen on chain, and in which epoch; at most maxWallets
	first   map[types.Key]types.Epoch // the same, in which epoch it was seen first
}

func newMarket(cfg Config, reader ledger.Reader, log *slog.Logger) *market {
	return &market{
		chain: reader.Chain(), dir: cfg.Dir, ledger: reader, log: log, patience: 5 * time.Second, private: cfg.Private,
		chore: make(chan struct{}, 1), asks: map[types.Category]*askBook{}, called: map[types.Category]func(role.Called){}, registry: newRegistryCache(reader), quality: map[serving]types.Bp{},
		payers: map[types.Key]bus.PayerLine{}, rules: map[types.Category][]byte{},
		granted: map[types.Key]types.Epoch{}, first: map[types.Key]types.Epoch{},
	}
}

// quorum is whom to ask.
func (m *market) quorum() agent.Quorum {
	q := m.agent.Quorum()
	q.Wait = m.patience
	return q
}

// categoryMarket is the market as one category's customer sees it: with a directory and a log of its own.
type categoryMarket struct {
	*market
	name     string
	category types.Category
}

var _ role.Market = (*categoryMarket)(nil)

func (m *market) Chain() string { return m.chain }

// Region is that of the gateway's devices and of what it buys from them.
func (m *market) Region() types.Region { return m.agent.Region() }

// Log returns the category's log.
func (m *categoryMarket) Log() *slog.Logger { return m.log.With("category", m.name) }

// Dir returns the category's directory, which exists.
func (m *categoryMarket) Dir() string { return filepath.Join(m.dir, m.name) }

// Notice returns the present notice, with the category's rules.
func (m *categoryMarket) Notice() role.Notice {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.notice
	n.Rules = m.rules[m.category]
	return n
}

// Notice returns the present notice, without rules.
func (m *market) Notice() role.Notice {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.notice
}

// Dial implements role.Market.
func (m *market) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return role.DialDevice(ctx, m.private, network, address)
}

// Ask implements role.Market.
func (m *categoryMarket) Ask(ctx context.Context, w role.Wallet, q role.Question) ([]byte, error) {
	return m.agent.Ask(ctx, w.TLS(), m.category, q)
}

// Fetch implements role.Market.
func (m *categoryMarket) Fetch(ctx context.Context, w role.Wallet, f role.Fetch) (int64, error) {
	return m.agent.Fetch(ctx, w.TLS(), m.category, f)
}

// Tell implements role.Market.
func (m *categoryMarket) Tell(ctx context.Context, verifier types.Key, body []byte) error {
	t := &bus.Tell{Chain: m.chain, Category: m.category, Body: body}
	if err := t.Check(); err != nil {
		return fmt.Errorf("gateway: tell %v: %w", verifier, err)
	}
	b := m.agent.Bus()
	if b == nil {
		return types.Refuse(types.BusUnavailable, "gateway: tell %v: there is no connection to the bus", verifier)
	}
	if err := b.Publish(ctx, bus.TellSubject(b.Key(), verifier), bus.Encode(t)); err != nil {
		return fmt.Errorf("gateway: tell %v: %w", verifier, err)
	}
	return nil
}

// Wallet returns the wallet of a request's API key, once its account has granted the key on chain and while the
// grant lasts: naming an account in POST /v1/keys gives nobody what the account stored, and neither does a key
// that the account revoked.
func (m *market) Wallet(r *http.Request) (role.Wallet, error) {
	w, err := m.wallet(r)
	if err != nil {
		return nil, err
	}
	return m.opened(r.Context(), w)
}

// opened returns w once its grant was seen. The chain is asked once an epoch, as a grant is revoked with the
// current one.
func (m *market) opened(ctx context.Context, w *Wallet) (*Wallet, error) {
	m.mu.RLock()
	seen, known := m.granted[w.Payer()]
	now := m.notice.Epoch
	m.mu.RUnlock()
	if known && seen == now && !w.pending {
		return w, nil
	}
	grant, err := m.ledger.Grant(ctx, w.Payer())
	if errors.Is(err, ledger.ErrNotFound) || err == nil && grant.Account != w.account {
		return nil, types.Refuse(types.UnknownKey, "gateway: account %v has not granted %v", w.account, w.Payer())
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: grant of %v: %w", w.Payer(), err)
	}
	if grant.Region != m.Region() {
		return nil, types.Refuse(types.WrongRegion, "gateway: %v spends in region %d, this gateway buys in region %d", w.Payer(), grant.Region, m.Region())
	}
	if w.pending {
		if err := m.store.confirm(w.Payer()); err != nil {
			return nil, err
		}
		if w, err = m.store.byPayer(w.Payer()); err != nil {
			return nil, err
		}
	}
	if grant.Expiry < now {
		return nil, types.Refuse(types.KeyExpired, "gateway: the grant of %v ended with epoch %d", w.Payer(), grant.Expiry)
	}
	m.mu.Lock()
	m.granted[w.Payer()] = now
	if !known {
		m.first[w.Payer()] = now
	}
	m.mu.Unlock()
	return w, nil
}

// createKey makes a pending key. Where there is no room, the oldest that nobody granted makes some.
func (m *market) createKey(ctx context.Context, account types.Account, label string) (*Wallet, string, error) {
	for range 8 {
		w, api, err := m.store.create(account, label)
		if !errors.Is(err, errFull) {
			return w, api, err
		}
		if err := m.release(ctx, m.store.now().Add(time.Hour), 64); err != nil {
			return nil, "", err
		}
	}
	return nil, "", types.Refuse(Full, "gateway: create API key")
}

// release frees the places of at most n pending keys that were made before a time. A key that was granted and
// never used is kept: whoever granted it may come yet.
func (m *market) release(ctx context.Context, before time.Time, n int) error {
	payers, accounts, err := m.store.oldest(before, n)
	if err != nil {
		return err
	}
	var gone []types.Key
	for i, payer := range payers {
		grant, err := m.ledger.Grant(ctx, payer)
		switch {
		case errors.Is(err, ledger.ErrNotFound) || err == nil && grant.Account != accounts[i]:
			gone = append(gone, payer)
		case err != nil:
			return fmt.Errorf("gateway: grant of %v: %w", payer, err)
		default:
			if err := m.store.confirm(payer); err != nil {
				return err
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return m.store.drop(gone)
}

func (m *market) wallet(r *http.Request) (*Wallet, error) {
	api, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, types.Refuse(NoKey, "gateway: no API key")
	}
	return m.store.find(strings.TrimSpace(api))
}

// Wallets lists all wallets.
func (m *market) Wallets() []role.Wallet {
	all, err := m.store.all()
	if err != nil {
		m.log.Error("gateway: list wallets", "err", err)
	}
	out := make([]role.Wallet, len(all))
	for i, w := range all {
		out[i] = w
	}
	return out
}

// Publish notes what a receipt promises and puts it on the bus under its payer.
func (m *market) Publish(ctx context.Context, signed *receipt.Signed) error {
	if err := m.store.promise(&signed.Receipt); err != nil {
		return err
	}
	b := m.agent.Bus()
	if b == nil {
		return types.Refuse(types.BusUnavailable, "gateway: publish receipt of session %v", signed.Receipt.Session)
	}
	if err := b.PublishLast(ctx, bus.ReceiptOf(b.Key(), &signed.Receipt), signed.Encode()); err != nil {
		return fmt.Errorf("gateway: publish receipt of session %v: %w", signed.Receipt.Session, err)
	}
	return nil
}

// spendable is what a payer may still spend: the least of what its key and its account have left, less what it
// has promised since the last tally.
func (m *market) spendable(payer types.Key) types.Credit {
	m.mu.RLock()
	state, ok := m.payers[payer]
	epoch := m.notice.Epoch
	m.mu.RUnlock()
	if !ok || state.Expiry < epoch || state.Limit <= state.Spent {
		return 0
	}
	left := min(state.Limit-state.Spent, state.Balance)
	promised := m.store.promised(payer)
	if open := promised - min(promised, state.Paid()); open < left {
		return left - open
	}
	return 0
}

// awaited returns what a wallet's account has bought and its key may spend as soon as a tally shows it, and
// about how long that takes: until the epoch's last block, and some more for the tally. It is 0 once a tally
// has shown the key, and had an epoch more to show the credits: one of them may have come at an epoch's end,
// and the other after it.
func (m *market) awaited(ctx context.Context, w *Wallet) (types.Credit, time.Duration) {
	m.mu.RLock()
	state, known := m.payers[w.Payer()]
	n, block, first := m.notice, m.block, m.first[w.Payer()]
	m.mu.RUnlock()
	if known && state.Limit > 0 && (state.Balance > 0 || state.Spent > 0 || n.Epoch > first+2) {
		return 0, 0
	}
	grant, err := m.ledger.Grant(ctx, w.Payer())
	if err != nil || grant.Account != w.account || grant.Region != m.Region() || grant.Expiry < n.Epoch {
		return 0, 0
	}
	account, err := m.ledger.Account(ctx, w.account)
	if err != nil {
		return 0, 0
	}
	const tally = 5 // blocks
	wait := time.Duration(n.Cut-min(n.Cut, n.Height)+tally) * block
	return min(grant.Limit, account.In(m.Region())), max(wait, time.Second)
}

// begin listens to asks and acks, on a bus that the gateway has logged on to.
func (m *market) begin(ctx context.Context, b bus.Bus) error {
	head, err := m.ledger.Head(ctx)
	if err != nil {
		return fmt.Errorf("gateway: newest block: %w", err)
	}
	epoch, err := m.ledger.Epoch(ctx, head.Epoch)
	if err != nil {
		return fmt.Errorf("gateway: epoch %d: %w", head.Epoch, err)
	}
	for category, o := range m.asks {
		if err := b.SubscribeLast(ctx, bus.AskSubject(types.Key{}, category, 0, 0), m.hear(o, epoch.Regions())); err != nil {
			return fmt.Errorf("gateway: subscribe to asks: %w", err)
		}
	}
	for category, called := range m.called {
		var calls agent.Calls
		if err := b.Subscribe(ctx, bus.CallSubject(types.Key{}, category), func(msg bus.Message) {
			if by, body, ok := calls.Hear(m.chain, m.agent.Pin().Set, category, msg); ok {
				called(role.Called{By: by, Body: body})
			}
		}); err != nil {
			return fmt.Errorf("gateway: subscribe to calls: %w", err)
		}
	}
	if err := m.agent.Acks(ctx, b, m.book.ack); err != nil {
		return fmt.Errorf("gateway: subscribe to acks: %w", err)
	}
	return nil
}

// run follows the network until ctx ends.
func (m *market) run(ctx context.Context) {
	for n := range m.agent.Notices(ctx) {
		if err := m.take(ctx, n); err != nil && ctx.Err() == nil {
			m.log.Warn("gateway: a category's rules are not to be had", "epoch", n.Epoch, "err", err)
		}
	}
}

// take takes in a notice: the time, and the rules in force.
func (m *market) take(ctx context.Context, n *bus.Notice) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rules := map[types.Category][]byte{}
	for _, r := range n.Rules {
		raw, err := m.agent.Rules(ctx, n, r.Category)
		if err != nil {
			return err
		}
		rules[r.Category] = raw
	}
	now := agent.NoticeFor(n, 0, nil)
	m.mu.Lock()
	if m.notice.Epoch != now.Epoch {
		m.began = now
	} else if blocks := now.Height - min(now.Height, m.began.Height); blocks > 0 {
		m.block = time.Duration(now.Time-min(now.Time, m.began.Time)) * time.Second / time.Duration(blocks)
	}
	m.notice, m.rules = now, rules
	m.mu.Unlock()
	agent.Poke(m.book.news)
	agent.Poke(m.chore)
	return nil
}

// chores does what each notice calls for, until ctx ends. It may take its time: nobody waits for it.
func (m *market) chores(ctx context.Context) {
	var epoch types.Epoch // whose registry is known
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.chore:
		}
		now := m.Notice().Epoch
		err := m.upkeep(ctx, now != epoch)
		switch {
		case err == nil:
			epoch = now
		case ctx.Err() == nil:
			m.log.Warn("gateway: follow the network", "epoch", now, "err", err)
		}
	}
}

// upkeep brings what the gateway knows of payers, and in a fresh epoch of devices, up to date.
func (m *market) upkeep(ctx context.Context, fresh bool) error {
	if fresh {
		if err := m.freshen(ctx); err != nil {
			return err
		}
		go m.askQuality(ctx)
	}
	if err := m.release(ctx, m.store.now().Add(-keepPending), 256); err != nil {
		return err
	}
	if err := m.askPayers(ctx); err != nil || !fresh {
		return err
	}
	return m.store.forget(m.Notice().Epoch, m.paid)
}
