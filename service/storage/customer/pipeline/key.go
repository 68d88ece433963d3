package pipeline

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/minio/sio"
)

// Secret is what everything a customer stores is encrypted from: 32 random bytes of one account. Who loses it
// loses the data.
type Secret [32]byte

// BucketKey wraps the keys of the objects in one bucket.
type BucketKey [32]byte

// JournalKey seals the batches and checkpoints of an account's metadata journal.
type JournalKey [32]byte

// MaskKey masks and unmasks shards. It reads no object.
type MaskKey [32]byte

// String hides the secret.
func (Secret) String() string { return "account secret" }

// String hides the key.
func (BucketKey) String() string { return "bucket key" }

// String hides the key.
func (JournalKey) String() string { return "journal key" }

// String hides the key.
func (MaskKey) String() string { return "mask key" }

// derive is HKDF-SHA-256 (RFC 5869) without salt; info is label and, after a zero byte, what it is derived for.
func derive(key []byte, label, purpose string) [32]byte {
	out, err := hkdf.Key(sha256.New, key, nil, label+"\x00"+purpose, 32)
	if err != nil {
		panic(fmt.Errorf("pipeline: derive %s: %w", label, err)) // 32 bytes are within HKDF's limit
	}
	return [32]byte(out)
}

// Bucket returns the key of the bucket of that name, which derives from the content root.
func (s Secret) Bucket(name string) BucketKey {
	content := derive(s[:], "cairn/storage/content", "")
	return derive(content[:], "cairn/storage/bucket", name)
}

// Journal returns the key of the account's journal.
func (s Secret) Journal() JournalKey { return derive(s[:], "cairn/storage/journal", "") }

// Mask returns the account's mask key.
func (s Secret) Mask() MaskKey { return derive(s[:], "cairn/storage/mask", "") }

// segment returns the cipher that masks the shards of one segment.
func (k MaskKey) segment(id SegmentID) (cipher.Block, error) {
	key := derive(k[:], "cairn/storage/segment", string(id[:]))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("pipeline: mask of segment %s: %w", id, err)
	}
	return block, nil
}

// maskAt is the keystream of slot from byte off on, a multiple of 16: the counter is the IV's last bytes.
func maskAt(block cipher.Block, slot, off int) cipher.Stream {
	var iv [aes.BlockSize]byte
	iv[0] = byte(slot)
	for i, n := aes.BlockSize-1, off/aes.BlockSize; n > 0; i, n = i-1, n>>8 {
		iv[i] = byte(n)
	}
	return cipher.NewCTR(block, iv[:])
}

// wrappedKey is the length of a wrapped object key: nonce, key, tag.
const wrappedKey = 12 + 32 + 16

var wrapDomain = []byte("cairn/storage/object-key")

// wrap encrypts an object's key with AES-256-GCM under a random nonce.
func (b BucketKey) wrap(key [32]byte, random io.Reader) ([]byte, error) {
	aead, err := b.aead()
	if err != nil {
		return nil, err
	}
	out := make([]byte, aead.NonceSize(), wrappedKey)
	if _, err := io.ReadFull(random, out); err != nil {
		return nil, fmt.Errorf("pipeline: draw a nonce: %w", err)
	}
	return aead.Seal(out, out, key[:], wrapDomain), nil
}

// ErrKey: the manifest's object key does not open with this bucket's key.
var ErrKey = errors.New("object key does not open with this bucket key")

func (b BucketKey) unwrap(wrapped []byte) ([]byte, error) {
	aead, err := b.aead()
	if err != nil {
		return nil, err
	}
	if len(wrapped) != wrappedKey {
		return nil, ErrKey
	}
	n := aead.NonceSize()
	key, err := aead.Open(nil, wrapped[:n], wrapped[n:], wrapDomain)
	if err != nil {
		return nil, ErrKey
	}
	return key, nil
}

// Rewrap returns the manifest with its object's key wrapped by another bucket's key. It is ErrKey where it does
// not open with from.
func (m *Manifest) Rewrap(from, to BucketKey) (*Manifest, error) {
	key, err := from.unwrap(m.Key)
	if err != nil {
		return nil, err
	}
	out := *m
	if out.Key, err = to.wrap([32]byte(key), rand.Reader); err != nil {
		return nil, err
	}
	return &out, nil
}

func (b BucketKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(b[:])
	if err != nil {
		return nil, fmt.Errorf("pipeline: bucket key: %w", err)
	}
	return cipher.NewGCM(block)
}

// seal is the one configuration of DARE that is written and read. first is the number of the first package.
func seal(key []byte, first uint32, random io.Reader) sio.Config {
	return sio.Config{
		MinVersion: sio.Version20, MaxVersion: sio.Version20, CipherSuites: []byte{sio.AES_256_GCM},
		Key: key, SequenceNumber: first, Rand: random,
	}
}

// DARE 2.0: packages of 64 KiB with a header and a tag of 16 bytes each.
const (
	packagePlain  = 64 << 10
	packageSealed = packagePlain + 32
)
