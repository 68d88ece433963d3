package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// keyFile holds the device's key. Whoever has it is the device.
const keyFile = "device.key"

// CreateKey makes the device's key in home, or returns fs.ErrExist if there is one. The file appears whole or
// not at all.
func CreateKey(home string) (types.PrivateKey, error) {
	key, err := files.CreateKey(filepath.Join(home, keyFile))
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", err, types.HomeUnwritable)
	}
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: %w", err)
	}
	return types.NewPrivateKey([32]byte(key.Seed())), nil
}

// LoadKey reads the device's key from home. It refuses a file that others may read.
func LoadKey(home string) (types.PrivateKey, error) {
	key, err := files.LoadKey(filepath.Join(home, keyFile))
	if err != nil {
		return types.PrivateKey{}, fmt.Errorf("node: %w", err)
	}
	return types.NewPrivateKey([32]byte(key.Seed())), nil
}
