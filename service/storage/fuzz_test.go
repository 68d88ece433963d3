package storage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// decoders are all that take bytes from others, each returning what it read, encoded again.
var decoders = []struct {
	name   string
	decode func([]byte) ([]byte, error)
}{
	{"holding", func(b []byte) ([]byte, error) {
		s, err := DecodeHolding(b)
		if err != nil {
			return nil, err
		}
		return s.Encode(), nil
	}},
	{"answer", func(b []byte) ([]byte, error) {
		a, err := DecodeAnswer(b)
		return a.Encode(), err
	}},
	{"loss", func(b []byte) ([]byte, error) {
		l, err := DecodeLoss(b)
		return l.Encode(), err
	}},
	{"release", func(b []byte) ([]byte, error) {
		r, err := DecodeRelease(b)
		return types.Encode(r), err
	}},
	{"terms", func(b []byte) ([]byte, error) {
		t, err := DecodeTerms(b)
		return types.Encode(t), err
	}},
	{"ladder", func(b []byte) ([]byte, error) {
		l, err := DecodeLadder(b, testChain)
		if err != nil {
			return nil, err
		}
		l.Rung(l.Top())
		l.Highest(types.U128{Hi: 7})
		return l.Encode(), nil
	}},
	{"state", func(b []byte) ([]byte, error) {
		s, err := DecodeState(b)
		if err != nil {
			return nil, err
		}
		for i := range s.Sessions {
			s.Sessions[i].Payable(s.Passes)
		}
		return s.Encode(), nil
	}},
}

// FuzzDecode: whatever a decoder takes is the one encoding of what it read.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		d := decoders[int(which)%len(decoders)]
		if again, err := d.decode(raw); err == nil && !bytes.Equal(again, raw) {
			t.Errorf("%s: %x reads as %x", d.name, raw, again)
		} else if err != nil && types.ReasonOf(err) == "" {
			t.Errorf("%s: refused without a reason: %v", d.name, err)
		}
	})
}

// FuzzVerify hands any body of any kind, and any receipt, to a device that holds something.
func FuzzVerify(f *testing.F) {
	f.Fuzz(func(t *testing.T, kind uint16, body []byte, hi, lo, amount, price uint64) {
		w, d, x := fuzzStage(t)
		before := d.state()
		d.submit(evidence.Kind(kind), body)
		d.receipts = append(d.receipts, &tally.ReceiptItem{
			Receipt: &receipt.Receipt{
				Session: x.holding.Session, Payer: x.holding.Payer, Terms: x.holding.Ask,
				Units: types.U128{Hi: hi, Lo: lo}, Amount: types.Credit(amount),
			}, Class: Hold, Price: price, Opened: true,
		})
		d.silent = true
		out := w.run(d)
		after := d.state()
		if out.Receipts[0] == "" && (hi != 0 || lo > d.session(x.holding.Session).Proven(after.Passes).Lo) {
			t.Errorf("a receipt of %d·2⁶⁴ + %d units was accepted", hi, lo)
		}
		if evidence.Kind(kind) == KindAnswer && (after.Passes > before.Passes) != (out.Evidence[0].Reason == "") {
			t.Errorf("answer %q: passes from %d to %d", out.Evidence[0].Reason, before.Passes, after.Passes)
		}
		for i := range after.Sessions {
			s := &after.Sessions[i]
			if proven := s.Proven(after.Passes); s.Forfeit.Cmp(proven) > 0 || s.Units.Cmp(proven) > 0 {
				t.Errorf("session %d: forfeit %s, paid %s, proven %s", i, s.Forfeit, s.Units, proven)
			}
		}
		if len(after.Sessions) > 2 {
			t.Errorf("%d sessions", len(after.Sessions))
		}
	})
}

// fuzzStage is a device whose session of two shards was proven once.
func fuzzStage(t testing.TB) (*world, *device, *deal) {
	w := newWorld(t)
	d := w.device("device")
	x := w.customer("customer").deal(d, "s")
	x.put(2, 1500)
	w.run(d)
	w.run(d)
	return w, d, x
}

// seedCorpus writes what fuzzing starts from: one true message of each kind.
func seedCorpus(t *testing.T) {
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
	_, d, x := fuzzStage(t)
	l, err := NewLoss(x.holding.Session, d.shards[x.holding.Session], []int{1, 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.shards[x.holding.Session].Undo(); err != nil {
		t.Fatal(err)
	}
	short := ladder(t, 1000, 100)
	short.Signatures = short.Signatures[:2]
	bodies := [][]byte{
		x.sign().Encode(), d.prove().Encode(), l.Encode(), (&Release{Session: x.holding.Session}).Encode(),
		(&Terms{Address: "a:1", Unpaid: 9}).Encode(), short.Encode(), d.line,
	}
	for i, body := range bodies {
		write("FuzzDecode", decoders[i].name, byte(i), body)
	}
	next := x.commit([]Op{{Kind: OpDelete, Slot: 1, Shard: x.list.At(1)}}).Encode()
	second := x.c.deal(d, "second")
	data := []byte("second")
	opening := second.commit([]Op{second.list.Append(0, Shard{ID: ShardID(data), Bytes: 6})}).Encode()
	for name, e := range map[string]struct {
		kind evidence.Kind
		body []byte
	}{"holding": {KindHolding, next}, "opening": {KindHolding, opening}, "answer": {KindAnswer, bodies[1]}, "loss": {KindLoss, bodies[2]}, "release": {KindRelease, bodies[3]}} {
		write("FuzzVerify", name, uint16(e.kind), e.body, uint64(0), uint64(2625), uint64(656), uint64(testPrice))
	}
}
