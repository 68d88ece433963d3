package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
)

// shop is a category whose every device sells a unit a micro-credit to each order in each epoch, and puts out
// what it did; an order with a selector of more than a byte buys nothing.
var shop = tally.Verifier{
	Spec: &tally.Spec{
		Category: types.Energy, Name: "energy", Classes: []tally.Class{{Class: 1, Name: "unit", Unit: "unit", Scale: 1}},
		Kinds: []tally.Kind{{Kind: 1, Name: "note"}}, Quota: tally.Quota{Count: 8, Bytes: 4096}, MaxState: 8,
	},
	Verify: func(*tally.Input) *tally.Output { return &tally.Output{State: []byte{1}, Summary: []byte{1}} },
	Cross:  sell,
}

func sell(in *tally.CrossInput) *tally.CrossOutput {
	out := &tally.CrossOutput{}
	for _, o := range in.Orders {
		for _, s := range in.Summaries {
			session := tally.SessionKey{Payer: o.Order.Payer, ID: o.Order.Session}
			if o.Reserved > 0 && o.Order.Limit > 0 {
				out.Fills = append(out.Fills, tally.Fill{Session: session, Device: s.Device.Key, Units: types.U64(1), Amount: 1})
			}
			out.Outputs = append(out.Outputs, tally.OutputData{Data: types.Encode(session), Detail: []byte(s.Device.Key.String())})
		}
	}
	return out
}

// door is the customer of shop: it only keeps its market.
type door struct{ market role.Market }

func (d *door) role() role.Customer {
	return role.Customer{
		Category: types.Energy,
		Mount: func(m role.Market) (http.Handler, error) {
			d.market = m
			return http.NewServeMux(), nil
		},
		Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
	}
}

// headed is a chain with the headers that a test gives it.
type headed struct {
	*ledger.Memory
	mu      sync.Mutex
	headers []*ledger.Header // newest first
}

func (h *headed) Headers(_ context.Context, _ types.Region, limit int) ([]*ledger.Header, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.headers[:min(limit, len(h.headers))]), nil
}

func (h *headed) Header(_ context.Context, e types.Epoch, _ types.Region) (*ledger.Header, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, at := range h.headers {
		if at.Epoch == e {
			return at, nil
		}
	}
	return nil, fmt.Errorf("header of epoch %d: %w", e, ledger.ErrNotFound)
}

// standing returns the newest header that stands, nil for none.
func (h *headed) standing() *ledger.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, at := range h.headers {
		if at.Status == ledger.Accepted || at.Status == ledger.Appealed || at.Status == ledger.Final {
			return at
		}
	}
	return nil
}

func (h *headed) push(at *ledger.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.headers = slices.Insert(h.headers, 0, at)
}

// voter stands in for a verifier: it takes orders for the batch, and answers queries by the tallies that the
// test makes.
type voter struct {
	region *region
	key    types.PrivateKey
	link   bus.Bus

	mu     sync.Mutex // guards what follows
	deaf   bool       // it answers nobody
	refuse types.Reason
	took   map[types.Hash]int // how often an item came
	// answer, if set, bends what it says; nil says nothing.
	answer func(what string, honest []byte) []byte
}

// tallied is what one tally made.
type tallied struct {
	state  *tally.State
	header *tally.Header
	result *tally.Result
}

// region is a gateway among four voters.
type region struct {
	*fixture
	t      *testing.T
	chain  *headed
	voters []*voter
	door   *door
	wallet *Wallet
	api    string
	stop   func()

	mu      sync.Mutex // guards what follows
	items   []tally.Item
	rules   *tally.Rules
	state   *tally.State
	tallies map[types.Hash]*tallied
	byEpoch map[types.Epoch]*tallied
	changes []tally.Change
}

func (r *region) Authorize(_ context.Context, k types.Key) (bus.Pass, error) {
	for i := range byte(4) {
		if k == key(40+i).Public() {
			return bus.Full(bus.RoleVerifier), nil
		}
	}
	return anybody{}.Authorize(context.Background(), k)
}

func newRegion(t *testing.T) *region {
	t.Helper()
	rules, err := tally.NewRules(1, shop)
	if err != nil {
		t.Fatal(err)
	}
	r := &region{t: t, rules: rules, state: tally.NewState(chain, 0), tallies: map[types.Hash]*tallied{}, byEpoch: map[types.Epoch]*tallied{}}
	r.fixture = &fixture{dir: t.TempDir(), bus: bus.NewMemory(r, slog.New(slog.DiscardHandler))}
	cfg := ledger.Config{Chain: chain, Balances: map[types.Account]types.Ustone{alice: 1e12}, Params: []tally.Params{{Category: types.Energy, Rules: []byte("rules")}},
		Opening: 10}
	for i := range byte(4) {
		cfg.Verifiers = append(cfg.Verifiers, tally.Attester{Key: key(40 + i).Public(), VRF: key(7).Public(), Owner: types.Account{100 + i}, Power: 100})
	}
	slices.SortFunc(cfg.Verifiers, func(a, b tally.Attester) int { return slices.Compare(a.Key[:], b.Key[:]) })
	r.fixture.ledger = ledger.New(cfg)
	r.chain = &headed{Memory: r.fixture.ledger}
	r.fixture.ledger.Advance(1)
	for i := range byte(4) {
		r.voters = append(r.voters, newVoter(t, r, key(40+i)))
	}
	r.start()
	k := r.create(t, alice)
	r.grant(t, alice, k)
	if r.wallet, err = r.Wallet(t.Context(), k.APIKey); err != nil {
		t.Fatal(err)
	}
	r.changes = []tally.Change{
		{Holder: &tally.Holder{Account: alice, Bought: 1 << 30}},
		{Grant: &tally.Grant{Key: r.wallet.Payer(), Account: alice, Limit: 1 << 30, Expiry: 100}},
	}
	for i := range byte(2) {
		r.changes = append(r.changes, tally.Change{Device: &tally.Device{Key: key(60 + i).Public(), Owner: types.Account{9}, Categories: []types.Category{types.Energy}, Cell: 1}})
	}
	return r
}

// start runs the gateway; stop ends it as a kill would.
func (r *region) start() {
	r.t.Helper()
	var err error
	r.door = &door{}
	if r.Gateway, err = New(r.config(r.t), r.chain, []role.Customer{r.door.role()}, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
	r.market.book.wait, r.market.patience = 50*time.Millisecond, time.Second
	r.server = httptest.NewServer(r.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	g := r.Gateway
	go func() { done <- g.Run(ctx) }()
	once := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("gateway: %v", err)
		}
		r.server.Close()
		g.Close()
	})
	r.stop = once
	r.t.Cleanup(once)
	r.announce()
}

// announce has all voters say where the chain stands.
func (r *region) announce() {
	r.t.Helper()
	n := r.notice(r.t)
	if h := r.chain.standing(); h != nil {
		n.Tallied = bus.Root{Epoch: h.Epoch, Header: h.Hash}
	}
	for _, v := range r.voters {
		if err := v.link.PublishLast(r.t.Context(), bus.NoticeSubject(v.key.Public(), 0), bus.Seal(v.key, n)); err != nil {
			r.t.Fatal(err)
		}
	}
	r.until("the gateway takes the notice", func() bool { return r.door.market.Notice().Height == n.Height })
}

// until waits for something, while blocks come.
func (r *region) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

func newVoter(t *testing.T, r *region, k types.PrivateKey) *voter {
	v := &voter{region: r, key: k, took: map[types.Hash]int{}}
	var err error
	if v.link, err = r.bus.Dial(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.link.Close)
	if err := v.link.Subscribe(t.Context(), bus.SubmitSubject(types.Key{}, 0), v.intake); err != nil {
		t.Fatal(err)
	}
	if err := bus.ServeBlobs(t.Context(), v.link, rules{}); err != nil {
		t.Fatal(err)
	}
	for what, answer := range map[string]func([]byte) []byte{
		bus.QueryOrder: v.order, bus.QueryOutputs: v.outputs, bus.QueryRefusals: v.refusals,
	} {
		if err := v.link.Subscribe(t.Context(), bus.QuerySubject(types.Key{}, 0, what), func(m bus.Message) {
			v.mu.Lock()
			deaf, bend := v.deaf, v.answer
			v.mu.Unlock()
			if deaf {
				return
			}
			out := answer(m.Data)
			if bend != nil {
				out = bend(what, out)
			}
			if out != nil {
				_ = v.link.Respond(context.Background(), m, out)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// rules are the one blob that voters serve.
type rules struct{}

func (rules) ReadBlob(hash types.Hash, p []byte, offset int64) (int, int64, error) {
	raw := []byte("rules")
	if hash != types.Sum(raw) {
		return 0, 0, types.Refuse(types.UnknownBlob, "no blob %s", hash)
	}
	return copy(p, raw[min(offset, int64(len(raw))):]), int64(len(raw)), nil
}

func (v *voter) set(change func(*voter)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *voter) times(h types.Hash) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.took[h]
}

// intake keeps orders for the present epoch's batch, or refuses them.
func (v *voter) intake(m bus.Message) {
	s, err := bus.Decode[bus.Submit](m.Data, chain)
	if err != nil {
		v.region.t.Error(err)
		return
	}
	author, _ := bus.ParseWord(bus.Owner(m.Subject))
	v.mu.Lock()
	defer v.mu.Unlock()
	a := &bus.Ack{Chain: chain, Epoch: v.region.epoch()}
	for _, it := range s.Items {
		v.took[it.Hash()]++
		if v.refuse != "" {
			a.Refused = append(a.Refused, bus.Refusal{Item: it.Hash(), Reason: v.refuse})
			continue
		}
		v.region.keep(it)
		a.Accepted = append(a.Accepted, it.Hash())
	}
	if !v.deaf {
		_ = v.link.Publish(context.Background(), bus.AckSubject(v.key.Public(), author), bus.Seal(v.key, a))
	}
}

func (r *region) keep(it bus.Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items = append(r.items, tally.Item{Type: it.Type, Raw: it.Raw})
}

// epoch is the one whose batch is collected.
func (r *region) epoch() types.Epoch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Epoch() + 1
}

// tally ends the epoch, with what voters took; lost are items that do not get into the batch. Each device says
// something.
func (r *region) tally(status ledger.Status, lost ...types.Hash) *tallied {
	r.t.Helper()
	defer r.announce()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.state.Epoch() + 1
	frame := &tally.Frame{Chain: chain, Epoch: e, PreviousEpoch: e - 1, MinOpening: 10, Blocks: []tally.BlockHash{{}}}
	if old := r.byEpoch[e-1]; old != nil {
		frame.Previous = old.header.Hash()
		frame.Fold = &tally.Settlement{}
	}
	items := slices.DeleteFunc(slices.Clone(r.items), func(it tally.Item) bool { return slices.Contains(lost, types.Sum(it.Raw)) })
	for i := range byte(2) {
		items = append(items, tally.Item{Type: tally.Ask, Raw: receipt.Ask{Chain: chain, Device: key(60 + i).Public(), Category: types.Energy, Class: 1, Until: 99}.Sign(key(60 + i)).Encode()})
	}
	batch := tally.NewBatch(chain, items)
	next, header, result, err := tally.Apply(r.rules, r.state, frame, batch, r.changes, tally.CheckSignatures(batch, chain))
	if err != nil {
		r.t.Fatal(err)
	}
	t := &tallied{next, header, result}
	r.items, r.changes = nil, nil
	r.tallies[header.Hash()], r.byEpoch[e] = t, t
	if r.state = next; status == ledger.Skipped {
		r.t.Fatal("a tally that is skipped")
	}
	r.chain.push(&ledger.Header{Epoch: e, Status: status, Raw: header.Encode(), Hash: header.Hash()})
	r.fixture.ledger.Advance(1)
	return t
}

func (r *region) at(header types.Hash) *tallied {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tallies[header]
}

func (v *voter) order(raw []byte) []byte {
	q, err := bus.Decode[bus.OrderQuery](raw, chain)
	if err != nil {
		v.region.t.Error(err)
		return nil
	}
	at := v.region.at(q.Header)
	if at == nil {
		return nil
	}
	out := &bus.OrderAt{Chain: chain, Header: q.Header, Session: q.Session}
	if proof, ok := at.state.Prover().Order(q.Session); ok {
		out.Proof = &proof
	}
	return bus.Seal(v.key, out)
}

func (v *voter) refusals(raw []byte) []byte {
	q, err := bus.Decode[bus.RefusalsQuery](raw, chain)
	if err != nil {
		v.region.t.Error(err)
		return nil
	}
	v.region.mu.Lock()
	defer v.region.mu.Unlock()
	at := v.region.byEpoch[q.Epoch]
	if at == nil {
		return nil
	}
	out := &bus.Refusals{Chain: chain, Author: q.Author, Epoch: q.Epoch}
	for _, j := range at.result.Rejections {
		if j.Author == q.Author {
			out.Refused = append(out.Refused, bus.Refusal{Item: j.Item, Reason: j.Reason})
		}
	}
	return bus.Seal(v.key, out)
}

func (v *voter) outputs(raw []byte) []byte {
	q, err := bus.Decode[bus.OutputsQuery](raw, chain)
	if err != nil {
		v.region.t.Error(err)
		return nil
	}
	at := v.region.at(q.Header)
	if at == nil || !q.Of.IsZero() && q.Of != v.key.Public() {
		return nil
	}
	var leaves []bus.Output
	var which []bus.Leaf
	more := false
	for i, o := range at.result.Outputs {
		if o.Category != q.Category || len(o.Data) < len(q.Prefix) || string(o.Data[:len(q.Prefix)]) != string(q.Prefix) {
			continue
		}
		which = append(which, bus.Leaf{Index: uint64(i), Detail: types.Sum(o.Detail)})
		if uint64(i) < q.From {
			continue
		}
		if len(leaves) == 2 { // small pages
			more = true
			continue
		}
		leaves = append(leaves, bus.Output{Index: uint64(i), Data: o.Data, Detail: o.Detail, Siblings: at.result.ProveOutput(i)})
	}
	if q.Of.IsZero() {
		return bus.Seal(v.key, &bus.OutputsSum{Chain: chain, Header: q.Header, Category: q.Category, Prefix: q.Prefix, Count: uint64(len(which)), Which: bus.Which(which)})
	}
	return bus.Seal(v.key, &bus.Outputs{Chain: chain, Header: q.Header, Leaves: leaves, More: more})
}
