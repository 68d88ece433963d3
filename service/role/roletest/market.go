package roletest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Market is a gateway's market with one wallet, which every request is of.
type Market struct {
	w       *World
	name    string
	dir     string
	key     types.PrivateKey
	account types.Account
	bought  types.Credit
	limit   types.Credit
	expiry  types.Epoch

	mu        sync.Mutex
	published []*receipt.Signed
}

var (
	_ role.Market = (*Market)(nil)
	_ role.Wallet = (*Market)(nil)
)

// Market opens an account that has bought that many micro-credits.
func (w *World) Market(name string, bought types.Credit) *Market {
	m := &Market{w: w, name: name, dir: w.t.TempDir(), key: Key(name), account: account(name), bought: bought, limit: bought, expiry: 1 << 30}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.markets = append(w.markets, m)
	w.changes = append(w.changes,
		tally.Change{Holder: &tally.Holder{Account: m.account, Bought: bought}},
		tally.Change{Grant: &tally.Grant{Key: m.key.Public(), Account: m.account, Limit: bought, Expiry: m.expiry}},
	)
	return m
}

// Chain is the world's.
func (m *Market) Chain() string { return Chain }

// Log writes to the test's output.
func (m *Market) Log() *slog.Logger { return m.w.logger(m.name) }

// Dir is the gateway's disk.
func (m *Market) Dir() string { return m.dir }

// Notice returns the present one.
func (m *Market) Notice() role.Notice {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.notice()
}

// Offers lists what devices ask.
func (m *Market) Offers(_ context.Context, category types.Category, class types.Class) ([]role.Offer, []role.Passed, error) {
	return m.w.asks(category, class), nil, nil
}

// Wallet is the market's only one.
func (m *Market) Wallet(*http.Request) (role.Wallet, error) { return m, nil }

// Wallets lists it.
func (m *Market) Wallets() []role.Wallet { return []role.Wallet{m} }

// Publish keeps what is published.
func (m *Market) Publish(_ context.Context, signed *receipt.Signed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.published = append(m.published, signed)
	return nil
}

// Account is the wallet's.
func (m *Market) Account() types.Account { return m.account }

// Payer is the session key's public half.
func (m *Market) Payer() types.Key { return m.key.Public() }

// Sign signs as the payer.
func (m *Market) Sign(kind string, payload []byte) types.Signature {
	return m.key.Sign(kind, Chain, payload)
}

// TLS returns the session key.
func (m *Market) TLS() types.PrivateKey { return m.key }

// Secret derives a secret of the account's.
func (m *Market) Secret(purpose string) [32]byte {
	return types.Sum([]byte("secret of "+m.name), []byte(purpose))
}

// Balance is what the account has left.
func (m *Market) Balance() types.Credit {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.bought - min(m.bought, m.w.state.Balance(m.account).Spent)
}
