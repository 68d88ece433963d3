// Package mac has the rounds that devices compute in live checks: exact products of matrices for accelerators,
// and a walk through memory for processors.
//
// # Products
//
// A and B are n×n matrices of int8. Their rows are bytes of a stream that the round's seed keys (Row), so that
// they have no structure which a shortcut could use, and so that a verifier can make any one row without the
// others. C = A·B is exact, in int32. A device commits to C by the Merkle root over its rows (Tree), and shows
// rows that it is asked for. Checker looks whether a shown row is right in time linear in n, with a secret
// vector r: C·r = A·(B·r) modulo 2⁶¹−1. Recompute does without a secret what any two programs must agree on.
//
// # Walks
//
// Mix is the round of processors: each step waits for the one before, for memory, and for a branch that cannot
// be foreseen.
//
// Everything is a function of its arguments. SPEC.md of the category has the definitions, testdata/golden.json
// values to hold another implementation against.
package mac

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/types"
)

// Orders of matrices: powers of two.
const (
	MinOrder = 512
	MaxOrder = 8192
)

// Valid reports whether n is an order that rounds have.
func Valid(n int) bool { return n >= MinOrder && n <= MaxOrder && n&(n-1) == 0 }

// Matrix names one of the two factors.
type Matrix byte

// The factors.
const (
	A Matrix = 'A'
	B Matrix = 'B'
)

// Row fills dst with row i of a factor: the first bytes of ChaCha8 (C2SP chacha8rand) under the key
// SHA-256("cairn/mac" ‖ seed ‖ matrix ‖ u32 i), as two's complement.
func Row(dst []int8, seed types.Hash, m Matrix, i int) {
	var k rowKey
	k.init(seed, m)
	k.row(dst, i)
}

// RowKey returns the key of a row's stream, for whoever makes rows elsewhere.
func RowKey(seed types.Hash, m Matrix, i int) types.Hash {
	var k rowKey
	k.init(seed, m)
	return k.of(i)
}

// rowKey makes the rows of one factor.
type rowKey struct {
	preimage [len("cairn/mac") + 32 + 1 + 4]byte
	stream   rand.ChaCha8
	buf      [2048]byte
}

func (k *rowKey) init(seed types.Hash, m Matrix) {
	n := copy(k.preimage[:], "cairn/mac")
	n += copy(k.preimage[n:], seed[:])
	k.preimage[n] = byte(m)
}

// of returns the key of row i.
func (k *rowKey) of(i int) types.Hash {
	binary.BigEndian.PutUint32(k.preimage[len(k.preimage)-4:], uint32(i))
	return types.Sum(k.preimage[:])
}

func (k *rowKey) row(dst []int8, i int) {
	k.stream.Seed(k.of(i))
	for len(dst) > 0 {
		b := k.buf[:min(len(dst), len(k.buf))]
		k.stream.Read(b) // cannot fail
		for j, x := range b {
			dst[j] = int8(x)
		}
		dst = dst[len(b):]
	}
}

// Fill returns a whole factor of order n, row after row.
func Fill(seed types.Hash, m Matrix, n int) []int8 {
	all := make([]int8, n*n)
	var k rowKey
	k.init(seed, m)
	for i := range n {
		k.row(all[i*n:][:n], i)
	}
	return all
}

// Product is C = A·B of one seed.
type Product struct {
	N int
	C []int32 // row after row
}

// Compute does a round: it makes both factors of a seed and multiplies them.
func Compute(seed types.Hash, n int) *Product {
	p := &Product{N: n, C: make([]int32, n*n)}
	Multiply(p.C, Fill(seed, A, n), Fill(seed, B, n), n)
	return p
}

// Row returns row i as it is shown: n int32, little endian.
func (p *Product) Row(i int) []byte { return EncodeRow(p.C[i*p.N:][:p.N]) }

// EncodeRow returns a row as it is shown: int32, little endian.
func EncodeRow(row []int32) []byte {
	b := make([]byte, 4*len(row))
	for j, x := range row {
		binary.LittleEndian.PutUint32(b[4*j:], uint32(x))
	}
	return b
}

// Leaves returns SHA-256 of each row.
func (p *Product) Leaves() []types.Hash {
	leaves := make([]types.Hash, p.N)
	b := make([]byte, 4*p.N)
	for i := range leaves {
		for j, x := range p.C[i*p.N:][:p.N] {
			binary.LittleEndian.PutUint32(b[4*j:], uint32(x))
		}
		leaves[i] = types.Sum(b)
	}
	return leaves
}

// Tree returns the plain tree (core/merkle) over SHA-256 of each row. Its root is what a step commits to.
func (p *Product) Tree() *merkle.Tree { return merkle.NewTree(p.Leaves()) }

// Shown reports whether a row, as it is shown, is the one that a root commits to.
func Shown(root types.Hash, n int, row []byte, path merkle.Proof) bool {
	return len(row) == 4*n && path.Verify(root, uint64(n), types.Sum(row)) == nil
}

// Recompute reports whether a row, as it is shown, is row i of A·B: exactly, in n² multiplications. Verify
// takes it as proof.
func Recompute(seed types.Hash, n, i int, row []byte) bool {
	if !Valid(n) || i < 0 || i >= n || len(row) != 4*n {
		return false
	}
	return bytes.Equal(row, ProductRow(seed, n, i))
}

// ProductRow returns row i of A·B as it is shown, in n² multiplications.
func ProductRow(seed types.Hash, n, i int) []byte {
	a, b, c := make([]int8, n), make([]int8, n), make([]int32, n)
	Row(a, seed, A, i)
	var k rowKey
	k.init(seed, B)
	for j, x := range a {
		k.row(b, j)
		for l, y := range b {
			c[l] += int32(x) * int32(y)
		}
	}
	return EncodeRow(c)
}
