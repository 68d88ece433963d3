package tally

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

var update = flag.Bool("update", false, "write testdata")

// golden is two epochs of a small region, in bytes: what another implementation must produce.
type golden struct {
	Registry string // changes of the first epoch
	Frame    string
	Batch    string
	State    string // hash
	Pages    []string
	Header   string
	Hash     string // of the header
	Leaf     string // of the device below
	Rest     string // the part of its line that the leaf holds by hash
	Proof    string
	Outputs  []goldenOutput
	Order    string // RecordProof of the order below
}

// goldenOutput is a leaf of the outputs tree with its proof.
type goldenOutput struct {
	Category types.Category
	Data     string
	Detail   string // not in the tree
	Siblings []string
}

// goldenEpochs are the epochs of testdata/golden.json: receipts, work, a report, an order, a refusal; then a fold.
func goldenEpochs(t testing.TB) []golden {
	w := newWorld(t)
	d, e := w.device(1), w.device(2)
	p := w.payer(1, 1, 10_000, 5_000, 100)
	witness := &device{w: w, key: key("verifier", 1)}
	w.changes = append(w.changes, Change{Attester: &Attester{Key: witness.key.Public(), Power: 5}})
	var out []golden
	for epoch := range 2 {
		d.say(thing, kindWork, workBody{Class: 1, Units: types.U64(300), Quality: 9000})
		e.say(thing, kindNote, 1)
		witness.say(thing, kindReport, reportBody{Device: e.id, Proof: true})
		p.pay(d, d.ask(thing, 500), session(50, epoch), 2000, 1000, 1)
		p.pay(e, e.ask(thing, 500), session(50, 9), 10, 1000, 1)
		p.order(session(50, 20), 400, uint64(epoch+1))
		lone := receipt.Ask{Chain: testChain, Device: e.id, Category: thing, Class: 1, Price: 700, Terms: types.Encode(epoch + 1), Until: 1 << 20}
		w.add(Ask, lone.Sign(e.key).Encode())
		e.say(thing, kindWork, workBody{Class: 2, Units: types.U64(5), Quality: 100})
		if epoch > 0 {
			w.params = []Params{{Category: thing, Quota: 1 << 40, Bond: 1000, Penalty: 300, Threshold: 2_000_000, Hex: 9, Rules: []byte{3}}}
		}
		frame, batch, changes := w.frame(), NewBatch(testChain, w.items), w.changes
		w.tally()
		tree, err := w.state.Tree()
		if err != nil {
			t.Fatal(err)
		}
		leaf, proof, ok := tree.Proof(d.id)
		if _, err := proof.Verify(w.header.Devices, w.header.Count, leaf.Node()); err != nil || !ok {
			t.Fatalf("proof: %v", err)
		}
		g := golden{
			Registry: hex.EncodeToString(EncodeChanges(changes)), Frame: hex.EncodeToString(frame.Encode()),
			Batch: hex.EncodeToString(batch.Encode()), State: w.state.Hash().String(),
			Header: hex.EncodeToString(w.header.Encode()), Hash: w.header.Hash().String(),
			Leaf: hex.EncodeToString(types.Encode(leaf)), Rest: hex.EncodeToString(w.state.Line(d.id).Rest()),
			Proof: hex.EncodeToString(types.Encode(proof)),
		}
		for p := range w.state.Pages() {
			g.Pages = append(g.Pages, hex.EncodeToString(p.Raw))
		}
		for i, o := range w.result.Outputs {
			siblings := w.result.ProveOutput(i)
			if err := w.header.VerifyOutput(o.Category, o.Data, uint64(i), siblings); err != nil {
				t.Fatal(err)
			}
			leaf := goldenOutput{Category: o.Category, Data: hex.EncodeToString(o.Data), Detail: hex.EncodeToString(o.Detail)}
			for _, s := range siblings {
				leaf.Siblings = append(leaf.Siblings, s.String())
			}
			g.Outputs = append(g.Outputs, leaf)
		}
		record, ok := w.state.Prover().Order(SessionKey{Payer: p.id, ID: session(50, 20)})
		if !ok {
			t.Fatal("no order to prove")
		}
		g.Order = hex.EncodeToString(types.Encode(record))
		out = append(out, g)
		w.settle(80, 2, 1000)
	}
	return out
}

func TestGolden(t *testing.T) {
	got := goldenEpochs(t)
	if *update {
		raw, _ := json.MarshalIndent(got, "", "  ")
		if err := os.WriteFile("testdata/golden.json", append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []golden
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

// TestRecompute recomputes a golden header from the stored inputs alone, as `cairn tally verify` does, and sees
// every input matter.
func TestRecompute(t *testing.T) {
	g := goldenEpochs(t)
	unhex := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
	var pages [][]byte
	for _, p := range g[0].Pages {
		pages = append(pages, unhex(p))
	}
	hash, _ := types.ParseHash(g[0].State)
	recompute := func(pages [][]byte, frame, batch []byte) (string, error) {
		prev, err := DecodeState(hash, pages)
		if err != nil {
			return "", err
		}
		f, err := DecodeFrame(frame)
		if err != nil {
			return "", err
		}
		b, err := DecodeBatch(batch)
		if err != nil {
			return "", err
		}
		_, header, _, err := parallel(3).Apply(testRules(t), prev, f, b, nil, CheckSignatures(b, testChain))
		if err != nil {
			return "", err
		}
		return header.Hash().String(), nil
	}
	frame, batch := unhex(g[1].Frame), unhex(g[1].Batch)
	if got, err := recompute(pages, frame, batch); err != nil || got != g[1].Hash {
		t.Fatalf("recomputed %s, %v, want %s", got, err, g[1].Hash)
	}
	for i := 0; i < len(batch); i += 7 {
		flipped := bytes.Clone(batch)
		flipped[i] ^= 0x10
		if got, _ := recompute(pages, frame, flipped); got == g[1].Hash {
			t.Fatalf("byte %d of the batch does not matter", i)
		}
	}
	for i := 0; i < len(frame); i += 7 {
		flipped := bytes.Clone(frame)
		flipped[i] ^= 0x10
		if got, _ := recompute(pages, flipped, batch); got == g[1].Hash {
			t.Fatalf("byte %d of the frame does not matter", i)
		}
	}
	for k := range pages {
		for i := range pages[k] {
			flipped := append([][]byte(nil), pages...)
			flipped[k] = bytes.Clone(pages[k])
			flipped[k][i] ^= 0x10
			if _, err := recompute(flipped, frame, batch); err == nil {
				t.Fatalf("byte %d of page %d does not matter", i, k)
			}
		}
	}
}

// TestInputs: inputs that do not belong together are an error.
func TestInputs(t *testing.T) {
	w := newWorld(t)
	d := w.device(1)
	d.say(thing, kindNote, 1)
	d.say(thing, kindNote, 2)
	frame, batch, changes := w.frame(), NewBatch(testChain, w.items), w.changes
	old := w.state
	w.tally()
	for name, spoil := range map[string]func(f *Frame, b *Batch, s **State, c *[]Change, signed *[]bool){
		"chain":         func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Chain = "x" },
		"region":        func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Region = 1 },
		"epoch before":  func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.PreviousEpoch = 1 },
		"header before": func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Previous = types.Hash{1} },
		"epoch again":   func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Epoch = 0 },
		"early fold":    func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Fold = &Settlement{} },
		"blocks":        func(f *Frame, _ *Batch, _ **State, _ *[]Change, _ *[]bool) { f.Blocks[1].Height = 0 },
		"state":         func(_ *Frame, _ *Batch, s **State, _ *[]Change, _ *[]bool) { *s = w.state },
		"order": func(_ *Frame, b *Batch, _ **State, _ *[]Change, _ *[]bool) {
			b.Items[0], b.Items[1] = b.Items[1], b.Items[0]
		},
		"repeated": func(_ *Frame, b *Batch, _ **State, _ *[]Change, _ *[]bool) { b.Items[1] = b.Items[0] },
		"verdicts": func(_ *Frame, _ *Batch, _ **State, _ *[]Change, v *[]bool) { *v = (*v)[1:] },
		"removal": func(_ *Frame, _ *Batch, _ **State, c *[]Change, _ *[]bool) {
			*c = append(*c, Change{Remove: key("x", 1).Public()})
		},
		"empty change": func(_ *Frame, _ *Batch, _ **State, c *[]Change, _ *[]bool) { *c = append(*c, Change{}) },
		"return": func(_ *Frame, _ *Batch, _ **State, c *[]Change, _ *[]bool) {
			*c = append(*c, Change{Remove: d.id}, (*c)[0])
		},
		"falling credit": func(_ *Frame, _ *Batch, _ **State, c *[]Change, _ *[]bool) { *c = append(*c, holder(5), holder(4)) },
	} {
		t.Run(name, func(t *testing.T) {
			f, b, s, c := *frame, *batch, old, append([]Change(nil), changes...)
			f.Blocks = append([]BlockHash(nil), f.Blocks...)
			b.Items = append([]Item(nil), b.Items...)
			signed := CheckSignatures(&b, testChain)
			for _, p := range []Pool{{}, parallel(2)} {
				if _, _, _, err := p.Apply(w.rules, s, &f, &b, c, signed); err != nil {
					t.Fatal(err)
				}
			}
			spoil(&f, &b, &s, &c, &signed)
			for _, p := range []Pool{{}, parallel(2)} {
				if _, _, _, err := p.Apply(w.rules, s, &f, &b, c, signed); !errors.Is(err, ErrInput) {
					t.Fatalf("%v", err)
				}
			}
		})
	}
}

func holder(bought types.Credit) Change {
	return Change{Holder: &Holder{Account: account(1), Bought: bought}}
}

// TestInRound: another round's header needs no other tally.
func TestInRound(t *testing.T) {
	w := newWorld(t)
	w.device(1).say(thing, kindNote, 1)
	f, batch, changes := w.frame(), NewBatch(testChain, w.items), w.changes
	old := w.state
	w.tally()
	f.Round, f.Leader, f.VRF = 2, key("verifier", 2).Public(), bytes.Repeat([]byte{1}, 80)
	_, want, _, err := Apply(w.rules, old, f, batch, changes, CheckSignatures(batch, testChain))
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.header.InRound(f)
	if err != nil || got.Hash() != want.Hash() {
		t.Fatalf("header %+v, %v, want %+v", got, err, want)
	}
	f.Seed[0] ^= 1
	if _, err := w.header.InRound(f); !errors.Is(err, ErrInput) {
		t.Fatalf("%v", err)
	}
}
