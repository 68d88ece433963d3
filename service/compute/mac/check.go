package mac

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/cairn-network/cairn/core/types"
)

// prime is 2⁶¹−1: products of two numbers below it are reduced with a shift.
const prime = 1<<61 - 1

// Checker looks whether rows of the product of one seed are right (Freivalds 1977): C·r = A·(B·r) modulo 2⁶¹−1,
// for a vector r that nobody but the verifier knows. A wrong row passes with a chance of 2⁻⁶¹. It is not safe
// for concurrent use.
type Checker struct {
	n    int
	seed types.Hash
	r    []uint64 // secret
	v    []uint64 // B·r
	row  []int8
	key  rowKey
}

// NewChecker makes a checker for a seed and an order. The secret is made anew for each check, of randomness
// that nobody else has, and never shown.
func NewChecker(seed types.Hash, n int, secret [32]byte) *Checker {
	c := &Checker{n: n, seed: seed, r: make([]uint64, n), v: make([]uint64, n), row: make([]int8, n)}
	stream := rand.NewChaCha8(secret)
	low, high := make([]int64, n), make([]int64, n) // the halves of r: sums of their products with int8 need no reduction
	for i := range c.r {
		x := uint64(prime)
		for x >= prime {
			x = stream.Uint64() >> 3
		}
		c.r[i], low[i], high[i] = x, int64(x&(1<<31-1)), int64(x>>31)
	}
	var k rowKey
	k.init(seed, B)
	for i := range c.v {
		k.row(c.row, i)
		c.v[i] = dot(c.row, low, high)
	}
	c.key.init(seed, A)
	return c
}

// dot returns Σ b·(low + high·2³¹) modulo the prime. Each half's sum stays below 2⁷·2³¹·2¹³.
func dot(b []int8, low, high []int64) uint64 {
	var l0, l1, h0, h1 int64
	low, high = low[:len(b)], high[:len(b)]
	for j := 0; j+1 < len(b); j += 2 {
		x, y := int64(b[j]), int64(b[j+1])
		l0 += x * low[j]
		h0 += x * high[j]
		l1 += y * low[j+1]
		h1 += y * high[j+1]
	}
	return add(signed(l0+l1), mul(signed(h0+h1), 1<<31))
}

// Row reports whether a row, as it is shown, is row i of the product.
func (c *Checker) Row(i int, row []byte) bool {
	if i < 0 || i >= c.n || len(row) != 4*c.n {
		return false
	}
	c.key.row(c.row, i)
	var left, right uint64
	for j, r := range c.r {
		left = add(left, mul(signed(int64(int32(binary.LittleEndian.Uint32(row[4*j:])))), r))
		right = add(right, mul(signed(int64(c.row[j])), c.v[j]))
	}
	return left == right
}

// signed returns x modulo the prime.
func signed(x int64) uint64 {
	x %= prime
	return uint64(x + x>>63&prime)
}

// add returns (x + y) modulo the prime, of x and y below it.
func add(x, y uint64) uint64 {
	s := x + y
	if s >= prime {
		s -= prime
	}
	return s
}

// mul returns x·y modulo the prime, of x and y below it.
func mul(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y) // below 2¹²²
	return add(lo&prime, hi<<3|lo>>61)
}
