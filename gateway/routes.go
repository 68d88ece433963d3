package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Status is where the network stands, as the gateway sees it.
type Status struct {
	ChainID string       `json:"chain_id"`
	Region  types.Region `json:"region"` // of the devices that it buys from
	Height  uint64       `json:"height"`
	Epoch   types.Epoch  `json:"epoch"`
	Cut     uint64       `json:"cut"`
	Final   types.Epoch  `json:"final"`
	Asks    int          `json:"asks"` // that it knows of
}

// CreateKey asks for an API key.
type CreateKey struct {
	Account types.Account `json:"account"`
	Label   string        `json:"label,omitempty"`
}

// Key is a new API key, which is shown once. The account grants Payer on chain, in Region, with Consent as the
// key's own signature, a spend limit and an expiry; until then the key can spend nothing, and after ten minutes
// without a grant the gateway forgets it.
type Key struct {
	APIKey  string        `json:"api_key"`
	Account types.Account `json:"account"`
	Payer   types.Key     `json:"payer"`
	Region  types.Region  `json:"region"`  // where the gateway buys: elsewhere the key is of no use to it
	Consent string        `json:"consent"` // hexadecimal
}

// Credit says what a key may spend and where it went.
type Credit struct {
	Account   types.Account `json:"account"`
	Region    types.Region  `json:"region"` // where balance and limit can be spent
	Payer     types.Key     `json:"payer"`
	Limit     types.Credit  `json:"limit,string"`     // of the key
	Expiry    types.Epoch   `json:"expiry"`           // of the key: the last epoch
	Spent     types.Credit  `json:"spent,string"`     // by the key, as of the last tally
	Balance   types.Credit  `json:"balance,string"`   // of the account, as of the last tally
	Spendable types.Credit  `json:"spendable,string"` // now, less what was promised since
	// Awaited is what was bought, and counts in about so many seconds: nothing can be spent yet.
	Awaited  types.Credit `json:"awaited,omitzero,string"`
	Seconds  uint64       `json:"awaited_seconds,omitzero"`
	Spending []Spending   `json:"spending"`
}

// Spending is what a key has promised to one device in one category, in sessions that go on or ended lately;
// without a device, what it promised in all sessions of the category that ended before.
type Spending struct {
	Category string       `json:"category"`
	Device   types.Key    `json:"device,omitzero"`
	Amount   types.Credit `json:"amount,string"`
}

// Routes describes the gateway's own API.
func Routes() []role.Route {
	var out []role.Route
	for _, rt := range new(Gateway).routes() {
		out = append(out, rt.Route)
	}
	return out
}

// routes is the gateway's own API.
func (g *Gateway) routes() []route {
	return []route{
		{Route: role.Route{Method: "GET", Path: "/v1/status", Summary: "Where the network stands", Open: true, Out: Status{}},
			handle: func(http.ResponseWriter, *http.Request) (any, error) { return g.status(), nil }},
		{Route: role.Route{Method: "POST", Path: "/v1/keys", Summary: "Make an API key of an account", Open: true, In: CreateKey{}, Out: Key{}},
			handle: func(w http.ResponseWriter, r *http.Request) (any, error) { return g.createKey(w, r) }},
		{Route: role.Route{Method: "GET", Path: "/v1/credit", Summary: "What a key may spend, and where it went", Out: Credit{}},
			handle: func(_ http.ResponseWriter, r *http.Request) (any, error) { return g.credit(r) }},
	}
}

func (g *Gateway) status() Status {
	n := g.market.Notice()
	g.market.mu.RLock()
	defer g.market.mu.RUnlock()
	s := Status{ChainID: g.market.chain, Region: g.market.Region(), Height: n.Height, Epoch: n.Epoch, Cut: n.Cut, Final: n.Final}
	for _, o := range g.market.asks {
		s.Asks += o.anywhere.Len()
	}
	return s
}

// maxLabel bounds an API key's label, in bytes.
const maxLabel = 64

// createKey needs no API key: whoever names an account gets a key that only that account can make worth anything.
func (g *Gateway) createKey(w http.ResponseWriter, r *http.Request) (*Key, error) {
	from := addressOf(r, g.proxies)
	if wait := g.limit.allow(from); wait > 0 {
		seconds := int64((wait + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
		return nil, types.Refuse(TooMany, "gateway: %v asked for too many API keys: wait %d s", from, seconds)
	}
	var in CreateKey
	if err := role.ReadJSON(r, &in); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if in.Account.IsZero() {
		return nil, types.Refuse(BadRequest, "gateway: create key: want an account")
	}
	if err := role.CheckText("label", in.Label, maxLabel); err != nil {
		return nil, fmt.Errorf("gateway: create key: %w", err)
	}
	wallet, api, err := g.market.createKey(r.Context(), in.Account, in.Label)
	if err != nil {
		return nil, err
	}
	return &Key{APIKey: api, Account: wallet.account, Payer: wallet.Payer(), Region: g.market.Region(), Consent: wallet.Consent().String()}, nil
}

func (g *Gateway) credit(r *http.Request) (*Credit, error) {
	w, err := g.market.wallet(r)
	if err != nil {
		return nil, err
	}
	if w.pending { // granted meanwhile, perhaps; if not, there is nothing to show yet
		if fresh, err := g.market.opened(r.Context(), w); err == nil {
			w = fresh
		}
	}
	g.market.mu.RLock()
	state := g.market.payers[w.Payer()]
	g.market.mu.RUnlock()
	c := &Credit{
		Account: w.account, Region: g.market.Region(), Payer: w.Payer(), Limit: state.Limit, Expiry: state.Expiry, Spent: state.Spent,
		Balance: state.Balance, Spendable: w.Balance(), Spending: []Spending{},
	}
	if c.Spendable == 0 && !w.pending {
		awaited, wait := w.Awaited(r.Context())
		c.Awaited, c.Seconds = awaited, uint64((wait+time.Second-1)/time.Second)
		if awaited == 0 {
			c.Seconds = 0
		}
	}
	rows := map[serving]int{}
	err = g.market.store.promises(w.Payer(), func(p Promise) {
		at, ok := rows[serving{p.Device, p.Category}]
		if !ok {
			at = len(c.Spending)
			rows[serving{p.Device, p.Category}] = at
			c.Spending = append(c.Spending, Spending{Category: p.Category.String(), Device: p.Device})
		}
		c.Spending[at].Amount += p.Amount
	})
	return c, err
}
