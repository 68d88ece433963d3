package evidence

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/veraison/go-cose"

	"github.com/cairn-network/cairn/core/types"
)

const chain = "cairn-test-1"

func key(n byte) types.PrivateKey { return types.NewPrivateKey([32]byte{n}) }

func payload(body []byte) Payload {
	return Payload{
		Chain: chain, Category: types.Storage, Kind: 2, Epoch: 7, Seq: 300, Prev: types.Sum([]byte("previous")),
		Anchor: Anchor{Height: 70_000, Hash: [16]byte{1, 2, 3}}, Body: body,
	}
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 23, 24, 255, 256, 5000, MaxBody} {
		e := Sign(key(1), payload(bytes.Repeat([]byte{0xa5}, n)))
		got, err := Decode(e.Raw, chain)
		if err != nil {
			t.Fatalf("body of %d: %v", n, err)
		}
		if diff := cmp.Diff(e, got, cmp.AllowUnexported(Envelope{}), cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(struct{}{})); diff != "" {
			t.Errorf("body of %d: (-signed +decoded)\n%s", n, diff)
		}
		if !got.Verify() {
			t.Errorf("body of %d: the signature does not verify", n)
		}
	}
}

// TestGolden fixes the bytes.
func TestGolden(t *testing.T) {
	e := Sign(key(1), payload([]byte("golden")))
	want, err := os.ReadFile("testdata/envelope.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(e.Raw); got != strings.TrimSpace(string(want)) {
		t.Errorf("the envelope's bytes changed:\n%s", got)
	}
	s := statement().Sign(key(2))
	if want, err = os.ReadFile("testdata/code.txt"); err != nil {
		t.Fatal(err)
	}
	if got := s.Code(); got != strings.TrimSpace(string(want)) {
		t.Errorf("the claim code changed:\n%s", got)
	}
}

// TestSecondOpinion has another implementation of COSE read and check an envelope.
func TestSecondOpinion(t *testing.T) {
	e := Sign(key(1), payload([]byte("second opinion")))
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(e.Raw); err != nil {
		t.Fatal(err)
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, key(1).Ed25519().Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify([]byte("cairn/evidence\x00"+chain+"\x00"), verifier); err != nil {
		t.Errorf("veraison/go-cose: %v", err)
	}
	if err := m.Verify([]byte("cairn/evidence\x00other\x00"), verifier); err == nil {
		t.Error("the signature holds on another chain")
	}
	kid, _ := m.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
	author := e.Author
	if !bytes.Equal(kid, author[:]) {
		t.Errorf("kid %x, want %x", kid, author)
	}
}

func TestRefusals(t *testing.T) {
	good := Sign(key(1), payload([]byte{1, 2, 3})).Raw
	payloadOf := func(p any) []byte { // an envelope around any payload
		body := types.Encode(p)
		raw := bytes.Clone(good[:payloadAt])
		return append(append(appendHead(raw, body), 0x58, 64), make([]byte, 64)...)
	}
	type extra struct {
		Payload
		More int `cbor:"9,keyasint"`
	}
	other := payload(nil)
	other.Chain = "other-1"
	long := bytes.Clone(good[:payloadAt]) // the same payload with a longer head
	inner := types.Encode(payload([]byte{1, 2, 3}))
	long = append(append(append(long, 0x5a, 0, 0, 0, byte(len(inner))), inner...), good[len(good)-tail:]...)
	cases := map[string]struct {
		raw  []byte
		want types.Reason
	}{
		"empty":               {nil, types.BadEncoding},
		"truncated":           {good[:len(good)-1], types.BadEncoding},
		"trailing byte":       {append(bytes.Clone(good), 0), types.BadEncoding},
		"oversize":            {make([]byte, MaxEnvelope+1), types.Oversize},
		"oversize body":       {payloadOf(payload(make([]byte, MaxBody+1))), types.Oversize},
		"unknown field":       {payloadOf(extra{payload(nil), 1}), types.UnknownField},
		"missing field":       {payloadOf(map[int]any{1: chain}), types.BadEncoding},
		"payload is no map":   {payloadOf([]int{1}), types.BadEncoding},
		"longer encoding":     {long, types.BadEncoding},
		"wrong chain":         {payloadOf(other), types.WrongChain},
		"other algorithm":     {replace(good, keyAt-4, 0x26), types.BadEncoding},
		"unprotected header":  {replace(good, payloadAt-1, 0xa1), types.BadEncoding},
		"indefinite payload":  {replace(good, payloadAt, 0x5f), types.BadEncoding},
		"no tag":              {good[1:], types.BadEncoding},
		"signature too short": {replace(good, len(good)-65, 63), types.BadEncoding},
	}
	for name, c := range cases {
		e, err := Decode(c.raw, chain)
		if got := types.ReasonOf(err); got != c.want {
			t.Errorf("%s: %v (%v), want %s", name, err, e != nil, c.want)
		}
	}
}

func replace(b []byte, at int, with byte) []byte {
	b = bytes.Clone(b)
	b[at] = with
	return b
}

// TestNoFlipSurvives flips every bit of an envelope: nothing else decodes and verifies.
func TestNoFlipSurvives(t *testing.T) {
	good := Sign(key(1), payload([]byte("flip")))
	for at := range good.Raw {
		for bit := range 8 {
			raw := replace(good.Raw, at, good.Raw[at]^1<<bit)
			if e, err := Decode(raw, chain); err == nil && e.Verify() {
				t.Fatalf("bit %d of byte %d: accepted", bit, at)
			}
		}
	}
}

func statement() Statement {
	return Statement{
		Chain: chain, Device: key(2).Public(), Owner: types.Account{9}, Nonce: [16]byte{5},
		Categories: []types.Category{types.Storage, types.Energy}, Cell: 0x871fb4670ffffff, Expiry: 99,
	}
}

func TestStatement(t *testing.T) {
	s := statement().Sign(key(2))
	got, err := ParseCode(" "+s.Code()+"\n", chain)
	if err != nil || !got.Verify() {
		t.Fatalf("%v, verified %v", err, got != nil && got.Verify())
	}
	if diff := cmp.Diff(s, got, cmpopts.IgnoreTypes(struct{}{})); diff != "" {
		t.Error(diff)
	}
	if s := statement().Sign(key(3)); s.Verify() {
		t.Error("another key's signature verifies")
	}
	unordered := statement()
	unordered.Categories = []types.Category{types.Energy, types.Storage}
	none := statement()
	none.Categories = nil
	for name, c := range map[string]struct {
		code  string
		chain string
		want  types.Reason
	}{
		"another chain": {s.Code(), "other-1", types.WrongChain},
		"no prefix":     {s.Code()[5:], chain, types.BadEncoding},
		"cut":           {s.Code()[:60], chain, types.BadEncoding},
		"not base64":    {codePrefix + "!!!", chain, types.BadEncoding},
		"unordered":     {unordered.Sign(key(2)).Code(), chain, types.BadEncoding},
		"no category":   {none.Sign(key(2)).Code(), chain, types.BadEncoding},
		"oversize":      {codePrefix + strings.Repeat("A", 2000), chain, types.Oversize},
	} {
		if _, err := ParseCode(c.code, c.chain); types.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Sign(key(1), payload([]byte("seed"))).Raw)
	f.Add([]byte{0xd2, 0x84})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw, chain)
		if err != nil {
			if types.ReasonOf(err) == "" {
				t.Errorf("no reason: %v", err)
			}
			return
		}
		// What decodes is the one encoding of what it says.
		again := bytes.Clone(raw[:payloadAt])
		again = append(appendHead(again, types.Encode(e.Payload)), 0x58, 64)
		again = append(again, e.Signature[:]...)
		if !bytes.Equal(raw, again) {
			t.Errorf("two encodings of one envelope:\n%x\n%x", raw, again)
		}
	})
}

// FuzzPayload holds the reader of payloads against a library that was not written for them.
func FuzzPayload(f *testing.F) {
	f.Add(types.Encode(payload([]byte("seed"))))
	f.Add(types.Encode(payload(make([]byte, 300))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var ours, theirs Payload
		errOurs, errTheirs := decodePayload(raw, &ours), types.Decode(raw, &theirs)
		if (errOurs == nil) != (errTheirs == nil) {
			t.Fatalf("%x: reader %v, library %v", raw, errOurs, errTheirs)
		}
		if errOurs == nil && !cmp.Equal(ours, theirs, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(struct{}{})) {
			t.Fatalf("%x:\nreader  %+v\nlibrary %+v", raw, ours, theirs)
		}
	})
}

func FuzzDecodeStatement(f *testing.F) {
	f.Add(statement().Sign(key(2)).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := DecodeStatement(raw, chain)
		if err == nil && !bytes.Equal(s.Encode(), raw) {
			t.Errorf("two encodings of one statement: %x", raw)
		}
		if err != nil && types.ReasonOf(err) == "" {
			t.Errorf("no reason: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	raw := Sign(key(1), payload(make([]byte, 200))).Raw
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(raw, chain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCBOR(b *testing.B) { // the peer: reading the payload alone, without any check
	body := types.Encode(payload(make([]byte, 200)))
	for b.Loop() {
		var p Payload
		if err := cbor.Unmarshal(body, &p); err != nil {
			b.Fatal(err)
		}
	}
}
