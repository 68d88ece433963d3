package verifier

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// These tests are of one part by itself, or of what one part's trouble is to the others.

// alone returns who a verifier is that is the only one, and its chain.
func alone(t *testing.T) (*self, *ledger.Memory) {
	t.Helper()
	key, vrf := types.NewPrivateKey([32]byte{1}), types.NewPrivateKey([32]byte{2})
	chain := ledger.New(ledger.Config{
		Chain: testChain, Params: []tally.Params{workSpec.Defaults()}, Econ: econ.Default(),
		Verifiers: []tally.Attester{{Key: key.Public(), VRF: vrf.Public(), Power: 1000}},
	})
	return &self{cfg: Config{Dir: t.TempDir(), Key: key, VRF: vrf, Workers: 1}, key: key.Public(), chain: testChain, log: quiet}, chain
}

// TestClock: nobody sees a head view before intake has taken it, nor one that intake could not take; the verifier
// says which epoch waits for it.
func TestClock(t *testing.T) {
	me, chain := alone(t)
	a, err := openArchive(me.cfg.Dir, testChain, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	var told []types.Epoch
	var full error
	c := &clock{self: me, ledger: chain, archive: a, abstains: &abstentions{why: map[types.Epoch]string{}}, epochs: map[types.Epoch]*ledger.Epoch{}}
	c.turn = func(now *headView) error {
		if seen := c.now(); seen != nil && seen.head.Height >= now.head.Height {
			t.Errorf("block %d is seen before intake has taken it", now.head.Height)
		}
		told = append(told, now.epoch.Epoch)
		return full
	}
	c.tick(t.Context(), chain.Advance(1))
	if now := c.now(); now == nil || now.epoch.Epoch != 1 || c.height() != now.head.Height {
		t.Fatalf("%+v", now)
	}
	full = types.Refuse(types.DiskFull, "no log can be made")
	c.tick(t.Context(), chain.Advance(25))
	if now := c.now(); now.epoch.Epoch != 1 {
		t.Errorf("epoch %d is seen, of which intake has no mempool", now.epoch.Epoch)
	}
	if why := c.abstains.of(1); !strings.Contains(why, "no log") {
		t.Errorf("it says of epoch 1: %q", why)
	}
	full = nil
	c.tick(t.Context(), chain.Advance(1))
	if now := c.now(); now.epoch.Epoch != 2 || !slices.Equal(told, []types.Epoch{1, 2, 2}) {
		t.Errorf("epoch %d; intake was told %v", now.epoch.Epoch, told)
	}
}

// spoken is a bus that counts what is said to last.
type spoken struct {
	bus.Bus
	n int
}

func (b *spoken) PublishLast(context.Context, string, []byte) error {
	b.n++
	return nil
}

// TestSilentWithoutSeat: a verifier whose keys do not count yet says nothing, which the bus would not let it.
func TestSilentWithoutSeat(t *testing.T) {
	me, chain := alone(t)
	a, err := openArchive(me.cfg.Dir, testChain, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	head := chain.Advance(1)
	for i, key := range []types.PrivateKey{me.cfg.Key, types.NewPrivateKey([32]byte{9})} {
		link := new(spoken)
		who := *me
		who.cfg.Key, who.key, who.bus = key, key.Public(), link
		c := &clock{self: &who, ledger: chain, archive: a, epochs: map[types.Epoch]*ledger.Epoch{}}
		(&notices{self: &who, ledger: chain, clock: c, archive: a}).tell(t.Context(), head)
		if link.n != 1-i {
			t.Errorf("verifier %d: %d notices", i, link.n)
		}
	}
}

// taking is a chain that refuses the first transactions.
type taking struct {
	ledger.Ledger
	refuse, asked atomic.Int64
}

func (l *taking) Submit(context.Context, types.Account, ...ledger.Msg) (*ledger.Receipt, error) {
	if l.asked.Add(1) <= l.refuse.Load() {
		return nil, errors.New("not now")
	}
	return nil, nil
}

// TestSender: a transaction is sent again after a refusal and never after it was taken, and the names of old ones go.
func TestSender(t *testing.T) {
	me, _ := alone(t)
	chain := new(taking)
	chain.refuse.Store(1)
	s := &sender{self: me, ledger: chain, pending: map[string]types.Epoch{}}
	for range 4 {
		s.submit(t.Context(), 2, "a vote")
		s.sending.Wait()
	}
	if got := chain.asked.Load(); got != 2 {
		t.Errorf("it was sent %d times, refused once", got)
	}
	s.submit(t.Context(), 2+pathStep+1, "a vote of later")
	s.sending.Wait()
	if len(s.pending) != 1 {
		t.Errorf("names that are kept: %v", s.pending)
	}
	for i := range 2 * maxPending {
		s.begin(99, strings.Repeat("x", i))
	}
	if len(s.pending) > maxPending {
		t.Errorf("%d names", len(s.pending))
	}
}

// TestCache: what is newest stays whoever asks for the past, what was asked for last stays too, and a load that fails
// is tried again.
func TestCache(t *testing.T) {
	c := newCache[types.Epoch](3)
	loads := 0
	get := func(e types.Epoch) {
		t.Helper()
		got, err := c.get(types.Hash{byte(e)}, func() (types.Epoch, types.Epoch, error) { loads++; return e, e, nil })
		if got != e || err != nil {
			t.Fatalf("%d for %d, %v", got, e, err)
		}
	}
	for e := range types.Epoch(100) {
		get(e)
	}
	for e := range types.Epoch(50) {
		get(e)
		get(e)
		get(99)
		get(98)
	}
	if loads != 150 || len(c.kept) != 3 {
		t.Errorf("%d loads, want 150; %d are kept", loads, len(c.kept))
	}
	for range 2 {
		if _, err := c.get(types.Hash{200}, func() (types.Epoch, types.Epoch, error) { loads++; return 0, 0, errors.New("no disk") }); err == nil {
			t.Error("a failed load is kept")
		}
	}
	if loads != 152 {
		t.Errorf("%d loads", loads)
	}
}

// TestSlowAnswer: while an answer waits for the disk, items are acknowledged, a tally is made, and who asks for what
// is newest is answered.
func TestSlowAnswer(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		d, v := n.device[0], n.peers[0].v
		n.accepted(2)
		release := make(chan struct{})
		defer close(release)
		load := func() { <-release }
		go v.query.states.get(types.Hash{1}, func() (*tally.State, types.Epoch, error) { load(); return nil, 0, types.UnknownBlob })
		go v.query.outputs.get(types.Hash{1}, func() (*outputs, types.Epoch, error) { load(); return nil, 0, types.UnknownBlob })
		go v.query.reports.get(types.Hash{1}, func() (*Report, types.Epoch, error) { load(); return nil, 0, types.UnknownBlob })
		synctest.Wait()
		n.toEpoch(4)
		e := d.envelope(reading, nil)
		d.send(evidenceItem(e))
		if ok, why := d.verdict(e.Hash); ok != 1 {
			t.Errorf("an item is not acknowledged: %q", why)
		}
		if h := n.accepted(4); h.Totals.Counted != 1 {
			t.Errorf("counted %d", h.Totals.Counted)
		}
		n.block()
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		q := &bus.LineQuery{Chain: testChain, Device: d.key.Public(), Tallied: 4}
		if _, err := d.link.Request(ctx, bus.QuerySubject(d.key.Public(), 0, bus.QueryLine), bus.Encode(q)); err != nil {
			t.Errorf("the newest line: %v", err)
		}
	})
}

// TestArchiveFails: a verifier whose archive cannot be written leads nothing, signs nothing, says why, and goes on by
// itself when it can again.
func TestArchiveFails(t *testing.T) {
	testNetwork(t, 4, 1, func(t *testing.T, n *network) {
		n.sendAll()
		at := n.leader(2, 0)
		p := n.peers[at]
		blobs := filepath.Join(p.cfg.Dir, "blobs")
		if err := errors.Join(os.Rename(blobs, blobs+".away"), os.WriteFile(blobs, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		says := func(when string, want bool) {
			t.Helper()
			said := p.v.Abstained()
			if got := slices.ContainsFunc(said, func(a Abstention) bool { return a.Epoch == 2 && strings.Contains(a.Why, "blob") }); got != want {
				t.Errorf("%s it says %+v", when, said)
			}
		}
		n.toEpoch(3)
		n.block()
		says("as the leader", true)
		if h := n.accepted(2); h.Round != 1 {
			t.Fatalf("round %d", h.Round)
		}
		n.block()
		if ep, _ := n.chain.Epoch(n.ctx, 2); n.header(2).Signed != ep.Power()*3/4 {
			t.Errorf("%d of %d signed", n.header(2).Signed, ep.Power())
		}
		says("beside another leader", true)
		if err := errors.Join(os.Remove(blobs), os.Rename(blobs+".away", blobs)); err != nil {
			t.Fatal(err)
		}
		n.block()
		says("after the disk was mended", false)
		n.accepted(3)
		n.block()
		n.block()
		if ep, _ := n.chain.Epoch(n.ctx, 3); n.header(3).Signed != ep.Power() {
			t.Errorf("%d of %d signed", n.header(3).Signed, ep.Power())
		}
	})
}
