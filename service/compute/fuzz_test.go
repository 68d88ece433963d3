package compute

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// again encodes what a decoder read, or passes its error on.
func again[T any](v *T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return types.Encode(v), nil
}

// decoder is one function that takes bytes from others. It returns what it read, encoded again.
type decoder struct {
	name   string // as in testdata/golden.json
	decode func([]byte) ([]byte, error)
}

var decoders = []decoder{
	{"Job", func(b []byte) ([]byte, error) { return again(DecodeJob(b)) }},
	{"Result", func(b []byte) ([]byte, error) { return again(DecodeResult(b)) }},
	{"SignedLeaf", func(b []byte) ([]byte, error) { return again(DecodeLeaf(b)) }},
	{"Terms", func(b []byte) ([]byte, error) { return again(DecodeTerms(b, Wasm)) }},
	{"OpenTerms", func(b []byte) ([]byte, error) {
		t, err := DecodeTerms(b, OCI)
		if err != nil {
			return nil, err
		}
		return t.Encode(), nil
	}},
	{"Order", func(b []byte) ([]byte, error) { return again(DecodeOrder(b)) }},
	{"Call", func(b []byte) ([]byte, error) { return again(DecodeCall(b)) }},
	{"Ended", func(b []byte) ([]byte, error) { return again(DecodeEnded(b)) }},
	{"NotRun", func(b []byte) ([]byte, error) { return again(DecodeEnded(b)) }},
	{"Accepted", func(b []byte) ([]byte, error) { return again(DecodeAnswer(b)) }},
	{"Offer", func(b []byte) ([]byte, error) { return again(DecodeOffer(b)) }},
	{"Results", func(b []byte) ([]byte, error) { return again(DecodeResults(b)) }},
	{"Check", func(b []byte) ([]byte, error) { return again(DecodeCheck(b)) }},
	{"Sighting", func(b []byte) ([]byte, error) { return again(DecodeSighting(b)) }},
	{"Fired", func(b []byte) ([]byte, error) { return again(DecodeFired(b)) }},
	{"Summons", func(b []byte) ([]byte, error) { return again(DecodeSummons(b)) }},
	{"Begun", func(b []byte) ([]byte, error) { return again(DecodeProgress(b)) }},
	{"Progress", func(b []byte) ([]byte, error) { return again(DecodeProgress(b)) }},
	{"RowsQuery", func(b []byte) ([]byte, error) { return again(DecodeRowsQuery(b)) }},
	{"ShownRows", func(b []byte) ([]byte, error) {
		r, err := DecodeShownRows(b)
		return r.Encode(), err
	}},
	{"Show", func(b []byte) ([]byte, error) { return again(DecodeShow(b)) }},
	{"Shown", func(b []byte) ([]byte, error) { return again(DecodeShown(b)) }},
	{"List", func(b []byte) ([]byte, error) {
		f, err := DecodeFiles(b)
		return f.Encode(), err
	}},
	{"Audit", func(b []byte) ([]byte, error) { return again(DecodeAudit(b)) }},
	{"RowFault", func(b []byte) ([]byte, error) { return again(DecodeFault(b)) }},
	{"Rules", func(b []byte) ([]byte, error) { return again(DecodeRules(b)) }},
	{"State", func(b []byte) ([]byte, error) {
		s, err := DecodeState(b)
		if err != nil || len(b) == 0 {
			return nil, err
		}
		return s.Encode(), nil
	}},
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
		if _, err := d.decode(body); err != nil {
			f.Errorf("golden %s: %v", d.name, err)
		}
		f.Add(byte(i), body)
	}
	fault := byte(slices.IndexFunc(decoders, func(d decoder) bool { return d.name == "RowFault" }))
	for _, name := range []string{"StepFault", "StartFault", "Clash"} {
		body, _ := hex.DecodeString(golden[name].(string))
		f.Add(fault, body)
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
