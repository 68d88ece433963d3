// Package bustest is the suite that every implementation of bus.Bus passes: what is delivered and in which
// order, what is kept, who may do what, and what happens when the bus goes away and comes back.
package bustest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Network is a bus under test.
type Network interface {
	Dial(ctx context.Context, key types.PrivateKey) (bus.Bus, error)
	// Stop makes the bus unreachable, Start brings it back where clients look for it, with what it kept.
	Stop()
	Start()
}

// Roles is an Authorizer for tests: a table.
type Roles struct {
	mu    sync.Mutex
	roles map[types.Key]bus.Pass
}

// Set says what key may log on as, with all the room of the role.
func (r *Roles) Set(key types.Key, role bus.Role) { r.SetPass(key, bus.Full(role)) }

// SetPass says what key may log on as.
func (r *Roles) SetPass(key types.Key, pass bus.Pass) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.roles == nil {
		r.roles = map[types.Key]bus.Pass{}
	}
	r.roles[key] = pass
}

// Authorize implements bus.Authorizer.
func (r *Roles) Authorize(_ context.Context, key types.Key) (bus.Pass, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roles[key], nil
}

// Key makes the n-th private key of a test.
func Key(n int) types.PrivateKey {
	return types.NewPrivateKey(sha256.Sum256(fmt.Appendf(nil, "bustest %d", n)))
}

// Run runs the suite against networks that make returns.
func Run(t *testing.T, make func(t *testing.T, auth bus.Authorizer) Network) {
	tests := []struct {
		name string
		run  func(*fixture)
	}{
		{"Deliver", deliver},
		{"Wildcards", wildcards},
		{"Unsubscribe", unsubscribe},
		{"Request", request},
		{"Gather", gather},
		{"Requests", requests},
		{"RequestsOfOthers", requestsOfOthers},
		{"Beats", beats},
		{"Tells", tells},
		{"Last", last},
		{"LastIsBounded", lastIsBounded},
		{"Outage", outage},
		{"Slow", slow},
		{"Oversize", oversize},
		{"Strangers", strangers},
		{"ForeignSubjects", foreignSubjects},
		{"ForeignRoles", foreignRoles},
		{"Eavesdropping", eavesdropping},
		{"Blob", blob},
		{"BlobOfLiars", blobOfLiars},
		{"BlobOfOneKey", blobOfOneKey},
		{"Close", closed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{T: t, roles: new(Roles)}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			t.Cleanup(cancel)
			f.ctx = ctx
			f.net = make(t, f.roles)
			test.run(f)
		})
	}
}

type fixture struct {
	*testing.T
	ctx   context.Context
	roles *Roles
	net   Network
	n     int
}

// join logs a new key on.
func (f *fixture) join(role bus.Role) bus.Bus {
	f.Helper()
	return f.joinAs(bus.Full(role))
}

// joinAs logs a new key on that has a pass of its own.
func (f *fixture) joinAs(pass bus.Pass) bus.Bus {
	f.Helper()
	f.n++
	key := Key(f.n)
	f.roles.SetPass(key.Public(), pass)
	b, err := f.net.Dial(f.ctx, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(b.Close)
	return b
}

// listener collects what a subscription delivers.
type listener chan bus.Message

func (f *fixture) listen(b bus.Bus, pattern string) listener {
	f.Helper()
	c := make(listener, 4*bus.MaxKept)
	if err := b.Subscribe(f.ctx, pattern, func(m bus.Message) { c <- m }); err != nil {
		f.Fatal(err)
	}
	return c
}

func (f *fixture) listenLast(b bus.Bus, pattern string) listener {
	f.Helper()
	c := make(listener, 4*bus.MaxKept)
	if err := b.SubscribeLast(f.ctx, pattern, func(m bus.Message) { c <- m }); err != nil {
		f.Fatal(err)
	}
	return c
}

// next waits for one message.
func (f *fixture) next(c listener) bus.Message {
	f.Helper()
	select {
	case m := <-c:
		return m
	case <-time.After(10 * time.Second):
		f.Fatal("nothing arrived")
		panic("unreachable")
	}
}

// silent fails if anything arrives soon.
func (f *fixture) silent(c listener) {
	f.Helper()
	select {
	case m := <-c:
		f.Fatalf("arrived: %s %q", m.Subject, m.Data)
	case <-time.After(200 * time.Millisecond):
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) refused(err error, reason types.Reason) {
	f.Helper()
	if types.ReasonOf(err) != reason {
		f.Fatalf("got %v, want %s", err, reason)
	}
}

// until waits for a condition.
func (f *fixture) until(what string, condition func() bool) {
	f.Helper()
	for end := time.Now().Add(15 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("never: %s", what)
		}
	}
}

func deliver(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	c := f.listen(verifier, bus.SubmitSubject(types.Key{}, 0))
	subject := bus.SubmitSubject(device.Key(), 0)
	const n = 2000
	for i := range n {
		f.ok(device.Publish(f.ctx, subject, fmt.Append(nil, i)))
	}
	for i := range n {
		if m := f.next(c); m.Subject != subject || string(m.Data) != fmt.Sprint(i) || m.Reply != "" {
			f.Fatalf("message %d is %+v", i, m)
		}
	}
	f.silent(c)
}

func wildcards(f *fixture) {
	a, b := f.join(bus.RoleDevice), f.join(bus.RoleDevice)
	verifier := f.join(bus.RoleVerifier)
	region1 := f.listen(verifier, bus.SubmitSubject(types.Key{}, 1))
	ofA := f.listen(verifier, "submit."+bus.Word(a.Key())+".*")
	all := f.listen(verifier, "submit.>")
	f.ok(a.Publish(f.ctx, bus.SubmitSubject(a.Key(), 0), []byte("a0")))
	f.ok(b.Publish(f.ctx, bus.SubmitSubject(b.Key(), 1), []byte("b1")))
	if m := f.next(region1); string(m.Data) != "b1" {
		f.Fatalf("region 1 got %q", m.Data)
	}
	if m := f.next(ofA); string(m.Data) != "a0" {
		f.Fatalf("a's got %q", m.Data)
	}
	got := string(f.next(all).Data) + string(f.next(all).Data)
	if got != "a0b1" && got != "b1a0" {
		f.Fatalf("all got %s", got)
	}
	f.silent(region1)
	f.silent(ofA)
	for _, bad := range []string{"", "submit..0", "submit.a>", "sub*.a", ">.a", "submit a"} {
		f.refused(verifier.Subscribe(f.ctx, bad, func(bus.Message) {}), types.BadEncoding)
	}
	f.refused(verifier.SubscribeLast(f.ctx, "submit.>", func(bus.Message) {}), types.BadEncoding)
}

func unsubscribe(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	ctx, cancel := context.WithCancel(f.ctx)
	c := make(listener, 8)
	f.ok(verifier.Subscribe(ctx, "submit.>", func(m bus.Message) { c <- m }))
	f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), []byte("1")))
	f.next(c)
	cancel()
	time.Sleep(50 * time.Millisecond)
	f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), []byte("2")))
	f.silent(c)
}

func request(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	subject := bus.QuerySubject(device.Key(), 0, bus.QueryProof)
	_, err := device.Request(f.ctx, subject, []byte("?"))
	f.refused(err, types.BusUnavailable)
	f.ok(verifier.Subscribe(f.ctx, bus.QuerySubject(types.Key{}, 0, bus.QueryProof), func(m bus.Message) {
		f.ok(verifier.Respond(f.ctx, m, append([]byte("re: "), m.Data...)))
	}))
	answer, err := device.Request(f.ctx, subject, []byte("?"))
	f.ok(err)
	if string(answer) != "re: ?" {
		f.Fatalf("answer %q", answer)
	}
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	silent := f.join(bus.RoleVerifier)
	f.ok(silent.Subscribe(f.ctx, bus.QuerySubject(types.Key{}, 1, bus.QueryProof), func(bus.Message) {}))
	if _, err := device.Request(ctx, bus.QuerySubject(device.Key(), 1, bus.QueryProof), nil); !errors.Is(err, context.DeadlineExceeded) {
		f.Fatalf("nobody answers: %v", err)
	}
	f.refused(verifier.Respond(f.ctx, bus.Message{Subject: "a.b"}, nil), types.BadEncoding)
	f.refused(verifier.Respond(f.ctx, bus.Message{Subject: "a.b", Reply: "submit.x.0"}, nil), types.BadEncoding)
}

func gather(f *fixture) {
	device := f.join(bus.RoleDevice)
	const n = 5
	for i := range n {
		v := f.join(bus.RoleVerifier)
		f.ok(v.Subscribe(f.ctx, "query.*.0.payers", func(m bus.Message) { f.ok(v.Respond(f.ctx, m, fmt.Append(nil, i))) }))
	}
	seen := map[string]bool{}
	f.ok(device.Gather(f.ctx, bus.QuerySubject(device.Key(), 0, bus.QueryPayers), nil, func(a []byte) bool {
		seen[string(a)] = true
		return len(seen) < n
	}))
	ctx, cancel := context.WithTimeout(f.ctx, 100*time.Millisecond)
	defer cancel()
	err := device.Gather(ctx, bus.QuerySubject(device.Key(), 0, bus.QueryPayers), nil, func([]byte) bool { return true })
	if !errors.Is(err, context.DeadlineExceeded) {
		f.Fatalf("endless gathering ends with %v", err)
	}
	err = device.Gather(f.ctx, bus.QuerySubject(device.Key(), 9, bus.QueryPayers), nil, func([]byte) bool { return true })
	f.refused(err, types.BusUnavailable)
}

// keeps reads page by page what devices ask: of all, of one, of one class, and of a place.
func (f *fixture) keeps(reader, device bus.Bus) {
	f.Helper()
	cell := types.CellAt(types.Vector{types.One, 0, 0}, 7)
	here := bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 9, Cell: cell})
	f.ok(device.PublishLast(f.ctx, here, []byte("here")))
	for i := range 5 {
		d := f.join(bus.RoleDevice)
		f.ok(d.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: d.Key(), Category: 3, Class: types.Class(9 + i%2)}), []byte("nowhere")))
	}
	for pattern, want := range map[string]int{
		bus.AskSubject(types.Key{}, 3, 9, 0): 4, bus.AskSubject(types.Key{}, 3, 9, cell.Parent(bus.ZoneResolution)): 1, bus.AskSubject(device.Key(), 3, 0, 0): 3, here: 1,
		bus.AskSubject(types.Key{}, 3, 77, 0): 0,
	} {
		seen, after := map[string]bool{}, ""
		for more := true; more; {
			var page []bus.Message
			var err error
			page, more, err = reader.Kept(f.ctx, pattern, after)
			f.ok(err)
			for _, m := range page {
				if seen[m.Subject] || !bus.Match(pattern, m.Subject) {
					f.Errorf("%s: %s", pattern, m.Subject)
				}
				seen[m.Subject] = true
				after = m.Subject
			}
		}
		if len(seen) != want {
			f.Errorf("%s: %d kept messages, want %d", pattern, len(seen), want)
		}
	}
	_, _, err := reader.Kept(f.ctx, "last.ask.*.*.9.*", "")
	f.refused(err, types.BadEncoding)
}

func last(f *fixture) {
	a, b := f.join(bus.RoleDevice), f.join(bus.RoleDevice)
	f.ok(a.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: a.Key(), Category: 3, Class: 1}), []byte("a, old")))
	f.ok(a.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: a.Key(), Category: 3, Class: 1}), []byte("a, hold")))
	f.ok(a.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: a.Key(), Category: 3, Class: 2}), []byte("a, egress")))
	f.ok(b.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: b.Key(), Category: 3, Class: 1}), []byte("b, hold")))
	gateway := f.join(bus.RoleGateway)
	c := f.listenLast(gateway, bus.AskSubject(types.Key{}, 3, 1, 0))
	if len(c) != 2 {
		f.Fatalf("%d kept messages had been handed over, want 2", len(c))
	}
	got := map[string]string{}
	for range 2 {
		m := f.next(c)
		got[m.Subject] = string(m.Data)
	}
	if got[bus.AskOf(&receipt.Ask{Device: a.Key(), Category: 3, Class: 1})] != "a, hold" || got[bus.AskOf(&receipt.Ask{Device: b.Key(), Category: 3, Class: 1})] != "b, hold" {
		f.Fatalf("kept: %v", got)
	}
	f.ok(b.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: b.Key(), Category: 3, Class: 1}), []byte("b, live")))
	if m := f.next(c); string(m.Data) != "b, live" {
		f.Fatalf("live: %q", m.Data)
	}
	f.silent(c)
	f.keeps(gateway, a)
	f.refused(a.Publish(f.ctx, bus.AskOf(&receipt.Ask{Device: a.Key(), Category: 3, Class: 1}), nil), types.BadEncoding)
	f.refused(a.PublishLast(f.ctx, bus.SubmitSubject(a.Key(), 0), nil), types.BadEncoding)
}

func lastIsBounded(f *fixture) {
	noisy, quiet := f.join(bus.RoleGateway), f.join(bus.RoleGateway)
	payer := Key(99).Public()
	subject := func(by bus.Bus, i int) string {
		return bus.ReceiptSubject(by.Key(), payer, types.NewSessionID(1, [12]byte{byte(i >> 8), byte(i)}))
	}
	f.ok(quiet.PublishLast(f.ctx, subject(quiet, 0), []byte("quiet")))
	data := make([]byte, bus.MaxLast)
	most := bus.MaxKeptBytes / (bus.MaxLast + len(subject(noisy, 0))) // a message counts with its subject
	n := most + 8
	for i := range n {
		f.ok(noisy.PublishLast(f.ctx, subject(noisy, i), data))
	}
	c := f.listenLast(f.join(bus.RoleDevice), bus.ReceiptSubject(types.Key{}, payer, types.SessionID{}))
	kept := map[string]bool{}
	for len(c) > 0 {
		kept[f.next(c).Subject] = true
	}
	if len(kept) != most+1 {
		f.Errorf("%d messages kept, want %d", len(kept), most+1)
	}
	if !kept[subject(quiet, 0)] || !kept[subject(noisy, n-1)] || kept[subject(noisy, 7)] {
		f.Error("the wrong ones were kept: each publisher's oldest have to go, and nobody else's")
	}
}

func outage(f *fixture) {
	device, verifier, gateway := f.join(bus.RoleDevice), f.join(bus.RoleVerifier), f.join(bus.RoleGateway)
	submits := f.listen(verifier, bus.SubmitSubject(types.Key{}, 0))
	asks := f.listenLast(gateway, "last.ask.>")
	f.ok(device.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1}), []byte("ask")))
	if m := f.next(asks); string(m.Data) != "ask" {
		f.Fatalf("ask: %q", m.Data)
	}
	f.net.Stop()
	f.until("the device notices", func() bool { return !device.Connected() })
	f.refused(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), []byte("lost")), types.BusUnavailable)
	f.refused(device.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1}), []byte("lost")), types.BusUnavailable)
	_, err := f.net.Dial(f.ctx, Key(1))
	f.refused(err, types.BusUnavailable)
	f.net.Start()
	for _, b := range []bus.Bus{device, verifier, gateway} {
		f.until("everybody is back", b.Connected)
	}
	if m := f.next(asks); string(m.Data) != "ask" {
		f.Fatalf("after the outage: %q", m.Data)
	}
	f.until("submissions go on", func() bool {
		f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), []byte("after")))
		time.Sleep(20 * time.Millisecond)
		return len(submits) > 0
	})
	late := f.listenLast(f.join(bus.RoleGateway), "last.ask.>")
	if m := f.next(late); string(m.Data) != "ask" {
		f.Fatalf("a newcomer after the outage: %q", m.Data)
	}
}

func slow(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	block := make(chan struct{})
	var mu sync.Mutex
	handled := 0
	f.ok(verifier.Subscribe(f.ctx, "submit.>", func(bus.Message) {
		<-block
		mu.Lock()
		handled++
		mu.Unlock()
	}))
	other := f.listen(verifier, "submit.>")
	const n = bus.Pending + 5000
	for i := range n {
		f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), nil))
		if i%1000 == 999 { // no faster than a server forwards
			f.until("the quick reader follows", func() bool { return len(other) == cap(other) || len(other) >= i-100 })
		}
	}
	f.until("messages are dropped", func() bool { return verifier.Dropped() > 4000 })
	close(block)
	f.until("each message was handled or is counted as dropped", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return uint64(handled)+verifier.Dropped() == n
	})
}

func oversize(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	c := f.listen(verifier, "submit.>")
	f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), make([]byte, bus.MaxMessage)))
	if m := f.next(c); len(m.Data) != bus.MaxMessage {
		f.Fatalf("%d bytes arrived", len(m.Data))
	}
	f.refused(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), make([]byte, bus.MaxMessage+1)), types.Oversize)
	f.refused(device.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: device.Key(), Category: 3, Class: 1}), make([]byte, bus.MaxLast+1)), types.Oversize)
	if !device.Connected() {
		f.Error("an oversize message cost the connection")
	}
}

func strangers(f *fixture) {
	_, err := f.net.Dial(f.ctx, Key(1000))
	f.refused(err, types.NotPermitted)
	f.roles.Set(Key(1000).Public(), bus.RoleDevice)
	b, err := f.net.Dial(f.ctx, Key(1000))
	f.ok(err)
	b.Close()
}

func foreignSubjects(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	victim := Key(1000).Public()
	all, kept := f.listen(verifier, "submit.>"), f.listen(verifier, "last.>")
	f.refused(device.Publish(f.ctx, bus.SubmitSubject(victim, 0), nil), types.NotPermitted)
	f.refused(device.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: victim, Category: 3, Class: 1}), nil), types.NotPermitted)
	f.refused(verifier.Publish(f.ctx, bus.AckSubject(victim, device.Key()), nil), types.NotPermitted)
	_, err := device.Request(f.ctx, bus.QuerySubject(victim, 0, bus.QueryProof), nil)
	f.refused(err, types.NotPermitted)
	f.refused(device.Publish(f.ctx, "submit."+bus.Word(device.Key())+".*", nil), types.BadEncoding)
	f.silent(all)
	f.silent(kept)
}

func foreignRoles(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	kept, acks := f.listen(verifier, "last.>"), f.listen(device, bus.AckSubject(types.Key{}, device.Key()))
	f.refused(device.PublishLast(f.ctx, bus.NoticeSubject(device.Key(), 0), nil), types.NotPermitted)
	f.refused(device.PublishLast(f.ctx, bus.ProposalSubject(device.Key(), 0), nil), types.NotPermitted)
	f.refused(verifier.PublishLast(f.ctx, bus.AskOf(&receipt.Ask{Device: verifier.Key(), Category: 3, Class: 1}), nil), types.NotPermitted)
	_ = device.Publish(f.ctx, bus.AckSubject(device.Key(), device.Key()), nil) // a server refuses it later than this returns
	f.silent(kept)
	f.silent(acks)
	f.ok(verifier.Publish(f.ctx, bus.AckSubject(verifier.Key(), device.Key()), []byte("ack")))
	f.next(acks)
}

func eavesdropping(f *fixture) {
	device, payer, verifier := f.join(bus.RoleDevice), f.join(bus.RolePayer), f.join(bus.RoleVerifier)
	nothing := func(bus.Message) {}
	for _, b := range []bus.Bus{device, payer} {
		for _, pattern := range []string{"submit.>", ">", "*.>", "query.>", "_INBOX.>", "_INBOX." + bus.Word(verifier.Key()) + ".>",
			bus.AckSubject(types.Key{}, types.Key{}), bus.AckSubject(types.Key{}, verifier.Key()), "ack.>", "$SYS.>", "keep.*"} {
			f.refused(b.Subscribe(f.ctx, pattern, nothing), types.NotPermitted)
		}
	}
	f.refused(verifier.Subscribe(f.ctx, "_INBOX.>", nothing), types.NotPermitted)
	f.refused(verifier.Subscribe(f.ctx, bus.ChunkSubject(types.Key{}, device.Key()), nothing), types.NotPermitted)
	f.ok(verifier.Subscribe(f.ctx, "submit.>", nothing))
	// A verifier whose key does not count yet hears as much, and says nothing in others' place.
	pending := f.joinAs(bus.Pass{Role: bus.RolePending})
	f.ok(pending.Subscribe(f.ctx, "submit.>", nothing))
	f.ok(pending.SubscribeLast(f.ctx, "last.proposal.>", nothing))
	f.refused(pending.PublishLast(f.ctx, bus.NoticeSubject(pending.Key(), 0), []byte("n")), types.NotPermitted)
	f.refused(pending.Subscribe(f.ctx, "_INBOX.>", nothing), types.NotPermitted)
}

// shelfOf is a bus.Blobs in memory.
type shelfOf map[types.Hash][]byte

func (s shelfOf) ReadBlob(hash types.Hash, p []byte, offset int64) (int, int64, error) {
	data, ok := s[hash]
	if !ok {
		return 0, 0, errors.New("not here")
	}
	n, err := bytes.NewReader(data).ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, int64(len(data)), err
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	return data
}

func blob(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	blobs := shelfOf{}
	for _, n := range []int{0, 1, bus.ChunkSize - 1, bus.ChunkSize, bus.ChunkSize + 1, 9*bus.ChunkSize + 5} {
		data := pattern(n)
		blobs[types.Sum(data)] = data
	}
	f.ok(bus.ServeBlobs(f.ctx, verifier, blobs))
	for hash, data := range blobs {
		got, err := bus.FetchBlob(f.ctx, device, hash, 16<<20)
		f.ok(err)
		if !bytes.Equal(got, data) {
			f.Fatalf("a blob of %d bytes differs", len(data))
		}
	}
	_, err := bus.FetchBlob(f.ctx, device, types.Sum([]byte("unknown")), 1<<20)
	f.refused(err, types.UnknownBlob)
	_, err = bus.FetchBlob(f.ctx, device, types.Sum(pattern(bus.ChunkSize+1)), bus.ChunkSize)
	f.refused(err, types.Oversize)
}

// blobOfOneKey: a key is logged on twice, as a verifier's is that runs in two regions, and only one of both has
// the blob.
func blobOfOneKey(f *fixture) {
	device, one := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	two, err := f.net.Dial(f.ctx, Key(f.n))
	f.ok(err)
	f.Cleanup(two.Close)
	data := pattern(bus.ChunkSize + 7)
	f.ok(bus.ServeBlobs(f.ctx, one, shelfOf{}))
	f.ok(bus.ServeBlobs(f.ctx, two, shelfOf{types.Sum(data): data}))
	for range 8 {
		got, err := bus.FetchBlob(f.ctx, device, types.Sum(data), 1<<20)
		f.ok(err)
		if !bytes.Equal(got, data) {
			f.Fatal("the blob differs")
		}
	}
}

func blobOfLiars(f *fixture) {
	device := f.join(bus.RoleDevice)
	data := pattern(3*bus.ChunkSize + 7)
	hash := types.Sum(data)
	wrong := bytes.Clone(data)
	wrong[bus.ChunkSize+1]++
	for _, lie := range [][]byte{wrong, data[:len(data)-1], append(bytes.Clone(data), 0)} {
		f.ok(bus.ServeBlobs(f.ctx, f.join(bus.RoleVerifier), shelfOf{hash: lie}))
	}
	_, err := bus.FetchBlob(f.ctx, device, hash, 16<<20)
	f.refused(err, types.UnknownBlob)
	f.ok(bus.ServeBlobs(f.ctx, f.join(bus.RoleVerifier), shelfOf{hash: data}))
	got, err := bus.FetchBlob(f.ctx, device, hash, 16<<20)
	f.ok(err)
	if !bytes.Equal(got, data) {
		f.Fatal("a lie was taken for the blob")
	}
}

func closed(f *fixture) {
	device, verifier := f.join(bus.RoleDevice), f.join(bus.RoleVerifier)
	c := f.listen(verifier, "submit.>")
	verifier.Close()
	f.refused(verifier.Publish(f.ctx, bus.SubmitSubject(verifier.Key(), 0), nil), types.BusUnavailable)
	f.ok(device.Publish(f.ctx, bus.SubmitSubject(device.Key(), 0), nil))
	f.silent(c)
	if verifier.Connected() {
		f.Error("connected after Close")
	}
	verifier.Close()
}
