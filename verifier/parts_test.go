package verifier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// TestLateAck: an author who did not hear the ack before the cut gets it afterwards, and the item counts once.
func TestLateAck(t *testing.T) {
	testNetwork(t, 2, 1, func(t *testing.T, n *network) {
		d := n.device[0]
		e := d.envelope(reading, nil)
		d.send(evidenceItem(e))
		n.toEpoch(3)
		clear(d.acks)
		d.send(evidenceItem(e))
		if ok, why := d.verdict(e.Hash); ok != 2 {
			t.Fatalf("accepted by %d, %q", ok, why)
		}
		if h := n.accepted(2); h.Totals.Counted != 1 {
			t.Fatalf("counted %d", h.Totals.Counted)
		}
		if h := n.accepted(3); h.Totals.Counted != 0 || h.Totals.Refused != 0 {
			t.Fatalf("it came into the next batch too: %+v", h.Totals)
		}
	})
}

// TestEndedKey: what a payer orders with a key that ended is refused at the door, whether a state still
// remembers the key or not.
func TestEndedKey(t *testing.T) {
	payer := types.NewPrivateKey([32]byte{4})
	o := receipt.Order{Chain: testChain, Category: types.Storage, Session: types.NewSessionID(50, [12]byte{1}), Payer: payer.Public(), Cap: 1, Seq: 1}
	it, err := open(tally.Order, o.Sign(payer).Encode(), testChain)
	if err != nil {
		t.Fatal(err)
	}
	rules := newRuleBook([]tally.Verifier{work})
	known := newRegistry(tally.NewState(testChain, 0), []tally.Change{{Grant: &tally.Grant{Key: payer.Public(), Limit: 9, Expiry: 7}}})
	for e, want := range map[types.Epoch]types.Reason{6: "", 7: types.KeyExpired, 8: types.KeyExpired} {
		if got := checkAuthor(it, known, rules, e); got != want {
			t.Errorf("epoch %d: %q, want %q", e, got, want)
		}
	}
	if got := checkAuthor(it, newRegistry(tally.NewState(testChain, 0), nil), rules, 6); got != types.UnknownKey {
		t.Errorf("a key that nobody granted: %q", got)
	}
	elsewhere := newRegistry(tally.NewState(testChain, 1), []tally.Change{{Grant: &tally.Grant{Key: payer.Public(), Limit: 9, Expiry: 7}}})
	if got := checkAuthor(it, elsewhere, rules, 6); got != types.WrongRegion {
		t.Errorf("at the verifiers of another region: %q", got)
	}
}

// TestSignOnce: a round's first signature is its only one, also after a restart.
func TestSignOnce(t *testing.T) {
	dir := t.TempDir()
	s, err := openArchive(dir, testChain, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := &tally.Header{Chain: testChain, Epoch: 7, Round: 2, Rules: 1}
	b := *a
	b.State[0] = 1
	sign := func(h *tally.Header, want *tally.Header) {
		t.Helper()
		before, err := s.sign(h)
		if err != nil || (before == nil) != (want == nil) || want != nil && before.Hash() != want.Hash() {
			t.Fatalf("sign: %+v, %v", before, err)
		}
	}
	sign(a, nil)
	sign(a, nil)
	sign(&b, a)
	if _, err := openArchive(dir, testChain, 0); types.ReasonOf(err) != types.HomeBusy {
		t.Fatalf("a second process: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openArchive(dir, testChain, 0); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	sign(&b, a)
	other := b
	other.Round = 3
	sign(&other, nil)
}

// TestCheckSignatures: batches and halving say of each signature what checking it alone says.
func TestCheckSignatures(t *testing.T) {
	devices := benchDevices(8)
	envelopes := benchEnvelopes(devices, 256)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 256).Draw(t, "n")
		wrong := rapid.SliceOfN(rapid.IntRange(0, 255), 0, 8).Draw(t, "wrong")
		sigs := make([]tally.Signed, n)
		for i := range sigs {
			sigs[i] = tally.Signed{Key: envelopes[i].Author, Message: envelopes[i].Message(), Sig: envelopes[i].Signature}
		}
		for _, i := range wrong {
			if i < n {
				sigs[i].Sig[i%64] ^= 1 << (i % 8)
			}
		}
		for i, ok := range CheckSignatures(sigs) {
			if want := sigs[i].Key.VerifyMessage(sigs[i].Message, sigs[i].Sig); ok != want {
				t.Fatalf("signature %d of %d: %v, alone %v", i, n, ok, want)
			}
		}
	})
}

// TestBlobs: whatever piece of a blob is asked for is the same as of the bytes.
func TestBlobs(t *testing.T) {
	dir := t.TempDir()
	b, err := openBlobs(dir)
	if err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	for i, size := range []int{0, 1, bus.ChunkSize - 1, bus.ChunkSize, bus.ChunkSize + 1, 3*bus.ChunkSize + 77} {
		data := make([]byte, size)
		for k := range data {
			data[k] = byte(rand.Uint32N(5))
		}
		if _, err := b.put(types.Epoch(i/3), data); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, data)
	}
	if b, err = openBlobs(dir); err != nil { // after a restart
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := kept[rapid.IntRange(0, len(kept)-1).Draw(t, "blob")]
		offset := rapid.IntRange(0, len(data)+3).Draw(t, "offset")
		p := make([]byte, rapid.IntRange(0, 2*bus.ChunkSize).Draw(t, "length"))
		n, size, err := b.ReadBlob(types.Sum(data), p, int64(offset))
		want := copy(make([]byte, len(p)), data[min(offset, len(data)):])
		if err != nil && !errors.Is(err, io.EOF) || size != int64(len(data)) || n != want || !bytes.Equal(p[:n], data[min(offset, len(data)):][:n]) {
			t.Fatalf("%d of %d at %d: %d bytes, size %d, %v", len(p), len(data), offset, n, size, err)
		}
		if atEnd := offset+n >= len(data); atEnd != errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes at %d of %d: %v", n, offset, len(data), err)
		}
	})
	if err := b.prune(1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get(types.Sum(kept[1])); types.ReasonOf(err) != types.UnknownBlob {
		t.Fatalf("a pruned blob: %v", err)
	}
	if got, err := b.get(types.Sum(kept[5])); err != nil || !bytes.Equal(got, kept[5]) {
		t.Fatalf("a blob that is not pruned: %v", err)
	}
}

// TestMempoolRecovery: a log that is cut at any byte, or spoilt, keeps a prefix of its items and goes on from there.
func TestMempoolRecovery(t *testing.T) {
	rules := newRuleBook([]tally.Verifier{bench})
	devices := benchDevices(2)
	envelopes := benchEnvelopes(devices, 12)
	items := make([]*item, len(envelopes))
	for i, e := range envelopes {
		items[i], _ = open(tally.Evidence, e.Raw, benchChain)
	}
	whole := t.TempDir()
	b, err := openMempool(whole, 1, benchChain, rules, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		if why := b.keep(items[i:i+1], rules); why[0] != "" {
			t.Fatal(why)
		}
	}
	if err := b.sync(); err != nil {
		t.Fatal(err)
	}
	b.close()
	raw, err := os.ReadFile(mempoolPath(whole, 1))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		cut := rapid.IntRange(0, len(raw)).Draw(t, "cut")
		torn := bytes.Clone(raw[:cut])
		if cut > 0 && rapid.Bool().Draw(t, "spoil") {
			torn[rapid.IntRange(0, cut-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if err := os.WriteFile(mempoolPath(dir, 1), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openMempool(dir, 1, benchChain, rules, quiet)
		if err != nil {
			t.Fatal(err)
		}
		n := b.count()
		for _, why := range b.keep(items, rules) {
			if why != "" {
				t.Fatal(why)
			}
		}
		if err := b.sync(); err != nil {
			t.Fatal(err)
		}
		b.close()
		if b, err = openMempool(dir, 1, benchChain, rules, quiet); err != nil {
			t.Fatal(err)
		}
		defer b.close()
		got, names, err := b.items(false)
		if err != nil || len(got) != len(items) {
			t.Fatalf("%d items of %d, %d after the crash, %v", len(got), len(items), n, err)
		}
		for i := range got {
			if types.Sum(got[i].Raw) != names[i].Hash || names[i].Hash != items[i].Hash {
				t.Fatalf("item %d is another one", i)
			}
		}
	})
}

// TestMempoolFull: when the log cannot be written nothing is acknowledged.
func TestMempoolFull(t *testing.T) {
	rules := newRuleBook([]tally.Verifier{bench})
	b, err := openMempool(t.TempDir(), 1, benchChain, rules, quiet)
	if err != nil {
		t.Fatal(err)
	}
	it, _ := open(tally.Evidence, benchEnvelopes(benchDevices(1), 1)[0].Raw, benchChain)
	b.file.Close()
	if why := b.keep([]*item{it}, rules); why[0] != types.HomeUnwritable || b.has(it.Hash) {
		t.Fatalf("reason %q, kept: %v", why[0], b.has(it.Hash))
	}
}

// TestRecompute: a bundle in another folder gives the same header, and no byte of it can be flipped.
func TestRecompute(t *testing.T) {
	testNetwork(t, 2, 2, func(t *testing.T, n *network) {
		n.sendAll()
		n.accepted(2)
		n.toEpoch(3)
		n.sendAll()
		h := n.accepted(3)
		n.block()
		var a, b bytes.Buffer
		for i, to := range []*bytes.Buffer{&a, &b} {
			if err := n.peers[i].v.WriteBundle(n.ctx, 3, to); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatal("another verifier's bundle is another one")
		}
		b.Reset()
		if err := n.peers[0].v.WriteBundle(n.ctx, 9, &b); !errors.Is(err, ledger.ErrNotFound) || b.Len() > 0 {
			t.Fatalf("a bundle of the future is streamed: %v", err)
		}
		check := func(raw []byte) *Check {
			b, err := ParseBundle(raw)
			if err != nil {
				return &Check{Why: err.Error()}
			}
			c, err := Recompute(b, h.Hash(), 1, []tally.Verifier{work}, 1)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if c := check(a.Bytes()); !c.Equal || c.Header != h.Hash() || c.Why != "" {
			t.Fatalf("%+v", c)
		}
		raw := a.Bytes()
		for at := 0; at < len(raw); at += 1 + len(raw)/400 {
			spoilt := bytes.Clone(raw)
			spoilt[at] ^= 1 << (at % 8)
			if c := check(spoilt); c.Equal || c.Why == "" {
				t.Fatalf("byte %d of %d flipped: %+v", at, len(raw), c)
			}
		}
		if _, err := n.peers[0].v.Bundle(n.ctx, 9); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("a bundle of the future: %v", err)
		}
	})
}

// TestAuthorizer: who may log on, as what, and what may be kept: nothing by a key that nobody put a credit behind.
func TestAuthorizer(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		gateway := types.NewPrivateKey([32]byte{5}).Public()
		grant := func(seed byte, from types.Account, limit types.Credit) types.Key {
			key := types.NewPrivateKey([32]byte{6, seed})
			n.submit(from, ledger.GrantKey{Key: key.Public(), Limit: limit, Expiry: 1000, Proof: key.Sign("grant", testChain, evidence.GrantBytes(from))})
			return key.Public()
		}
		payer := func(account types.Account, own, keep int) bus.Pass {
			return bus.Pass{Role: bus.RolePayer, Account: account, Own: own, Keep: keep}
		}
		other := n.peers[0].cfg.Account // which never bought credits
		a := NewAuthorizer(n.chain, gateway)
		for key, want := range map[types.Key]bus.Pass{
			n.peers[0].v.Key(): bus.Full(bus.RoleVerifier), n.device[0].key.Public(): bus.Full(bus.RoleDevice), gateway: bus.Full(bus.RoleGateway), {7}: {},
			n.payer.Public():           payer(n.owner, bus.MaxKeptBytes, bus.MaxKeptBytes),
			grant(1, n.owner, 0):       payer(n.owner, 0, bus.MaxKeptBytes),
			grant(2, n.owner, 3):       payer(n.owner, 3*bus.KeptPerCredit, bus.MaxKeptBytes),
			grant(3, other, 1_000_000): payer(other, 0, 0),
		} {
			if got, err := a.Authorize(n.ctx, key); err != nil || got != want {
				t.Errorf("%v: %+v, %v; want %+v", key, got, err, want)
			}
		}
		if got, err := a.payer(n.ctx, &ledger.Grant{Grant: tally.Grant{Account: n.owner, Limit: 25_000}}, 10_000); err != nil || got.Own != 2*bus.KeptPerCredit {
			t.Errorf("a limit of two and a half least opening amounts: %+v, %v", got, err)
		}
	})
}

// mute is a link on which nobody's submissions can be heard.
type mute struct{ bus.Bus }

func (m mute) Subscribe(ctx context.Context, pattern string, handle func(bus.Message)) error {
	if strings.HasPrefix(pattern, "submit.") {
		return types.Refuse(types.NotPermitted, "subscribe %s", pattern)
	}
	return m.Bus.Subscribe(ctx, pattern, handle)
}

// TestCannotStart: a verifier that cannot listen says so instead of running deaf.
func TestCannotStart(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		p := n.peers[0]
		n.stop(0)
		link, err := n.mem.Dial(n.ctx, p.cfg.Key)
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close()
		v, err := New(p.cfg, p.ledger, mute{link}, p.rules)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if err := v.Run(n.ctx); types.ReasonOf(err) != types.NotPermitted {
			t.Fatalf("run: %v", err)
		}
	})
}

// TestStats: every item is counted as what became of it, and every header that was signed.
func TestStats(t *testing.T) {
	testNetwork(t, 1, 1, func(t *testing.T, n *network) {
		d := n.device[0]
		d.send(evidenceItem(d.envelope(reading, nil)), evidenceItem(d.envelope(77, nil)))
		if err := d.link.Publish(n.ctx, bus.SubmitSubject(d.key.Public(), 0), []byte("noise")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := n.peers[0].v.Stats(), (Stats{Accepted: 1, Refused: 1, Malformed: 1, Signed: 1}); got != want { // the header of epoch 1
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// TestCycle: a paused loop runs when it is triggered only, and catches up with the newest event when it goes on.
func TestCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var c Cycle
		events := make(chan int)
		var seen []int
		done := make(chan struct{})
		go func() {
			run(ctx, &c, events, func(_ context.Context, n int) { seen = append(seen, n) })
			close(done)
		}()
		events <- 1
		synctest.Wait()
		c.Pause()
		events <- 2
		events <- 3
		synctest.Wait()
		if len(seen) != 1 {
			t.Fatalf("paused: %v", seen)
		}
		c.Trigger(ctx)
		events <- 4
		events <- 5
		c.Resume()
		synctest.Wait()
		cancel()
		<-done
		if len(seen) != 3 || seen[1] != 3 || seen[2] != 5 {
			t.Fatalf("seen %v", seen)
		}
	})
}

// encode writes a bundle's file.
func (b *Bundle) encode(w io.Writer) error {
	head := [5]section{inMemory(b.Previous), inMemory(b.Header), inMemory(b.Frame), inMemory(b.Changes), inMemory(b.Batch)}
	return writeBundle(w, head, len(b.Pages), func(i int) ([]byte, error) { return b.Pages[i], nil })
}

// FuzzParseBundle: whatever parses is written again to the same bytes.
func FuzzParseBundle(f *testing.F) {
	var buf bytes.Buffer
	b := &Bundle{Header: []byte{1}, Frame: []byte{2, 3}, Batch: []byte{0x80}, Pages: [][]byte{{4}, {}}}
	b.encode(&buf)
	f.Add(buf.Bytes())
	f.Add([]byte(bundleMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBundle(raw)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := b.encode(&again); err != nil || !bytes.Equal(again.Bytes(), raw) {
			t.Fatalf("written again: %x", again.Bytes())
		}
		if _, err := Recompute(b, types.Hash{}, 1, []tally.Verifier{work}, 1); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzSubmit: no bytes under a submission's subject stop intake.
func FuzzSubmit(f *testing.F) {
	devices := benchDevices(1)
	e := benchEnvelopes(devices, 1)[0]
	f.Add(bus.Encode(&bus.Submit{Chain: benchChain, Items: []bus.Item{{Type: bus.Evidence, Raw: e.Raw}}}))
	f.Add(bus.Encode(&bus.Submit{Chain: benchChain, Items: []bus.Item{{Type: bus.Ask, Raw: []byte{0x80}}}}))
	rules, now := newRuleBook([]tally.Verifier{bench}), benchHead(devices)
	me := &self{cfg: Config{Workers: 1}, chain: benchChain, log: quiet}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := bus.Decode[bus.Submit](raw, benchChain)
		if err != nil {
			return
		}
		in := newIntake(me, rules, nil)
		sub := &submission{items: s.Items}
		in.judge(now, []*submission{sub})
		for i := range s.Items {
			if good := sub.open[i] != nil; good != (sub.verdicts[i] == "") || good && !tally.CheckItem(&tally.Item{Type: tally.ItemType(s.Items[i].Type), Raw: s.Items[i].Raw}, benchChain) {
				t.Fatalf("item %d: %q", i, sub.verdicts[i])
			}
		}
	})
}
