package mac

// Multiply sets c to a·b, exactly, for matrices of order n, row after row. n is a multiple of 8 and at most MaxOrder.
//
// Two columns of b share a word: b₀ + b₁·2³². A product with an int8 keeps them apart, and so do sums of at
// most 2¹³ products, since each half stays between −2²⁷ and 2²⁷; one multiplication does the work of two.
func Multiply(c []int32, a, b []int8, n int) {
	panel := make([]int64, 4*n) // eight columns of b, k after k: it stays in the processor's cache while all rows pass
	for j := 0; j < n; j += 8 {
		for k := range n {
			b8 := b[k*n+j:][:8]
			p := panel[4*k:][:4]
			p[0] = int64(b8[0]) + int64(b8[1])<<32
			p[1] = int64(b8[2]) + int64(b8[3])<<32
			p[2] = int64(b8[4]) + int64(b8[5])<<32
			p[3] = int64(b8[6]) + int64(b8[7])<<32
		}
		for i := 0; i < n; i += 2 {
			twoRows(c[i*n+j:], c[(i+1)*n+j:], a[i*n:][:n], a[(i+1)*n:][:n], panel)
		}
	}
}

// twoRows computes two rows of a panel of eight columns.
func twoRows(c0, c1 []int32, a0, a1 []int8, panel []int64) {
	var s00, s01, s02, s03, s10, s11, s12, s13 int64
	a1 = a1[:len(a0)]
	for k, x := range a0 {
		x0, x1 := int64(x), int64(a1[k])
		p := (*[4]int64)(panel[:4])
		panel = panel[4:]
		b := p[0]
		s00 += x0 * b
		s10 += x1 * b
		b = p[1]
		s01 += x0 * b
		s11 += x1 * b
		b = p[2]
		s02 += x0 * b
		s12 += x1 * b
		b = p[3]
		s03 += x0 * b
		s13 += x1 * b
	}
	split((*[8]int32)(c0), s00, s01, s02, s03)
	split((*[8]int32)(c1), s10, s11, s12, s13)
}

// split takes the halves of four words apart.
func split(c *[8]int32, s0, s1, s2, s3 int64) {
	c[0], c[1] = halves(s0)
	c[2], c[3] = halves(s1)
	c[4], c[5] = halves(s2)
	c[6], c[7] = halves(s3)
}

func halves(s int64) (low, high int32) {
	low = int32(s)
	return low, int32((s - int64(low)) >> 32)
}
