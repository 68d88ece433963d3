package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/role"
)

// Files lists what a device's home holds, for whoever looks whether it is in order.
func Files(home string) []health.File {
	_, err := os.Stat(filepath.Join(home, SettingsFile))
	files := []health.File{
		{Path: keyFile, Need: err == nil, Check: health.PEM, Lost: "the device's key, and with it what the device is; what it earned can still be claimed"},
		{Path: SettingsFile, Need: true, Check: health.Text(func(raw []byte) error { _, err := parseSettings(raw); return err }),
			Lost: "the device's settings: `cairn-node init` asks for them again, and keeps the key"},
		{Path: "node.db", Check: health.Bolt, Remedy: health.Aside, Lost: "what waited to be sent to verifiers, and whom to believe: it starts from its settings again"},
	}
	stores, _ := filepath.Glob(filepath.Join(home, "providers", "*", "*.db"))
	for _, path := range stores {
		rel, err := filepath.Rel(home, path)
		if err != nil {
			continue
		}
		files = append(files, health.File{Path: rel, Check: health.Bolt, Remedy: health.Aside,
			Lost: "what the provider has agreed with customers and has not handed in: it cannot prove or be paid for it any more"})
	}
	logs, _ := filepath.Glob(filepath.Join(home, "providers", "*", "*", "index.db"))
	for _, path := range logs {
		if rel, err := filepath.Rel(home, path); err == nil {
			files = append(files, health.File{Path: rel, Check: health.Bolt, Remedy: health.Remake, Lost: "nothing: the index follows from the logs beside it"})
		}
	}
	return files
}

// KeptFiles lists what the providers of a home keep beside its databases. Reading them all may take minutes.
func KeptFiles(home string, devices []role.Device) (files []health.File) {
	for _, d := range devices {
		if d.Files == nil {
			continue
		}
		dir := filepath.Join("providers", d.Category.String())
		files = append(files, health.In(dir, d.Files(filepath.Join(home, dir)))...)
	}
	return files
}

// Examine looks at a home before it is used: what follows from other files is moved aside and made anew, which
// heard is told of, and the rest of what is damaged comes back as an error.
func Examine(home string, heard func(health.Finding)) error {
	if _, err := os.Stat(home); err != nil {
		return nil // it is made now
	}
	files := Files(home)
	found, _ := health.Examine(home, files, false)
	if err := health.Mend(home, files, found, health.Remake); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	var errs []error
	for _, f := range found {
		if heard(f); f.Level == health.Bad {
			errs = append(errs, types.Refuse(types.HomeDamaged, "node: %s: %s; lost with it: %s; %s", filepath.Join(home, f.What), f.Text, f.Lost, f.Try))
		}
	}
	return errors.Join(errs...)
}
