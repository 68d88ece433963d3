package storage

import (
	"bytes"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestHoldingForm: bounds that hold for any holding, whoever signed it.
func TestHoldingForm(t *testing.T) {
	w := newWorld(t)
	x := w.customer("c").deal(w.device("d"), "s")
	x.put(1, 100)
	for name, c := range map[string]struct {
		reason types.Reason
		bend   func(*Holding)
	}{
		"as it should be":      {"", func(*Holding) {}},
		"no shards":            {"", func(h *Holding) { h.Shards, h.Bytes, h.Root = 0, 0, emptyRoot.Hash }},
		"lost shards":          {"", func(h *Holding) { h.Bytes = 0 }},
		"revision 0":           {HoldingStale, func(h *Holding) { h.Revision = 0 }},
		"too many bytes":       {HoldingTerms, func(h *Holding) { h.Bytes = MaxBytes + 1 }},
		"too many shards":      {HoldingTerms, func(h *Holding) { h.Shards = MaxShards + 1 }},
		"bytes without shards": {HoldingTerms, func(h *Holding) { h.Shards, h.Root = 0, emptyRoot.Hash }},
		"a root of none":       {HoldingTerms, func(h *Holding) { h.Shards, h.Bytes = 0, 0 }},
		"until too late":       {HoldingTerms, func(h *Holding) { h.Until = h.Session.Expiry() + 1 }},
		"price":                {UnitsOverflow, func(h *Holding) { h.Price = MaxPrice }},
	} {
		y := *x
		c.bend(&y.holding)
		if _, err := DecodeHolding(y.sign().Encode()); types.ReasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// TestBodyForm: what no proof can be, whatever was drawn.
func TestBodyForm(t *testing.T) {
	_, d, x := fuzzStage(t)
	for name, bend := range map[string]func(*Proof){
		"too long": func(p *Proof) { p.Path = make(SumPath, (maxDepth+1)*sumStep) },
		"too deep": func(p *Proof) { p.Siblings = make(ChunkPath, (maxChunkDepth+1)*chunkStep) },
		"no step":  func(p *Proof) { p.Path = p.Path[:sumStep-1] },
		"half":     func(p *Proof) { p.Siblings = make(ChunkPath, chunkStep+1) },
		"chunk +1": func(p *Proof) { p.Chunk = make([]byte, ChunkSize+1) },
	} {
		answer := d.prove()
		bend(&answer[0])
		if _, err := DecodeAnswer(answer.Encode()); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, l := range map[string]Loss{
		"no slots":       {Session: x.holding.Session},
		"too many slots": {Session: x.holding.Session, Slots: make([]Lost, MaxLost+1)},
		"half a step":    {Session: x.holding.Session, Slots: []Lost{{Path: make(SumPath, sumStep+1)}}},
	} {
		if _, err := DecodeLoss(l.Encode()); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("loss: %s: %v", name, err)
		}
	}
	for name, a := range map[string]Answer{"no proofs": {}, "too many proofs": make(Answer, MaxDraws+1)} {
		if _, err := DecodeAnswer(a.Encode()); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("answer: %s: %v", name, err)
		}
	}
	for name, terms := range map[string]Terms{"no address": {}, "long": {Address: string(make([]byte, MaxAddress+1))}} {
		if _, err := DecodeTerms(terms.Encode()); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("terms: %s: %v", name, err)
		}
	}
}

// TestStateForm: a line has one encoding, and what Verify never writes is refused.
func TestStateForm(t *testing.T) {
	_, d, _ := fuzzStage(t)
	line := d.line
	two := d.state()
	two.Sessions = append(two.Sessions, two.Sessions[0])
	two.Sessions[1].ID[15]++
	for name, bent := range map[string][]byte{
		"one byte":            {1},
		"of another version":  append([]byte{2}, line[1:]...),
		"short":               line[:len(line)-1],
		"long":                append(bytes.Clone(line), 0),
		"flag":                append(bytes.Clone(line[:len(line)-1]), 2),
		"ended with bytes":    append(bytes.Clone(line[:len(line)-1]), 1),
		"same session twice":  append(bytes.Clone(line), line[headSize:]...),
		"quality":             append([]byte{1, 0, 0x0f, 0x42, 0x41}, line[5:]...),
		"a first line":        append([]byte{1, 0, 0x07, 0xa1, 0x20}, make([]byte, 12)...),
		"mark above passes":   append(append(bytes.Clone(line[:9]), make([]byte, 8)...), (&State{Sessions: []Session{{Mark: 1}}}).Encode()[headSize:]...),
		"sessions unordered":  append(append(bytes.Clone(line[:headSize]), two.Encode()[headSize+recordSize:]...), line[headSize:]...),
		"more than the bound": append(bytes.Clone(line), make([]byte, MaxSessions*recordSize)...),
	} {
		if s, err := DecodeState(bent); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if s, err := DecodeState([]byte{}); err != nil || s.Encode() != nil {
		t.Errorf("an empty line: %+v, %v", s, err)
	}
	if s, err := DecodeState(nil); err != nil || s.Encode() != nil || s.Quality != FirstQuality {
		t.Errorf("no line: %+v, %v", s, err)
	}
	s, err := DecodeState(two.Encode())
	if err != nil || !bytes.Equal(s.Encode(), two.Encode()) {
		t.Errorf("two sessions: %v", err)
	}
}

// TestHeld: the device's own signature under what it holds.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	d := w.device("d")
	x := w.customer("c").deal(d, "s")
	x.put(1, 100)
	sig := d.key.Sign(DomainHeld, testChain, x.holding.Payload())
	if !x.holding.VerifyHeld(testChain, sig) {
		t.Error("refused")
	}
	if x.holding.VerifyHeld("other", sig) || x.holding.VerifyHeld(testChain, x.sign().Signature) {
		t.Error("another chain's or the payer's signature passes")
	}
	later := x.holding
	later.Revision++
	if later.VerifyHeld(testChain, sig) {
		t.Error("another revision passes")
	}
}
