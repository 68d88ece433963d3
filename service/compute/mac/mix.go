package mac

import (
	"encoding/binary"
	"math/bits"

	"github.com/cairn-network/cairn/core/types"
)

// Mixer computes a round of processors: what Mix returns for a seed. Devices run a guest of profile wasm/1 in
// its place, so that all of them are measured in the same program.
type Mixer func(seed types.Hash) (types.Hash, error)

// Figures of Mix.
const (
	mixWords = 1 << 18 // of the pad: 2 MiB
	mixSteps = 1 << 20

	mixFill = 0xd1342543de82ef95
	mixWalk = 0xaf251af3b0f025b5
	mixFold = 0x9e3779b97f4a7c15
)

// Mix is the round of processors. It fills 2 MiB from the seed, walks through them for 2²⁰ steps, and folds
// them into 32 bytes. Arithmetic is of 64 bits without a sign, and wraps; rotl rotates to the left; the seed
// and what comes out are four words a, b, c, d, little endian:
//
//	for i from 0 to 2¹⁸−1:  a = (a ^ a>>32)·0xd1342543de82ef95 + b;  b = rotl(b, 23) ^ a;  pad[i] = a + b
//	for 2²⁰ steps:          j = a>>46;  w = pad[j]
//	                        (b ^ w)>>62 = 0:  a = (a ^ w)·(b | 1)
//	                                      1:  a = (a + rotl(w, 19))·(c | 1);  c = c ^ rotl(a, 37)
//	                                      2:  a = (a − w)·(d | 1);  d = d + rotl(a, 29)
//	                                      3:  a = (rotl(a, 41) ^ w)·0xaf251af3b0f025b5;  c = c + d
//	                        b = rotl(b, 9) + a;  pad[j] = a ^ rotl(w, 7)
//	for i from 0 to 2¹⁸−1:  a = (a ^ pad[i])·0x9e3779b97f4a7c15;  b = rotl(b, 5) + a;  c = c ^ rotl(b, 27);  d = d + c
//
// Where it reads next depends on a, and so on the product before; which way it goes depends on what it read.
func Mix(seed types.Hash) types.Hash {
	var w [4]uint64
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	a, b, c, d := w[0], w[1], w[2], w[3]
	pad := make([]uint64, mixWords)
	for i := range pad {
		a = (a^a>>32)*mixFill + b
		b = bits.RotateLeft64(b, 23) ^ a
		pad[i] = a + b
	}
	for range mixSteps {
		j := a >> 46
		w := pad[j]
		switch (b ^ w) >> 62 {
		case 0:
			a = (a ^ w) * (b | 1)
		case 1:
			a = (a + bits.RotateLeft64(w, 19)) * (c | 1)
			c ^= bits.RotateLeft64(a, 37)
		case 2:
			a = (a - w) * (d | 1)
			d += bits.RotateLeft64(a, 29)
		case 3:
			a = (bits.RotateLeft64(a, 41) ^ w) * mixWalk
			c += d
		}
		b = bits.RotateLeft64(b, 9) + a
		pad[j] = a ^ bits.RotateLeft64(w, 7)
	}
	for _, p := range pad {
		a = (a ^ p) * mixFold
		b = bits.RotateLeft64(b, 5) + a
		c ^= bits.RotateLeft64(b, 27)
		d += c
	}
	var out types.Hash
	for i, x := range [4]uint64{a, b, c, d} {
		binary.LittleEndian.PutUint64(out[8*i:], x)
	}
	return out
}
