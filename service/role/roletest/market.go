package roletest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// Market is a gateway's market with one wallet, which every request is of.
type Market struct {
	// Module is what the category adds to the chain; nil: nothing.
	Module ledger.Querier

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
	called    func(role.Called)
	orders    map[tally.SessionKey]*handed // the newest of each session
}

// handed is an order that was handed in.
type handed struct {
	item types.Hash
	seq  uint64
}

var (
	_ role.Market = (*Market)(nil)
	_ role.Wallet = (*Market)(nil)
)

// Market opens an account that has bought that many micro-credits.
func (w *World) Market(name string, bought types.Credit) *Market {
	m := &Market{w: w, name: name, dir: w.t.TempDir(), key: Key(name), account: account(name), bought: bought, limit: bought, expiry: 1 << 30,
		orders: map[tally.SessionKey]*handed{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.markets = append(w.markets, m)
	w.changes = append(w.changes,
		tally.Change{Holder: &tally.Holder{Account: m.account, Bought: bought}},
		tally.Change{Grant: &tally.Grant{Key: m.key.Public(), Account: m.account, Limit: bought, Expiry: m.expiry}},
	)
	return m
}

// Also opens another gateway's wallet of a market's account, under a key and secrets of its own.
func (w *World) Also(name string, of *Market, limit types.Credit) *Market {
	m := &Market{w: w, name: name, dir: w.t.TempDir(), key: Key(name), account: of.account, bought: of.bought, limit: limit, expiry: of.expiry,
		orders: map[tally.SessionKey]*handed{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.markets = append(w.markets, m)
	w.changes = append(w.changes, tally.Change{Grant: &tally.Grant{Key: m.key.Public(), Account: m.account, Limit: limit, Expiry: m.expiry}})
	return m
}

// Chain is the world's.
func (m *Market) Chain() string { return Chain }

// Region is the world's.
func (m *Market) Region() types.Region { return m.w.state.Region() }

// Log writes to the test's output.
func (m *Market) Log() *slog.Logger { return m.w.logger(m.name) }

// Awaited returns nothing: what was bought counts from the first tally on.
func (m *Market) Awaited(context.Context) (types.Credit, time.Duration) { return 0, 0 }

// Dial connects to any address.
func (m *Market) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

// Dir is the gateway's disk.
func (m *Market) Dir() string { return m.dir }

// Notice returns the present one.
func (m *Market) Notice() role.Notice {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	n := m.w.notice()
	n.Rules = m.w.rulesOf(m.category())
	return n
}

// category is that of the first verifier: the market is at its customer's door.
func (m *Market) category() types.Category { return m.w.specs[0].Category }

// Offers lists what devices ask.
func (m *Market) Offers(_ context.Context, w role.Want) ([]role.Offer, []role.Passed, error) {
	return slices.DeleteFunc(m.w.asks(m.category(), w.Class), func(o role.Offer) bool {
		elsewhere := len(w.Near) > 0 && !slices.ContainsFunc(w.Near, func(c types.Cell) bool { return c.Contains(o.Cell) })
		return elsewhere || !w.Device.IsZero() && o.Ask.Ask.Device != w.Device
	}), nil, nil
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

// Order takes an order on for the current epoch's batch.
func (m *Market) Order(_ context.Context, signed *receipt.SignedOrder) error {
	if err := role.CheckOrder(signed, Chain, m.Region(), m.category(), m.w.Epoch()); err != nil {
		return fmt.Errorf("roletest: %w", err)
	}
	o := &signed.Order
	if o.Payer != m.Payer() {
		return types.Refuse(types.UnknownKey, "roletest: order of %v", o.Payer)
	}
	item := tally.Item{Type: tally.Order, Raw: signed.Encode()}
	m.mu.Lock()
	session := tally.SessionKey{Payer: o.Payer, ID: o.Session}
	if old := m.orders[session]; old != nil && old.seq >= o.Seq {
		m.mu.Unlock()
		return types.Refuse(types.StaleSeq, "roletest: order %d of session %s after %d", o.Seq, o.Session, old.seq)
	}
	m.orders[session] = &handed{types.Sum(item.Raw), o.Seq}
	m.mu.Unlock()
	m.w.handIn(o.Payer, 0, item)
	return nil
}

// OrderState says what the last tally has of a session.
func (m *Market) OrderState(_ context.Context, session tally.SessionKey) (role.OrderState, error) {
	m.mu.Lock()
	mine := m.orders[session]
	m.mu.Unlock()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	out := role.OrderState{Tallied: m.w.state.Epoch()}
	if line := m.w.state.Order(session); line != nil {
		out.Of(line)
	}
	if mine == nil || out.Counted(mine.seq) {
		return out, nil
	}
	for _, t := range m.w.tallies {
		if reason := t.refused[mine.item]; reason != "" {
			out.Refused = reason
			return out, nil
		}
	}
	out.Waiting = mine.seq
	return out, nil
}

// Outputs lists what the category put out in an epoch.
func (m *Market) Outputs(_ context.Context, epoch types.Epoch, prefix []byte) ([]role.Output, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	t := m.w.tallies[epoch]
	switch {
	case t == nil && epoch < m.w.epoch:
		return nil, types.Refuse(types.RegionSkipped, "roletest: epoch %d", epoch)
	case t == nil:
		return nil, types.Refuse(types.NotFinal, "roletest: epoch %d has no tally yet", epoch)
	}
	tree := tally.OutputTree(t.outputs)
	var out []role.Output
	for i, leaf := range t.outputs {
		if leaf.Category != m.category() || !bytes.HasPrefix(leaf.Data, prefix) {
			continue
		}
		o := role.Output{
			Epoch: epoch, Region: t.header.Region, Final: epoch+m.w.Window <= m.w.state.Epoch(), Index: uint64(i),
			Data: leaf.Data, Detail: leaf.Detail, Siblings: tree.Proof(i).Siblings,
		}
		if err := t.header.VerifyOutput(leaf.Category, o.Data, o.Index, o.Siblings); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// Devices lists who is registered.
func (m *Market) Devices(_ context.Context, owner types.Account) (list []tally.Device, err error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, d := range m.w.devices {
		if d.category == m.category() && (owner.IsZero() || d.owner == owner) {
			list = append(list, *d.row())
		}
	}
	slices.SortFunc(list, func(a, b tally.Device) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return list, nil
}

// Line is what the last tally has of a device.
func (m *Market) Line(_ context.Context, device types.Key) (role.Line, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return role.Line{Tallied: m.w.state.Epoch(), State: m.w.state.CategoryLine(device, m.category())}, nil
}

// Query asks Module.
func (m *Market) Query(ctx context.Context, method string, request, answer any) error {
	if m.Module == nil {
		return fmt.Errorf("%s: %w", method, ledger.ErrNotFound)
	}
	return m.Module.Query(ctx, method, request, answer)
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

// Receipts is how many receipts were published.
func (m *Market) Receipts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.published)
}
