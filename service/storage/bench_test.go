package storage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// tebibyte is a session of 2²⁰ shards of MaxShard. All but slot 5 are made up: only their hashes matter.
func tebibyte(t testing.TB) (Session, Proof, Draw) {
	const slot, chunk = 5, 700
	data := pattern(MaxShard)
	real := Shard{ID: ShardID(data), Bytes: MaxShard}
	leaves := make([]merkle.Node, 1<<20)
	for i := range leaves {
		leaves[i] = Shard{ID: types.Hash{byte(i), byte(i >> 8), byte(i >> 16), 1}, Bytes: MaxShard}.node()
	}
	leaves[slot] = real.node()
	path, err := merkle.SumProve(leaves, slot)
	if err != nil {
		t.Fatal(err)
	}
	root, _ := merkle.SumRoot(leaves)
	siblings, err := ProveChunk(data, chunk)
	if err != nil {
		t.Fatal(err)
	}
	s := Session{ID: types.NewSessionID(1<<20, [12]byte{1}), Revision: 1 << 20, Root: root.Hash, Bytes: root.Sum, Shards: 1 << 20, Until: 1 << 20}
	p := Proof{
		Session: s.ID, Revision: s.Revision, Slot: slot, Shard: real, Path: NewSumPath(path), Chunk: chunkOf(data, chunk), Siblings: NewChunkPath(siblings),
	}
	return s, p, Draw{Position: slot*MaxShard + chunk*ChunkSize + 17}
}

// TestProofSize: 2.3 KB for a TiB, and a full answer of the deepest trees there are fits one envelope.
func TestProofSize(t *testing.T) {
	s, p, d := tebibyte(t)
	d.Session = &s
	j := &judge{state: &State{Sessions: []Session{s}}}
	if reason := j.proof(&p, d); reason != "" {
		t.Fatal(reason)
	}
	if n := len(types.Encode(p)); n > 2300 {
		t.Errorf("a proof of 1 TiB has %d bytes", n)
	} else {
		t.Logf("a proof of 1 TiB has %d bytes", n)
	}
	deep := Proof{
		Session: s.ID, Revision: 1<<64 - 1, Slot: 1<<64 - 1, Shard: Shard{Bytes: 1<<64 - 1}, Path: make(SumPath, maxDepth*sumStep),
		Chunk: make([]byte, ChunkSize), Siblings: make(ChunkPath, maxChunkDepth*chunkStep),
	}
	body := Answer(slices.Repeat([]Proof{deep}, MaxDraws)).Encode()
	if len(body) > evidence.MaxBody {
		t.Errorf("%d proofs of the deepest trees have %d bytes, a body holds %d", MaxDraws, len(body), evidence.MaxBody)
	}
	if _, err := DecodeAnswer(body); err != nil {
		t.Error(err)
	}
}

// BenchmarkProof checks one proof of 1 TiB: sum path, chunk and chunk path. Limit: 50 µs.
func BenchmarkProof(b *testing.B) {
	s, p, d := tebibyte(b)
	d.Session = &s
	j := &judge{state: &State{Sessions: []Session{s}}}
	for b.Loop() {
		if reason := j.proof(&p, d); reason != "" {
			b.Fatal(reason)
		}
	}
	b.ReportMetric(float64(len(types.Encode(p))), "bytes/proof")
}

// BenchmarkVerify judges a device's epoch: answer of 20 proofs and a receipt for each of some sessions.
func BenchmarkVerify(b *testing.B) {
	for _, sessions := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			w := newWorld(b)
			d, c := w.device("device"), w.customer("customer")
			var deals []*deal
			for i := range sessions {
				x := c.deal(d, fmt.Sprint(i))
				x.put(4, 5000)
				deals = append(deals, x)
			}
			w.run(d)
			for _, x := range deals {
				x.pay(u(17500))
			}
			d.submit(KindAnswer, d.prove().Encode())
			benchVerify(b, d.input())
		})
	}
}

// BenchmarkIdle judges a device that neither answers nor is paid: what a million of them cost beyond signatures.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	d := w.device("device")
	w.customer("customer").deal(d, "s").put(4, 5000)
	w.run(d)
	benchVerify(b, d.input())
}

// BenchmarkReceipt is a device with one receipt in an epoch without challenge.
func BenchmarkReceipt(b *testing.B) {
	w := newWorld(b)
	d := w.device("device")
	x := w.customer("customer").deal(d, "s")
	x.put(4, 5000)
	w.run(d)
	x.pay(u(17500))
	in := d.input()
	in.Challenged = false
	benchVerify(b, in)
}

func benchVerify(b *testing.B, in *tally.Input) {
	v := New()
	b.ReportAllocs()
	for b.Loop() {
		out := v.Verify(in)
		for _, reason := range out.Receipts {
			if reason != "" {
				b.Fatal(reason)
			}
		}
	}
}

// BenchmarkLadder signs a full ladder, and checks one.
func BenchmarkLadder(b *testing.B) {
	b.Run("sign", func(b *testing.B) {
		payer := key("customer")
		for b.Loop() {
			_, err := NewLadder(receipt.Receipt{Chain: testChain, Payer: payer.Public()}, 1<<20, testPrice,
				func(kind string, payload []byte) types.Signature { return payer.Sign(kind, testChain, payload) })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		l := ladder(b, 0, 1<<20)
		for b.Loop() {
			if !l.Verify() {
				b.Fatal("refused")
			}
		}
	})
}

// BenchmarkCommit appends one shard to a session of a million, and takes it back.
func BenchmarkCommit(b *testing.B) {
	list := make([]Shard, 1<<20)
	for i := range list {
		list[i] = Shard{ID: types.Hash{byte(i), byte(i >> 8), byte(i >> 16), 1}, Bytes: MaxShard}
	}
	s, err := NewShards(1, list)
	if err != nil {
		b.Fatal(err)
	}
	next := Shard{ID: types.Hash{31: 1}, Bytes: 1024}
	for b.Loop() {
		if err := s.Commit(2, []Op{s.Append(0, next)}); err != nil {
			b.Fatal(err)
		}
		if err := s.Undo(); err != nil {
			b.Fatal(err)
		}
	}
}
