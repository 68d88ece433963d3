package pipeline

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// The memory that segments are worked on in (slabs) never waits for a customer: it turns over as fast as
// devices do. What waits for one, a segment that has not come whole or one that was not taken yet, waits in
// parcels: in a part of the memory that is theirs, piece by piece as the bytes come, and beyond that in a file.
// So no number of customers who do nothing keeps another from being served.

// pieceSize is how much of a parcel is taken at once.
const pieceSize = 64 << 10

// room is where parcels are.
type room struct {
	dir string

	mu         sync.Mutex
	memory     int64 // taken, of memoryMost
	disk       int64 // taken, of diskMost
	memoryMost int64
	diskMost   int64
	pieces     sync.Pool // of *[pieceSize]byte
}

// Share is what one account may take of a Coder's room, whatever it does: two thirds of the memory in which
// segments are worked on, half of the memory of parcels, and a quarter of their disk. It belongs to one Coder.
type Share struct {
	slabs *semaphore.Weighted
	most  int64 // of slabs

	memory, disk int64 // guarded by the room's mu
}

// NewShare returns the share of one more account.
func (c *Coder) NewShare() *Share {
	most := max(c.slabsMost*2/3, 1)
	return &Share{slabs: semaphore.NewWeighted(most), most: most}
}

// take takes n bytes of the memory for an account, and reports whether they were there.
func (r *room) take(s *Share, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memory+n > r.memoryMost || s.memory+n > r.memoryMost/2 {
		return false
	}
	r.memory += n
	s.memory += n
	return true
}

// spool is take for the disk.
func (r *room) spool(s *Share, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.disk+n > r.diskMost || s.disk+n > r.diskMost/4 {
		return false
	}
	r.disk += n
	s.disk += n
	return true
}

// parcel is at most one segment's bytes on their way from or to a customer: written from first to last, then
// read. One goroutine uses it at a time.
type parcel struct {
	room   *room
	share  *Share
	ahead  int64 // memory that was taken before the bytes came
	memory int64 // taken for pieces
	pieces []*[pieceSize]byte
	last   int // bytes in the last piece
	file   *os.File
	onDisk int64
	n      int // bytes in all
	read   int // of them that were read
}

func (r *room) parcel(s *Share) *parcel { return &parcel{room: r, share: s} }

// Write appends b.
func (p *parcel) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m := 0
		switch {
		case p.file == nil && len(p.pieces) > 0 && p.last < pieceSize:
			m = copy(p.pieces[len(p.pieces)-1][p.last:], b)
			p.last += m
		case p.file == nil && p.grow():
			continue
		default:
			if m, err = p.toDisk(b); err != nil {
				return n, err
			}
		}
		n, p.n, b = n+m, p.n+m, b[m:]
	}
	return n, nil
}

// grow adds a piece, if there is memory for one.
func (p *parcel) grow() bool {
	switch {
	case p.ahead >= pieceSize:
		p.ahead -= pieceSize
	case !p.room.take(p.share, pieceSize):
		return false
	}
	piece, _ := p.room.pieces.Get().(*[pieceSize]byte)
	if piece == nil {
		piece = new([pieceSize]byte)
	}
	p.memory += pieceSize
	p.pieces, p.last = append(p.pieces, piece), 0
	return true
}

func (p *parcel) toDisk(b []byte) (int, error) {
	if !p.room.spool(p.share, int64(len(b))) {
		return 0, types.Refuse(role.Busy, "pipeline: too much waits for customers who are slow, of this account or of all")
	}
	p.onDisk += int64(len(b))
	if p.file == nil {
		f, err := os.CreateTemp(p.room.dir, "parcel-*")
		if err != nil {
			return 0, fmt.Errorf("pipeline: keep what waits for a customer: %w", err)
		}
		p.file = f
		_ = os.Remove(f.Name()) // it goes with the process; where an open file cannot be removed, free does
	}
	if _, err := p.file.Write(b); err != nil {
		return 0, fmt.Errorf("pipeline: keep what waits for a customer: %w", err)
	}
	return len(b), nil
}

// fill reads r until there are most bytes, and returns io.EOF where it ends before. It takes no memory before
// there are bytes for it but a piece's.
func (p *parcel) fill(r io.Reader, most int) error {
	head, _ := p.room.pieces.Get().(*[pieceSize]byte)
	if head == nil {
		head = new([pieceSize]byte)
	}
	defer p.room.pieces.Put(head)
	for p.n < most {
		n, err := readFull(r, head[:min(pieceSize, most-p.n)])
		if _, err := p.Write(head[:n]); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reserve takes memory for n bytes that are about to come, and reports whether there was enough.
func (p *parcel) reserve(n int) bool {
	whole := (int64(n) + pieceSize - 1) / pieceSize * pieceSize
	if !p.room.take(p.share, whole) {
		return false
	}
	p.ahead += whole
	return true
}

// Read implements io.Reader.
func (p *parcel) Read(b []byte) (int, error) {
	inMemory := p.n - int(p.onDisk)
	switch {
	case p.read == p.n:
		return 0, io.EOF
	case p.read < inMemory:
		at := p.read / pieceSize
		end := min(pieceSize, inMemory-at*pieceSize)
		n := copy(b, p.pieces[at][p.read%pieceSize:end])
		p.read += n
		return n, nil
	}
	n, err := p.file.ReadAt(b[:min(len(b), p.n-p.read)], int64(p.read-inMemory))
	p.read += n
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("pipeline: read what waited for a customer: %w", err)
}

// free gives everything back.
func (p *parcel) free() {
	if p == nil {
		return
	}
	for _, piece := range p.pieces {
		p.room.pieces.Put(piece)
	}
	if p.file != nil {
		name := p.file.Name()
		_ = p.file.Close()
		_ = os.Remove(name)
	}
	p.room.mu.Lock()
	p.room.memory -= p.memory + p.ahead
	p.share.memory -= p.memory + p.ahead
	p.room.disk -= p.onDisk
	p.share.disk -= p.onDisk
	p.room.mu.Unlock()
	*p = parcel{room: p.room, share: p.share}
}
