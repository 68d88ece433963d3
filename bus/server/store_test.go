package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/types"
)

// keeping is a keeper without a connection, whose keys are what a table says.
func keeping(t *testing.T, path string, total int64, passes map[string]bus.Pass) *keeper {
	t.Helper()
	k := &keeper{config: Config{KeepFor: time.Hour}, log: slog.New(slog.DiscardHandler), shelves: bus.NewShelves(parts(total)),
		pass: func(key types.Key, _ time.Duration) (bus.Pass, error) { return passes[bus.Word(key)], nil }}
	if err := k.open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

// one stores a message, and returns why it was refused.
func (k *keeper) one(subject string, size int) types.Reason {
	return k.store([]*nats.Msg{{Subject: subject, Data: make([]byte, size)}})[0]
}

// subjects lists what is in the file.
func (k *keeper) subjects(t *testing.T) (list []string) {
	t.Helper()
	err := k.db.View(func(tx *bbolt.Tx) error {
		turned := tx.Bucket(turnedBucket).Stats().KeyN
		if n := tx.Bucket(keptBucket).Stats().KeyN; n != turned {
			t.Errorf("%d messages are kept, and %d turned", n, turned)
		}
		return tx.Bucket(keptBucket).ForEach(func(s, _ []byte) error {
			list = append(list, string(s))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestOvertaken: what a publisher said before what is kept, and comes behind it by another way, changes nothing here, nor
// what is fetched from another keeper. Who set a clock back is not kept out by what was said before.
func TestOvertaken(t *testing.T) {
	passes := map[string]bus.Pass{word(1): bus.Full(bus.RoleDevice)}
	k := keeping(t, filepath.Join(t.TempDir(), "kept.db"), 1<<20, passes)
	subject := "last.ask." + word(1) + ".3.1.0"
	const now = 1_800_000_000_000_000
	put := func(sent uint64, data string) types.Reason {
		m := &nats.Msg{Subject: subject, Data: []byte(data), Header: nats.Header{}}
		if sent > 0 {
			m.Header.Set(bus.SentHeader, strconv.FormatUint(sent, 10))
		}
		return k.store([]*nats.Msg{m})[0]
	}
	for _, c := range []struct {
		sent       uint64
		data, want string
	}{
		{now, "a", "a"},
		{now - 1, "before", "a"},
		{now - 59_000_000, "a minute before", "a"},
		{now, "again", "again"},
		{now + 1, "b", "b"},
		{now - 3600_000_000, "of a clock that was set back", "of a clock that was set back"},
		{0, "of who does not say", "of who does not say"},
		{now, "c", "c"},
	} {
		if why := put(c.sent, c.data); why != "" {
			t.Errorf("%s: %s", c.data, why)
		}
		page, why := k.page(types.Encode(&bus.KeepQuery{Pattern: "last.ask.>"}))
		if why != "" || len(page.Kept) != 1 || string(page.Kept[0].Data) != c.want {
			t.Errorf("after %q is kept %+v, want %q (%s)", c.data, page, c.want, why)
		}
	}
	later := uint64(time.Now().Add(time.Second).UnixMilli())
	for sent, want := range map[uint64]int{now - 1: 0, now: 0, now + 1: 1, 0: 1} {
		list, _, err := k.wanted([]missed{{Subject: subject, At: later, Sent: sent}}, later)
		if err != nil || len(list) != want {
			t.Errorf("%d of another keeper's are wanted that was sent at %d, want %d (%v)", len(list), sent, want, err)
		}
	}
}

// TestParts: each role fills its part of the room, and not a byte of another's.
func TestParts(t *testing.T) {
	const total = 8 << 20
	passes := map[string]bus.Pass{}
	k := keeping(t, filepath.Join(t.TempDir(), "kept.db"), total, passes)
	next := 0
	for role, share := range map[bus.Role]int64{
		bus.RoleVerifier: total / 2, bus.RoleDevice: total / 4, bus.RoleGateway: total / 8, bus.RolePayer: total / 8,
	} {
		full := false
		for range 2 * share / (60 << 10) {
			next++
			passes[word(next)] = bus.Full(role)
			switch why := k.one("last.ask."+word(next)+".3.1.0", 60<<10); why {
			case "":
			case types.DiskFull:
				full = true
			default:
				t.Fatal(why)
			}
		}
		if used := k.shelves.Used(role); !full || used > share || used < share-64<<10 {
			t.Errorf("%vs keep %d bytes, %d are theirs", role, used, share)
		}
	}
}

// TestStore: what is refused, and why.
func TestStore(t *testing.T) {
	passes := map[string]bus.Pass{word(1): bus.Full(bus.RoleVerifier), word(2): {Role: bus.RolePayer, Account: types.Account{2}}}
	k := keeping(t, filepath.Join(t.TempDir(), "kept.db"), 1<<30, passes)
	for _, c := range []struct {
		subject string
		size    int
		want    types.Reason
	}{
		{"last.notice." + word(1) + ".0", bus.MaxLast, ""},
		{"last.notice." + word(1) + ".0", bus.MaxLast + 1, types.Oversize},
		{"last.notice." + word(1) + ".*", 1, types.BadEncoding},
		{"last.notice." + word(1) + "." + strings.Repeat("0", 255), 1, types.BadEncoding},
		{"last.notice.nobody.0", 1, types.BadEncoding},
		{"last.notice." + word(3) + ".0", 1, types.NotPermitted},
		{"last.receipt." + word(2) + "." + word(1) + ".0", 1, types.OverBudget},
	} {
		if why := k.one(c.subject, c.size); why != c.want {
			t.Errorf("%.80s, %d bytes: %q, want %q", c.subject, c.size, why, c.want)
		}
	}
	// The payer has bought credits since it was asked about: whoever wants to keep more than it may is asked
	// about again.
	k.pass = func(key types.Key, stale time.Duration) (bus.Pass, error) {
		if stale > 0 {
			return bus.Full(bus.RolePayer), nil
		}
		return passes[bus.Word(key)], nil
	}
	if why := k.one("last.receipt."+word(2)+"."+word(1)+".0", 1); why != "" {
		t.Errorf("a payer that has bought credits: %q", why)
	}
	k.pass = func(types.Key, time.Duration) (bus.Pass, error) { return bus.Pass{}, errors.New("the chain is away") }
	if why := k.one("last.notice."+word(1)+".0", 1); why != types.BusUnavailable {
		t.Errorf("nobody can be asked: %q", why)
	}
	k.pass = func(types.Key, time.Duration) (bus.Pass, error) { return bus.Full(bus.RoleVerifier), nil }
	k.db.Close()
	if why := k.one("last.notice."+word(1)+".0", 1); why != types.DiskFull {
		t.Errorf("the file takes nothing: %q", why)
	}
}

// TestRetire: verifiers that need room have it from former ones, and from nobody else. Nobody but a verifier gets it.
func TestRetire(t *testing.T) {
	passes := map[string]bus.Pass{}
	k := keeping(t, filepath.Join(t.TempDir(), "kept.db"), 2<<20, passes) // of which 1 MiB is verifiers'
	notice := func(i int) string { return "last.notice." + word(i) + ".0" }
	for i := range 5 {
		passes[word(i)] = bus.Full(bus.RoleVerifier)
		if why := k.one(notice(i), 200<<10); why != "" {
			t.Fatal(why)
		}
	}
	passes[word(3)] = bus.Pass{}
	passes[word(6)] = bus.Full(bus.RoleGateway)
	if why := k.one("last.receipt."+word(6)+"."+word(1)+".0", bus.MaxLast); why != types.DiskFull {
		t.Fatalf("a gateway has more than its part: %q", why)
	}
	if got := k.subjects(t); len(got) != 5 {
		t.Fatalf("a gateway's message drove verifiers' out: %v", got)
	}
	passes[word(5)] = bus.Full(bus.RoleVerifier)
	if why := k.one(notice(5), 200<<10); why != "" {
		t.Fatalf("a verifier of today: %q", why)
	}
	want := []string{notice(0), notice(1), notice(2), notice(4), notice(5)}
	slices.Sort(want)
	if got := k.subjects(t); !slices.Equal(got, want) {
		t.Fatalf("kept are %v, want %v", got, want)
	}
	passes[word(7)] = bus.Full(bus.RoleVerifier)
	if why := k.one(notice(7), 200<<10); why != types.DiskFull {
		t.Fatalf("when all are of today: %q", why)
	}
}

// TestLoad: a file that is opened again has its messages on their shelves, the oldest first, and loses what is
// no message.
func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept.db")
	passes := map[string]bus.Pass{word(1): {Role: bus.RolePayer, Account: types.Account{1}, Own: 1000, Keep: 1000}}
	subject := func(i byte) string { return "last.receipt." + word(1) + "." + word(2) + "." + string('a'+i) }
	k := keeping(t, path, 1<<20, passes)
	size := len(subject(0)) + 100
	for i := range byte(4) {
		if why := k.one(subject(3-i), 100); why != "" { // against the order of their subjects
			t.Fatal(why)
		}
	}
	err := k.db.Update(func(tx *bbolt.Tx) error {
		for i := range byte(4) {
			value := slices.Clone(tx.Bucket(keptBucket).Get([]byte(subject(i))))
			binary.BigEndian.PutUint64(value, uint64(100-i))
			if err := tx.Bucket(keptBucket).Put([]byte(subject(i)), value); err != nil {
				return err
			}
		}
		return tx.Bucket(keptBucket).Put([]byte("last.ask.torn.0.0"), make([]byte, keptHead-1))
	})
	if err != nil {
		t.Fatal(err)
	}
	k.db.Close()
	k = keeping(t, path, 1<<20, passes)
	if used := k.shelves.Used(bus.RolePayer); used != int64(4*size) {
		t.Fatalf("payers keep %d bytes, want %d", used, 4*size)
	}
	passes[word(1)] = bus.Pass{Role: bus.RolePayer, Account: types.Account{1}, Own: 3 * size, Keep: 3 * size}
	if why := k.one(subject(9), 100); why != "" {
		t.Fatal(why)
	}
	if got, want := k.subjects(t), []string{subject(0), subject(1), subject(9)}; !slices.Equal(got, want) {
		t.Fatalf("kept are %v, want %v", got, want)
	}
}

// TestSweep: what nobody refreshes goes, a bounded number at a time, and its room is free again.
func TestSweep(t *testing.T) {
	const each = sweepSteps/2 + 100
	k := keeperOf(t, each)
	all := len(k.subjects(t))
	if all < sweepSteps || all > 2*sweepSteps {
		t.Fatalf("%d messages", all)
	}
	if !k.sweep() || k.sweep() || len(k.subjects(t)) != all {
		t.Fatal("nothing is old, and one look is not enough for all of it")
	}
	k.config.KeepFor = -time.Hour // so that everything is old
	if !k.sweep() || len(k.subjects(t)) != all-sweepSteps {
		t.Fatalf("%d of %d messages are left after one look at %d", len(k.subjects(t)), all, sweepSteps)
	}
	if k.sweep() || len(k.subjects(t)) != 0 || k.shelves.Used(bus.RoleGateway) != 0 {
		t.Fatalf("%d messages are left, for which %d bytes are counted", len(k.subjects(t)), k.shelves.Used(bus.RoleGateway))
	}
}

// TestQueues: while the file takes its time, a verifier's messages have a queue of their own, of others so many
// wait for each account and no more, and what was published before a query is in its answer.
func TestQueues(t *testing.T) {
	roles := new(bustest.Roles)
	s, err := Serve(Config{Listen: "127.0.0.1:0", Dir: t.TempDir()}, roles, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	n := 0
	join := func(pass bus.Pass) (*nats.Conn, types.Key) {
		t.Helper()
		n++
		key := bustest.Key(n)
		roles.SetPass(key.Public(), pass)
		public := key.Public()
		nkey, err := nkeys.Encode(nkeys.PrefixByteUser, public[:])
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(s.URL(), nats.Nkey(string(nkey), func(nonce []byte) ([]byte, error) { return bus.SignNonce(key, nonce) }),
			nats.CustomInboxPrefix("_INBOX."+bus.Word(public)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc, public
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	hold, err := s.keeper.db.Begin(true) // the file takes nothing
	if err != nil {
		t.Fatal(err)
	}
	release := func() { hold.Rollback() }
	t.Cleanup(release)
	account := bus.Pass{Role: bus.RolePayer, Account: types.Account{1}, Own: bus.MaxKeptBytes, Keep: bus.MaxKeptBytes}
	first, firstKey := join(account)
	second, secondKey := join(account)
	verifier, verifierKey := join(bus.Full(bus.RoleVerifier))
	receipt := func(key types.Key) string { return "last.receipt." + bus.Word(key) + "." + bus.Word(key) + ".0" }
	answers, err := first.SubscribeSync("_INBOX." + bus.Word(firstKey) + ".>")
	if err != nil {
		t.Fatal(err)
	}
	for range putEach + keepBatch + 1 { // the writer has taken a batch at most
		first.PublishRequest(receipt(firstKey), "_INBOX."+bus.Word(firstKey)+".put", []byte("2"))
	}
	if why, err := answers.NextMsg(20 * time.Second); err != nil || types.Reason(why.Data) != types.OverQuota {
		t.Fatalf("one message too many: %v, %v, want over_quota", why, err)
	}
	// Another key of the same account has no queue of its own.
	why, err := second.Request(receipt(secondKey), []byte("3"), 20*time.Second)
	if err != nil || types.Reason(why.Data) != types.OverQuota {
		t.Fatalf("another key of the account: %v, %v, want over_quota", why, err)
	}
	waiting := s.keeper.puts.Len()
	verifier.Publish("last.notice."+bus.Word(verifierKey)+".0", []byte("4"))
	until("a verifier's message waits with others'", func() bool { return s.keeper.first.Len() == 1 && s.keeper.puts.Len() == waiting })
	// Of the queries of one asker so many wait, and those that are being answered.
	asks, err := second.SubscribeSync("_INBOX." + bus.Word(secondKey) + ".ask")
	if err != nil {
		t.Fatal(err)
	}
	query := types.Encode(&bus.KeepQuery{Pattern: "last.notice.*.0"})
	for range askEach + readers + 3 {
		second.PublishRequest(bus.KeepSubject(secondKey), "_INBOX."+bus.Word(secondKey)+".ask", query)
	}
	for range 3 {
		if why, err := asks.NextMsg(20 * time.Second); err != nil || types.Reason(why.Data) != types.OverQuota {
			t.Fatalf("one query too many: %v, %v, want over_quota", why, err)
		}
	}
	release()
	pages := 0
	for range askEach + readers {
		m, err := asks.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if types.Reason(m.Data) == types.OverQuota {
			continue // it came before a reader had taken one
		}
		pages++
		var page bus.KeepPage
		if err := types.Decode(m.Data, &page); err != nil || len(page.Kept) != 1 || string(page.Kept[0].Data) != "4" {
			t.Fatalf("what was published before the query is not in its answer: %+v, %v", page, err)
		}
	}
	if pages < askEach {
		t.Fatalf("%d queries of one asker were answered, %d may wait", pages, askEach)
	}
}

// TestDrain: of verifiers' messages and others' each has every other place in what is stored next.
func TestDrain(t *testing.T) {
	k := &keeper{first: bus.NewFair[*nats.Msg](putEach), puts: bus.NewFair[*nats.Msg](putEach)}
	for range keepBatch {
		k.puts.Put("a", 1, &nats.Msg{Subject: "other"})
		k.first.Put("b", 1, &nats.Msg{Subject: "verifier"})
	}
	verifiers := 0
	list := k.drain()
	for _, m := range list {
		if m.Subject == "verifier" {
			verifiers++
		}
	}
	if len(list) != keepBatch || verifiers != keepBatch/2 {
		t.Errorf("%d of %d are verifiers', of %d", verifiers, len(list), keepBatch)
	}
}

// TestPass: the Authorizer is asked again when what it said is too old, and what it said holds while it can't
// be asked.
func TestPass(t *testing.T) {
	auth := &moody{pass: bus.Full(bus.RoleDevice)}
	s := &Server{auth: auth, passes: map[types.Key]known{}}
	want := func(stale time.Duration, role bus.Role, asked int) {
		t.Helper()
		if p, err := s.pass(types.Key{1}, stale); err != nil || p.Role != role || auth.asked != asked {
			t.Fatalf("%v, %v, asked %d times; want %v, %d", p.Role, err, auth.asked, role, asked)
		}
	}
	want(0, bus.RoleDevice, 1)
	auth.pass = bus.Full(bus.RolePayer)
	want(0, bus.RoleDevice, 1)
	want(time.Hour, bus.RoleDevice, 1)
	auth.err = errors.New("away")
	want(time.Nanosecond, bus.RoleDevice, 2)
	auth.err = nil
	want(time.Nanosecond, bus.RolePayer, 3)
	auth.pass = bus.Pass{}
	want(time.Nanosecond, bus.Nobody, 4)
	if len(s.passes) != 0 {
		t.Fatal("a key that is nobody's is remembered")
	}
	auth.err = errors.New("away")
	if _, err := s.pass(types.Key{1}, 0); err == nil {
		t.Fatal("a key of which nothing is known passes")
	}
}

// TestRecheck: whoever can't be asked about stays logged on, and what is known of those who are gone is
// forgotten after some time.
func TestRecheck(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	auth := &moody{err: errors.New("away")}
	auth.then = func() {
		if auth.asked == 3 {
			cancel()
		}
	}
	places := newCrowd(10, 1, 1)
	var said bytes.Buffer
	s := &Server{config: Config{Recheck: time.Millisecond}, auth: auth, log: slog.New(slog.NewTextHandler(&said, nil)), places: places.places,
		passes: map[types.Key]known{{8}: {bus.Full(bus.RoleDevice), time.Now().Add(time.Hour)}, {9}: {bus.Full(bus.RoleDevice), time.Now().Add(-time.Hour)}}}
	places.in(1, bus.Full(bus.RoleDevice))
	s.recheck(ctx)
	if _, fresh := s.passes[types.Key{8}]; len(s.passes) != 1 || !fresh || said.Len() > 0 { // of somebody at another server, perhaps
		t.Errorf("%d passes are remembered, and: %s", len(s.passes), &said)
	}
}

type moody struct {
	pass  bus.Pass
	err   error
	asked int
	then  func()
}

func (m *moody) Authorize(context.Context, types.Key) (bus.Pass, error) {
	m.asked++
	if m.then != nil {
		m.then()
	}
	return m.pass, m.err
}
