package verifier

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/ledger"
)

// KeysFile holds a verifier's secrets in its folder, mode 0600: the seeds of both keys in hexadecimal. Whoever
// has it can sign in its place.
const KeysFile = "keys"

// Keys are a verifier's secrets.
type Keys struct {
	Attestation types.PrivateKey // signs headers, acks and notices, and logs on to the bus
	VRF         types.PrivateKey // draws seeds
}

// CreateKeys makes a verifier's keys in a folder, or returns fs.ErrExist if there are some.
func CreateKeys(dir string) (Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Keys{}, types.Refuse(types.HomeUnwritable, "verifier: %v", err)
	}
	var seeds [64]byte
	rand.Read(seeds[:]) // never fails
	if err := files.Create(filepath.Join(dir, KeysFile), fmt.Appendf(nil, "%x\n", seeds)); err != nil {
		return Keys{}, fmt.Errorf("verifier: create keys: %w", err)
	}
	return keysOf(seeds), nil
}

func keysOf(seeds [64]byte) Keys {
	return Keys{types.NewPrivateKey([32]byte(seeds[:32])), types.NewPrivateKey([32]byte(seeds[32:]))}
}

// LoadKeys reads a verifier's keys. It refuses a file that others may read.
func LoadKeys(dir string) (Keys, error) {
	path := filepath.Join(dir, KeysFile)
	info, err := os.Stat(path)
	if err != nil {
		return Keys{}, fmt.Errorf("verifier: load keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Keys{}, fmt.Errorf("verifier: load keys: %s may be read by others: chmod 600 it", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Keys{}, fmt.Errorf("verifier: load keys: %w", err)
	}
	var seeds []byte
	if _, err := fmt.Sscanf(string(raw), "%x", &seeds); err != nil || len(seeds) != 64 {
		return Keys{}, types.Refuse(types.HomeDamaged, "verifier: %s holds no keys", path)
	}
	return keysOf([64]byte(seeds)), nil
}

// EnsureKeys loads the keys in a folder, or makes some where there are none.
func EnsureKeys(dir string) (Keys, error) {
	k, err := LoadKeys(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return CreateKeys(dir)
	}
	return k, err
}

// Register is the message by which a validator names the keys, with the proofs that whoever holds them agrees
// to serve it on that chain.
func (k Keys) Register(chain string, validator types.Account) ledger.SetVerifier {
	key, vrf := k.Attestation.Public(), k.VRF.Public()
	proof := evidence.VerifierBytes(validator, key, vrf)
	return ledger.SetVerifier{Key: key, VRF: vrf, KeyProof: k.Attestation.Sign("verifier", chain, proof), VRFProof: k.VRF.Sign("verifier", chain, proof)}
}
