package types

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

type sample struct {
	A uint64   `cbor:"1,keyasint"`
	B []byte   `cbor:"2,keyasint"`
	C []uint64 `cbor:"3,keyasint"`
	D *uint64  `cbor:"4,keyasint,omitempty"`
}

func TestDecodeTakesOneEncoding(t *testing.T) {
	good := Encode(sample{A: 5})
	if got := hex.EncodeToString(good); got != "a301050240"+"0380" {
		t.Fatalf("encoding: %s", got)
	}
	var s sample
	if err := Decode(good, &s); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		hex  string
		want Reason
	}{
		"longer integer":     {"a3011805024003" + "80", BadEncoding},
		"keys out of order":  {"a302400105" + "0380", BadEncoding},
		"duplicate key":      {"a4010501050240" + "0380", BadEncoding},
		"indefinite map":     {"bf01050240" + "0380ff", BadEncoding},
		"indefinite string":  {"a301050" + "25f40ff0380", BadEncoding},
		"null for empty":     {"a3010502f6" + "0380", BadEncoding},
		"missing field":      {"a201050240", BadEncoding},
		"unknown field":      {"a4010502400380" + "0901", UnknownField},
		"trailing byte":      {"a301050240" + "038000", BadEncoding},
		"truncated":          {"a301050240", BadEncoding},
		"float":              {"a301f94500" + "02400380", BadEncoding},
		"negative":           {"a301240240" + "0380", BadEncoding},
		"null for a pointer": {"a4010502400380" + "04f6", BadEncoding},
		"empty":              {"", BadEncoding},
	} {
		raw, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(name, err)
		}
		var s sample
		if err := Decode(raw, &s); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if err := DecodeLimit(good, &s, len(good)-1); ReasonOf(err) != Oversize {
		t.Errorf("over the limit: %v", err)
	}
}

func TestNames(t *testing.T) {
	k := NewPrivateKey([32]byte{1}).Public()
	if got, err := ParseKey(k.String()); err != nil || got != k || !strings.HasPrefix(k.String(), "did:key:z6Mk") {
		t.Errorf("%s: %v", k, err)
	}
	a := Account{1, 2, 3}
	if got, err := ParseAccount(a.String()); err != nil || got != a || !strings.HasPrefix(a.String(), "cairn1") {
		t.Errorf("%s: %v", a, err)
	}
	for _, bad := range []string{"", "did:key:z", "did:key:z6Mk", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", strings.Repeat("z", 5000)} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("key %.40q is taken", bad)
		}
	}
	for _, bad := range []string{"", "cairn1", "cosmos1qyqszqgpqyqszqgpqyqszqgpqyqszqgpjnp7du", a.String()[:20] + "p" + a.String()[21:]} {
		if _, err := ParseAccount(bad); err == nil {
			t.Errorf("account %.40q is taken", bad)
		}
	}
	id := NewSessionID(77, [12]byte{9})
	if id.Expiry() != 77 || NewSessionID(1<<40, [12]byte{}).Expiry() != 1<<32-1 {
		t.Error("expiry")
	}
	if s := NewPrivateKey([32]byte{1}).String(); strings.Contains(s, "010000") {
		t.Error("a private key prints itself")
	}
}

// TestDomains: no signature made for one purpose or chain serves another.
func TestDomains(t *testing.T) {
	key := NewPrivateKey([32]byte{1})
	sig := key.Sign("ask", "chain-1", []byte("x"))
	pub := key.Public()
	if !pub.Verify("ask", "chain-1", []byte("x"), sig) {
		t.Fatal("does not verify")
	}
	for _, c := range [][3]string{{"as", "kchain-1", "x"}, {"ask", "chain-", "1x"}, {"order", "chain-1", "x"}, {"ask", "chain-2", "x"}, {"ask", "chain-1", "y"}} {
		if pub.Verify(c[0], c[1], []byte(c[2]), sig) {
			t.Errorf("%q verifies", c)
		}
	}
}

func TestReasons(t *testing.T) {
	err := Refuse(OverBudget, "receipt %d", 3)
	if ReasonOf(err) != OverBudget || !errors.Is(err, OverBudget) || ReasonOf(errors.New("x")) != "" {
		t.Error(err)
	}
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r.Reason] || r.Sentence == "" || r.Try == "" || strings.Contains(string(r.Reason), ".") {
			t.Errorf("%+v", r)
		}
		seen[r.Reason] = true
	}
}
