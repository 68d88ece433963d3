package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/types"
)

// keyFile holds the device's key: PKCS #8 in PEM, mode 0600. Whoever has it is the device.
const keyFile = "device.key"

// CreateKey makes the device's key in home, or returns fs.ErrExist if there is one. The file appears whole or not at all.
func CreateKey(home string) (types.PrivateKey, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: create key: %w: %w", err, types.HomeUnwritable)
	}
	var seed [32]byte
	rand.Read(seed[:]) // never fails
	key := types.NewPrivateKey(seed)
	der, err := x509.MarshalPKCS8PrivateKey(key.Ed25519())
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: create key: %w", err)
	}
	path := filepath.Join(home, keyFile)
	if err := createFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: create key: %w", err)
	}
	return key, nil
}

// createFile writes a file of mode 0600 that must not exist: under another name first, which is then linked to its own.
func createFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", err, types.HomeUnwritable)
	}
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile writes a file of mode 0600 in place of the one that may be there.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadKey reads the device's key from home. It refuses a file that others may read.
func LoadKey(home string) (types.PrivateKey, error) {
	path := filepath.Join(home, keyFile)
	info, err := os.Stat(path)
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %s may be read by others: chmod 600 it", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %s holds no private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %s: %w", path, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return types.PrivateKey{}, fmt.Errorf("node: load key: %s holds no Ed25519 key", path)
	}
	return types.NewPrivateKey([32]byte(private.Seed())), nil
}
