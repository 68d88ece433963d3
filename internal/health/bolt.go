package health

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
)

// The layout of bbolt's first two pages, one of which counts (bbolt's internal/common/meta.go; little endian on
// all that we build for).
const (
	boltMagic   = 0xED0CDAED
	boltHeader  = 16 // of each page
	boltMeta    = 64 // magic, version, page size, flags, root (16), free list, pages, transaction, checksum
	minBoltPage = 1 << 10
	maxBoltPage = 64 << 10
)

// boltPages returns how many pages a database has and how long each is, by the newer of its first pages that is
// whole.
func boltPages(r io.ReaderAt) (pages, size int64, err error) {
	var newest uint64
	for _, at := range []int64{0, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16} { // the second lies at the size of a page
		var b [boltHeader + boltMeta]byte
		if _, err := r.ReadAt(b[:], at); err != nil {
			break
		}
		m := b[boltHeader:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		page := int64(binary.LittleEndian.Uint32(m[8:]))
		if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint64(m[56:]) != sum.Sum64() ||
			at != 0 && at != page || page < minBoltPage || page > maxBoltPage {
			continue
		}
		if tx := binary.LittleEndian.Uint64(m[48:]); size == 0 || tx > newest {
			newest, pages, size = tx, int64(binary.LittleEndian.Uint64(m[40:])), page
		}
	}
	if size == 0 || pages < 2 || pages > 1<<50/size {
		return 0, 0, errors.New("it is no bbolt database")
	}
	return pages, size, nil
}
