package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/bus/server"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// crowd is a bus with bounds that a test reaches.
func crowd(t *testing.T, roles *bustest.Roles, config server.Config) *network {
	config.Listen, config.Dir = "127.0.0.1:0", t.TempDir()
	n := &network{t: t, auth: roles, config: config}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

// logOn connects, and returns what the server has against it.
func logOn(t *testing.T, url string, key types.PrivateKey) error {
	t.Helper()
	nc, err := nats.Connect(url, nats.NoReconnect(),
		nats.Nkey(nkeyOf(t, key.Public()), func(nonce []byte) ([]byte, error) { return bus.SignNonce(key, nonce) }))
	if nc != nil {
		t.Cleanup(nc.Close)
	}
	if err != nil && !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("%v, want an authorization violation", err)
	}
	return err
}

// TestOneKeyTakesNoPlaces: one key tries to take all places, then one account with a key for each, then payers
// and devices without end. Whoever else there is room for logs on at once, and verifiers and gateways always
// do.
func TestOneKeyTakesNoPlaces(t *testing.T) {
	const clients, perKey, perAccount = 40, 4, 8
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{MaxClients: clients, PerKey: perKey, PerAccount: perAccount})
	next := 0
	try := func(pass bus.Pass, times int) (in int) {
		next++
		key := bustest.Key(next)
		roles.SetPass(key.Public(), pass)
		for range times {
			if logOn(t, n.url, key) == nil {
				in++
			}
		}
		return in
	}
	others := func() {
		t.Helper()
		for _, role := range []bus.Role{bus.RoleVerifier, bus.RoleGateway} {
			if try(bus.Full(role), 1) != 1 {
				t.Fatalf("no place for a %v", role)
			}
		}
	}
	if in := try(bus.Full(bus.RoleDevice), clients+10); in != perKey {
		t.Fatalf("one key has %d connections, at most %d are allowed", in, perKey)
	}
	others()
	if try(bus.Full(bus.RoleDevice), 1) != 1 {
		t.Fatal("no place for another device")
	}
	in, one := 0, bus.Pass{Role: bus.RolePayer, Account: types.Account{1}}
	for range clients {
		in += try(one, 1)
	}
	if in != perAccount {
		t.Fatalf("one account has %d connections, at most %d are allowed", in, perAccount)
	}
	others()
	for i := range byte(clients) { // each payer is of an account of its own
		in += try(bus.Pass{Role: bus.RolePayer, Account: types.Account{2, i}}, 1)
	}
	if in != clients/2 {
		t.Fatalf("%d payers are in, at most %d are allowed", in, clients/2)
	}
	others()
	devices := perKey + 1
	for range clients {
		devices += try(bus.Full(bus.RoleDevice), 1)
	}
	if devices != clients/2 {
		t.Fatalf("%d devices are in, want %d", devices, clients/2)
	}
	others()
}

// TestPlacesComeBack: the place of a connection that ended is another's.
func TestPlacesComeBack(t *testing.T) {
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{MaxClients: 2, PerKey: 2})
	key := bustest.Key(1)
	roles.Set(key.Public(), bus.RoleDevice)
	for range 5 {
		a, b := dialRaw(t, n.url, key), dialRaw(t, n.url, key)
		if logOn(t, n.url, key) == nil {
			t.Fatal("a third connection is in")
		}
		a.Close()
		b.Close()
		for end := time.Now().Add(10 * time.Second); n.server.Clients() > 1; time.Sleep(time.Millisecond) { // the keeper is one
			if time.Now().After(end) {
				t.Fatal("the server does not see that they ended")
			}
		}
	}
}

// TestLogOnAsksAnew: a key that may no longer be here does not log on once more, though it is still logged on
// until the next recheck.
func TestLogOnAsksAnew(t *testing.T) {
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{})
	key := bustest.Key(1)
	roles.Set(key.Public(), bus.RoleDevice)
	if err := logOn(t, n.url, key); err != nil {
		t.Fatal(err)
	}
	roles.Set(key.Public(), bus.Nobody)
	if logOn(t, n.url, key) == nil {
		t.Fatal("it is in again")
	}
}

func dialRaw(t *testing.T, url string, key types.PrivateKey) *nats.Conn {
	t.Helper()
	nc, _ := raw(t, url, key)
	return nc
}

// TestNobodyFillsTheKeeper: payers without credits keep nothing, those with credits as much as their account
// has bought, however many keys it has, and all of them together no more than the payers' part. Verifiers,
// gateways and devices keep what they always could.
func TestNobodyFillsTheKeeper(t *testing.T) {
	const total = 16 << 20 // so payers have 2 MiB
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{KeepBytes: total})
	next := 0
	join := func(pass bus.Pass) bus.Bus {
		next++
		key := bustest.Key(next)
		roles.SetPass(key.Public(), pass)
		b, err := n.Dial(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	keep := func(b bus.Bus, i, size int) types.Reason {
		subject := bus.ReceiptSubject(b.Key(), b.Key(), types.NewSessionID(1, [12]byte{byte(i >> 8), byte(i)}))
		return types.ReasonOf(b.PublishLast(t.Context(), subject, make([]byte, size)))
	}
	kept := func(pattern string) (sum int) {
		reader := join(bus.Full(bus.RoleGateway))
		defer reader.Close()
		if err := reader.SubscribeLast(t.Context(), pattern, func(m bus.Message) { sum += len(m.Data) }); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	for i := range 20 { // limit 0
		if why := keep(join(bus.Pass{Role: bus.RolePayer, Account: types.Account{1}}), i, 0); why != types.OverBudget {
			t.Fatalf("a key with limit 0 keeps a message: %q, want over_budget", why)
		}
	}
	poor := bus.Pass{Role: bus.RolePayer, Account: types.Account{2}, Own: 8 << 10, Keep: 16 << 10}
	for i := range 20 {
		if why := keep(join(poor), i, 6000); why != "" {
			t.Fatal(why)
		}
	}
	if got := kept("last.receipt.>"); got != 2*6000 {
		t.Fatalf("the keys of one account keep %d bytes, 16 KiB are its own", got)
	}
	full := 0
	for i := range byte(24) { // each of an account of its own, and rich
		b := join(bus.Pass{Role: bus.RolePayer, Account: types.Account{3, i}, Own: bus.MaxKeptBytes, Keep: bus.MaxKeptBytes})
		switch why := keep(b, 0, 200<<10); why {
		case "":
		case types.DiskFull:
			full++
		default:
			t.Fatal(why)
		}
	}
	if got := kept("last.receipt.>"); got > total/8 || full == 0 {
		t.Fatalf("payers keep %d bytes, an eighth of %d is theirs; %d were refused", got, total, full)
	}
	for _, role := range []bus.Role{bus.RoleVerifier, bus.RoleGateway, bus.RoleDevice} {
		b := join(bus.Full(role))
		subject, size := bus.NoticeSubject(b.Key(), 0), bus.MaxLast
		switch role {
		case bus.RoleGateway:
			subject = bus.ReceiptSubject(b.Key(), b.Key(), types.SessionID{1})
		case bus.RoleDevice:
			subject, size = bus.AskOf(&receipt.Ask{Device: b.Key(), Category: 3, Class: 1}), bus.DeviceKept/2
		}
		if err := b.PublishLast(t.Context(), subject, make([]byte, size)); err != nil {
			t.Errorf("a %v keeps nothing: %v", role, err)
		}
	}
}

// TestFormerVerifiers: what verifiers leave behind goes when those of today need the room.
func TestFormerVerifiers(t *testing.T) {
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{KeepBytes: 2 << 20}) // so verifiers have 1 MiB
	for i := range 12 {
		key := bustest.Key(i)
		roles.Set(key.Public(), bus.RoleVerifier)
		b, err := n.Dial(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.PublishLast(t.Context(), bus.NoticeSubject(b.Key(), 0), make([]byte, 200<<10)); err != nil {
			t.Fatalf("verifier %d: %v", i, err)
		}
		b.Close()
		roles.Set(key.Public(), bus.Nobody)
	}
}

// TestKeptOverRestart: the books are those of before, and so are the bounds.
func TestKeptOverRestart(t *testing.T) {
	roles := new(bustest.Roles)
	n := crowd(t, roles, server.Config{})
	key := bustest.Key(1)
	roles.SetPass(key.Public(), bus.Pass{Role: bus.RolePayer, Account: types.Account{1}, Own: 1000, Keep: 1000})
	for range 2 {
		b, err := n.Dial(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(4) {
			subject := bus.ReceiptSubject(key.Public(), key.Public(), types.NewSessionID(1, [12]byte{i}))
			if err := b.PublishLast(t.Context(), subject, make([]byte, 200)); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		pattern := bus.ReceiptSubject(types.Key{}, key.Public(), types.SessionID{})
		if err := b.SubscribeLast(t.Context(), pattern, func(m bus.Message) { got = append(got, m.Subject) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 { // of about 370 bytes each
			t.Fatalf("%d messages are kept, want the newest 2", len(got))
		}
		b.Close()
		n.Stop()
		n.Start()
	}
}
