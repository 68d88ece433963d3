package shardlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/cairn-network/cairn/service/storage"
)

// A record begins with a header of 64 bytes, all numbers big endian:
//
//	 0  1  0xc0 and the kind: 1 put, 2 delete
//	 1  3  length of what follows the header, in bytes: a put's shard; 0 for a delete
//	 4 16  session
//	20 32  shard id: the BLAKE3 root of what follows
//	52  8  journal number
//	60  4  CRC-32C of the log's number (u32), the record's offset (u32) and the 60 bytes above
//
// The checksum covers the place so that a record is believed only where it was written; the shard's bytes need
// none, since their name is their hash.
type header struct {
	kind byte
	key  Key
	Info
}

const (
	headerSize = 64
	magic      = 0xc0
	kindPut    = 1
	kindDelete = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(log, offset uint32, b []byte) uint32 {
	var at [8]byte
	binary.BigEndian.PutUint32(at[:], log)
	binary.BigEndian.PutUint32(at[4:], offset)
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, b)
}

// encode returns the header for its place.
func (h header) encode(log, offset uint32) []byte {
	b := make([]byte, headerSize)
	binary.BigEndian.PutUint32(b, uint32(h.Length))
	b[0] = magic | h.kind
	copy(b[4:], h.key.Session[:])
	copy(b[20:], h.key.Shard[:])
	binary.BigEndian.PutUint64(b[52:], h.Journal)
	binary.BigEndian.PutUint32(b[60:], checksum(log, offset, b[:60]))
	return b
}

var errHeader = errors.New("no record")

// decodeHeader reads the header at a place.
func decodeHeader(b []byte, log, offset uint32) (header, error) {
	if len(b) != headerSize || binary.BigEndian.Uint32(b[60:]) != checksum(log, offset, b[:60]) {
		return header{}, errHeader
	}
	var h header
	h.kind = b[0] &^ magic
	h.Length = int(binary.BigEndian.Uint32(b) & 0xffffff)
	copy(h.key.Session[:], b[4:])
	copy(h.key.Shard[:], b[20:])
	h.Journal = binary.BigEndian.Uint64(b[52:])
	valid := b[0]&0xf0 == magic && (h.kind == kindPut && h.Length > 0 && h.Length <= storage.MaxShard || h.kind == kindDelete && h.Length == 0)
	if !valid {
		return header{}, errHeader
	}
	return h, nil
}
