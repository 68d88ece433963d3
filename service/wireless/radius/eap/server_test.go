package eap

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

func hello(id byte) []byte { return packet(codeResponse, id, byte(identity), 'x') }

func bare(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer(Config{Password: passwords, Clients: x509.NewCertPool()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBounds: conversations that are begun and left cost a bounded number of places, an asker's own first, and no
// longer than their life; none leaves anything running.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bare(t)
		begin := func(by string) (*Step, error) { return s.Take(t.Context(), by, nil, hello(7), 0) }
		first, err := begin("0")
		if err != nil {
			t.Fatal(err)
		}
		// TLS of the first waits for more: half a record.
		more := packet(codeResponse, 8, byte(TLS), 0, 22, 3, 1)
		if step, err := s.Take(t.Context(), "0", first.State, more, 0); err != nil || step.State == nil {
			t.Fatalf("%v %v", step, err)
		}
		if step, err := s.Take(t.Context(), "1", first.State, packet(codeResponse, 9, byte(TLS), 0), 0); err == nil {
			t.Errorf("another asker went on with a conversation: %v", step)
		}
		for range 3 * maxEach {
			if _, err := begin("0"); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Talks(); n != maxEach {
			t.Errorf("one asker has %d conversations, want %d", n, maxEach)
		}
		if _, err := s.Take(t.Context(), "0", first.State, packet(codeResponse, 9, byte(TLS), 0), 0); err == nil {
			t.Error("the oldest is still there")
		}
		refused := 0
		for i := range maxTalks {
			if _, err := begin(fmt.Sprint(i)); types.ReasonOf(err) == types.DeviceBusy {
				refused++
			}
		}
		if n := s.Talks(); n != maxTalks || refused == 0 {
			t.Errorf("%d conversations, %d refused", n, refused)
		}
		time.Sleep(life + time.Second)
		if n := s.Talks(); n != 0 || len(s.each) != 0 {
			t.Errorf("after their life %d conversations of %d askers are left", n, len(s.each))
		}
	})
}

// TestRounds: a machine that goes on for ever, or sends more than fits, is refused.
func TestRounds(t *testing.T) {
	s := bare(t)
	for name, piece := range map[string][]byte{
		"many":  {flagMore, 22},
		"long":  append([]byte{flagMore}, make([]byte, 1400)...),
		"empty": {flagMore},
		"large": {flagLength, 0, 2, 0, 0},
		"lies":  {flagLength, 0, 0, 0, 9, 22},
		"start": {flagStart},
	} {
		step, err := s.Take(t.Context(), "a", nil, hello(1), 0)
		if err != nil {
			t.Fatal(err)
		}
		rounds := 0
		for step.State != nil {
			if rounds++; rounds > maxRounds+1 {
				t.Fatalf("%s: no end", name)
			}
			raw := packet(codeResponse, step.Packet[1], append([]byte{byte(TLS)}, piece...)...)
			if step, err = s.Take(t.Context(), "a", step.State, raw, 0); err != nil {
				t.Fatal(err)
			}
		}
		if step.Accepted || step.Err == nil || step.Packet[0] != codeFailure {
			t.Errorf("%s: %+v", name, step)
		}
	}
	if n := s.Talks(); n != 0 {
		t.Errorf("%d conversations are left", n)
	}
}

// TestPAP: what a tunnel carries is read as RFC 5281 says, also when it comes in two parts.
func TestPAP(t *testing.T) {
	name := []byte{0, 0, 0, 1, avpMandatory, 0, 0, 11, 'a', 'd', 'a', 0}
	pass := []byte{0, 0, 0, 2, avpMandatory, 0, 0, 24, 'e', 'n', 'g', 'i', 'n', 'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	both := append(bytes.Clone(name), pass...)
	if u, p, ok, err := parsePAP(both); u != "ada" || p != "engine" || !ok || err != nil {
		t.Errorf("%q %q %v %v", u, p, ok, err)
	}
	for i := range both {
		if _, _, ok, err := parsePAP(both[:i]); ok || err != nil {
			t.Errorf("%d bytes: complete %v, %v", i, ok, err)
		}
	}
	for _, bad := range [][]byte{{0, 0, 0, 3, avpMandatory, 0, 0, 8}, {0, 0, 0, 1, 0, 0, 0, 7}, {0, 0, 0, 1, avpVendor, 0, 0, 8}, {0, 0, 0, 1, 0, 1, 0, 0}} {
		if _, _, _, err := parsePAP(bad); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
}

// FuzzTake: whatever a machine says, a conversation goes on or ends, and nothing is left of it.
func FuzzTake(f *testing.F) {
	f.Add([]byte{13, 0, 22, 3, 1, 0, 5, 1, 0, 0, 1, 0}, []byte{13, 0})
	f.Add([]byte{3, 21}, []byte{21, 0xc0, 0, 0, 0, 9, 1})
	s, err := NewServer(Config{Password: passwords, Clients: x509.NewCertPool(), Certificate: tls.Certificate{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		_, _ = s.Take(context.Background(), "a", nil, a, 0)
		_, _, _, _ = parsePAP(a)
		step, err := s.Take(context.Background(), "a", nil, hello(1), len(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{a, b, nil} {
			if step.State == nil {
				return
			}
			next, err := s.Take(context.Background(), "a", step.State, packet(codeResponse, step.Packet[1], body...), 0)
			if err == nil {
				step = next
			}
		}
	})
}
