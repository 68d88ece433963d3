package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// ChunkSize is how much of a blob one message carries. Offsets are multiples of it.
const ChunkSize = 512 << 10

const (
	fetchWindow  = 4                // chunks asked for at a time
	chunkTimeout = 10 * time.Second // for one of them
	findTimeout  = 2 * time.Second  // for somebody to say that they hold a blob
	maxHolders   = 1024             // that are tried
)

// Find asks who holds a blob; whoever does answers with Found.
type Find struct {
	_    struct{} `cbor:",toarray"`
	Hash types.Hash
}

// Found answers a Find.
type Found struct {
	_      struct{} `cbor:",toarray"`
	Holder types.Key
	Size   uint64
}

// Chunk asks a holder for the ChunkSize bytes of a blob from Offset on, or what there is of them. The answer is
// the bytes alone; it is empty if there are none.
type Chunk struct {
	_      struct{} `cbor:",toarray"`
	Hash   types.Hash
	Offset uint64
}

// Blobs is what ServeBlobs serves from.
type Blobs interface {
	// ReadBlob reads into p from the blob of that hash, from offset on, as io.ReaderAt does, and returns the
	// blob's size. It returns an error that is io.EOF at the blob's end, and another for a blob that is not
	// there.
	ReadBlob(hash types.Hash, p []byte, offset int64) (n int, size int64, err error)
}

// ServeBlobs answers who asks for blobs, until ctx ends. It returns when it is in force.
func ServeBlobs(ctx context.Context, b Bus, blobs Blobs) error {
	err := SubscribeFair(ctx, b, FindSubject(types.Key{}), func(m Message) {
		var find Find
		if types.Decode(m.Data, &find) != nil {
			return
		}
		if _, size, err := blobs.ReadBlob(find.Hash, nil, 0); (err == nil || errors.Is(err, io.EOF)) && size >= 0 {
			_ = b.Respond(ctx, m, types.Encode(&Found{Holder: b.Key(), Size: uint64(size)})) // the asker asks again
		}
	})
	if err != nil {
		return err
	}
	buffer := make([]byte, ChunkSize) // owned by the one handler below
	return SubscribeFair(ctx, b, ChunkSubject(types.Key{}, b.Key()), func(m Message) {
		var chunk Chunk
		if types.Decode(m.Data, &chunk) != nil || chunk.Offset >= 1<<62 {
			return
		}
		n, _, err := blobs.ReadBlob(chunk.Hash, buffer, int64(chunk.Offset))
		if err != nil && !errors.Is(err, io.EOF) {
			return // another of this key may have it: a verifier runs in several regions
		}
		_ = b.Respond(ctx, m, buffer[:n])
	})
}

// FetchBlob fetches the bytes of that hash from whoever holds them, at most limit of them. What arrives is
// checked against the hash; a holder that is slow, lies or has gone is given up for the next, and has at most
// half of the time that is left until then. If nobody has them: unknown_blob.
func FetchBlob(ctx context.Context, b Bus, hash types.Hash, limit uint64) ([]byte, error) {
	finding, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.AfterFunc(findTimeout, stop)
	defer timer.Stop()
	holders := make(chan Found, maxHolders)
	go func() {
		defer close(holders)
		said := map[types.Key]bool{} // once each: or one could keep the others from their turn
		_ = b.Gather(finding, FindSubject(b.Key()), types.Encode(&Find{Hash: hash}), func(raw []byte) bool {
			var found Found
			if types.Decode(raw, &found) == nil && !said[found.Holder] {
				said[found.Holder] = true
				holders <- found // there is room for all
			}
			return len(said) < maxHolders
		})
	}()
	last := types.Refuse(types.UnknownBlob, "nobody answered")
	for found := range holders {
		data, err := fetchFrom(ctx, b, hash, found, limit)
		if err == nil {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("bus: fetch %v: %w", hash, ctx.Err())
		}
		last = err
	}
	if ctx.Err() != nil {
		last = ctx.Err()
	}
	return nil, fmt.Errorf("bus: fetch %v: %w", hash, last)
}

// FetchBlobFrom is FetchBlob which asks the one who named the blob first: then nobody else can come in between.
func FetchBlobFrom(ctx context.Context, b Bus, holder types.Key, blob Blob, limit uint64) ([]byte, error) {
	if data, err := fetchFrom(ctx, b, blob.Hash, Found{Holder: holder, Size: blob.Size}, limit); err == nil {
		return data, nil
	}
	return FetchBlob(ctx, b, blob.Hash, limit)
}

// fetchFrom fetches a blob from one holder, a few chunks ahead of what has arrived. Memory grows with what
// arrives, not with what the holder claims.
func fetchFrom(ctx context.Context, b Bus, hash types.Hash, found Found, limit uint64) ([]byte, error) {
	if found.Size > limit {
		return nil, types.Refuse(types.Oversize, "%v says %d bytes, at most %d are taken", found.Holder, found.Size, limit)
	}
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		data []byte
		err  error
	}
	subject := ChunkSubject(b.Key(), found.Holder)
	ask := func(offset uint64) chan answer {
		c := make(chan answer, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
			defer cancel()
			data, err := b.Request(ctx, subject, types.Encode(&Chunk{Hash: hash, Offset: offset}))
			c <- answer{data, err}
		}()
		return c
	}
	var (
		ahead []chan answer
		next  uint64
		data  = make([]byte, 0, min(found.Size, fetchWindow*ChunkSize))
	)
	for uint64(len(data)) < found.Size {
		for ; len(ahead) < fetchWindow && next < found.Size; next += ChunkSize {
			ahead = append(ahead, ask(next))
		}
		a := <-ahead[0]
		ahead = ahead[1:]
		if a.err != nil {
			return nil, fmt.Errorf("from %v: %w", found.Holder, a.err)
		}
		if want := min(ChunkSize, found.Size-uint64(len(data))); uint64(len(a.data)) != want {
			return nil, types.Refuse(types.UnknownBlob, "%v sent %d bytes of %d", found.Holder, len(a.data), want)
		}
		data = append(data, a.data...)
	}
	if got := types.Sum(data); got != hash {
		return nil, types.Refuse(types.UnknownBlob, "%v sent bytes of hash %v", found.Holder, got)
	}
	return data, nil
}
