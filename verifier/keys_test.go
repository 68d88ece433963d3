package verifier

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestKeys: keys are made once, are secret, and show that they agree to serve one validator on one chain.
func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	keys, err := EnsureKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureKeys(dir)
	if err != nil || again.Attestation.Public() != keys.Attestation.Public() || again.VRF.Public() != keys.VRF.Public() || keys.VRF.Public() == keys.Attestation.Public() {
		t.Errorf("read back: %v", err)
	}
	if _, err := CreateKeys(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("keys are written over: %v", err)
	}
	validator := types.Account{7}
	set := keys.Register("c-1", validator)
	says := func(chain string, validator types.Account) bool {
		b := evidence.VerifierBytes(validator, set.Key, set.VRF)
		return set.Key.Verify("verifier", chain, b, set.KeyProof) && set.VRF.Verify("verifier", chain, b, set.VRFProof)
	}
	if !says("c-1", validator) || says("c-2", validator) || says("c-1", types.Account{8}) {
		t.Error("the proofs are for another chain or validator, or for none")
	}
	path := filepath.Join(dir, KeysFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("keys that others can read: %v", err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("12\n"), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureKeys(dir); types.ReasonOf(err) != types.HomeDamaged {
		t.Errorf("damaged keys: %v", err)
	}
}
