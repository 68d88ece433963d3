package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// bare is the least that keeping shards on eight devices takes on this machine: the pipeline, and for each
// device a file behind one TLS connection over loopback. A shard is sent, hashed and written, or read and sent;
// there is no HTTP, nothing is committed, synced, proven or paid.
type bare struct {
	coder *pipeline.Coder
	slots []*bareSlot
}

// bareSlot is a device's connection. It carries one shard at a time; free holds a token while it carries none.
type bareSlot struct {
	conn *tls.Conn
	free chan struct{}
}

const (
	bareWrite byte = iota
	bareRead
)

// newBare starts the devices of the lab profile, with files under dir.
func newBare(b *testing.B, dir string, coder *pipeline.Coder) *bare {
	x := &bare{coder: coder}
	payer := types.NewPrivateKey([32]byte{1})
	for i := range pipeline.Lab.N {
		key := types.NewPrivateKey([32]byte{2, byte(i)})
		server, err := role.ServerTLS(key)
		if err != nil {
			b.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("bare-", i)))
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			defer f.Close()
			if conn, err := l.Accept(); err == nil {
				serveBare(conn, f)
				conn.Close()
			}
		}()
		client, err := role.ClientTLS(payer, key.Public())
		if err != nil {
			b.Fatal(err)
		}
		conn, err := tls.Dial("tcp", l.Addr().String(), client)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close(); l.Close() })
		slot := &bareSlot{conn, make(chan struct{}, 1)}
		slot.free <- struct{}{}
		x.slots = append(x.slots, slot)
	}
	return x
}

// serveBare answers until the connection ends. A request says what to do, with how many bytes (u32) of which
// segment (u64); then comes the shard, one way or the other. What was written is answered with its hash.
func serveBare(conn net.Conn, f *os.File) error {
	var head [13]byte
	var buf [pipeline.MaxShard]byte
	for {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		shard, at := buf[:binary.BigEndian.Uint32(head[1:])], int64(binary.BigEndian.Uint64(head[5:]))*pipeline.MaxShard
		answer := shard
		if head[0] == bareRead {
			if _, err := f.ReadAt(shard, at); err != nil {
				return err
			}
		} else {
			if _, err := io.ReadFull(conn, shard); err != nil {
				return err
			}
			id := storage.ShardID(shard)
			if _, err := f.WriteAt(shard, at); err != nil {
				return err
			}
			answer = id[:]
		}
		if _, err := conn.Write(answer); err != nil {
			return err
		}
	}
}

// do sends a request and what follows it, and reads the answer.
func (x *bare) do(slot, segment int, op byte, length int, shard []byte, answer *pipeline.Incoming) error {
	s := x.slots[slot]
	<-s.free
	defer func() { s.free <- struct{}{} }()
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{op}, uint32(length)), uint64(segment))
	if _, err := s.conn.Write(head); err != nil {
		return err
	}
	if _, err := s.conn.Write(shard); err != nil {
		return err
	}
	_, err := answer.ReadFrom(s.conn)
	return err
}

// put encodes data and has the devices write.
func (x *bare) put(data []byte) (*pipeline.Manifest, error) {
	return x.coder.Encode(context.Background(), bytes.NewReader(data), pipeline.Lab, pipeline.BucketKey{}, func(_ context.Context, index int, seg pipeline.Segment, shards [][]byte) error {
		var group errgroup.Group
		for slot, shard := range shards {
			group.Go(func() error {
				var id types.Hash
				if err := x.do(slot, index, bareWrite, len(shard), shard, pipeline.NewIncoming(id, id[:])); err != nil {
					return err
				}
				if id != seg.Shards[slot] {
					return fmt.Errorf("device %d wrote something else", slot)
				}
				return nil
			})
		}
		return group.Wait()
	})
}

// Order implements pipeline.Fetcher.
func (x *bare) Order(int, pipeline.Segment) []int { return nil }

// Shard implements pipeline.Fetcher.
func (x *bare) Shard(_ context.Context, index int, _ pipeline.Segment, slot int, into *pipeline.Incoming) error {
	return x.do(slot, index, bareRead, into.Len(), nil, into)
}

// Slice implements pipeline.Fetcher.
func (x *bare) Slice(context.Context, int, pipeline.Segment, int, int, int) ([]byte, error) {
	return nil, errors.New("whole objects only")
}
