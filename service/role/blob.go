package role

import (
	"context"
	"io"

	"github.com/cairn-network/cairn/core/types"
)

// Blobs are the larger things that a device holds and named by their hashes, in evidence or in an answer: others get
// them in pieces, each of which the device signs.
type Blobs struct {
	From Askers // who may ask at all
	// Each bounds how many bytes one asker gets in an epoch, however often it asks for the same; beyond it is
	// over_quota.
	Each int64
	// Open opens a blob for who asks, or says why it may not have it: unknown_blob, or a reason of the
	// category's. It is called for each piece.
	Open func(ctx context.Context, host Host, from types.Key, hash types.Hash) (*Blob, error)
}

// Blob is one that is open.
type Blob struct {
	io.ReaderAt
	Size  int64
	Close func() error // nil for nothing
}

// Fetch names a larger thing that a device holds, and where it is to be. What has arrived lies beside that, in a file
// that ends in .part, and the next Fetch goes on there: also after a process was killed. What is there already is not
// fetched again. Nobody may fetch to one path twice at a time.
//
// A device that is away, busy or slow is asked again, until nothing has come for half a minute or the caller's
// context ends; the error then says why, and what has come stays. What is larger than Most is oversize, before
// any of it is taken. What does not have the hash in the end is bad_answer, and nothing of it stays.
type Fetch struct {
	Device types.Key
	Hash   types.Hash
	Most   int64 // bytes
	Path   string
}
