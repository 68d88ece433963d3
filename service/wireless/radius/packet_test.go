package radius

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/vendors/microsoft"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// TestSigned: each request and reply is taken as it was made, has its Message-Authenticator first, and is refused with
// its reason when any bit of it is another.
func TestSigned(t *testing.T) {
	secret := []byte("s")
	for _, c := range []struct {
		request, reply radius.Code
		mac            bool
	}{
		{radius.CodeAccessRequest, radius.CodeAccessAccept, true},
		{radius.CodeAccessRequest, radius.CodeAccessReject, true},
		{radius.CodeAccessRequest, radius.CodeAccessChallenge, true},
		{radius.CodeStatusServer, radius.CodeAccessAccept, true},
		{radius.CodeDisconnectRequest, radius.CodeDisconnectACK, true},
		{radius.CodeDisconnectRequest, radius.CodeDisconnectNAK, true},
		{radius.CodeCoARequest, radius.CodeCoANAK, true},
		{radius.CodeAccountingRequest, radius.CodeAccountingResponse, false},
	} {
		p := radius.New(c.request, secret)
		_ = rfc2865.UserName_SetString(p, "ada")
		raw, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(append(bytes.Clone(raw), "behind the packet"...), secret)
		if err != nil {
			t.Fatalf("%v: %v", c.request, err)
		}
		q := got.Response(c.reply)
		_ = rfc2865.ReplyMessage_SetString(q, "hello")
		answer, err := EncodeReply(q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseReply(answer, p); err != nil {
			t.Fatalf("%v to %v: %v", c.reply, c.request, err)
		}
		for _, b := range [][]byte{raw, answer} {
			if first := radius.Type(b[20]); (first == rfc2869.MessageAuthenticator_Type) != c.mac {
				t.Errorf("%v, %v: attribute %d is first", c.request, c.reply, first)
			}
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if _, err := Parse(bad, secret); err == nil {
				t.Errorf("%v with byte %d changed is taken", c.request, i)
			}
		}
		for i := range answer {
			bad := bytes.Clone(answer)
			bad[i] ^= 1
			if _, err := ParseReply(bad, p); err == nil {
				t.Errorf("%v with byte %d changed is taken", c.reply, i)
			}
		}
	}
}

// TestForged: what BlastRADIUS makes is an Access-Accept whose Response Authenticator is right and which has no
// Message-Authenticator. It is refused, and so is one with two of them.
func TestForged(t *testing.T) {
	secret := []byte("s")
	p := radius.New(radius.CodeAccessRequest, secret)
	if _, err := Encode(p); err != nil {
		t.Fatal(err)
	}
	accept := p.Response(radius.CodeAccessAccept)
	raw, err := accept.Encode() // the codec's: no Message-Authenticator
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseReply(raw, p); types.ReasonOf(err) != wireless.RadiusUnsigned {
		t.Errorf("an unsigned Access-Accept: %v", err)
	}
	if raw, err = EncodeReply(accept); err != nil {
		t.Fatal(err)
	}
	accept.Attributes = append(accept.Attributes, accept.Attributes[0])
	raw, _ = accept.Encode()
	if _, err := ParseReply(raw, p); !errors.Is(err, ErrForm) {
		t.Errorf("two Message-Authenticators: %v", err)
	}
	if _, err := ParseReply(raw[:19], p); !errors.Is(err, ErrForm) {
		t.Errorf("a short packet: %v", err)
	}
}

// TestVendor: what device and gateway tell each other goes through attributes of at most 255 bytes and comes back.
func TestVendor(t *testing.T) {
	p := radius.New(radius.CodeAccountingRequest, []byte("s"))
	for _, n := range []int{1, 247, 248, 494, 512, 1024} {
		receipt := make([]byte, n)
		_, _ = rand.Read(receipt)
		if err := SetReceipt(p, receipt); err != nil {
			t.Fatal(err)
		}
		SetAsk(p, types.Hash{1, 2, 3})
		SetReason(p, wireless.IdPRefused)
		raw, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := Parse(raw, []byte("s"))
		if err != nil {
			t.Fatal(err)
		}
		ask, ok := Ask(q)
		if !bytes.Equal(Receipt(q), receipt) || !ok || ask != (types.Hash{1, 2, 3}) || Reason(q) != wireless.IdPRefused {
			t.Errorf("%d bytes: %x %v %v %q", n, Receipt(q), ask, ok, Reason(q))
		}
	}
	if err := SetReceipt(p, make([]byte, 1025)); types.ReasonOf(err) != types.Oversize {
		t.Errorf("a long receipt: %v", err)
	}
	SetReason(p, "wireless.\x1b[2J")
	if r := Reason(p); r != "" {
		t.Errorf("a reason with an escape: %q", r)
	}
	q := radius.New(radius.CodeAccountingRequest, []byte("s"))
	if _, ok := Ask(q); ok || Receipt(q) != nil {
		t.Error("something was found in nothing")
	}
}

// TestHop: a password and the keys of EAP reach the next hop, sealed with its secret; what an access point must not
// be told by a stranger stays behind; Proxy-State comes back.
func TestHop(t *testing.T) {
	near, far := []byte("near"), []byte("far")
	p := radius.New(radius.CodeAccessRequest, near)
	_ = rfc2865.UserName_SetString(p, "ada@example.org")
	_ = rfc2865.UserPassword_SetString(p, "a password of more than sixteen bytes")
	_ = rfc2865.ProxyState_Set(p, []byte("proxy"))
	SetAsk(p, types.Hash{9}) // an access point's own
	on, err := Onward(p, far)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Encode(on)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(raw, far)
	if err != nil {
		t.Fatal(err)
	}
	if pw := rfc2865.UserPassword_GetString(got); pw != "a password of more than sixteen bytes" {
		t.Errorf("password %q", pw)
	}
	if _, ok := Ask(got); ok || rfc2865.ProxyState_Get(got) != nil {
		t.Error("what the access point said of proxies or to the gateway went on")
	}
	reply := got.Response(radius.CodeAccessAccept)
	msk := make([]byte, 64)
	_, _ = rand.Read(msk)
	if err := AddKeys(reply, msk); err != nil {
		t.Fatal(err)
	}
	_ = rfc2865.Class_Set(reply, []byte("class"))
	_ = rfc2865.ServiceType_Set(reply, rfc2865.ServiceType_Value_AdministrativeUser)
	_ = rfc2865.FilterID_SetString(reply, "filter")
	reply.Add(81, []byte{0, '1'}) // Tunnel-Private-Group-Id: a VLAN
	_ = microsoft.MSCHAPDomain_Add(reply, []byte("x"))
	if raw, err = EncodeReply(reply); err != nil {
		t.Fatal(err)
	}
	heard, err := ParseReply(raw, on)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Back(heard, on, p)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = EncodeReply(back); err != nil {
		t.Fatal(err)
	}
	final, err := ParseReply(raw, p)
	if err != nil {
		t.Fatal(err)
	}
	recv, err := microsoft.MSMPPERecvKey_Lookup(final, p)
	send, err2 := microsoft.MSMPPESendKey_Lookup(final, p)
	if err != nil || err2 != nil || !bytes.Equal(append(recv, send...), msk) {
		t.Errorf("keys %x %x (%v %v), want %x", recv, send, err, err2, msk)
	}
	if string(rfc2865.Class_Get(final)) != "class" || string(rfc2865.ProxyState_Get(final)) != "proxy" {
		t.Error("Class or Proxy-State is lost")
	}
	if n := len(final.Attributes); n != 5 { // Message-Authenticator, two keys, Class, Proxy-State
		t.Errorf("%d attributes came back: %v", n, final.Attributes)
	}
	// CHAP is about the first request's authenticator.
	p = radius.New(radius.CodeAccessRequest, near)
	p.Add(rfc2865.CHAPPassword_Type, make([]byte, 17))
	if on, err = Onward(p, far); err != nil || !bytes.Equal(rfc2865.CHAPChallenge_Get(on), p.Authenticator[:]) {
		t.Errorf("CHAP: %v %v", on, err)
	}
}

func record(status rfc2866.AcctStatusType, session string, in, out uint64, seconds uint32) *Record {
	return &Record{Status: status, Point: "ap", Session: session, Input: in, Output: out, Seconds: seconds, Timed: true}
}

// TestTable: duplicates, packets that are late or lost, a counter that falls, a restart of the access point and a
// repeated Stop each leave the most that was counted, once.
func TestTable(t *testing.T) {
	const (
		start   = rfc2866.AcctStatusType_Value_Start
		interim = rfc2866.AcctStatusType_Value_InterimUpdate
		stop    = rfc2866.AcctStatusType_Value_Stop
		on      = rfc2866.AcctStatusType_Value_AccountingOn
	)
	now := time.Unix(1e9, 0)
	table := NewTable(3, 2)
	var total uint64
	take := func(r *Record, grown uint64, reason types.Reason, open bool) {
		t.Helper()
		s, g, err := table.Take("owner", r, now, now.Add(time.Hour))
		total += g
		if g != grown || types.ReasonOf(err) != reason || s != nil && s.Open != open {
			t.Errorf("%v: grown %d, %v, %+v; want %d, %q, open %v", r, g, err, s, grown, reason, open)
		}
	}
	take(record(start, "a", 0, 0, 0), 0, "", true)
	take(record(interim, "a", 10, 100, 60), 110, "", true)
	take(record(interim, "a", 10, 100, 60), 0, "", true) // a copy
	take(record(interim, "a", 30, 5<<32, 120), 20+5<<32-100, "", true)
	take(record(interim, "a", 10, 100, 60), 0, "", true) // late
	take(record(start, "a", 0, 0, 0), 0, "", true)       // late
	take(record(interim, "a", 31, 7, 180), 1, wireless.AcctRewind, true)
	take(record(interim, "a", 29, 6<<32, 240), 1<<32, wireless.AcctRewind, true)
	take(record(on, "", 0, 0, 0), 0, "", false)
	if table.All()[0].Open {
		t.Error("a restart of the access point left its session open")
	}
	take(record(interim, "a", 31, 6<<32, 250), 0, "", false) // a copy of before
	take(record(interim, "a", 32, 6<<32, 260), 1, "", true)  // it goes on all the same
	take(record(stop, "a", 40, 6<<32, 300), 8, "", false)
	take(record(stop, "a", 40, 6<<32, 300), 0, "", false)
	take(record(interim, "a", 39, 6<<32, 280), 0, "", false)
	if want := uint64(40 + 6<<32); total != want || table.All()[0].Total() != want {
		t.Errorf("%d and %d bytes were counted, want %d", total, table.All()[0].Total(), want)
	}
	take(record(interim, "b", 1, 1, 9), 2, "", true) // its start was lost
	take(record(start, "c", 0, 0, 0), 0, types.DeviceBusy, false)
	now = now.Add(2 * time.Hour)
	take(record(start, "c", 0, 0, 0), 0, "", true)
	if all, open := table.Len(); all != 1 || open != 1 {
		t.Errorf("%d sessions, %d open", all, open)
	}
	if closed := table.Quiet(now.Add(time.Second)); len(closed) != 1 || closed[0].Open {
		t.Errorf("quiet: %v", closed)
	}
	if _, _, err := table.Take("owner", record(stop, "d", 1<<57, 0, 0), now, now); !errors.Is(err, ErrForm) {
		t.Errorf("2^57 bytes: %v", err)
	}
}

// TestCache: the cache stays within its bounds whatever comes.
func TestCache(t *testing.T) {
	var c cache
	now := time.Unix(1e9, 0)
	for i := range 3 * cacheMost {
		key := asked{from: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 16), 1}), uint16(i)), identifier: byte(i)}
		if _, isNew := c.take(key, now); isNew {
			c.put(key, make([]byte, 4000))
		}
		if len(c.order) > cacheMost || c.bytes > cacheBytes+4000 || len(c.answers) != len(c.order) {
			t.Fatalf("%d answers of %d bytes", len(c.order), c.bytes)
		}
	}
	if c.take(asked{}, now.Add(cacheLife)); len(c.order) != 1 || c.bytes != 0 {
		t.Errorf("after its life: %d answers of %d bytes", len(c.order), c.bytes)
	}
}

// FuzzParse: nothing that comes makes a decoder panic, and what is taken can be sent on.
func FuzzParse(f *testing.F) {
	secret := []byte("s")
	p := radius.New(radius.CodeAccessRequest, secret)
	_ = rfc2865.UserPassword_SetString(p, "x")
	SetAsk(p, types.Hash{1})
	raw, _ := Encode(p)
	f.Add(raw)
	p = radius.New(radius.CodeAccountingRequest, secret)
	_ = rfc2866.AcctStatusType_Set(p, rfc2866.AcctStatusType_Value_Stop)
	_ = rfc2866.AcctSessionID_SetString(p, "1")
	_ = SetReceipt(p, make([]byte, 300))
	raw, _ = Encode(p)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if p, raw, err := decode(raw, secret); err == nil {
			_ = checkMAC(p, raw, p.Authenticator, true)
			Ask(p)
			Receipt(p)
			Reason(p)
			EAP(p)
			r := &Request{Packet: p}
			if r, err := ReadRecord(r); err == nil {
				_, _, _ = NewTable(1, 1).Take("", r, time.Unix(1, 0), time.Unix(1, 0))
			}
			if on, err := Onward(p, []byte("next")); err == nil {
				_, _ = Encode(on)
				_, _ = Back(p, on, p)
			}
		}
		_, _ = Parse(raw, secret)
		_, _ = ParseReply(raw, &Packet{Code: radius.CodeAccessRequest, Secret: secret})
	})
}
