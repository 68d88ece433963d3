package gateway

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// derive returns HKDF-SHA-256 (RFC 5869) of secret, without salt, for a purpose.
func derive(secret [32]byte, purpose string) [32]byte {
	out, err := hkdf.Key(sha256.New, secret[:], nil, "cairn/"+purpose, 32)
	if err != nil {
		panic(err) // 32 bytes are within HKDF's range
	}
	return [32]byte(out)
}
