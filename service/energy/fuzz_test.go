package energy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// decoders are all that take bytes from others, each returning what it read, encoded again.
var decoders = []struct {
	name   string
	decode func([]byte) ([]byte, error)
}{
	{"site", func(b []byte) ([]byte, error) {
		s, err := DecodeSite(b)
		if err != nil {
			return nil, err
		}
		return s.Encode(), nil
	}},
	{"meter", func(b []byte) ([]byte, error) {
		records, err := DecodeMeter(b, nil)
		if err != nil {
			return nil, err
		}
		packed := Pack(records)
		if len(packed) != 1 {
			return nil, fmt.Errorf("%d runs", len(packed))
		}
		return packed[0].Encode(), nil
	}},
	{"reset", func(b []byte) ([]byte, error) {
		r, err := DecodeReset(b)
		if err != nil {
			return nil, err
		}
		return r.Encode(), nil
	}},
	{"selector", func(b []byte) ([]byte, error) {
		s, err := DecodeSelector(b)
		if err != nil {
			return nil, err
		}
		return s.Encode(), nil
	}},
	{"terms", func(b []byte) ([]byte, error) {
		t, err := DecodeAskTerms(b)
		if err != nil {
			return nil, err
		}
		return t.Encode(), nil
	}},
	{"rules", func(b []byte) ([]byte, error) {
		r, err := DecodeRules(b)
		if err != nil {
			rulesOf(b)
			return nil, err
		}
		if r.Clock != clockOf(b) {
			return nil, fmt.Errorf("two clocks")
		}
		return r.Encode(), nil
	}},
	{"statement", func(b []byte) ([]byte, error) {
		s, err := DecodeStatement(b)
		if err != nil {
			return nil, err
		}
		return s.Encode(), nil
	}},
	{"sales", func(b []byte) ([]byte, error) {
		s, err := DecodeSales(b)
		return s.Encode(), err
	}},
	{"market", func(b []byte) ([]byte, error) {
		m, err := DecodeMarket(b)
		if err != nil {
			return nil, err
		}
		return m.Encode(), nil
	}},
	{"state", func(b []byte) ([]byte, error) {
		s, err := DecodeState(b)
		if err != nil {
			return nil, err
		}
		s.Quality()
		return s.append(nil), nil
	}},
	{"summary", func(b []byte) ([]byte, error) {
		flows, _, line, err := readSummary(b)
		if err != nil {
			return nil, err
		}
		return summarize(flows, line), nil
	}},
	{"cell", func(b []byte) ([]byte, error) {
		c, err := decodeCell(b)
		if err != nil {
			return nil, err
		}
		return c.encode(), nil
	}},
}

// FuzzDecode: whatever a decoder takes is the one encoding of what it read.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		d := decoders[int(which)%len(decoders)]
		if again, err := d.decode(raw); err == nil && !bytes.Equal(again, raw) {
			if d.name == "state" && len(raw) == 0 {
				return // a device that has said nothing
			}
			t.Errorf("%s: %x reads as %x", d.name, raw, again)
		} else if err != nil && types.ReasonOf(err) == "" && d.name != "rules" {
			t.Errorf("%s: refused without a reason: %v", d.name, err)
		}
	})
}

// FuzzVerify hands any body of any kind to a device with any line, then crosses it with a neighbour: what comes
// out keeps its bounds.
func FuzzVerify(f *testing.F) {
	f.Fuzz(func(t *testing.T, line []byte, kind uint16, body []byte, after uint32) {
		w := newWorld(t)
		w.time = noon
		d, n := w.device("d", solar("d")), w.device("n", solar("n"))
		n.hand(n.record(w.done()))
		w.step()
		in := &tally.CrossInput{Chain: testChain, Epoch: w.epoch, Time: w.time + uint64(after), Seed: w.seed(), Params: w.params, Registry: w}
		d.line = line
		d.submit(evidence.Kind(kind), body)
		for _, x := range []*device{d, n} {
			one := x.input()
			one.Time = in.Time
			out := New().Verify(one)
			if len(out.State) > MaxState || out.Quality > 10_000 {
				t.Fatalf("a line of %d bytes, quality %d", len(out.State), out.Quality)
			}
			if _, err := DecodeState(out.State); err != nil {
				t.Fatalf("a line that cannot be read: %v", err)
			}
			if out.Summary == nil {
				continue
			}
			if _, _, _, err := readSummary(out.Summary); err != nil {
				t.Fatalf("a summary that cannot be read: %v", err)
			}
			in.Summaries = append(in.Summaries, tally.Summary{Device: &x.reg, Summary: out.Summary})
		}
		for _, s := range New().Cross(in).States {
			if _, err := DecodeState(s.State); err != nil || len(s.State) > MaxState {
				t.Fatalf("a line of %d bytes that cannot be read: %v", len(s.State), err)
			}
		}
	})
}

// seedCorpus writes what fuzzing starts from: one of each.
func seedCorpus(t *testing.T, samples map[string][]byte) {
	write := func(target, name string, values ...any) {
		var b bytes.Buffer
		b.WriteString("go test fuzz v1\n")
		for _, v := range values {
			switch v := v.(type) {
			case []byte:
				fmt.Fprintf(&b, "[]byte(%q)\n", v)
			case byte:
				fmt.Fprintf(&b, "byte(%q)\n", rune(v))
			default:
				fmt.Fprintf(&b, "%T(%d)\n", v, v)
			}
		}
		file := filepath.Join("testdata", "fuzz", target, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range decoders {
		write("FuzzDecode", d.name, byte(i), samples[d.name])
	}
	for i, kind := range []string{"site", "meter", "reset"} {
		write("FuzzVerify", kind, samples["state"], uint16(i+1), samples[kind], uint32(3600))
	}
}
