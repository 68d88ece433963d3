package node

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// maxFetchers bounds how many fetch from one provider in an epoch; further ones are refused with over_quota.
const maxFetchers = 4096

// blobs serves what a provider holds by its hash.
type blobs struct {
	node *Node
	of   *role.Blobs

	mu    sync.Mutex // guards what follows
	epoch types.Epoch
	given map[types.Key]int64 // bytes in the epoch
}

func (b *blobs) handler() role.RequestHandler {
	return role.RequestHandler{From: b.of.From, Serve: b.serve}
}

func (b *blobs) serve(ctx context.Context, host role.Host, r *role.Request) ([]byte, error) {
	var q bus.PieceQuery
	if err := types.Decode(r.Body, &q); err != nil {
		return nil, err
	}
	if err := b.take(r.From, 0); err != nil {
		return nil, err
	}
	blob, err := b.of.Open(ctx, host, r.From, q.Hash)
	if err != nil {
		return nil, err
	}
	if blob.Close != nil {
		defer blob.Close()
	}
	p := bus.Piece{Size: uint64(max(blob.Size, 0))}
	p.Data = make([]byte, min(bus.PieceSize, p.Size-min(p.Size, q.Offset)))
	if err := b.take(r.From, int64(len(p.Data))); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(io.NewSectionReader(blob, int64(q.Offset), int64(len(p.Data))), p.Data); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return types.Encode(&p), nil
}

// take counts what an asker gets.
func (b *blobs) take(from types.Key, n int64) error {
	now := b.node.epoch()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != now || b.given == nil {
		b.epoch, b.given = now, map[types.Key]int64{}
	}
	had, known := b.given[from]
	if !known && len(b.given) >= maxFetchers || had+n > b.of.Each {
		return types.Refuse(types.OverQuota, "node: %v has fetched %d bytes in this epoch, at most %d are given", from, had, b.of.Each)
	}
	b.given[from] = had + n
	return nil
}
