package verifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// blobs keeps bytes by their SHA-256 on disk, in one folder per epoch, so that what is out of its time goes
// with its folder. A file holds one zstd frame for each bus.ChunkSize bytes, then the u32 length (big endian)
// of each frame, the u64 length of the whole and the u32 number of frames: a piece can be served without the
// rest.
type blobs struct {
	dir string
	enc *zstd.Encoder
	dec *zstd.Decoder

	mu sync.RWMutex // guards at
	at map[types.Hash]types.Epoch
}

func openBlobs(dir string) (*blobs, error) {
	b := &blobs{dir: dir, at: map[types.Hash]types.Epoch{}}
	var err error
	if b.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
		return nil, fmt.Errorf("verifier: zstd: %w", err)
	}
	if b.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(2*bus.ChunkSize)); err != nil {
		return nil, fmt.Errorf("verifier: zstd: %w", err)
	}
	epochs, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("verifier: list blobs: %w", err)
	}
	for _, d := range epochs {
		e, err := strconv.ParseUint(d.Name(), 10, 64)
		if err != nil {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, fmt.Errorf("verifier: list blobs of epoch %d: %w", e, err)
		}
		for _, f := range files {
			if hash, err := types.ParseHash(f.Name()); err == nil {
				b.at[hash] = types.Epoch(e)
			}
		}
	}
	return b, nil
}

func (b *blobs) folder(e types.Epoch) string { return filepath.Join(b.dir, fmt.Sprintf("%012d", e)) }

// put keeps data with those of an epoch, or of a later one that has it already, and returns its name. The file
// is durable when put returns.
func (b *blobs) put(e types.Epoch, data []byte) (bus.Blob, error) {
	name := bus.BlobOf(data)
	if at, ok := b.where(name.Hash); ok && at >= e {
		return name, nil
	}
	if err := os.MkdirAll(b.folder(e), 0o700); err != nil {
		return name, fmt.Errorf("verifier: keep blob %s: %w", name.Hash, err)
	}
	if err := files.SyncDir(b.dir); err != nil {
		return name, fmt.Errorf("verifier: keep blob %s: %w", name.Hash, err)
	}
	var out, tail []byte
	for rest := data; len(rest) > 0; {
		n := min(len(rest), bus.ChunkSize)
		before := len(out)
		out = b.enc.EncodeAll(rest[:n], out)
		tail = binary.BigEndian.AppendUint32(tail, uint32(len(out)-before))
		rest = rest[n:]
	}
	frames := len(tail) / 4
	out = append(out, tail...)
	out = binary.BigEndian.AppendUint64(out, uint64(len(data)))
	out = binary.BigEndian.AppendUint32(out, uint32(frames))
	if err := files.Replace(filepath.Join(b.folder(e), name.Hash.String()), out, 0o600); err != nil {
		return name, fmt.Errorf("verifier: keep blob %s: %w", name.Hash, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[name.Hash] = max(e, b.at[name.Hash]) // somebody else may have been faster
	return name, nil
}

func (b *blobs) where(hash types.Hash) (types.Epoch, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.at[hash]
	return e, ok
}

// blobTail is the fixed end of a blob's file.
const blobTail = 12

// ReadBlob implements bus.Blobs.
func (b *blobs) ReadBlob(hash types.Hash, p []byte, offset int64) (n int, size int64, err error) {
	e, ok := b.where(hash)
	if !ok {
		return 0, 0, types.Refuse(types.UnknownBlob, "verifier: blob %s", hash)
	}
	f, err := os.Open(filepath.Join(b.folder(e), hash.String()))
	if err != nil {
		return 0, 0, types.Refuse(types.UnknownBlob, "verifier: blob %s: %v", hash, err)
	}
	defer f.Close()
	lengths, size, err := readTail(f)
	if err != nil {
		return 0, 0, fmt.Errorf("verifier: blob %s: %w", hash, err)
	}
	if offset >= size {
		return 0, size, io.EOF
	}
	at := int64(0)
	for i, length := range lengths {
		if int64(i+1)*bus.ChunkSize > offset && n < len(p) {
			packed := make([]byte, length)
			if _, err := f.ReadAt(packed, at); err != nil {
				return n, size, fmt.Errorf("verifier: blob %s: %w", hash, err)
			}
			raw, err := b.dec.DecodeAll(packed, nil)
			if err != nil {
				return n, size, fmt.Errorf("verifier: blob %s: %w", hash, err)
			}
			skip := max(0, offset-int64(i)*bus.ChunkSize)
			n += copy(p[n:], raw[min(skip, int64(len(raw))):])
		}
		at += int64(length)
	}
	if offset+int64(n) >= size {
		err = io.EOF
	}
	return n, size, err
}

func readTail(f *os.File) (lengths []uint32, size int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end < blobTail {
		return nil, 0, fmt.Errorf("a file of %d bytes: %w", end, types.BadEncoding)
	}
	var tail [blobTail]byte
	if _, err := f.ReadAt(tail[:], end-blobTail); err != nil {
		return nil, 0, err
	}
	size = int64(binary.BigEndian.Uint64(tail[:]))
	frames := int64(binary.BigEndian.Uint32(tail[8:]))
	if frames*4 > end-blobTail || size > frames*bus.ChunkSize {
		return nil, 0, fmt.Errorf("%d frames in %d bytes: %w", frames, end, types.BadEncoding)
	}
	raw := make([]byte, frames*4)
	if _, err := f.ReadAt(raw, end-blobTail-frames*4); err != nil {
		return nil, 0, err
	}
	for i := range frames {
		lengths = append(lengths, binary.BigEndian.Uint32(raw[4*i:]))
	}
	return lengths, size, nil
}

// copy writes a blob of that size, a chunk at a time.
func (b *blobs) copy(w io.Writer, hash types.Hash, size int64) error {
	piece := make([]byte, bus.ChunkSize) // whatever w would read in: a chunk is unpacked for each read
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(&blobReader{blobs: b, hash: hash}, size), piece)
	if err == nil && n < size {
		err = types.Refuse(types.UnknownBlob, "verifier: blob %s ends at %d of %d", hash, n, size)
	}
	return err
}

// get returns a blob in one piece, checked against its name.
func (b *blobs) get(hash types.Hash) ([]byte, error) {
	_, size, err := b.ReadBlob(hash, nil, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data := make([]byte, size)
	if _, _, err := b.ReadBlob(hash, data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if types.Sum(data) != hash {
		return nil, types.Refuse(types.UnknownBlob, "verifier: blob %s is spoilt on disk", hash)
	}
	return data, nil
}

// prune drops what belongs to epochs before e.
func (b *blobs) prune(e types.Epoch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for hash, at := range b.at {
		if at < e {
			delete(b.at, hash)
		}
	}
	folders, err := os.ReadDir(b.dir) // some may hold only what a later epoch took over
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("verifier: list blobs: %w", err)
	}
	for _, d := range folders {
		at, err := strconv.ParseUint(d.Name(), 10, 64)
		if err != nil || types.Epoch(at) >= e {
			continue
		}
		if err := os.RemoveAll(filepath.Join(b.dir, d.Name())); err != nil {
			return fmt.Errorf("verifier: drop blobs of epoch %d: %w", at, err)
		}
	}
	return nil
}
