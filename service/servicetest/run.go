package servicetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service"
)

// author signs what the suite makes up.
var author = types.NewPrivateKey(types.Hash{1})

const (
	maxTotals  = 8        // of Output.Totals
	maxSummary = 64 << 10 // of Output.Summary, in bytes
)

// Run holds a category against everything that core/tally relies on. draw returns one device's epoch, drawn
// from t: state, evidence, reports, receipts. What it draws should sometimes be accepted and sometimes be
// refused.
func Run(t *testing.T, v service.Verifier, draw func(*rapid.T) *service.Input) {
	t.Run("spec", func(t *testing.T) { Spec(t, v) })
	t.Run("repeats", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			in := draw(t)
			before := clone(in)
			first := v.Verify(in)
			if diff := cmp.Diff(before, in, compare); diff != "" {
				t.Fatalf("Verify changed its input (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(first, v.Verify(clone(in)), compare); diff != "" {
				t.Fatalf("the same input, judged twice:\n%s", diff)
			}
			sound(t, v, in, first)
		})
	})
	t.Run("keeps nothing", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			in := rapid.SliceOfN(rapid.Custom(draw), 2, 4).Draw(t, "inputs")
			alone := make([]*service.Output, len(in))
			for i := range in {
				alone[i] = v.Verify(clone(in[i]))
			}
			for _, i := range rapid.Permutation(indices(len(in))).Draw(t, "order") {
				if diff := cmp.Diff(alone[i], v.Verify(clone(in[i])), compare); diff != "" {
					t.Fatalf("input %d, judged in another order:\n%s", i, diff)
				}
			}
		})
	})
	t.Run("survives garbage", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			in := draw(t)
			spoil(t, v.Spec, in)
			sound(t, v, in, v.Verify(in))
		})
	})
	t.Run("goes on", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			in := draw(t)
			// A line that Verify wrote is one that it reads, epoch after epoch, with nothing handed in.
			for range 4 {
				out := v.Verify(in)
				sound(t, v, in, out)
				in = clone(in)
				in.Evidence, in.Reports, in.Receipts, in.Asks = nil, nil, nil, nil
				in.State = out.State
				in.Epoch++
				in.Seed = types.Sum(in.Seed[:])
				in.Challenged = rapid.Bool().Draw(t, "challenged")
			}
		})
	})
	if v.Subject != nil {
		t.Run("names subjects", func(t *testing.T) { subjects(t, v, draw) })
	}
	if v.Cross != nil {
		t.Run("crosses", func(t *testing.T) { crosses(t, v, draw) })
	}
}

// compare ignores what an envelope keeps for itself, and who is asked about the registry, and who draws.
var compare = cmp.Options{
	cmpopts.IgnoreUnexported(evidence.Envelope{}, evidence.Payload{}, evidence.Anchor{}, tally.Params{}, fleet.Fleet{}, tally.SessionKey{},
		receipt.Receipt{}, receipt.Ask{}, receipt.Order{}, tally.CellState{}),
	cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".Registry" || name == ".Panel" || name == ".Opened"
	}, cmp.Ignore()),
}

// clone copies an input so deep that changing one cannot change the other.
func clone(in *service.Input) *service.Input {
	c := *in
	device := *in.Device
	device.Categories = slices.Clone(device.Categories)
	c.Device, c.Totals, c.State = &device, slices.Clone(in.Totals), bytes.Clone(in.State)
	c.Evidence, c.Reports = envelopes(in.Evidence), envelopes(in.Reports)
	c.Receipts, c.Asks = slices.Clone(in.Receipts), slices.Clone(in.Asks)
	for i, item := range c.Receipts {
		r, copied := *item.Receipt, *item
		copied.Receipt = &r
		c.Receipts[i] = &copied
	}
	for i, ask := range c.Asks {
		a := *ask
		a.Terms = bytes.Clone(a.Terms)
		c.Asks[i] = &a
	}
	return &c
}

func envelopes(list []*evidence.Envelope) []*evidence.Envelope {
	list = slices.Clone(list)
	for i, e := range list {
		c := *e
		c.Body, c.Raw = bytes.Clone(e.Body), bytes.Clone(e.Raw)
		list[i] = &c
	}
	return list
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// sound checks an output against the Spec and against what the tally takes.
func sound(t *rapid.T, v service.Verifier, in *service.Input, out *service.Output) {
	t.Helper()
	s := v.Spec
	for name, n := range map[string][2]int{
		"evidence": {len(out.Evidence), len(in.Evidence)}, "reports": {len(out.Reports), len(in.Reports)}, "receipts": {len(out.Receipts), len(in.Receipts)},
		"asks": {len(out.Asks), len(in.Asks)},
	} {
		if n[0] != 0 && n[0] != n[1] {
			t.Fatalf("%d verdicts on %d %s", n[0], n[1], name)
		}
	}
	for _, verdict := range slices.Concat(out.Evidence, out.Reports) {
		documented(t, s, verdict.Reason)
		if verdict.Proof && verdict.Reason == "" {
			t.Fatal("an accepted item is a proof of misconduct")
		}
	}
	for _, reason := range slices.Concat(out.Receipts, out.Asks) {
		documented(t, s, reason)
	}
	if len(out.State) > s.MaxState || out.State != nil && len(out.State) == 0 {
		t.Fatalf("a line of %d bytes, MaxState is %d; none is nil", len(out.State), s.MaxState)
	}
	if len(out.Totals) > maxTotals || len(out.Summary) > maxSummary || out.Quality > econ.Bps {
		t.Fatalf("%d totals, a summary of %d bytes, quality %d", len(out.Totals), len(out.Summary), out.Quality)
	}
	for _, o := range out.Ordered {
		class(t, s, o.Class)
	}
	for _, o := range out.Open {
		class(t, s, o.Class)
	}
}

func class(t *rapid.T, s *service.Spec, c types.Class) {
	t.Helper()
	if !slices.ContainsFunc(s.Classes, func(k tally.Class) bool { return k.Class == c }) {
		t.Fatalf("class %d is not in the Spec", c)
	}
}

func documented(t *rapid.T, s *service.Spec, reason types.Reason) {
	t.Helper()
	is := func(r types.ReasonInfo) bool { return r.Reason == reason }
	if reason != "" && !slices.ContainsFunc(s.Reasons, is) && !slices.ContainsFunc(types.Reasons(), is) {
		t.Fatalf("reason %q is neither in the Spec nor the protocol's", reason)
	}
}

// spoil bends what an input holds and adds what nobody would send.
func spoil(t *rapid.T, s *service.Spec, in *service.Input) {
	var device, witness []evidence.Kind
	for _, k := range s.Kinds {
		if k.Witness {
			witness = append(witness, k.Kind)
		} else {
			device = append(device, k.Kind)
		}
	}
	in.Evidence = bend(t, in, in.Evidence, append(device, 1<<15))
	in.Reports = bend(t, in, in.Reports, append(witness, 1<<15))
	for i, item := range in.Receipts {
		if rapid.Bool().Draw(t, "bend receipt") {
			in.Receipts[i] = drawReceipt(t, s, in, item.Receipt)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "receipts") {
		in.Receipts = append(in.Receipts, drawReceipt(t, s, in, &receipt.Receipt{}))
	}
	in.Totals = rapid.SliceOfN(rapid.Uint64(), 0, maxTotals).Draw(t, "totals")
	in.Challenged = rapid.Bool().Draw(t, "challenged")
}

// bend returns envelopes with some bodies bent, and others made up.
func bend(t *rapid.T, in *service.Input, list []*evidence.Envelope, kinds []evidence.Kind) []*evidence.Envelope {
	list = slices.Clone(list)
	for i, e := range list {
		body := bytes.Clone(e.Body)
		switch rapid.IntRange(0, 3).Draw(t, "bend") {
		case 0:
			continue
		case 1:
			body = body[:rapid.IntRange(0, len(body)).Draw(t, "cut")]
		case 2:
			body = append(body, 0)
		default:
			for range min(len(body), 3) {
				body[rapid.IntRange(0, len(body)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
			}
		}
		list[i] = sign(in, e.Kind, e.Seq, body)
	}
	for range rapid.IntRange(0, 4).Draw(t, "made up") {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		body := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body")
		if len(list) > 0 && rapid.Bool().Draw(t, "body of another kind") {
			body = rapid.SampledFrom(list).Draw(t, "other").Body
		}
		list = append(list, sign(in, kind, uint64(1000+len(list)), body))
	}
	return list
}

// sign makes an envelope. Its author is nobody: signatures and authors are the tally's affair, and have been checked.
func sign(in *service.Input, kind evidence.Kind, seq uint64, body []byte) *evidence.Envelope {
	return evidence.Sign(author, evidence.Payload{
		Chain: in.Chain, Category: in.Params.Category, Kind: kind, Epoch: in.Epoch, Seq: seq, Body: body,
	})
}

func drawReceipt(t *rapid.T, s *service.Spec, in *service.Input, like *receipt.Receipt) *tally.ReceiptItem {
	r := *like
	r.Units = types.U128{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	r.Amount = types.Credit(rapid.Uint64().Draw(t, "amount"))
	if rapid.Bool().Draw(t, "session") {
		r.Session[rapid.IntRange(0, 15).Draw(t, "at")] ^= 1
	}
	return &tally.ReceiptItem{
		Receipt: &r, Class: rapid.SampledFrom(s.Classes).Draw(t, "class").Class, Price: rapid.Uint64().Draw(t, "price"),
		Units: types.U64(rapid.Uint64().Draw(t, "paid")), Opened: rapid.Bool().Draw(t, "opened"),
	}
}

// subjects: a report names its device or is refused, and never panics.
func subjects(t *testing.T, v service.Verifier, draw func(*rapid.T) *service.Input) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		for _, e := range in.Reports {
			if key, err := v.Subject(e); err != nil || key != in.Device.Key {
				t.Fatalf("a report about %s names %s, %v", in.Device.Key, key, err)
			}
		}
		spoil(t, v.Spec, in)
		for _, e := range in.Reports {
			first, err := v.Subject(e)
			if again, err2 := v.Subject(e); again != first || fmt.Sprint(err) != fmt.Sprint(err2) {
				t.Fatalf("one report, two subjects: %s, %v; %s, %v", first, err, again, err2)
			}
		}
	})
}
