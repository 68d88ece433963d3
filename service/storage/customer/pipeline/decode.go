package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/sio"
)

// Fetcher reads shards from the devices that hold them. Its methods are called from many goroutines at once.
// They must return soon after ctx is done, and put their own limit on how long they wait for a device. A call
// whose answer is no longer needed may end a little after the operation that made it.
type Fetcher interface {
	// Order lists slots of segment number index, best first: where to ask. Nil means all in their order; slots
	// left out are never asked.
	Order(index int, seg Segment) []int
	// Shard reads the whole shard in slot into what waits for it. Whoever has to know whether it is the one
	// asks into.Check, which the pipeline does anyway. After an error it may go on writing.
	Shard(ctx context.Context, index int, seg Segment, slot int, into *Incoming) error
	// Slice returns length bytes from offset on of the shard in slot, with their proof: see storage.ExtractSlice.
	Slice(ctx context.Context, index int, seg Segment, slot, offset, length int) ([]byte, error)
}

// ErrObject: the bytes are what the manifest names, yet the object does not open: the manifest is not its own.
var ErrObject = errors.New("object does not authenticate")

// Decode writes the object to w. It stops at the first segment that fewer than k devices can deliver, with a
// *LostError. What was written until then is authentic.
func (c *Coder) Decode(ctx context.Context, m *Manifest, bucket BucketKey, w io.Writer, f Fetcher) error {
	return c.DecodeRange(ctx, m, bucket, 0, m.Size, w, f)
}

// DecodeRange writes length bytes of the object, from offset on, to w. It reads only the shards, and of those
// only the parts, that hold them.
func (c *Coder) DecodeRange(ctx context.Context, m *Manifest, bucket BucketKey, offset, length uint64, w io.Writer, f Fetcher) error {
	r, err := c.Open(ctx, m, bucket, offset, length, f)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(w, r, make([]byte, 2*packagePlain))
	return err
}

// Reader is a part of an object on its way back. One goroutine uses it.
type Reader struct {
	in    *stream
	plain io.Reader
	skip  int64  // bytes of the first package that come before the part
	left  uint64 // of the part
	ends  bool   // the part ends with the object
	err   error
}

var errClosed = errors.New("pipeline: the reader is closed")

// Open returns length bytes of the object, from offset on. Shards are asked for from the first Read on, some
// segments ahead; Close, which must be called, ends that.
func (c *Coder) Open(ctx context.Context, m *Manifest, bucket BucketKey, offset, length uint64, f Fetcher) (*Reader, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	if offset > m.Size || length > m.Size-offset {
		return nil, fmt.Errorf("pipeline: range %d+%d of an object of %d bytes: out of range", offset, length, m.Size)
	}
	key, err := bucket.unwrap(m.Key)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if length == 0 {
		return &Reader{err: io.EOF}, nil
	}
	total, err := sio.EncryptedSize(m.Size)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	first, last := offset/packagePlain, (offset+length-1)/packagePlain
	in := c.stream(ctx, m, f, first*packageSealed, min(total, (last+1)*packageSealed))
	plain, err := sio.DecryptReader(in, seal(key, uint32(first), nil))
	if err != nil {
		in.close()
		return nil, fmt.Errorf("pipeline: open: %w", err)
	}
	return &Reader{in: in, plain: plain, skip: int64(offset - first*packagePlain), left: length, ends: offset+length == m.Size}, nil
}

// Read implements io.Reader. What it returns is authentic.
func (r *Reader) Read(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	defer func() { r.err = err }()
	if r.skip > 0 {
		if _, err := io.CopyN(io.Discard, r.plain, r.skip); err != nil {
			return 0, opening(err)
		}
		r.skip = 0
	}
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err = r.plain.Read(p)
	r.left -= uint64(n)
	switch {
	case err == nil || err == io.EOF && r.left == 0:
		err = nil
	default:
		return n, opening(err)
	}
	if r.left > 0 {
		return n, nil
	}
	if r.ends { // the seal marks the end: an object that goes on or breaks off there is another one
		if more, err := io.ReadFull(r.plain, make([]byte, 1)); more != 0 || err != io.EOF {
			return n, opening(err)
		}
	}
	return n, io.EOF
}

// Close ends what is still being read. It waits for what is under way.
func (r *Reader) Close() error {
	if r.in != nil {
		r.in.close()
		r.in, r.err = nil, errors.Join(r.err, errClosed)
	}
	return nil
}

// opening tells a seal that does not hold from shards that could not be read or a writer that failed.
func opening(err error) error {
	var broken sio.Error
	if errors.As(err, &broken) || err == io.EOF || err == io.ErrUnexpectedEOF || err == nil {
		return fmt.Errorf("pipeline: %w: %v", ErrObject, err)
	}
	return err
}

// stream is the sealed object from one offset to another, read ahead by segments. One goroutine reads it.
type stream struct {
	cancel context.CancelFunc
	queue  chan chan part // in the order of the object; closed after the last
	taken  chan struct{}  // a part was read to its end
	now    part
	err    error
}

// part is what one segment holds of the stream.
type part struct {
	data *parcel
	err  error
}

// stream starts reading bytes from … to − 1 of the sealed object. Its queue and the segment in use make up InFlight.
func (c *Coder) stream(ctx context.Context, m *Manifest, f Fetcher, from, to uint64) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{cancel: cancel, queue: make(chan chan part, c.cfg.InFlight-1), taken: make(chan struct{}, c.cfg.InFlight+2)}
	full := uint64(m.K) * MaxShard
	go func() {
		defer close(s.queue)
		waiting := 0 // parts that were not taken yet
		for at := from; at < to; at = (at/full + 1) * full {
			index := at / full
			start, end := at-index*full, min(to-index*full, full)
			// It is read ahead as far as there is memory for it. The one that is read next needs none: it is,
			// if need be, kept in a file.
			data := c.room.parcel(c.share)
			for more := true; more; {
				select {
				case <-s.taken:
					waiting--
				default:
					more = false
				}
			}
			for !data.reserve(int(end-start)) && waiting > 0 {
				select {
				case <-s.taken:
					waiting--
				case <-ctx.Done():
					return
				}
			}
			waiting++
			done := make(chan part, 1)
			select {
			case s.queue <- done:
			case <-ctx.Done():
				data.free()
				return
			}
			r := c.reader(m, int(index), int(start), int(end), f)
			mem, err := c.acquire(ctx, r.memory())
			if err != nil {
				data.free()
				done <- part{err: err}
				return
			}
			go func() {
				pieces, err := r.read(ctx, mem)
				for _, piece := range pieces {
					if err == nil {
						_, err = data.Write(piece)
					}
				}
				mem.release()
				done <- part{data, err}
			}()
		}
	}()
	return s
}

// Read implements io.Reader. Its errors are never io.ErrUnexpectedEOF, which the sealing library would take for
// an end.
func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil && (s.now.data == nil || s.now.data.read == s.now.data.n) {
		if s.now.data != nil {
			s.now.data.free()
			s.taken <- struct{}{} // there is room for each part in the queue, and for this one
		}
		s.now = part{}
		done, ok := <-s.queue
		if !ok {
			s.err = io.EOF
			break
		}
		s.now = <-done
		if s.now.err != nil {
			s.err = s.now.err
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.now.data.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

// close ends what is still being read and gives back its memory.
func (s *stream) close() {
	s.cancel()
	s.now.data.free()
	for done := range s.queue {
		(<-done).data.free()
	}
}
