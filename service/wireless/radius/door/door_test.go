package door_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
	"github.com/cairn-network/cairn/service/wireless/radius/home"
)

// TestFreeradius: with Debian's FreeRADIUS as home realm and its radclient as access point a user logs in, is refused
// with a wrong password, and is accounted for; receipts come back. What FreeRADIUS grants beyond a session (an
// administrator, a network of the site's) does not reach the access point.
func TestFreeradius(t *testing.T) {
	f := startFreeradius(t)
	w := newWorld(t, upstream(f))
	class, out := w.login()
	accept := out[strings.Index(out, "Received"):]
	for _, has := range []string{"Acct-Interim-Interval = 60", "Session-Timeout = 43200", "WISPr-Bandwidth-Max-Up = ", "WISPr-Bandwidth-Max-Down = ",
		"Chargeable-User-Identity = ", "Message-Authenticator = ", `Reply-Message = "hello"`} {
		if !strings.Contains(accept, has) {
			t.Errorf("no %s in %s", has, accept)
		}
	}
	for _, not := range []string{"Service-Type", "Tunnel", "User-Name"} {
		if strings.Contains(accept, not) {
			t.Errorf("%s in %s", not, accept)
		}
	}
	out, ok := w.radclient("auth", `User-Name = "ada@example.org"`, `User-Password = "wrong"`, "Message-Authenticator = 0x00")
	if ok || !strings.Contains(out, "Access-Reject") {
		t.Errorf("wrong password: %s", out)
	}
	w.reason(wireless.IdPRefused)
	w.account("Start", "1", class, 0, 0)
	w.account("Interim-Update", "1", class, mib, 9*mib)
	w.want(10*mib, 10*mib) // the first receipt of a device is signed at once
	w.account("Interim-Update", "1", class, mib, 11*mib)
	w.want(12*mib, 10*mib) // less than half of W, and not long ago
	w.account("Stop", "1", class, 2*mib, 12*mib)
	w.want(14*mib, 14*mib)
	if said := f.output(); !strings.Contains(said, "Acct-Status-Type = Stop") {
		t.Error("FreeRADIUS was told nothing of the session's end")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.receipts {
		if want, _ := wireless.Amount(s.Receipt.Units.Lo, price); !s.VerifyPayer() || s.Receipt.Amount != want {
			t.Errorf("%+v", s)
		}
	}
}

// TestAccounting: duplicates, Gigawords, a counter that falls, a restart of the access point, and a user who is not of
// a known realm.
func TestAccounting(t *testing.T) {
	w := newWorld(t, userFile(t))
	class, _ := w.login()
	w.account("Start", "1", class, 0, 0)
	for range 3 {
		w.account("Interim-Update", "1", class, 3*mib, 0, "Acct-Session-Time = 60")
	}
	w.want(3*mib, 3*mib)
	w.account("Interim-Update", "1", class, 3*mib, 5<<32, "Acct-Session-Time = 120")
	w.want(3*mib+5<<32, 3*mib+5<<32)
	w.account("Interim-Update", "1", class, 4*mib, 7, "Acct-Session-Time = 180")
	w.reason(wireless.AcctRewind)
	w.want(4*mib+5<<32, 3*mib+5<<32)
	// The access point begins anew: its sessions are over, at their most, and are paid for.
	if out, ok := w.radclient("acct", "Acct-Status-Type = Accounting-On", "NAS-Identifier = ap"); !ok {
		t.Errorf("Accounting-On: %s", out)
	}
	w.want(4*mib+5<<32, 4*mib+5<<32)
	for _, l := range w.home.Lines() {
		if l.Sessions != 0 {
			t.Errorf("%d sessions are open at the gateway", l.Sessions)
		}
	}
	for range 2 {
		w.account("Stop", "1", class, 4*mib, 5<<32)
	}
	w.want(4*mib+5<<32, 4*mib+5<<32)
	out, ok := w.radclient("auth", `User-Name = "eve@elsewhere.example"`, `User-Password = "x"`, "Message-Authenticator = 0x00")
	if ok || !strings.Contains(out, "wireless.realm_unknown") {
		t.Errorf("another realm: %s", out)
	}
	w.reason(wireless.RealmUnknown)
	// A Class that was not given to this device, or that somebody made up, counts nothing and is answered.
	w.account("Start", "2", "0x"+strings.Repeat("01", 53), 9*mib, 9*mib)
	w.reason(wireless.IdPRefused)
	if l := w.home.Lines()[0]; l.Count != 4*mib+5<<32 {
		t.Errorf("the gateway counts %d bytes", l.Count)
	}
}

// TestDisconnect: the payer is gone. Users go on up to W; then the access point, which here is Debian's FreeRADIUS, is
// asked to disconnect them, and no new ones are let in. Back again, the gateway is told what it missed, pays, and
// users are served.
func TestDisconnect(t *testing.T) {
	f := startFreeradius(t)
	w := newWorld(t, userFile(t))
	w.port = f.coa
	w.startDevice()
	class, _ := w.login()
	w.account("Start", "1", class, 0, 0)
	at := w.radsec
	w.stop()
	w.account("Interim-Update", "1", class, 0, 16*mib)
	w.reason(wireless.IdPUnreachable)
	w.want(16*mib, 0)
	if strings.Contains(f.output(), "Disconnect-Request") {
		t.Error("disconnected before W")
	}
	w.account("Interim-Update", "1", class, 0, 17*mib)
	said := f.until(t, "Disconnect-ACK")
	for _, has := range []string{"Received Disconnect-Request", `Acct-Session-Id = "1"`, `User-Name = "ada@example.org"`, `NAS-Identifier = "ap"`, "Event-Timestamp", "Message-Authenticator"} {
		if !strings.Contains(said, has) {
			t.Errorf("no %s in %s", has, said)
		}
	}
	out, ok := w.radclient("auth", `User-Name = "ada@example.org"`, `User-Password = "engine"`, "Message-Authenticator = 0x00")
	if ok || !strings.Contains(out, "wireless.unpaid_limit") {
		t.Errorf("beyond W: %s", out)
	}
	w.account("Stop", "1", class, 0, 17*mib)
	// The device is started again, too: it knows what it counted and what it has to say.
	w.startDevice()
	w.want(17*mib, 0)
	w.startGateway(at)
	w.door.Tell(t.Context())
	w.want(17*mib, 17*mib)
	w.login()
}

// TestDispute: a payer that signs for less than the access points count is served up to W, and both counts are
// shown.
func TestDispute(t *testing.T) {
	base := userFile(t)
	w := newWorld(t, func(c *home.Config) { base(c); c.DayBytes = 10 * mib })
	class, _ := w.login()
	w.account("Start", "1", class, 0, 0)
	w.account("Interim-Update", "1", class, 0, 10*mib)
	w.want(10*mib, 10*mib)
	w.account("Interim-Update", "1", class, 0, 40*mib)
	w.want(40*mib, 10*mib)
	w.reason(wireless.CountDispute)
	if err, _ := w.door.Last(); !strings.Contains(err.Error(), fmt.Sprint(10*mib)) || !strings.Contains(err.Error(), fmt.Sprint(40*mib)) {
		t.Errorf("not both counts: %v", err)
	}
}

// TestInflated: an access point that says more than the class's speed allows is paid for what it allows.
func TestInflated(t *testing.T) {
	w := newWorld(t, userFile(t))
	w.speed = 10_000_000
	class, _ := w.login()
	w.account("Start", "1", class, 0, 0)
	w.account("Interim-Update", "1", class, 0, 1<<40)
	_, units := w.counts()
	if most := uint64(10_000_000/8) * (120 + 60); units == 0 || units > most {
		t.Errorf("%d bytes were signed for at once at 10 Mbit/s, want at most %d", units, most)
	}
}

// TestRestart: gateway and device are started again in the midst of a session. No total falls, nothing is paid twice.
func TestRestart(t *testing.T) {
	w := newWorld(t, userFile(t))
	class, _ := w.login()
	w.account("Start", "1", class, 0, 0)
	w.account("Interim-Update", "1", class, 0, 10*mib)
	w.account("Interim-Update", "1", class, 0, 11*mib) // not signed for yet: the gateway forgets it
	at := w.radsec
	w.stop()
	if err := w.door.Save(); err != nil {
		t.Fatal(err)
	}
	w.startGateway(at)
	w.startDevice()
	w.account("Interim-Update", "1", class, 0, 30*mib)
	w.account("Stop", "1", class, 0, 31*mib)
	w.account("Stop", "1", class, 0, 31*mib)
	w.want(31*mib, 31*mib)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.IsSortedFunc(w.receipts, func(a, b *receipt.Signed) int { return int(a.Receipt.Seq) - int(b.Receipt.Seq) }) {
		t.Error("numbers of receipts fall")
	}
}

// TestNoCredit: an account without credits signs nothing more, and users are not let in.
func TestNoCredit(t *testing.T) {
	w := newWorld(t, userFile(t))
	class, _ := w.login()
	w.wallet.balance = 0
	w.account("Start", "1", class, 0, mib)
	w.account("Stop", "1", class, 0, 20*mib)
	w.want(20*mib, 0)
	if err, _ := w.door.Last(); types.ReasonOf(err) != types.OverBudget && types.ReasonOf(err) != wireless.UnpaidLimit {
		t.Errorf("%v", err)
	}
}

// TestGuessing: after ten wrong passwords of a user a right one is refused, too, for a while; others log in.
func TestGuessing(t *testing.T) {
	w := newWorld(t, userFile(t))
	guess := func(password string) bool {
		_, ok := w.radclient("auth", `User-Name = "ada@example.org"`, `User-Password = "`+password+`"`, "Message-Authenticator = 0x00")
		return ok
	}
	if !guess("engine") {
		t.Fatal("no login")
	}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() { guess(fmt.Sprint(i)) })
	}
	all.Wait()
	if guess("engine") {
		t.Error("after twelve guesses the thirteenth was looked at")
	}
}
