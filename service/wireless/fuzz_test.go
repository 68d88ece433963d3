package wireless

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// decoders take bytes from others. Each returns what it read, encoded again. They have the names of testdata/golden.json.
var decoders = []struct {
	name   string
	decode func([]byte) ([]byte, error)
}{
	{"Terms", func(b []byte) ([]byte, error) { return again(DecodeTerms(b, Tunnel)) }},
	{"Endpoint", func(b []byte) ([]byte, error) { return again(DecodeEndpoint(b)) }},
	{"Grant", func(b []byte) ([]byte, error) { return again(DecodeGrant(b)) }},
	{"Rules", func(b []byte) ([]byte, error) { return again(DecodeRules(b)) }},
	{"State", func(b []byte) ([]byte, error) {
		s, err := DecodeState(b)
		if err != nil || len(b) == 0 {
			return nil, err
		}
		return s.Encode(), nil
	}},
}

func again[T any](v *T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return types.Encode(v), nil
}

// FuzzDecode: whatever a decoder takes is the one encoding of what it read, and what it refuses has a reason.
func FuzzDecode(f *testing.F) {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		f.Fatal(err)
	}
	var golden map[string]any
	if err := json.Unmarshal(raw, &golden); err != nil {
		f.Fatal(err)
	}
	for i, d := range decoders {
		text, _ := golden[d.name].(string)
		body, err := hex.DecodeString(text)
		if err != nil || len(body) == 0 {
			f.Fatalf("golden %s: %v", d.name, err)
		}
		if out, err := d.decode(body); err != nil || !bytes.Equal(out, body) {
			f.Errorf("golden %s: %v", d.name, err)
		}
		f.Add(byte(i), body)
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		d := decoders[int(which)%len(decoders)]
		if out, err := d.decode(raw); err == nil && !bytes.Equal(out, raw) {
			t.Errorf("%s: %x reads as %x", d.name, raw, out)
		} else if err != nil && types.ReasonOf(err) == "" {
			t.Errorf("%s: refused without a reason: %v", d.name, err)
		}
	})
}

// FuzzVerify hands any body of any kind, as evidence and as a verifier's report, to a device with a past.
func FuzzVerify(f *testing.F) {
	for kind := KindEndpoint; kind <= KindGrant+1; kind++ {
		f.Add(uint16(kind), []byte{0x81, 0x04})
	}
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		if len(body) > evidence.MaxBody {
			return
		}
		w := newWorld(t, "fuzz", 5)
		d := w.device("device", 5*mega)
		for range 2 {
			d.here()
			d.honestly(5 * mega)
			w.next()
		}
		before := d.state()
		d.submit(evidence.Kind(kind), body)
		d.report(d.members()[0], body)
		out := d.judged(func(in *tally.Input) {
			if _, err := New().Subject(in.Reports[0]); err != nil {
				in.Reports = nil // the tally brings it to nobody
			}
		})
		if after := d.state(); after.Readings != before.Readings || ordered(out) > before.Proven()*Window/8000 {
			t.Errorf("%+v after %+v, %d units", after, before, ordered(out))
		}
		for _, v := range append(out.Reports, out.Evidence...) {
			if v.Proof {
				t.Errorf("%q takes of the bond", v.Reason)
			}
		}
	})
}
