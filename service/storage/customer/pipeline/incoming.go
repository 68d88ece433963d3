package pipeline

import (
	"fmt"
	"io"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/storage"
)

// Incoming is where the bytes of a shard go that a device sends. They are hashed once, as a whole, which is
// several times as fast as piece by piece. The memory is the pipeline's, until it takes it back: what still
// comes then goes into memory of Incoming's own, so that a device that was late can be paid for what it sent
// all the same. Its methods may be called from any goroutine, Reset and Write from one at a time.
type Incoming struct {
	want types.Hash
	size int

	mu      sync.Mutex
	buf     []byte // of size bytes, lent or its own
	at      int    // how many have come
	checked bool
}

// NewIncoming returns one for the shard of a name, whose bytes go into buf, which has its length.
func NewIncoming(want types.Hash, buf []byte) *Incoming {
	return &Incoming{want: want, size: len(buf), buf: buf}
}

// Len returns the shard's length in bytes.
func (in *Incoming) Len() int { return in.size }

// Reset forgets what came: the device is asked once more.
func (in *Incoming) Reset() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.at, in.checked = 0, false
}

// Write implements io.Writer. What goes beyond the shard's length is io.ErrShortWrite.
func (in *Incoming) Write(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := copy(in.buf[in.at:], p)
	in.at += n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Check returns nil if the shard has come, all of it and no other one, and else storage.ShardMismatch.
func (in *Incoming) Check() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.checked {
		return nil
	}
	if in.at < in.size {
		return types.Refuse(storage.ShardMismatch, "%d of %d bytes of shard %v", in.at, in.size, in.want)
	}
	if got := storage.ShardID(in.buf); got != in.want {
		return types.Refuse(storage.ShardMismatch, "shard %v is %v", in.want, got)
	}
	in.checked = true
	return nil
}

// ReadFrom implements io.ReaderFrom: it reads as many bytes as are missing, and no more.
func (in *Incoming) ReadFrom(r io.Reader) (int64, error) {
	var piece [32 << 10]byte
	total := int64(0)
	for {
		in.mu.Lock()
		missing := in.size - in.at
		in.mu.Unlock()
		if missing == 0 {
			return total, nil
		}
		n, err := r.Read(piece[:min(missing, len(piece))])
		in.Write(piece[:n])
		total += int64(n)
		if err != nil && n < missing {
			return total, fmt.Errorf("%d of %d bytes: %w", in.size-missing+n, in.size, err)
		}
	}
}

// TakeBack makes what still comes go elsewhere: when it returns, nobody writes to the memory that NewIncoming
// was given.
func (in *Incoming) TakeBack() {
	in.mu.Lock()
	defer in.mu.Unlock()
	own := make([]byte, in.size)
	copy(own, in.buf[:in.at])
	in.buf = own
}
