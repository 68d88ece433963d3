package tally

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// putOut returns a header over n outputs of two categories, and the outputs.
func putOut(n int) (*Header, *Result) {
	r := &Result{}
	for i := range n {
		r.Outputs = append(r.Outputs, OutputLeaf{Category: thing + types.Category(2*i/max(n, 1)), Data: binary.BigEndian.AppendUint32(nil, uint32(i))})
	}
	tree := OutputTree(r.Outputs)
	return &Header{Chain: testChain, Epoch: 3, Outputs: tree.Root(), OutCount: uint64(n)}, r
}

// TestOutputProof holds each way of bending a true proof of an output against VerifyOutput.
func TestOutputProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, r := putOut(rapid.IntRange(1, 40).Draw(t, "outputs"))
		i := rapid.IntRange(0, len(r.Outputs)-1).Draw(t, "output")
		o, siblings := r.Outputs[i], r.ProveOutput(i)
		verify := func(c types.Category, data []byte, index uint64, siblings []types.Hash) error {
			return h.VerifyOutput(c, data, index, siblings)
		}
		if err := verify(o.Category, o.Data, uint64(i), siblings); err != nil {
			t.Fatal(err)
		}
		if got := OutputTree(r.Outputs).Proof(i).Siblings; !slices.Equal(got, siblings) {
			t.Fatalf("a kept tree proves with %v, want %v", got, siblings)
		}
		at := 0
		if len(siblings) > 0 {
			at = rapid.IntRange(0, len(siblings)-1).Draw(t, "sibling")
		}
		for what, bent := range map[string]func() error{
			"another category": func() error { return verify(o.Category+1, o.Data, uint64(i), siblings) },
			"other data":       func() error { return verify(o.Category, append(slices.Clone(o.Data), 0), uint64(i), siblings) },
			"the detail":       func() error { return verify(o.Category, types.Encode(o.Data), uint64(i), siblings) },
			"the next index":   func() error { return verify(o.Category, o.Data, uint64(i)+1, siblings) },
			"beyond the end":   func() error { return verify(o.Category, o.Data, h.OutCount+uint64(i), siblings) },
			"a sibling more": func() error {
				return verify(o.Category, o.Data, uint64(i), append(slices.Clone(siblings), types.Hash{}))
			},
			"a sibling less": func() error {
				if len(siblings) == 0 {
					return merkle.ErrProof
				}
				return verify(o.Category, o.Data, uint64(i), siblings[1:])
			},
			"a sibling changed": func() error {
				if len(siblings) == 0 {
					return merkle.ErrProof
				}
				bent := slices.Clone(siblings)
				bent[at][31] ^= 1
				return verify(o.Category, o.Data, uint64(i), bent)
			},
			"another count": func() error {
				other := *h
				other.OutCount++
				if err := other.VerifyOutput(o.Category, o.Data, uint64(i), siblings); err != nil {
					return err
				}
				return merkle.ErrProof // the way is as long in both trees: the count alone says nothing then
			},
			"another root": func() error {
				other := *h
				other.Outputs[0] ^= 1
				return other.VerifyOutput(o.Category, o.Data, uint64(i), siblings)
			},
		} {
			if err := bent(); !errors.Is(err, merkle.ErrProof) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	})
}

// FuzzVerifyOutput: no siblings make an output of what is none.
func FuzzVerifyOutput(f *testing.F) {
	h, r := putOut(13)
	for i := range r.Outputs {
		f.Add(uint16(r.Outputs[i].Category), r.Outputs[i].Data, uint64(i), bytes.Join(slicesOf(r.ProveOutput(i)), nil))
	}
	f.Fuzz(func(t *testing.T, c uint16, data []byte, index uint64, raw []byte) {
		var siblings []types.Hash
		for ; len(raw) >= 32; raw = raw[32:] {
			siblings = append(siblings, types.Hash(raw))
		}
		if h.VerifyOutput(types.Category(c), data, index, siblings) != nil {
			return
		}
		if o := r.Outputs[index]; o.Category != types.Category(c) || !bytes.Equal(o.Data, data) {
			t.Fatalf("output %d of category %d passes as %x", index, c, data)
		}
	})
}

func slicesOf(hashes []types.Hash) (out [][]byte) {
	for i := range hashes {
		out = append(out, hashes[i][:])
	}
	return out
}

// TestOutputProofSize: at a million leaves a proof is below 1 KiB.
func TestOutputProofSize(t *testing.T) {
	h, r := putOut(1_000_000)
	tree := OutputTree(r.Outputs)
	for _, i := range []int{0, 654_321, 999_999} {
		siblings := tree.Proof(i).Siblings
		if err := h.VerifyOutput(r.Outputs[i].Category, r.Outputs[i].Data, uint64(i), siblings); err != nil {
			t.Error(err)
		}
		if n := len(types.Encode(siblings)); n > 1024 {
			t.Errorf("leaf %d: a proof of %d bytes", i, n)
		}
	}
}

// TestOrderProof: a page shows the orders on it, whichever way there are many; nothing else shows one.
func TestOrderProof(t *testing.T) {
	w := newWorld(t)
	var keys []SessionKey
	for n := range 40 {
		p := w.payer(n, n, 10_000, 10_000, 100)
		for i := range 3 {
			p.order(session(50, i), types.Credit(100+n), uint64(i+1))
			keys = append(keys, SessionKey{Payer: p.id, ID: session(50, i)})
		}
	}
	w.tally()
	prover := w.state.Prover()
	pages := map[uint64]bool{}
	for i, key := range keys {
		proof, ok := prover.Order(key)
		if !ok {
			t.Fatalf("order %d is not there", i)
		}
		pages[proof.Index] = true
		line, err := proof.Order(w.header, key)
		if err != nil || line.Amount != 0 {
			t.Fatalf("order %d: %+v, %v", i, line, err)
		}
		if o, err := line.Order(); err != nil || o.Payer != key.Payer || o.Session != key.ID {
			t.Fatalf("order %d: %+v, %v", i, o, err)
		}
		if want := w.state.Order(key); !bytes.Equal(types.Encode(want), types.Encode(line)) {
			t.Fatalf("order %d is shown as %+v, is %+v", i, line, want)
		}
		if n := len(types.Encode(proof)); n > MaxRecordProof {
			t.Fatalf("a proof of %d bytes", n)
		}
	}
	if len(pages) < 2 {
		t.Fatalf("%d orders on %d pages", len(keys), len(pages))
	}
	if _, ok := prover.Order(SessionKey{Payer: keys[0].Payer, ID: session(51, 0)}); ok {
		t.Error("an order that is not there is proven")
	}
	proof, _ := prover.Order(keys[0])
	for what, bend := range map[string]func(p *RecordProof, key *SessionKey){
		"a byte of the page":  func(p *RecordProof, _ *SessionKey) { p.Page = bytes.Clone(p.Page); p.Page[len(p.Page)-1] ^= 1 },
		"no page":             func(p *RecordProof, _ *SessionKey) { p.Page = nil },
		"another index":       func(p *RecordProof, _ *SessionKey) { p.Index++ },
		"an index beyond":     func(p *RecordProof, _ *SessionKey) { p.Index = p.Count },
		"no siblings":         func(p *RecordProof, _ *SessionKey) { p.Siblings = nil },
		"the page as a root":  func(p *RecordProof, _ *SessionKey) { p.Index, p.Count, p.Siblings = 0, 1, nil },
		"another session":     func(_ *RecordProof, key *SessionKey) { key.ID = session(51, 0) },
		"a page of sessions":  func(p *RecordProof, _ *SessionKey) { *p = provenPage(prover, deviceTable) },
		"a session elsewhere": func(p *RecordProof, key *SessionKey) { *key = elsewhere(t, prover, keys, p.Index) },
	} {
		p, key := proof, keys[0]
		bend(&p, &key)
		if o, err := p.Order(w.header, key); err == nil {
			t.Errorf("%s: shows %+v", what, o)
		}
	}
}

// provenPage is a true proof of the first page of a table.
func provenPage(p *Prover, id tableID) RecordProof {
	at := 0
	for k := range id {
		at += len(p.state.tables[k])
	}
	if len(p.state.tables[id]) == 0 {
		at = 0
		id = metaTable
	}
	proof := p.tree.Proof(at)
	return RecordProof{Page: p.state.tables[id][0].raw, Index: proof.Index, Count: proof.Count, Siblings: proof.Siblings}
}

// elsewhere is a session whose order is on another page.
func elsewhere(t *testing.T, p *Prover, keys []SessionKey, index uint64) SessionKey {
	for _, key := range keys {
		if proof, _ := p.Order(key); proof.Index != index {
			return key
		}
	}
	t.Fatal("all orders are on one page")
	return SessionKey{}
}
