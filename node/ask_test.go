package node

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// TestSubmitAsk: an ask is handed in by itself until enough verifiers keep it, over a restart, or until it lapses.
func TestSubmitAsk(t *testing.T) {
	w := newWorld(t, 4)
	w.announce(5, 100, nil)
	home := w.home()
	d, host := w.begin(home)
	for _, v := range w.verifiers[2:] {
		v.do(func() { v.silent = true })
	}
	signed, err := host.Offer(w.ctx, receipt.Ask{Class: 1, Price: 7, Terms: types.Encode(uint64(1)), Until: 9})
	ok(t, err)
	if n, _ := d.outbox.Size(); n != 0 {
		t.Fatal("an ask that is only offered is handed in")
	}
	ok(t, host.SubmitAsk(w.ctx, signed))
	ok(t, host.SubmitAsk(w.ctx, signed)) // the same again
	w.until("two verifiers have it", func() bool { return len(w.verifiers[0].kept(bus.Ask)) == 1 && len(w.verifiers[1].kept(bus.Ask)) == 1 })
	if n, _ := d.outbox.Size(); n != 1 {
		t.Fatalf("%d items wait, of which half of the power acknowledged one", n)
	}
	d.stop()
	for _, v := range w.verifiers[2:] {
		v.do(func() { v.silent = false })
	}
	d, host = w.begin(home)
	w.until("all have it", func() bool {
		n, _ := d.outbox.Size()
		return n == 0 && len(w.verifiers[3].kept(bus.Ask)) == 1
	})
	if got := w.verifiers[3].kept(bus.Ask)[0]; !bytes.Equal(got.Raw, signed.Encode()) {
		t.Errorf("handed in %x, want %x", got.Raw, signed.Encode())
	}
	for what, c := range map[string]struct {
		bend func(*receipt.SignedAsk)
		want types.Reason
	}{
		"another device's":   {func(a *receipt.SignedAsk) { a.Ask.Device = w.verifiers[0].key.Public() }, types.UnknownAuthor},
		"another category":   {func(a *receipt.SignedAsk) { a.Ask.Category = types.Energy }, types.UnknownAuthor},
		"another chain":      {func(a *receipt.SignedAsk) { a.Ask.Chain = "other" }, types.WrongChain},
		"lapsed":             {func(a *receipt.SignedAsk) { a.Ask.Until = 4 }, types.WrongEpoch},
		"changed":            {func(a *receipt.SignedAsk) { a.Ask.Price++ }, types.BadSignature},
		"with endless terms": {func(a *receipt.SignedAsk) { a.Ask.Terms = make([]byte, receipt.MaxTerms+1) }, types.Oversize},
	} {
		bent := *signed
		c.bend(&bent)
		if err := host.SubmitAsk(w.ctx, &bent); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
		if err := host.KeepAsk(w.ctx, &bent); types.ReasonOf(err) != c.want {
			t.Errorf("keep %s: %v, want %s", what, err, c.want)
		}
	}
	// One that is kept can be named by receipts, and takes no place on the board.
	own := signed.Ask
	own.Terms = types.Encode(uint64(2))
	payer := bustest.Key(7)
	r := receipt.Receipt{Chain: chain, Category: types.Storage, Session: types.NewSessionID(60, [12]byte{1}), Payer: payer.Public(), Device: d.Key(),
		Terms: own.Hash(), Units: types.U64(10), Amount: 20, Seq: 1, First: 5}
	paid := &receipt.Signed{Receipt: r, PayerSig: r.Sign(payer)}
	wantReason(t, host.SubmitReceipt(w.ctx, paid), types.UnknownAsk)
	ok(t, host.KeepAsk(w.ctx, own.Sign(d.key)))
	ok(t, host.SubmitReceipt(w.ctx, paid))
	d.asks.mu.Lock()
	if n := len(d.asks.asks); n != 0 { // since it began anew, it offers nothing
		t.Errorf("%d asks are published", n)
	}
	d.asks.mu.Unlock()
	w.until("it is handed in", func() bool { n, _ := d.outbox.Size(); return n == 0 })
	// One that verifiers neither take nor refuse is given up when it lapses.
	for _, v := range w.verifiers {
		v.do(func() { v.silent = true })
	}
	short, err := host.Offer(w.ctx, receipt.Ask{Class: 1, Price: 8, Until: 5})
	ok(t, err)
	ok(t, host.SubmitAsk(w.ctx, short))
	w.announce(6, 120, nil)
	w.until("it is given up", func() bool { n, _ := d.outbox.Size(); return n == 0 })
}

// shelf serves blobs by hash.
type shelf struct {
	mu    sync.Mutex
	blobs map[types.Hash][]byte
}

func (s *shelf) put(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[types.Sum(raw)] = raw
}

func (s *shelf) ReadBlob(hash types.Hash, p []byte, offset int64) (int, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, ok := s.blobs[hash]
	switch {
	case !ok:
		return 0, 0, types.UnknownBlob
	case offset >= int64(len(raw)):
		return 0, int64(len(raw)), io.EOF
	}
	return copy(p, raw[offset:]), int64(len(raw)), nil
}

// TestNoticeRules: providers learn the time, and the rules in force in their category, which come by hash;
// until those are there, they learn nothing.
func TestNoticeRules(t *testing.T) {
	w := newWorld(t, 4)
	s := &shelf{blobs: map[types.Hash][]byte{}}
	ok(t, bus.ServeBlobs(w.ctx, w.verifiers[0].bus, s))
	rules := func(raw string) func(*bus.Notice) {
		return func(n *bus.Notice) {
			n.EpochTime, n.Time = 1000, 1007
			n.Rules = []bus.Rules{{Category: types.Storage, Blob: bus.BlobOf([]byte(raw))}, {Category: types.Energy, Blob: bus.BlobOf([]byte("others"))}}
		}
	}
	s.put([]byte("first"))
	w.announce(5, 100, rules("first"))
	home := w.home()
	p := newProvider()
	d := w.start(home, p.role())
	host := <-p.hosts
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	notices := host.Notices(ctx)
	expect := func(what string, e types.Epoch, want string) {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			var n role.Notice
			select {
			case n = <-notices:
			case <-end:
				t.Fatalf("%s: no notice", what)
			}
			if n.Epoch != e {
				continue
			}
			if string(n.Rules) != want || (want != "" && (n.EpochTime != 1000 || n.Time != 1007)) {
				t.Fatalf("%s: %+v, want rules %q", what, n, want)
			}
			return
		}
	}
	expect("at first", 5, "first")
	w.announce(6, 120, rules("second")) // nobody has them yet
	for quiet := time.After(100 * time.Millisecond); ; {
		select {
		case n := <-notices:
			if n.Epoch == 6 {
				t.Fatalf("told without the rules: %+v", n)
			}
			continue // epoch 5 once more
		case <-quiet:
		}
		break
	}
	s.put([]byte("second"))
	expect("once somebody has them", 6, "second")
	w.announce(7, 140, nil)
	expect("without any", 7, "")
	d.stop()
	s.mu.Lock()
	clear(s.blobs)
	s.mu.Unlock()
	w.announce(8, 160, rules("second"))
	p = newProvider()
	w.start(home, p.role())
	notices = (<-p.hosts).Notices(ctx)
	expect("out of the home", 8, "second")
}
