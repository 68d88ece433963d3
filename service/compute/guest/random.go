package guest

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// random is what random_get gives, the same in every run: SHA-256 of "cairn/wasm/1" and a counter from 0 (u64,
// little-endian), one behind the other. Calls go on where the last one ended.
type random struct {
	n    uint64
	left []byte
}

func newRandom() io.Reader { return &random{} }

func (r *random) Read(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if len(r.left) == 0 {
			sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("cairn/wasm/1"), r.n))
			r.n++
			r.left = sum[:]
		}
		k := copy(p[done:], r.left)
		r.left = r.left[k:]
		done += k
	}
	return len(p), nil
}
