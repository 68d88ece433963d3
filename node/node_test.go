package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/agent"
	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

const chain = "cairn-test"

var quiet = slog.New(slog.DiscardHandler)

// world is a bus with verifiers that do what the test says.
type world struct {
	t         *testing.T
	ctx       context.Context
	roles     *bustest.Roles
	memory    *bus.Memory
	verifiers []*verifier
	set       bus.Set
	notice    bus.Notice // the newest
}

// verifier keeps what it is handed, and answers.
type verifier struct {
	w   *world
	key types.PrivateKey
	bus bus.Bus

	mu     sync.Mutex
	silent bool                                // neither acknowledges nor answers
	refuse func(bus.Item) (types.Reason, bool) // true: refuse
	items  map[types.Hash]bus.Item
	order  []bus.Item
	line   bus.Line
	payers map[types.Key]bus.PayerLine
	behind types.Epoch // how old what it says of payers is
	leaf   *tally.Leaf
	judged bus.Refusals
}

func newWorld(t *testing.T, verifiers int) *world {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, roles: new(bustest.Roles)}
	w.memory = bus.NewMemory(w.roles, quiet)
	var attesters []tally.Attester
	for i := range verifiers {
		key := bustest.Key(100 + i)
		w.roles.Set(key.Public(), bus.RoleVerifier)
		b, err := w.memory.Dial(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		v := &verifier{w: w, key: key, bus: b, items: map[types.Hash]bus.Item{}, payers: map[types.Key]bus.PayerLine{}}
		w.verifiers = append(w.verifiers, v)
		attesters = append(attesters, tally.Attester{Key: key.Public(), Power: 1})
		v.listen()
	}
	sortAttesters(attesters)
	w.set = bus.SetOf(attesters)
	return w
}

func sortAttesters(a []tally.Attester) {
	for i := range a {
		for j := i; j > 0 && string(a[j-1].Key[:]) > string(a[j].Key[:]); j-- {
			a[j-1], a[j] = a[j], a[j-1]
		}
	}
}

func (v *verifier) listen() {
	handle := func(pattern string, f func(bus.Message) []byte) {
		err := v.bus.Subscribe(v.w.ctx, pattern, func(m bus.Message) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.silent {
				return
			}
			if answer := f(m); answer != nil {
				v.bus.Respond(v.w.ctx, m, answer)
			}
		})
		if err != nil {
			v.w.t.Fatal(err)
		}
	}
	handle(bus.SubmitSubject(types.Key{}, 0), v.intake)
	handle(bus.QuerySubject(types.Key{}, 0, bus.QueryLine), func(m bus.Message) []byte {
		q, err := bus.Decode[bus.LineQuery](m.Data, chain)
		if err != nil {
			return nil
		}
		line := v.line
		line.Chain, line.Device, line.Tallied = chain, q.Device, q.Tallied
		return bus.Seal(v.key, &line)
	})
	handle(bus.QuerySubject(types.Key{}, 0, bus.QueryPayers), func(m bus.Message) []byte {
		q, err := bus.Decode[bus.PayersQuery](m.Data, chain)
		if err != nil {
			return nil
		}
		answer := &bus.Payers{Chain: chain, Epoch: v.w.notice.Epoch - v.behind}
		for _, key := range q.Payers {
			line := v.payers[key]
			line.Key = key
			answer.Lines = append(answer.Lines, line)
		}
		return bus.Seal(v.key, answer)
	})
	handle(bus.QuerySubject(types.Key{}, 0, bus.QueryProof), func(m bus.Message) []byte {
		q, err := bus.Decode[bus.ProofQuery](m.Data, chain)
		if err != nil || v.leaf == nil {
			return nil
		}
		root := v.w.notice.Final
		if q.Tallied {
			root = v.w.notice.Tallied
		}
		tree, err := merkle.NewSumTree([]merkle.Node{v.leaf.Node()})
		if err != nil {
			return nil
		}
		return bus.Encode(&bus.Proof{Chain: chain, Epoch: root.Epoch, Leaf: *v.leaf, Proof: tree.Proof(0)})
	})
	handle(bus.QuerySubject(types.Key{}, 0, bus.QueryRefusals), func(m bus.Message) []byte {
		q, err := bus.Decode[bus.RefusalsQuery](m.Data, chain)
		if err != nil {
			return nil
		}
		r := v.judged
		r.Chain, r.Author, r.Epoch = chain, q.Author, q.Epoch
		return bus.Seal(v.key, &r)
	})
}

// intake keeps items and acknowledges them. The caller holds mu.
func (v *verifier) intake(m bus.Message) []byte {
	s, err := bus.Decode[bus.Submit](m.Data, chain)
	if err != nil {
		v.w.t.Errorf("a submit that does not decode: %v", err)
		return nil
	}
	ack := &bus.Ack{Chain: chain, Epoch: v.w.notice.Epoch}
	for _, i := range s.Items {
		if v.refuse != nil {
			if reason, yes := v.refuse(i); yes {
				ack.Refused = append(ack.Refused, bus.Refusal{Item: i.Hash(), Reason: reason})
				continue
			}
		}
		if _, ok := v.items[i.Hash()]; !ok {
			v.items[i.Hash()] = i
			v.order = append(v.order, i)
		}
		ack.Accepted = append(ack.Accepted, i.Hash())
	}
	author, err := bus.ParseWord(bus.Owner(m.Subject))
	if err != nil {
		v.w.t.Error(err)
	}
	v.bus.Publish(v.w.ctx, bus.AckSubject(v.key.Public(), author), bus.Seal(v.key, ack))
	return nil
}

func (v *verifier) do(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *verifier) kept(t bus.ItemType) (list []bus.Item) {
	v.do(func() {
		for _, i := range v.order {
			if i.Type == t {
				list = append(list, i)
			}
		}
	})
	return list
}

// announce has all verifiers publish a notice of an epoch and height.
func (w *world) announce(e types.Epoch, height uint64, change func(*bus.Notice)) {
	w.t.Helper()
	n := bus.Notice{Chain: chain, Epoch: e, Height: height, Hash: types.Sum([]byte{byte(height)}), Time: uint64(time.Now().Unix()),
		First: height, Cut: height + 19, Seed: types.Sum([]byte("seed")), Challenged: true, Set: w.set}
	if change != nil {
		change(&n)
	}
	for _, v := range w.verifiers {
		v.do(func() {}) // notice is read under each verifier's lock
	}
	w.notice = n
	for _, v := range w.verifiers {
		w.say(v, &n)
	}
}

func (w *world) say(v *verifier, n *bus.Notice) {
	w.t.Helper()
	if err := v.bus.PublishLast(w.ctx, bus.NoticeSubject(v.key.Public(), 0), bus.Seal(v.key, n)); err != nil {
		w.t.Fatal(err)
	}
}

// device is a node under test.
type device struct {
	*Node
	home string
	stop func()
}

// home makes a registered device's home.
func (w *world) home() string {
	home := w.t.TempDir()
	key, err := CreateKey(home)
	if err != nil {
		w.t.Fatal(err)
	}
	w.roles.Set(key.Public(), bus.RoleDevice)
	return home
}

func (w *world) config(home string) Config {
	return Config{Home: home, Pin: bus.Pin{Chain: chain, Epoch: 1, Set: w.set}, Dial: w.memory.Dial, Listen: "127.0.0.1:0",
		Resend: 20 * time.Millisecond, Backoff: 10 * time.Millisecond}
}

func (w *world) start(home string, providers ...role.Provider) *device {
	w.t.Helper()
	n, err := New(w.config(home), providers, quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	d := &device{Node: n, home: home}
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(d.stop)
	return d
}

func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

// provider hands its host to the test.
type provider struct {
	hosts chan role.Host
	fail  func(run int) error
	runs  int
}

func newProvider() *provider { return &provider{hosts: make(chan role.Host, 16)} }

func (p *provider) role() role.Provider { return role.Provider{Category: types.Storage, Run: p.run} }

func (p *provider) run(ctx context.Context, host role.Host) error {
	p.runs++
	if p.fail != nil {
		if err := p.fail(p.runs); err != nil {
			return err
		}
	}
	p.hosts <- host
	<-ctx.Done()
	return nil
}

// begin starts a node with a provider, and waits until the first notice has reached it.
func (w *world) begin(home string) (*device, role.Host) {
	w.t.Helper()
	p := newProvider()
	d := w.start(home, p.role())
	host := <-p.hosts
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	if _, ok := <-host.Notices(ctx); !ok {
		w.t.Fatal("no notice")
	}
	return d, host
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantReason(t *testing.T, err error, reason types.Reason) {
	t.Helper()
	if types.ReasonOf(err) != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
}

func TestEvidenceReachesAllVerifiers(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	for i := range 50 {
		ok(t, host.Submit(t.Context(), 1, []byte{byte(i)}))
	}
	w.until("everything is acknowledged", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	for _, v := range w.verifiers {
		w.until("every verifier has all", func() bool { return len(v.kept(bus.Evidence)) == 50 })
		prev := types.Hash{}
		for i, item := range v.kept(bus.Evidence) {
			e, err := evidence.Decode(item.Raw, chain)
			ok(t, err)
			if !e.Verify() || e.Author != d.Key() || e.Seq != uint64(i+1) || e.Prev != prev || e.Epoch != 5 || e.Anchor.Height != 100 ||
				e.Category != types.Storage || e.Kind != 1 || e.Body[0] != byte(i) {
				t.Fatalf("envelope %d: %+v", i, e.Payload)
			}
			prev = e.Hash
		}
	}
	w.until("all is counted", func() bool { return d.Status().Acked == 50 })
	if s := d.Status(); !s.Online || s.Epoch != 5 || s.Submitted != 50 {
		t.Errorf("status: %+v", s)
	}
}

func TestResendUntilTwoThirds(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	for _, v := range w.verifiers[:2] {
		v.do(func() { v.silent = true })
	}
	ok(t, host.Submit(t.Context(), 1, []byte("x")))
	w.until("the others have it", func() bool {
		return len(w.verifiers[2].kept(bus.Evidence)) == 1 && len(w.verifiers[3].kept(bus.Evidence)) == 1
	})
	time.Sleep(100 * time.Millisecond)
	if n, _ := d.outbox.Size(); n != 1 {
		t.Fatal("two of four were enough")
	}
	w.verifiers[0].do(func() { w.verifiers[0].silent = false })
	w.until("three of four are enough", func() bool { n, _ := d.outbox.Size(); return n == 0 })
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	refuse := func(n int, reason types.Reason) {
		for i, v := range w.verifiers {
			v.do(func() { v.refuse = func(bus.Item) (types.Reason, bool) { return reason, i < n } })
		}
	}
	// One liar of four changes nothing.
	refuse(1, types.BadSignature)
	ok(t, host.Submit(t.Context(), 1, []byte("1")))
	w.until("three of four are enough", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	if s := d.Status(); len(s.Refused) != 0 {
		t.Fatalf("a liar was heard: %+v", s.Refused)
	}
	// What may pass is tried again.
	refuse(2, types.BadAnchor)
	ok(t, host.Submit(t.Context(), 1, []byte("2")))
	time.Sleep(100 * time.Millisecond)
	if n, _ := d.outbox.Size(); n != 1 {
		t.Fatal("given up for a reason that passes")
	}
	refuse(0, "")
	w.until("it passed", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	// What lasts is given up, by name.
	refuse(2, types.BadSignature)
	ok(t, host.Submit(t.Context(), 1, []byte("3")))
	w.until("it is given up", func() bool { return len(d.Status().Refused) > 0 })
	s := d.Status()
	if len(s.Refused) != 1 || s.Refused[0].Reason != types.BadSignature || s.Refused[0].Try == "" || !strings.Contains(s.Next, "bad_signature") {
		t.Fatalf("status: %+v", s)
	}
}

func TestBusDown(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	home := w.home()
	d, host := w.begin(home)
	w.memory.SetDown(true)
	w.until("the node notices", func() bool { return !d.Status().Online })
	for i := range 20 {
		ok(t, host.Submit(t.Context(), 1, []byte{byte(i)}))
	}
	if s := d.Status(); s.Pending != 20 || !strings.Contains(s.Next, "kept") {
		t.Fatalf("status: %+v", s)
	}
	d.stop() // and the process ends meanwhile
	p := newProvider()
	d = w.start(home, p.role())
	<-p.hosts
	time.Sleep(50 * time.Millisecond)
	w.memory.SetDown(false)
	w.until("everything is handed in", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	if n := len(w.verifiers[0].kept(bus.Evidence)); n != 20 {
		t.Fatalf("%d of 20 arrived", n)
	}
}

func TestUnregistered(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	home := t.TempDir()
	key, err := CreateKey(home)
	ok(t, err)
	d := w.start(home, newProvider().role())
	w.until("it says so", func() bool { return strings.Contains(d.Status().Next, "claim code") })
	w.roles.Set(key.Public(), bus.RoleDevice)
	w.until("it joins by itself", func() bool { s := d.Status(); return s.Online && s.Epoch == 5 })
}

// TestLyingVerifier has one of four verifiers say whatever it likes, about everything.
func TestLyingVerifier(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	liar, payer := w.verifiers[0], bustest.Key(7).Public()
	account := types.Account{1}
	for _, v := range w.verifiers {
		v.do(func() {
			v.payers[payer] = bus.PayerLine{Account: account, Limit: 10, Balance: 10}
			v.leaf = &tally.Leaf{Amount: 50}
			v.line.Lines = []bus.CategoryLine{{Category: types.Storage, Blob: bus.BlobOf([]byte("line")), State: []byte("line")}}
		})
	}
	home := w.home()
	key, err := LoadKey(home)
	ok(t, err)
	leaf := tally.Leaf{Device: key.Public(), Amount: 50}
	liar.do(func() {
		liar.payers[payer] = bus.PayerLine{Account: account, Limit: 1 << 60, Balance: 1 << 60}
		liar.leaf = &tally.Leaf{Device: key.Public(), Amount: 1 << 60}
		liar.line.Seq = 1 << 60
		liar.line.Lines = nil
		liar.judged.Refused = []bus.Refusal{{Reason: "lie"}}
	})
	for _, v := range w.verifiers[1:] {
		v.do(func() { v.leaf = &leaf })
	}
	d, host := w.begin(home)
	lie := w.notice
	lie.Epoch, lie.Height, lie.Set = 900, 90_000, bus.Set{{Key: liar.key.Public(), Power: 1}}
	w.say(liar, &lie)
	for _, garbage := range []string{"", "garbage", strings.Repeat("x", 100_000)} {
		ok(t, liar.bus.PublishLast(w.ctx, bus.NoticeSubject(liar.key.Public(), 0), []byte(garbage)))
		ok(t, liar.bus.Publish(w.ctx, bus.AckSubject(liar.key.Public(), d.Key()), []byte(garbage)))
	}
	w.announce(6, 120, func(n *bus.Notice) {
		tree, err := merkle.NewSumTree([]merkle.Node{leaf.Node()})
		ok(t, err)
		n.Tallied = bus.Root{Epoch: 5, Header: types.Sum([]byte("h")), Devices: tree.Root(), Count: 1}
		n.Final = n.Tallied
	})
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	for n := range host.Notices(ctx) {
		if n.Epoch == 900 {
			t.Fatal("a liar was believed")
		}
		if n.Epoch == 6 {
			if string(n.Line) != "line" {
				t.Fatalf("the liar's line was believed: %q", n.Line)
			}
			break
		}
	}
	p, err := host.Payer(t.Context(), payer)
	ok(t, err)
	if p.Limit != 10 || p.Balance != 10 || p.Account != account {
		t.Fatalf("the liar's payer was believed: %+v", p)
	}
	_, err = host.Payer(t.Context(), bustest.Key(8).Public())
	wantReason(t, err, types.UnknownKey)
	w.until("what was earned is known", func() bool { s := d.Status(); return s.Earned.Total == 50 && s.Earned.Final == 50 })
	time.Sleep(50 * time.Millisecond)
	if s := d.Status(); len(s.Refused) != 0 || s.Earned.Today != 50 {
		t.Fatalf("status: %+v", s)
	}
	ok(t, host.Submit(t.Context(), 1, []byte("x")))
	w.until("it arrives", func() bool { return len(w.verifiers[1].kept(bus.Evidence)) == 1 })
	e, err := evidence.Decode(w.verifiers[1].kept(bus.Evidence)[0].Raw, chain)
	ok(t, err)
	if e.Seq != 1 || e.Epoch != 6 {
		t.Fatalf("the liar's sequence was believed: %+v", e.Payload)
	}
}

// TestRestoredBackup shows that a device whose home is older than what it signed does not sign a number twice.
func TestRestoredBackup(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, func(n *bus.Notice) { n.Tallied = bus.Root{Epoch: 4, Header: types.Sum(nil)} })
	last := types.Sum([]byte("last"))
	w.verifiers[0].do(func() { w.verifiers[0].line.Seq, w.verifiers[0].line.Last = 41, last })
	_, host := w.begin(w.home())
	ok(t, host.Submit(t.Context(), 1, []byte("x")))
	w.until("it arrives", func() bool { return len(w.verifiers[0].kept(bus.Evidence)) == 1 })
	e, err := evidence.Decode(w.verifiers[0].kept(bus.Evidence)[0].Raw, chain)
	ok(t, err)
	if e.Seq != 42 || e.Prev != last {
		t.Fatalf("seq %d after 41", e.Seq)
	}
}

func TestReceipts(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	payer := bustest.Key(7)
	ask, err := host.Offer(t.Context(), receipt.Ask{Class: 1, Price: 2, Until: 50})
	ok(t, err)
	if !ask.Verify() || ask.Ask.Device != d.Key() || ask.Ask.Chain != chain || ask.Ask.Category != types.Storage {
		t.Fatalf("ask: %+v", ask.Ask)
	}
	session := types.NewSessionID(60, [12]byte{1})
	sign := func(change func(*receipt.Receipt)) *receipt.Signed {
		r := receipt.Receipt{Chain: chain, Category: types.Storage, Session: session, Payer: payer.Public(), Device: d.Key(), Terms: ask.Ask.Hash(),
			Units: types.U64(10), Amount: 20, Seq: 2, First: 5}
		if change != nil {
			change(&r)
		}
		return &receipt.Signed{Receipt: r, PayerSig: r.Sign(payer)}
	}
	for _, v := range w.verifiers {
		v.do(func() { v.silent = true })
	}
	first := sign(nil)
	ok(t, host.SubmitReceipt(t.Context(), first))
	if !first.DeviceSig.IsZero() {
		t.Error("the caller's receipt was changed")
	}
	ok(t, host.SubmitReceipt(t.Context(), first)) // again: nothing new
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Seq, r.Amount = 3, 19 })), types.FallingTotals)
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Seq, r.Amount = 1, 21 })), types.FallingTotals)
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Seq, r.Terms = 3, types.Hash{1} })), types.UnknownAsk)
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Device = payer.Public() })), types.SessionMismatch)
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Category = types.Compute })), types.SessionMismatch)
	wantReason(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Chain = "other" })), types.WrongChain)
	forged := sign(nil)
	forged.Receipt.Amount++
	wantReason(t, host.SubmitReceipt(t.Context(), forged), types.BadSignature)
	ok(t, host.SubmitReceipt(t.Context(), sign(func(r *receipt.Receipt) { r.Seq, r.Amount, r.Units = 3, 40, types.U64(20) })))
	if n, _ := d.outbox.Size(); n != 1 {
		t.Fatalf("%d receipts of one session are pending", n)
	}
	for _, v := range w.verifiers {
		v.do(func() { v.silent = false })
	}
	w.until("it is acknowledged", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	v := w.verifiers[0]
	w.until("the ask comes along", func() bool { return len(v.kept(bus.Ask)) == 1 && len(v.kept(bus.Receipt)) > 0 })
	kept := v.kept(bus.Receipt) // an earlier one may have been on its way
	got, err := receipt.Decode(kept[len(kept)-1].Raw, chain)
	ok(t, err)
	if !got.Verify() || got.Receipt.Amount != 40 {
		t.Fatalf("receipt: %+v", got)
	}
}

// TestPromised shows that a provider sees what a payer owes elsewhere, and that nobody else can put it there.
func TestPromised(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	payer, gatewayKey := bustest.Key(7), bustest.Key(8)
	for _, v := range w.verifiers {
		v.do(func() {
			v.payers[payer.Public()] = bus.PayerLine{Account: types.Account{1}, Limit: 1000, Balance: 900, Spent: 120, Ordered: 20}
		})
	}
	w.roles.Set(gatewayKey.Public(), bus.RoleGateway)
	gateway, err := w.memory.Dial(w.ctx, gatewayKey)
	ok(t, err)
	publish := func(device, session byte, amount types.Credit, signer types.PrivateKey) {
		t.Helper()
		r := receipt.Receipt{Chain: chain, Category: types.Storage, Session: types.NewSessionID(60, [12]byte{session}), Payer: payer.Public(),
			Device: types.Key{device}, Units: types.U64(1), Amount: amount}
		s := &receipt.Signed{Receipt: r, PayerSig: r.Sign(signer)}
		ok(t, gateway.PublishLast(w.ctx, bus.ReceiptOf(gateway.Key(), &r), s.Encode()))
	}
	publish(1, 1, 70, payer) // before anybody follows the payer
	_, host := w.begin(w.home())
	want := func(promised types.Credit) {
		t.Helper()
		w.until("the receipts are added up", func() bool {
			p, err := host.Payer(t.Context(), payer.Public())
			ok(t, err)
			return p.Promised == promised
		})
	}
	want(0) // 70 of 100 spent
	publish(2, 2, 50, payer)
	want(20)
	publish(2, 2, 60, payer)
	want(30)
	publish(2, 2, 55, payer)       // late
	publish(3, 3, 500, gatewayKey) // forged
	publish(1, 1, 80, payer)
	want(40)
}

// TestOldPayers: what was said of a payer two epochs ago is not believed, whoever repeats it; of the epoch
// before it is, as verifiers see an epoch's first block one after the other.
func TestOldPayers(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	payer, v := bustest.Key(7).Public(), w.verifiers[0]
	_, host := w.begin(w.home())
	for behind, want := range map[types.Epoch]types.Reason{2: types.BusUnavailable, 1: "", 0: ""} {
		payer[0]++
		v.do(func() {
			v.payers[payer] = bus.PayerLine{Account: types.Account{1}, Limit: 10, Balance: 10}
			v.behind = behind
		})
		if _, err := host.Payer(t.Context(), payer); types.ReasonOf(err) != want {
			t.Errorf("%d epochs old: %v, want %q", behind, err, want)
		}
	}
}

func TestAsksStayPublished(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	d, host := w.begin(w.home())
	w.roles.Set(bustest.Key(7).Public(), bus.RoleGateway)
	gateway, err := w.memory.Dial(w.ctx, bustest.Key(7))
	ok(t, err)
	seen := make(chan *receipt.SignedAsk, 100)
	w.memory.SetDown(true)
	w.until("the bus is away", func() bool { return d.agent.Bus() == nil })
	_, err = host.Offer(t.Context(), receipt.Ask{Class: 1, Price: 2, Until: 50})
	ok(t, err)
	w.memory.SetDown(false)
	ok(t, gateway.SubscribeLast(w.ctx, "last.ask.>", func(m bus.Message) {
		if a, err := receipt.DecodeAsk(m.Data, chain); err == nil {
			seen <- a
		}
	}))
	if a := <-seen; a.Ask.Price != 2 {
		t.Fatalf("ask: %+v", a.Ask)
	}
	_, err = host.Offer(t.Context(), receipt.Ask{Class: 1, Price: 3, Until: 50})
	ok(t, err)
	for (<-seen).Ask.Price != 3 {
	}
	w.announce(6, 120, nil)
	if a := <-seen; a.Ask.Price != 3 {
		t.Fatalf("the new epoch shows %+v", a.Ask)
	}
}

func TestProviderRestarts(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	p := newProvider()
	p.fail = func(run int) error {
		switch run {
		case 1:
			return errors.New("no disk")
		case 2:
			panic("bug")
		}
		return nil
	}
	d := w.start(w.home(), p.role())
	host := <-p.hosts
	w.until("two failures are counted", func() bool { return d.Status().Providers[0].Restarts == 2 })
	if s := d.Status().Providers[0]; s.State != "running" || !strings.Contains(s.Error, "bug") {
		t.Errorf("status: %+v", s)
	}
	defer func() {
		if recover() == nil {
			t.Error("a provider signs in a domain that is not its own")
		}
	}()
	host.Sign("storage/holding", nil)
	host.Sign("header", nil)
}

func TestSubmitIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	_, host := w.begin(w.home())
	w.memory.SetDown(true)
	wantReason(t, host.Submit(t.Context(), 1, make([]byte, evidence.MaxBody+1)), types.Oversize)
	ok(t, host.Submit(t.Context(), 1, []byte("fits")))
}

func TestSubmitBeforeNotice(t *testing.T) {
	w := newWorld(t, 1)
	p := newProvider()
	w.start(w.home(), p.role())
	wantReason(t, (<-p.hosts).Submit(t.Context(), 1, nil), types.BusUnavailable)
}

func TestExpiry(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	w.verifiers[0].do(func() { w.verifiers[0].silent = true })
	d, host := w.begin(w.home())
	ok(t, host.Submit(t.Context(), 1, nil))
	w.verifiers[0].do(func() { w.verifiers[0].line = bus.Line{} })
	w.announce(5+agent.KeepEpochs, 2000, nil)
	time.Sleep(50 * time.Millisecond)
	if n, _ := d.outbox.Size(); n != 1 {
		t.Fatal("given up too early")
	}
	w.announce(6+agent.KeepEpochs, 2020, nil)
	w.until("it is given up", func() bool { return len(d.Status().Refused) > 0 })
	if s := d.Status(); len(s.Refused) != 1 || s.Refused[0].Reason != types.WrongEpoch {
		t.Fatalf("status: %+v", s)
	}
}

// TestClock shows that a wrong clock is seen and does no harm.
func TestClock(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, func(n *bus.Notice) { n.Time -= 3600 })
	d, host := w.begin(w.home())
	ok(t, host.Submit(t.Context(), 1, nil))
	w.until("it is acknowledged", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	if s := d.Status(); s.Skew < 3590 || s.Skew > 3700 || !strings.Contains(s.Next, "clock") {
		t.Fatalf("status: %+v", s)
	}
}

// TestPinIsKept shows that a node follows the set of verifiers over restarts.
func TestPinIsKept(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	home := w.home()
	d, _ := w.begin(home)
	old := w.set
	next := make(bus.Set, len(old))
	copy(next, old)
	next[0].Power = 0
	w.announce(6, 120, func(n *bus.Notice) { n.Set = next })
	w.until("the pin is stored", func() bool { return d.agent.Pin().Epoch == 6 })
	d.stop()
	d = w.start(home)
	if pin := d.agent.Pin(); pin.Epoch != 6 || pin.Set[0].Power != 0 {
		t.Fatalf("pin: %+v", pin)
	}
}

func TestOneProcess(t *testing.T) {
	w := newWorld(t, 1)
	home := w.home()
	w.start(home)
	_, err := New(w.config(home), nil, quiet)
	wantReason(t, err, types.HomeBusy)
}

func TestHTTP(t *testing.T) {
	w := newWorld(t, 1)
	w.announce(5, 100, nil)
	d, _ := w.begin(w.home())
	address, err := StatusAddress(d.home)
	ok(t, err)
	get := func(path string) (int, string) {
		r, err := http.Get("http://" + address + path)
		ok(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		ok(t, err)
		return r.StatusCode, string(body)
	}
	code, body := get("/status")
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 || s.Device != d.Key() || s.Epoch != 5 {
		t.Errorf("status %d: %s (%v)", code, body, err)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "cairn_node_epoch 5") || !strings.Contains(body, "cairn_node_online 1") {
		t.Errorf("metrics %d: %s", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz %d", code)
	}
	config := w.config(w.home())
	config.Listen = address
	n, err := New(config, nil, quiet)
	ok(t, err)
	wantReason(t, n.Run(t.Context()), types.PortInUse)
	d.stop()
	if _, err := StatusAddress(d.home); err == nil {
		t.Error("the address outlives the node")
	}
}
