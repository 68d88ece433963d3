package bus

import (
	"encoding/binary"

	"github.com/cairn-network/cairn/core/types"
)

// Blob names bytes that travel by hash.
type Blob struct {
	_    struct{}   `cbor:",toarray"`
	Hash types.Hash // SHA-256
	Size uint64     // in bytes
}

// BlobOf names b.
func BlobOf(b []byte) Blob { return Blob{Hash: types.Sum(b), Size: uint64(len(b))} }

// Inventory is what a leader says at the start of its round: which items it holds.
type Inventory struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Epoch  types.Epoch
	Region types.Region
	Round  uint8
	Items  Blob   // a Hashes list
	Count  uint64 // of items
}

func (h *Inventory) domain() string  { return "held" }
func (h *Inventory) chainID() string { return h.Chain }
func (h *Inventory) check() error    { return nil }

// MissingItems is a verifier's answer to an Inventory: what it acknowledged and the leader lacks, with the
// items themselves.
type MissingItems struct {
	_       struct{} `cbor:",toarray"`
	Chain   string
	Epoch   types.Epoch
	Region  types.Region
	Round   uint8
	Leader  types.Key
	Missing Blob   // a Hashes list
	Items   Blob   // an Items list, in the same order
	Count   uint64 // of items
}

func (h *MissingItems) domain() string  { return "handover" }
func (h *MissingItems) chainID() string { return h.Chain }
func (h *MissingItems) check() error    { return nil }

// MaxHeader bounds an encoded tally header in a Proposal, in bytes.
const MaxHeader = 4096

// Proposal is a leader's header, with everything that is needed to recompute it from the state before.
type Proposal struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Epoch  types.Epoch
	Region types.Region
	Round  uint8
	Header []byte // tally.Header
	Frame  Blob
	Batch  Blob
	Change Blob // the registry changes
}

func (p *Proposal) domain() string  { return "proposal" }
func (p *Proposal) chainID() string { return p.Chain }

func (p *Proposal) check() error {
	if n := len(p.Header); n == 0 || n > MaxHeader {
		return tooMany("bytes of a header", n, MaxHeader)
	}
	return nil
}

// HeaderSignature is a verifier's signature of a header, as the chain takes it: over the header's hash, in the
// domain "header". That says nothing of the round, so the verifier seals the message as well: else anybody
// could say again, of another round, what it signed before.
type HeaderSignature struct {
	_         struct{} `cbor:",toarray"`
	Chain     string
	Epoch     types.Epoch
	Region    types.Region
	Round     uint8
	Header    types.Hash
	Verifier  types.Key
	Signature types.Signature
}

// SignHeader signs the header of that hash.
func SignHeader(key types.PrivateKey, chain string, e types.Epoch, r types.Region, round uint8, header types.Hash) *HeaderSignature {
	return &HeaderSignature{Chain: chain, Epoch: e, Region: r, Round: round, Header: header,
		Verifier: key.Public(), Signature: key.Sign("header", chain, header[:])}
}

func (h *HeaderSignature) domain() string  { return "signature" }
func (h *HeaderSignature) chainID() string { return h.Chain }

func (h *HeaderSignature) check() error {
	if !h.Verifier.Verify("header", h.Chain, h.Header[:], h.Signature) {
		return types.Refuse(types.BadSignature, "header: not signed by %v", h.Verifier)
	}
	return nil
}

// Hashes encodes a list of hashes as a blob: one after the other.
func Hashes(list []types.Hash) []byte {
	b := make([]byte, 0, len(list)*len(types.Hash{}))
	for i := range list {
		b = append(b, list[i][:]...)
	}
	return b
}

// ParseHashes reads what Hashes wrote.
func ParseHashes(b []byte) ([]types.Hash, error) {
	const size = len(types.Hash{})
	if len(b)%size != 0 {
		return nil, types.Refuse(types.BadEncoding, "bus: a list of hashes of %d bytes", len(b))
	}
	list := make([]types.Hash, len(b)/size)
	for i := range list {
		list[i] = types.Hash(b[i*size:])
	}
	return list, nil
}

// Items encodes items as a blob: for each its type, u32 length (big endian) and encoding.
func Items(list []Item) []byte {
	n := 0
	for i := range list {
		n += 5 + len(list[i].Raw)
	}
	b := make([]byte, 0, n)
	for i := range list {
		b = append(b, byte(list[i].Type))
		b = binary.BigEndian.AppendUint32(b, uint32(len(list[i].Raw)))
		b = append(b, list[i].Raw...)
	}
	return b
}

// ParseItems reads what Items wrote. The items share b.
func ParseItems(b []byte) ([]Item, error) {
	var list []Item
	for len(b) > 0 {
		if len(b) < 5 {
			return nil, types.Refuse(types.BadEncoding, "bus: a list of items ends early")
		}
		kind, n := ItemType(b[0]), binary.BigEndian.Uint32(b[1:])
		b = b[5:]
		if kind < Evidence || kind > Ask || n == 0 || uint64(n) > types.MaxItem || uint64(n) > uint64(len(b)) {
			return nil, types.Refuse(types.BadEncoding, "bus: a list of items holds one of type %d and %d bytes", kind, n)
		}
		list = append(list, Item{Type: kind, Raw: b[:n:n]})
		b = b[n:]
	}
	return list, nil
}
