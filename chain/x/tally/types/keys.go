package types

import "encoding/binary"

const (
	// ModuleName is the module's name, and that of its account.
	ModuleName = "tally"
	// StoreKey names its store.
	StoreKey = ModuleName
)

// Keys of the store by which a proof shows what the state holds (docs/spec/chain.md): a prefix, then numbers,
// big endian.

// EpochKey is where an Epoch is.
func EpochKey(epoch uint64) []byte { return binary.BigEndian.AppendUint64([]byte{2}, epoch) }

// HeaderKey is where a Header is.
func HeaderKey(region uint32, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{5}, region), epoch)
}

// SettlementKey is where a Settlement is.
func SettlementKey(epoch uint64) []byte { return binary.BigEndian.AppendUint64([]byte{7}, epoch) }

// RulesKey is where a category's own rules are.
func RulesKey(hash []byte) []byte { return append([]byte{17}, hash...) }

// BlockKey is where the hash of a block is.
func BlockKey(height uint64) []byte { return binary.BigEndian.AppendUint64([]byte{19}, height) }
