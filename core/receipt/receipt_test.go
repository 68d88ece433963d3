package receipt

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/types"
)

const chain = "cairn-test-1"

func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

func ask() Ask {
	return Ask{
		Chain: chain, Device: key(1).Public(), Category: types.Storage, Class: 1, Cell: 0x871fb4670ffffff,
		Price: 2291, Capacity: types.U64(1 << 40), Terms: []byte{0xa0}, Until: 48,
	}
}

func receipt() Receipt {
	a := ask()
	return Receipt{
		Chain: chain, Category: types.Storage, Session: types.NewSessionID(100, [12]byte{7}), Payer: key(2).Public(),
		Device: key(1).Public(), Terms: a.Hash(), Units: types.U128{Hi: 1, Lo: 2}, Amount: 12345, Seq: 3, First: 5,
	}
}

func signed() *Signed {
	r := receipt()
	return &Signed{Receipt: r, PayerSig: r.Sign(key(2)), DeviceSig: r.Countersign(key(1))}
}

func order() Order {
	return Order{
		Chain: chain, Category: types.Energy, Session: types.NewSessionID(100, [12]byte{8}), Payer: key(2).Public(), Rule: 1,
		Selector: []byte{1}, Limit: 250_000, Most: types.U64(5000), Cap: 1_000_000, Seq: 1, First: 6,
	}
}

// TestGolden fixes the bytes of every statement.
func TestGolden(t *testing.T) {
	got := strings.Join([]string{
		"ask " + hex.EncodeToString(ask().Sign(key(1)).Encode()),
		"receipt " + hex.EncodeToString(signed().Encode()),
		"order " + hex.EncodeToString(order().Sign(key(2)).Encode()),
	}, "\n")
	want, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Errorf("bytes changed:\n%s", got)
	}
}

func TestRoundTrip(t *testing.T) {
	s, err := Decode(signed().Encode(), chain)
	if err != nil || !s.Verify() {
		t.Fatalf("receipt: %v", err)
	}
	if diff := cmp.Diff(signed(), s, cmpopts.IgnoreTypes(struct{}{})); diff != "" {
		t.Error(diff)
	}
	a, err := DecodeAsk(ask().Sign(key(1)).Encode(), chain)
	if err != nil || !a.Verify() {
		t.Fatalf("ask: %v", err)
	}
	o, err := DecodeOrder(order().Sign(key(2)).Encode(), chain)
	if err != nil || !o.Verify() {
		t.Fatalf("order: %v", err)
	}
}

// TestSignatures tries every way to pass one signature off as another.
func TestSignatures(t *testing.T) {
	moved := func(change func(*Signed)) *Signed {
		s := signed()
		change(s)
		return s
	}
	for name, s := range map[string]*Signed{
		"payer's as the device's": moved(func(s *Signed) { s.DeviceSig = s.PayerSig }),
		"device's as the payer's": moved(func(s *Signed) { s.PayerSig = s.DeviceSig }),
		"swapped":                 moved(func(s *Signed) { s.PayerSig, s.DeviceSig = s.DeviceSig, s.PayerSig }),
		"not countersigned":       moved(func(s *Signed) { s.DeviceSig = types.Signature{} }),
		"more units":              moved(func(s *Signed) { s.Receipt.Units.Lo++ }),
		"more money":              moved(func(s *Signed) { s.Receipt.Amount++ }),
		"another session":         moved(func(s *Signed) { s.Receipt.Session[15]++ }),
		"another chain":           moved(func(s *Signed) { s.Receipt.Chain = "other-1" }),
		"another device":          moved(func(s *Signed) { s.Receipt.Device = key(3).Public() }),
		"another payer":           moved(func(s *Signed) { s.Receipt.Payer = key(3).Public() }),
		"another ask":             moved(func(s *Signed) { s.Receipt.Terms[0]++ }),
	} {
		if s.Verify() {
			t.Errorf("%s: verifies", name)
		}
	}
	// One key on both sides: a receipt's signature is no countersignature.
	r := receipt()
	r.Payer = r.Device
	if s := (&Signed{Receipt: r, PayerSig: r.Sign(key(1)), DeviceSig: r.Sign(key(1))}); s.Verify() {
		t.Error("a payer's signature passes for a countersignature of the same key")
	}
	payer, device := signed().Messages()
	if !key(2).Public().VerifyMessage(payer, signed().PayerSig) || !key(1).Public().VerifyMessage(device, signed().DeviceSig) {
		t.Error("Messages are not what is signed")
	}
}

func TestRefusals(t *testing.T) {
	long := ask()
	long.Terms = make([]byte, MaxTerms+1)
	huge := order()
	huge.Selector = make([]byte, MaxTerms+1)
	for name, c := range map[string]struct {
		err  error
		want types.Reason
	}{
		"receipt of another chain": {second(Decode(signed().Encode(), "other-1")), types.WrongChain},
		"receipt with a tail":      {second(Decode(append(signed().Encode(), 0), chain)), types.BadEncoding},
		"oversize receipt":         {second(Decode(make([]byte, MaxSigned+1), chain)), types.Oversize},
		"ask of another chain":     {second(DecodeAsk(ask().Sign(key(1)).Encode(), "other-1")), types.WrongChain},
		"oversize terms":           {second(DecodeAsk(long.Sign(key(1)).Encode(), chain)), types.Oversize},
		"order of another chain":   {second(DecodeOrder(order().Sign(key(2)).Encode(), "other-1")), types.WrongChain},
		"oversize selector":        {second(DecodeOrder(huge.Sign(key(2)).Encode(), chain)), types.Oversize},
		"an order is no ask":       {second(DecodeAsk(order().Sign(key(2)).Encode(), chain)), types.BadEncoding},
	} {
		if types.ReasonOf(c.err) != c.want {
			t.Errorf("%s: %v, want %s", name, c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzDecode(f *testing.F) {
	f.Add(signed().Encode())
	f.Add(ask().Sign(key(1)).Encode())
	f.Add(order().Sign(key(2)).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := Decode(raw, chain); err == nil && !bytes.Equal(s.Encode(), raw) {
			t.Errorf("two encodings of one receipt: %x", raw)
		} else if err != nil && types.ReasonOf(err) == "" {
			t.Errorf("no reason: %v", err)
		}
		if a, err := DecodeAsk(raw, chain); err == nil && !bytes.Equal(a.Encode(), raw) {
			t.Errorf("two encodings of one ask: %x", raw)
		}
		if o, err := DecodeOrder(raw, chain); err == nil && !bytes.Equal(o.Encode(), raw) {
			t.Errorf("two encodings of one order: %x", raw)
		}
	})
}

// TestByHand: receipts are written by hand to the bytes of types.Encode.
func TestByHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := func() uint64 { return rapid.Uint64().Draw(t, "word") >> rapid.IntRange(0, 63).Draw(t, "shift") }
		s := &Signed{Receipt: Receipt{Chain: rapid.StringN(0, 20, 50).Draw(t, "chain"), Category: types.Category(word()),
			Units: types.U128{Hi: word() * uint64(rapid.IntRange(0, 1).Draw(t, "high")), Lo: word()}, Amount: types.Credit(word()),
			Seq: word(), First: types.Epoch(word())}}
		copy(s.Receipt.Payer[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "payer"))
		copy(s.DeviceSig[:], rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "signature"))
		raw := s.Encode()
		if !bytes.Equal(raw, types.Encode(s)) || !bytes.Equal(s.Receipt.Bytes(), types.Encode(&s.Receipt)) {
			t.Fatalf("%x, want %x", raw, types.Encode(s))
		}
		if back, err := Decode(raw, s.Receipt.Chain); err != nil || *back != *s {
			t.Fatalf("%x reads as %+v, %v", raw, back, err)
		}
	})
}
