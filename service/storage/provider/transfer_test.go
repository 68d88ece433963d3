package provider_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider"
)

// client speaks the transfer protocol by hand, with one device.
type client struct {
	t       *testing.T
	w       *roletest.World
	m       *roletest.Market
	device  *roletest.Device
	http    *http.Client
	base    string
	hold    *receipt.SignedAsk
	egress  *receipt.SignedAsk
	list    *storage.Shards
	holding storage.Holding
}

// newClient returns a customer with credits, and a device in the second epoch.
func newClient(t *testing.T, name string, cfg provider.Config, credits types.Credit) *client {
	w := roletest.New(t, storage.New())
	d := w.Device("device")
	m := w.Market(name, credits)
	d.Start(provider.New(cfg))
	w.Next()
	return dialClient(t, w, d, m)
}

func dialClient(t *testing.T, w *roletest.World, d *roletest.Device, m *roletest.Market) *client {
	c := &client{t: t, w: w, m: m, device: d}
	for class, into := range map[types.Class]**receipt.SignedAsk{storage.Hold: &c.hold, storage.Egress: &c.egress} {
		offers, _, err := m.Offers(t.Context(), role.Want{Class: class})
		if err != nil || len(offers) != 1 {
			t.Fatalf("%d offers of class %d: %v", len(offers), class, err)
		}
		*into = offers[0].Ask
	}
	terms, err := storage.DecodeTerms(c.hold.Ask.Terms)
	if err != nil {
		t.Fatal(err)
	}
	config, err := role.ClientTLS(m.TLS(), d.Key())
	if err != nil {
		t.Fatal(err)
	}
	c.base = "https://" + terms.Address
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	t.Cleanup(c.http.CloseIdleConnections)
	c.list, _ = storage.NewShards(0, nil)
	c.holding = storage.Holding{
		Device: d.Key(), Session: types.NewSessionID(w.Epoch()+1000, [12]byte{1}), Account: m.Account(), Payer: m.Payer(),
		Ask: c.hold.Ask.Hash(), Price: c.hold.Ask.Price, Until: w.Epoch() + 1000,
	}
	return c
}

// do returns the answer's body, or the reason of the refusal.
func (c *client) do(method, path string, body []byte) ([]byte, types.Reason) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if res.StatusCode < 300 {
		return raw, ""
	}
	var p role.Problem
	if err := json.Unmarshal(raw, &p); err != nil || p.Reason == "" || p.Try == "" {
		c.t.Fatalf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	return nil, p.Reason
}

func (c *client) want(want, got types.Reason, what string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (c *client) stage(shard []byte) types.Reason {
	_, reason := c.do("PUT", storage.PathShard+storage.ShardID(shard).String(), shard)
	return reason
}

// next returns the commit of the holding's next revision, with shards appended.
func (c *client) next(shards ...[]byte) *storage.Commit {
	c.t.Helper()
	h := c.holding
	h.Revision++
	commit := &storage.Commit{}
	if h.Revision == 1 {
		commit.Ask = c.hold
	}
	for i, s := range shards {
		commit.Ops = append(commit.Ops, c.list.Append(i, storage.Shard{ID: storage.ShardID(s), Bytes: uint64(len(s))}))
	}
	if err := c.list.Commit(h.Revision, commit.Ops); err != nil {
		c.t.Fatal(err)
	}
	root := c.list.Root()
	h.Root, h.Bytes, h.Shards = root.Hash, root.Sum, uint64(c.list.Len())
	commit.Holding = c.sign(h)
	if err := c.list.Undo(); err != nil {
		c.t.Fatal(err)
	}
	return commit
}

func (c *client) sign(h storage.Holding) storage.SignedHolding {
	return storage.SignedHolding{Holding: h, Signature: c.m.Sign(storage.DomainHolding, h.Payload())}
}

// commit sends one, and takes it over if it is countersigned.
func (c *client) commit(x *storage.Commit) types.Reason {
	c.t.Helper()
	raw, reason := c.do("POST", storage.PathCommit, x.Encode())
	if reason != "" {
		return reason
	}
	done, err := storage.DecodeCommitted(raw)
	if err != nil || done.Revision != x.Holding.Holding.Revision || !x.Holding.Holding.VerifyHeld(roletest.Chain, done.Signature) {
		c.t.Fatalf("countersigned %+v: %v", done, err)
	}
	if c.holding.Revision < done.Revision {
		if err := c.list.Commit(done.Revision, x.Ops); err != nil {
			c.t.Fatal(err)
		}
		c.holding = x.Holding.Holding
	}
	return ""
}

func (c *client) ladder() *storage.Ladder {
	c.t.Helper()
	from := receipt.Receipt{
		Chain: roletest.Chain, Category: types.Storage, Session: c.holding.Session, Payer: c.holding.Payer, Device: c.device.Key(),
		Terms: c.holding.Ask, Seq: uint64(c.w.Epoch()) << 20, First: c.w.Epoch(),
	}
	l, err := storage.NewLadder(from, max(1, c.holding.Bytes), c.holding.Price, c.m.Sign)
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

func (c *client) climb(l *storage.Ladder) types.Reason {
	_, reason := c.do("POST", storage.PathLadder, l.Encode())
	return reason
}

func (c *client) status(id types.SessionID) *storage.SessionStatus {
	c.t.Helper()
	raw, reason := c.do("GET", storage.PathSession+id.String(), nil)
	st, err := storage.DecodeSessionStatus(raw)
	if reason != "" || err != nil {
		c.t.Fatalf("status: %s %v", reason, err)
	}
	return st
}

// TestCommit tries every way to bend a commit. None changes what the device holds.
func TestCommit(t *testing.T) {
	c := newClient(t, "customer", config(), 1<<50)
	a, b := random(30, 5000), random(31, 1<<20)
	c.want(storage.ShardMismatch, second(c.do("PUT", storage.PathShard+storage.ShardID(a).String(), b)), "other bytes than the name's")
	c.want(types.Oversize, c.stage(make([]byte, storage.MaxShard+1)), "a shard beyond the limit")
	c.want(types.Oversize, c.stage(nil), "a shard of nothing")
	c.want(types.BadEncoding, second(c.do("PUT", storage.PathShard+"zz", a)), "a name that is none")
	c.want(storage.NoShard, c.commit(c.next(a)), "a shard that was not staged")
	for _, shard := range [][]byte{a, b} {
		c.want("", c.stage(shard), "stage")
		c.want("", c.stage(shard), "stage again")
	}
	bend := func(f func(*storage.Commit, *storage.Holding)) *storage.Commit {
		x := c.next(a)
		h := x.Holding.Holding
		f(x, &h)
		x.Holding = c.sign(h)
		return x
	}
	other := roletest.Key("other")
	lapsed := c.hold.Ask
	lapsed.Until = 1
	for name, x := range map[string]struct {
		commit *storage.Commit
		want   types.Reason
	}{
		"another root":          {bend(func(_ *storage.Commit, h *storage.Holding) { h.Root[0]++ }), storage.RootMismatch},
		"more bytes":            {bend(func(_ *storage.Commit, h *storage.Holding) { h.Bytes++ }), storage.RootMismatch},
		"more shards":           {bend(func(_ *storage.Commit, h *storage.Holding) { h.Shards++ }), storage.RootMismatch},
		"operations in a hole":  {bend(func(x *storage.Commit, _ *storage.Holding) { x.Ops[0].Slot = 7 }), storage.RootMismatch},
		"a deletion of nothing": {bend(func(x *storage.Commit, _ *storage.Holding) { x.Ops[0].Kind = storage.OpDelete }), storage.RootMismatch},
		"a loss":                {bend(func(x *storage.Commit, _ *storage.Holding) { x.Ops[0].Kind = storage.OpLose }), types.BadEncoding},
		"another length":        {bend(func(x *storage.Commit, _ *storage.Holding) { x.Ops[0].Shard.Bytes++ }), storage.NoShard},
		"another payer":         {bend(func(_ *storage.Commit, h *storage.Holding) { h.Payer = other.Public() }), types.NotPermitted},
		"another account":       {bend(func(_ *storage.Commit, h *storage.Holding) { h.Account[0]++ }), storage.HoldingTerms},
		"another device":        {bend(func(_ *storage.Commit, h *storage.Holding) { h.Device = other.Public() }), storage.HoldingTerms},
		"another price":         {bend(func(_ *storage.Commit, h *storage.Holding) { h.Price++ }), storage.HoldingTerms},
		"another ask":           {bend(func(_ *storage.Commit, h *storage.Holding) { h.Ask[0]++ }), types.UnknownAsk},
		"no ask":                {bend(func(x *storage.Commit, _ *storage.Holding) { x.Ask = nil }), types.UnknownAsk},
		"an ask it never signed": {bend(func(x *storage.Commit, h *storage.Holding) {
			ask := c.hold.Ask
			ask.Price, h.Price = 1, 1
			x.Ask = ask.Sign(other)
			h.Ask = ask.Hash()
		}), types.UnknownAsk},
		"a lapsed ask": {bend(func(x *storage.Commit, h *storage.Holding) {
			x.Ask = lapsed.Sign(roletest.Key("device"))
			h.Ask = lapsed.Hash()
		}), storage.AskExpired},
		"a session without end": {bend(func(_ *storage.Commit, h *storage.Holding) {
			h.Session = types.NewSessionID(c.w.Epoch()+receipt.MaxExpiry+1, [12]byte{2})
		}), types.WrongEpoch},
		"revision 0": {bend(func(_ *storage.Commit, h *storage.Holding) { h.Revision = 0 }), storage.HoldingStale},
	} {
		c.want(x.want, c.commit(x.commit), name)
	}
	forged := c.next(a)
	forged.Holding.Signature = other.Sign(storage.DomainHolding, roletest.Chain, forged.Holding.Holding.Payload())
	c.want(storage.HoldingSignature, c.commit(forged), "another signature")
	c.want(types.BadEncoding, second(c.do("POST", storage.PathCommit, append(c.next(a).Encode(), 0))), "a tail")
	if st := c.status(c.holding.Session); st.Revision != 0 {
		t.Fatalf("the device holds revision %d", st.Revision)
	}
	one := c.next(a)
	c.want("", c.commit(one), "commit")
	c.want("", c.commit(one), "commit again")
	two := c.next(b)
	c.want("", c.commit(two), "a second one")
	c.want(storage.RootMismatch, c.commit(one), "an old one")
	if st := c.status(c.holding.Session); st.Revision != 2 || st.Root != c.list.Root().Hash || st.Bytes != 5000+1<<20 {
		t.Errorf("status %+v", st)
	}
	stranger := dialClient(t, c.w, c.device, c.w.Market("stranger", 1<<40))
	c.w.Next()
	if st := stranger.status(c.holding.Session); st.Revision != 0 {
		t.Errorf("a stranger sees revision %d", st.Revision)
	}
	session := types.NewSessionID(c.w.Epoch()+100, [12]byte{9})
	stranger.want(storage.NoShard, second(stranger.do("GET", storage.PathShard+storage.ShardID(a).String()+"?session="+session.String(), nil)), "another's shard")
}

func second[A, B any](_ A, b B) B { return b }

// TestLadder: a session without ladders takes nothing new after two epochs, and a ladder that is none changes
// nothing.
func TestLadder(t *testing.T) {
	c := newClient(t, "customer", config(), 1<<50)
	shard := func(i uint64) []byte { return random(40+i, 1000) }
	commit := func(i uint64) types.Reason {
		if reason := c.stage(shard(i)); reason != "" {
			return reason
		}
		return c.commit(c.next(shard(i)))
	}
	for i := range uint64(3) {
		c.want("", commit(i), "commit without a ladder")
		c.w.Next()
	}
	c.w.Next()
	c.want(storage.Unpaid, commit(4), "commit without a ladder, later")
	l := c.ladder()
	bad := *l
	bad.Signatures = append([]types.Signature(nil), l.Signatures...)
	bad.Signatures[100] = l.Signatures[99]
	c.want(types.BadSignature, c.climb(&bad), "a rung signed for another")
	alien := *l
	alien.From.Device = roletest.Key("other").Public()
	for i := range alien.Signatures {
		r := alien.Rung(i + 1).Receipt
		alien.Signatures[i] = c.m.Sign("receipt", r.Bytes())
	}
	c.want(storage.HoldingTerms, c.climb(&alien), "another device's")
	c.want(storage.Unpaid, commit(5), "after ladders that are none")
	l = c.ladder()
	c.want("", c.climb(l), "climb")
	c.want("", commit(6), "commit with a ladder")
	if st := c.status(c.holding.Session); st.Unused < storage.SpareRungs {
		t.Errorf("%d rungs unused", st.Unused)
	}
	c.w.Next()
	c.w.Next()
	for _, r := range c.w.Refused() {
		t.Errorf("epoch %d: %s", r.Epoch, r.Reason)
	}
	if c.w.State().Line(c.device.Key()).Paid() == 0 {
		t.Error("the device was not paid")
	}
}

// TestBalance: who cannot pay is served nothing.
func TestBalance(t *testing.T) {
	c := newClient(t, "poor", config(), 100)
	// 24 epochs of them cost 24 bytes / 64 micro-credits.
	shard, little := random(50, 1<<20), [][]byte{random(51, 200), random(52, 60), random(53, 10)}
	c.want(storage.Unpaid, c.stage(shard), "stage beyond the balance")
	c.want("", c.stage(little[0]), "stage")
	c.want("", c.stage(little[1]), "stage up to the balance")
	c.want(storage.Unpaid, c.stage(little[2]), "stage a little more")
	c.want("", c.commit(c.next(little[:2]...)), "commit")
	c.want("", c.stage(little[2]), "stage when nothing else is")
	c.want(storage.Unpaid, c.commit(c.next(little[2])), "commit beyond the balance")
	none := dialClient(t, c.w, c.device, c.w.Market("none", 0))
	none.want(storage.Unpaid, none.stage(shard), "stage without credits")
	stranger := dialClient(t, c.w, c.device, c.m)
	config, err := role.ClientTLS(roletest.Key("nobody"), c.device.Key())
	if err != nil {
		t.Fatal(err)
	}
	stranger.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	stranger.want(types.UnknownKey, stranger.stage(shard), "a key that nobody granted")
}

// TestEgress: four MiB are served on trust, more for receipts; what they pay for raises the limit. Receipts
// that are none do not.
func TestEgress(t *testing.T) {
	c := newClient(t, "customer", config(), 1<<50)
	shard := random(60, storage.MaxShard)
	c.want("", c.stage(shard), "stage")
	c.want("", c.commit(c.next(shard)), "commit")
	c.want("", c.climb(c.ladder()), "climb")
	id := types.NewSessionID(c.w.Epoch()+500, [12]byte{3})
	path := storage.PathShard + storage.ShardID(shard).String() + "?session=" + id.String()
	read := func() types.Reason {
		raw, reason := c.do("GET", path, nil)
		if reason == "" && !bytes.Equal(raw, shard) {
			t.Fatal("other bytes")
		}
		return reason
	}
	reads := func(n int) {
		t.Helper()
		for i := range n {
			c.want("", read(), "read "+strconv.Itoa(i))
		}
		c.want(storage.Unpaid, read(), "read beyond the limit")
	}
	seq := uint64(0)
	pay := func(units uint64, bend func(*receipt.Receipt)) types.Reason {
		seq++
		r := receipt.Receipt{
			Chain: roletest.Chain, Category: types.Storage, Session: id, Payer: c.m.Payer(), Device: c.device.Key(),
			Terms: c.egress.Ask.Hash(), Units: types.U64(units), Seq: seq, First: c.w.Epoch(),
		}
		r.Amount, _ = storage.Amount(r.Units, c.egress.Ask.Price)
		bend(&r)
		signed := receipt.Signed{Receipt: r, PayerSig: c.m.Sign("receipt", r.Bytes())}
		return second(c.do("POST", storage.PathReceipt, signed.Encode()))
	}
	plain := func(*receipt.Receipt) {}
	reads(4)
	const mib = 1 << 20
	for name, x := range map[string]struct {
		bend func(*receipt.Receipt)
		want types.Reason
	}{
		"too cheap":      {func(r *receipt.Receipt) { r.Amount-- }, storage.PriceMismatch},
		"too dear":       {func(r *receipt.Receipt) { r.Amount++ }, storage.PriceMismatch},
		"another ask":    {func(r *receipt.Receipt) { r.Terms[0]++ }, types.UnknownAsk},
		"ask to hold":    {func(r *receipt.Receipt) { r.Terms = c.hold.Ask.Hash() }, types.UnknownAsk},
		"another device": {func(r *receipt.Receipt) { r.Device[0]++ }, types.SessionMismatch},
		"another payer":  {func(r *receipt.Receipt) { r.Payer[0]++ }, types.NotPermitted},
		"another chain":  {func(r *receipt.Receipt) { r.Chain = "other" }, types.WrongChain},
		"the future":     {func(r *receipt.Receipt) { r.First += 100 }, types.WrongEpoch},
		"what holds":     {func(r *receipt.Receipt) { r.Session = c.holding.Session }, types.SessionMismatch},
	} {
		c.want(x.want, pay(4*mib, x.bend), name)
	}
	c.want(storage.Unpaid, read(), "after receipts that are none")
	c.want("", pay(4*mib, plain), "a receipt")
	c.want("", pay(2*mib, plain), "one that was overtaken")
	reads(8) // four were paid for, so twice as much may be owed
	c.want("", pay(12*mib, plain), "a receipt")
	reads(16)
	if st := c.status(id); st.Served != 28*mib || st.Promised != types.U64(12*mib) {
		t.Errorf("status %+v", st)
	}
	// A slice counts as its length.
	c.want("", pay(28*mib, plain), "a receipt")
	raw, reason := c.do("GET", path+"&offset=70000&length=100", nil)
	if part, err := storage.VerifySlice(storage.ShardID(shard), len(shard), 70000, 100, raw); reason != "" || err != nil || !bytes.Equal(part, shard[70000:70100]) {
		t.Errorf("slice: %s %v", reason, err)
	}
	c.want(types.BadEncoding, second(c.do("GET", path+"&offset=1048570&length=7", nil)), "a slice beyond the end")
	c.device.Stop()
	c.device.Start(provider.New(config()))
	c = dialClient(t, c.w, c.device, c.m)
	if st := c.status(id); st.Served != 28*mib+100 || st.Promised != types.U64(28*mib) {
		t.Errorf("after a restart: %+v", st)
	}
	c.w.Next()
	for _, r := range c.w.Refused() {
		t.Errorf("epoch %d: %s", r.Epoch, r.Reason)
	}
	if got, want := c.w.State().Line(c.device.Key()).Paid(), types.Credit(28*mib/64); got != want {
		t.Errorf("paid %d, want %d", got, want)
	}
}

// TestStaged: what was staged and never committed goes after two epochs, also when the device was restarted in
// between.
func TestStaged(t *testing.T) {
	for _, restart := range []bool{false, true} {
		c := newClient(t, "customer", config(), 1<<50)
		kept, left := random(80, 3000), random(81, 4000)
		c.want("", c.stage(kept), "stage")
		c.want("", c.stage(left), "stage")
		c.want("", c.commit(c.next(kept)), "commit")
		if restart {
			c.device.Stop()
			c.device.Start(provider.New(config()))
			time.Sleep(300 * time.Millisecond) // it looks for what nothing refers to
			holding, list := c.holding, c.list
			c = dialClient(t, c.w, c.device, c.m)
			c.holding, c.list = holding, list
		}
		again := c.next(left)
		for range 4 {
			c.w.Next()
		}
		c.want(storage.NoShard, c.commit(again), "commit what was staged four epochs ago")
		n := &net{World: c.w, t: t, devices: []*roletest.Device{c.device}}
		if got := n.used(0); got != 3000 {
			t.Errorf("restart %t: %d bytes on disk, want 3,000", restart, got)
		}
	}
}

// TestStagedRoom: what nobody pays for takes a share of the device and of each account at most, and who can pay
// a micro-credit stages no more than that would hold.
func TestStagedRoom(t *testing.T) {
	cfg := config()
	cfg.Capacity = 256 << 20
	c := newClient(t, "customer", cfg, 1<<50)
	other, poor := dialClient(t, c.w, c.device, c.w.Market("other", 1<<50)), dialClient(t, c.w, c.device, c.w.Market("poor", 1))
	c.w.Next()
	shard := random(82, storage.MaxShard)
	next := func() []byte {
		shard[0]++
		return shard
	}
	const mine = 32 // of 256 MiB a quarter may be staged, 128 MiB at least, and a quarter of that by one account
	for i := range mine {
		c.want("", c.stage(next()), "stage "+strconv.Itoa(i))
	}
	c.want("", c.stage(shard), "stage the last one again")
	held := bytes.Clone(shard)
	for range 3 {
		c.want(storage.Full, c.stage(next()), "stage more than the account's share")
	}
	other.want("", other.stage(next()), "stage beside that")
	poor.want(storage.Unpaid, poor.stage(next()), "stage what could not be paid for")
	c.want("", c.commit(c.next(held)), "commit one")
	c.want("", c.stage(next()), "stage in its place")
	c.want(storage.Full, c.stage(next()), "stage one more")
	for range 4 {
		c.w.Next()
	}
	n := &net{World: c.w, t: t, devices: []*roletest.Device{c.device}}
	if got := n.used(0); got != storage.MaxShard {
		t.Errorf("%d bytes on disk after four epochs, want those of the one shard that is held", got)
	}
}
