package bus

import "github.com/cairn-network/cairn/core/types"

// KindBlob is the kind of the requests for pieces of what a device holds by its hash; no category has one of
// its own of this name. The body is a PieceQuery, and that of the answer a Piece.
const KindBlob = "blob"

// PieceSize is how many bytes of a blob one answer carries.
const PieceSize = 256 << 10

// PieceQuery asks for the PieceSize bytes of a blob from Offset on, or what there is of them.
type PieceQuery struct {
	_      struct{} `cbor:",toarray"`
	Hash   types.Hash
	Offset uint64
}

// Piece is a piece of a blob of Size bytes.
type Piece struct {
	_    struct{} `cbor:",toarray"`
	Size uint64
	Data []byte
}
