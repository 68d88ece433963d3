package network

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/explorer"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// bentHost bends what an honest provider hands in.
type bentHost struct {
	role.Host
	bend func(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error
}

func (b bentHost) Submit(ctx context.Context, kind evidence.Kind, body []byte) error {
	return b.bend(b.Host, ctx, kind, body)
}

// The nodes of TestCheats. What is not listed is honest.
const (
	honestNode = 0 // whose answers copierNode hands in
	dropper    = 4
	replayer   = 5
	copier     = 6
	inventor   = 7
)

// cheats bends the nodes.
type cheats struct {
	mu     sync.Mutex
	first  []byte // the replayer's first answer
	copied []byte // the honest node's last answer
}

func (c *cheats) provider(i int, p role.Provider) role.Provider {
	bend := map[int]func(role.Host, context.Context, evidence.Kind, []byte) error{
		honestNode: c.overheard, dropper: c.drop, replayer: c.replay, copier: c.copy, inventor: c.invent,
	}[i]
	if run := p.Run; bend != nil {
		p.Run = func(ctx context.Context, h role.Host) error { return run(ctx, bentHost{h, bend}) }
	}
	return p
}

// overheard hands in what it should; the copier listens.
func (c *cheats) overheard(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error {
	if kind == storage.KindAnswer {
		c.mu.Lock()
		c.copied = body
		c.mu.Unlock()
	}
	return h.Submit(ctx, kind, body)
}

// drop answers as who has thrown a tenth of the shards away: for those it makes chunks up. It declares nothing lost.
func (c *cheats) drop(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error {
	switch kind {
	case storage.KindLoss:
		return nil
	case storage.KindAnswer:
		answer, err := storage.DecodeAnswer(body)
		if err != nil {
			return err
		}
		for i := range answer {
			if answer[i].Slot%10 == 3 {
				answer[i].Chunk = make([]byte, len(answer[i].Chunk))
			}
		}
		body = answer.Encode()
	}
	return h.Submit(ctx, kind, body)
}

// replay hands its first answer in over and over.
func (c *cheats) replay(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error {
	if kind == storage.KindAnswer {
		if c.first == nil {
			c.first = body
		}
		body = c.first
	}
	return h.Submit(ctx, kind, body)
}

// copy hands in what another device answered.
func (c *cheats) copy(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error {
	if kind != storage.KindAnswer {
		return h.Submit(ctx, kind, body)
	}
	c.mu.Lock()
	theirs := c.copied
	c.mu.Unlock()
	if theirs == nil {
		return nil
	}
	return h.Submit(ctx, kind, theirs)
}

// invent claims bytes that no customer signed for, beside those that one did: ten times as much under the
// customer's signature, and a session of its own under the device's.
func (c *cheats) invent(h role.Host, ctx context.Context, kind evidence.Kind, body []byte) error {
	if err := h.Submit(ctx, kind, body); err != nil || kind != storage.KindHolding {
		return err
	}
	more, err := storage.DecodeHolding(body)
	if err != nil {
		return err
	}
	other := *more
	more.Holding.Revision++
	more.Holding.Bytes *= 10
	if err := h.Submit(ctx, kind, more.Encode()); err != nil {
		return err
	}
	other.Holding.Session[15] ^= 1
	other.Signature = h.Sign(storage.DomainHolding, other.Holding.Payload())
	return h.Submit(ctx, kind, other.Encode())
}

// TestCheats runs four honest devices beside four that cheat; a customer stores a file on all of them. Each
// cheat is refused with its reason, where everybody can see it, and is paid nothing for it. The honest ones,
// and the inventor for what it does hold, are paid what the arithmetic says, to the ustone.
func TestCheats(t *testing.T) {
	whole(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	n, err := Start(ctx, Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Log: logTo(""), Homes: -1, Bend: new(cheats).provider, BlockTime: quick})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	if _, err := n.EnsureCustomer(ctx); err != nil {
		t.Fatal(err)
	}
	waitOnline(t, n)
	d := doorOf(t, n)
	content := random(2, 39<<20) // ten segments: a shard of each on every device
	p := newPanel(t, n)
	begun := p.epoch()
	until(t, time.Minute, "an epoch begins", func() bool { return p.epoch() > begun }) // the first ones challenge nobody
	if o := d.put(ctx, "shards.bin", content); o.Shards != 80 {
		t.Fatalf("%+v", o)
	}
	var book *book
	until(t, 4*time.Minute, "every honest device has been paid for what it passed, and every cheat was refused", func() bool {
		book = readBook(ctx, t, n)
		return book.complete(n)
	})
	held := book.last().lines[n.Node(honestNode).Key()].state.Bytes()
	if quarter := uint64(len(content)) / 4; held < quarter || held > quarter+quarter/500 {
		t.Errorf("a device holds %d bytes of a file of %d", held, len(content))
	}
	for i := range n.Nodes() {
		book.check(t, n.Node(i).Key(), held)
	}
	until(t, time.Minute, "the page shows it", func() bool {
		return deviceOf(t, n, honestNode).Earned >= book.last().lines[n.Node(honestNode).Key()].amount
	})
	for i, reason := range map[int]types.Reason{
		dropper: storage.AnswerChunk, replayer: storage.AnswerPosition, copier: storage.SessionUnknown, inventor: storage.HoldingSignature,
	} {
		refused := fetch[[]explorer.RefusalCount](t, n, "/api/refusals?device="+url.QueryEscape(n.Node(i).Key().String()))
		// An answer of before the file was whole is of an old revision of what is held.
		same := func(r explorer.RefusalCount) bool {
			return r.Reason == reason || i == replayer && r.Reason == storage.AnswerRevision
		}
		if !slices.ContainsFunc(refused, func(r explorer.RefusalCount) bool { return same(r) && r.Count > 0 }) {
			t.Errorf("node %d was refused for %+v, want %s", i, refused, reason)
		}
		// Whose answer did not count, the receipt for that epoch does not either. An old answer may be of the
		// shard that is drawn again, and then of another chunk.
		for _, r := range refused {
			if !same(r) && (r.Reason != storage.UnitsBeyondProof || i == inventor) && (r.Reason != storage.AnswerChunk || i != replayer) {
				t.Errorf("node %d was refused for %s in %d, want %s", i, r.Reason, r.Epoch, reason)
			}
		}
	}
	for _, i := range []int{replayer, copier} {
		if d := deviceOf(t, n, i); d.Earned != 0 || d.Refused == 0 {
			t.Errorf("node %d: %+v", i, d)
		}
	}
	for _, i := range []int{0, 1, 2, 3, inventor} {
		if d := deviceOf(t, n, i); d.Earned == 0 || (d.Refused != 0) != (i == inventor) {
			t.Errorf("node %d: %+v", i, d)
		}
	}
	passes := func(i int) uint64 { return book.last().lines[n.Node(i).Key()].state.Passes }
	if passes(dropper) >= passes(honestNode) || passes(replayer) > 1 || passes(copier) != 0 {
		t.Errorf("passes: dropper %d, replayer %d, copier %d, honest %d", passes(dropper), passes(replayer), passes(copier), passes(honestNode))
	}
}

// fetch reads JSON of the page's API.
func fetch[T any](t *testing.T, n *Network, path string) (out T) {
	t.Helper()
	res, err := http.Get(n.Addresses().API + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %v", path, res.Status, err)
	}
	return out
}

func deviceOf(t *testing.T, n *Network, i int) explorer.Device {
	t.Helper()
	page := fetch[explorer.DevicePage](t, n, "/api/devices/"+url.PathEscape(n.Node(i).Key().String()))
	if len(page.Devices) != 1 {
		t.Fatalf("%+v", page)
	}
	return page.Devices[0]
}

// book is a region's past, read from the inputs that its headers were made from: what each tally left behind,
// oldest first.
type book struct{ tallies []*tallied }

type tallied struct {
	epoch      types.Epoch
	settlement *tally.Settlement // nil while there is none
	lines      map[types.Key]line
}

// line is what a tally says of a device.
type line struct {
	amount  types.Ustone
	settled types.Credit
	state   *storage.State
	proven  types.U128 // byte·epochs: for each epoch that it passed, what it held before
}

// add counts what the device proved since the tally before.
func (l *line) add(t *testing.T, before line) {
	t.Helper()
	if before.state == nil {
		return
	}
	var err error
	if l.proven, err = before.proven.Add(types.Mul64(before.state.Bytes(), l.state.Passes-before.state.Passes)); err != nil {
		t.Fatal(err)
	}
}

// drawable is what the device may draw: all that it proved but an eighth.
func (l *line) drawable() uint64 {
	proven, _ := l.proven.Uint64() // a few files for a few minutes
	return proven - (proven+7)/8
}

func (b *book) last() *tallied { return b.tallies[len(b.tallies)-1] }

// readBook reads all tallies but the newest, whose state no later one was made from yet.
func readBook(ctx context.Context, t *testing.T, n *Network) *book {
	t.Helper()
	headers, err := n.Ledger().Headers(ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	b := new(book)
	for _, h := range slices.Backward(headers) {
		if h.Raw == nil || h.Status == ledger.Voided {
			continue
		}
		bundle, err := n.Verifier(0).Bundle(ctx, h.Epoch)
		if err != nil || len(bundle.Previous) == 0 {
			continue
		}
		previous, err := tally.DecodeHeader(bundle.Previous)
		if err != nil {
			t.Fatal(err)
		}
		state, err := tally.DecodeState(previous.State, bundle.Pages)
		if err != nil {
			t.Fatal(err)
		}
		at := &tallied{epoch: previous.Epoch, lines: map[types.Key]line{}}
		if at.settlement, err = n.Ledger().Settlement(ctx, previous.Epoch); err != nil {
			continue // not settled yet: the header made from it is being accepted
		}
		for key, l := range state.Lines() {
			s, err := storage.DecodeState(state.CategoryLine(key, types.Storage))
			if err != nil {
				t.Fatal(err)
			}
			now := line{amount: l.Amount, settled: l.Settled, state: s}
			if len(b.tallies) > 0 {
				now.add(t, b.last().lines[key])
			}
			at.lines[key] = now
		}
		b.tallies = append(b.tallies, at)
	}
	return b
}

// complete reports whether the newest tally has paid every honest device for more than two epochs, and all that
// it may draw but a part of one epoch's bytes: receipts go in steps of those. On a slow disk the file may be stored
// in two epochs. It reports too whether every cheat has had the time to be caught.
func (b *book) complete(n *Network) bool {
	if len(b.tallies) < 2 {
		return false
	}
	for i := range n.Nodes() {
		l, before := b.last().lines[n.Node(i).Key()], b.tallies[len(b.tallies)-2].lines[n.Node(i).Key()]
		if l.state == nil || before.state == nil || len(l.state.Sessions) != 1 {
			return false
		}
		if i >= dropper && i != inventor {
			continue
		}
		drawn, _ := l.state.Sessions[0].Units.Uint64()
		if l.state.Passes < 4 || l.amount == 0 || drawn+l.state.Bytes() <= l.drawable() {
			return false
		}
	}
	return true
}

// check recomputes what a device was paid from tally to tally.
func (b *book) check(t *testing.T, device types.Key, bytes uint64) {
	t.Helper()
	var amount types.Ustone
	var settled types.Credit
	for i, at := range b.tallies {
		l := at.lines[device]
		if l.amount != amount || l.settled != settled {
			t.Errorf("epoch %d: %v earned %d ustone for %d credits, the arithmetic says %d for %d", at.epoch, device, l.amount, l.settled, amount, settled)
		}
		var paid types.Credit
		if l.state != nil && len(l.state.Sessions) > 0 {
			s := &l.state.Sessions[0]
			if len(l.state.Sessions) > 1 || s.Bytes > bytes {
				t.Errorf("epoch %d: %v has %d sessions, %d bytes in the first; want one of %d", at.epoch, device, len(l.state.Sessions), s.Bytes, bytes)
			}
			if s.Units.Cmp(types.U64(l.drawable())) > 0 {
				t.Errorf("epoch %d: %v drew %s units of %d that it may after %d passes", at.epoch, device, s.Units, l.drawable(), l.state.Passes)
			}
			var err error
			if paid, err = storage.Amount(s.Units, s.Price); err != nil {
				t.Fatal(err)
			}
		}
		if i == len(b.tallies)-1 {
			continue
		}
		// The next tally folds this one's settlement: a part of what is owed, at one rate for everybody.
		fold, err := econ.NewFold(*at.settlement, nil)
		if err != nil {
			t.Fatal(err)
		}
		credits, ustone, err := fold.Pay(paid - settled)
		if err != nil {
			t.Fatal(err)
		}
		amount, settled = amount+ustone, settled+credits
	}
}
