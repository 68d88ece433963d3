package node

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/internal/settings"
)

// SettingsFile is the name of the file in a home that holds Settings.
const SettingsFile = "node.yaml"

// maxSettings bounds a settings file, in bytes.
const maxSettings = 1 << 20

// settingsHead stands at the top of a settings file.
const settingsHead = `What this device provides, and to whom it belongs. Edit it and start "cairn-node run" again; "cairn-node config check" says
whether it can be read. What is not a setting is an error. Secrets are not here: the device's key is in device.key, which only its
owner can read; the network that it belongs to is in manifest.json.`

// Nonce tells claim codes of one device apart.
type Nonce [16]byte

// MarshalText writes hexadecimal.
func (n Nonce) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, n[:]), nil }

// UnmarshalText reads hexadecimal.
func (n *Nonce) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(n) {
		return fmt.Errorf("a nonce is 32 hexadecimal digits, not %.40q", text)
	}
	*n = Nonce(raw)
	return nil
}

// Settings are what the owner chose for the device.
type Settings struct {
	Owner  types.Account `json:"owner" doc:"The account that owns the device and is paid. The claim code names it."`
	Cell   types.Cell    `json:"cell" doc:"Where the device is: an H3 cell of resolution 3 or finer. The claim code names it."`
	Region types.Region  `json:"region" doc:"The region of that cell, as the chain has it."`
	Model  uint64        `json:"model" doc:"The device's registered model; 0 for none. The claim code names it."`
	Nonce  Nonce         `json:"nonce" doc:"Tells claim codes apart: 32 hexadecimal digits. Another one makes another code."`
	Expiry types.Epoch   `json:"claim_expiry" doc:"The last epoch in which the claim code can be used."`
	// Network is not in the claim.
	Network string `json:"network" doc:"Where the network publishes its manifest, an https URL: it is asked each hour, and where a newer one of the same signer says that the bus is, the device looks for it. \"\" keeps the one that init was given."`
	Listen  string `json:"listen" doc:"Where status and metrics for Prometheus are served, as host:port; \"\" for nowhere. $CAIRN_NODE_LISTEN and --listen override it."`

	// Categories are the settings of what is provided, by category name: each is a section of the file under
	// that name.
	Categories map[string]json.RawMessage `json:"-"`

	sections map[string]*settings.Section
}

// Init makes a home: the key, unless there is one already, and the settings, which it replaces. docs holds, by
// category name, a value of the type that the category's section has, from whose tags it is documented; it may
// be nil.
func Init(home string, s Settings, docs map[string]any) error {
	if len(s.Categories) == 0 {
		return errors.New("node: init: nothing is offered")
	}
	if _, err := s.categories(); err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	if _, err := CreateKey(home); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.Nonce == (Nonce{}) {
		rand.Read(s.Nonce[:]) // never fails
	}
	text, err := s.encode(docs)
	if err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	if err := files.Replace(filepath.Join(home, SettingsFile), text, 0o600); err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	return nil
}

// encode writes the file: the settings, then a section for each category.
func (s *Settings) encode(docs map[string]any) ([]byte, error) {
	text, err := settings.Encode(settingsHead, *s, nil)
	if err != nil {
		return nil, err
	}
	categories, err := s.categories()
	if err != nil {
		return nil, err
	}
	for _, c := range categories {
		name := c.String()
		section, err := settings.Encode("What this device provides of "+name+". Without this section it provides none.",
			map[string]json.RawMessage{name: s.Categories[name]}, docs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text = append(append(text, '\n'), section...)
	}
	return text, nil
}

// LoadSettings reads a home's settings. An error names the line.
func LoadSettings(home string) (*Settings, error) {
	path := filepath.Join(home, SettingsFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("node: settings: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return nil, fmt.Errorf("node: settings: %w", err)
	}
	if len(text) > maxSettings {
		return nil, fmt.Errorf("node: settings: %s is longer than %d bytes", path, maxSettings)
	}
	s, err := parseSettings(text)
	if err != nil {
		return nil, fmt.Errorf("node: settings: %s: %w", path, err)
	}
	return s, nil
}

// parseSettings reads a file's text.
func parseSettings(text []byte) (*Settings, error) {
	root, err := settings.Parse(text)
	if err != nil {
		return nil, err
	}
	s := &Settings{Categories: map[string]json.RawMessage{}, sections: map[string]*settings.Section{}}
	rest := *root
	rest.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Value == "join" {
			return nil, types.Refuse(types.HomeFormat, "line %d: join: the network is in manifest.json now: run init again, with --network", key.Line)
		}
		if !isCategory(key.Value) {
			rest.Content = append(rest.Content, key, value)
			continue
		}
		if s.sections[key.Value] != nil {
			return nil, settings.LineError(key, "%s: set already", key.Value)
		}
		section, err := settings.Plain(value, key.Value)
		if err != nil {
			return nil, err
		}
		if section == nil {
			section = map[string]any{}
		}
		if s.Categories[key.Value], err = json.Marshal(section); err != nil {
			return nil, settings.LineError(value, "%s: %v", key.Value, err)
		}
		s.sections[key.Value] = value
	}
	if err := settings.Decode(&rest, s, ""); err != nil {
		return nil, err
	}
	return s, nil
}

// Check reads the section of a category into v, a pointer to its type, so strictly that an error names the
// line. The category reads the same from Categories.
func (s *Settings) Check(category string, v any) error {
	n := s.sections[category]
	if n == nil {
		return nil
	}
	return settings.Decode(n, v, category)
}

func isCategory(name string) bool {
	for c := types.Category(1); c <= types.IoT; c++ {
		if c.String() == name {
			return true
		}
	}
	return false
}

// categories returns what is offered, ascending.
func (s *Settings) categories() ([]types.Category, error) {
	var out []types.Category
	for c := types.Category(1); c <= types.IoT; c++ {
		if one, ok := s.Categories[c.String()]; ok {
			if !bytes.HasPrefix(bytes.TrimSpace(one), []byte("{")) {
				return nil, fmt.Errorf("the settings of %v are no object", c)
			}
			out = append(out, c)
		}
	}
	if len(out) != len(s.Categories) {
		return nil, fmt.Errorf("a category is offered that does not exist: %w", types.UnknownCategory)
	}
	return out, nil
}

// Claim returns the statement that the owner registers the device with on a chain, signed by the key in home.
func (s *Settings) Claim(home, chain string) (*evidence.SignedStatement, error) {
	key, err := LoadKey(home)
	if err != nil {
		return nil, err
	}
	categories, err := s.categories()
	if err != nil {
		return nil, fmt.Errorf("node: claim: %w", err)
	}
	return evidence.Statement{Chain: chain, Device: key.Public(), Owner: s.Owner, Nonce: s.Nonce,
		Categories: categories, Model: s.Model, Cell: s.Cell, Expiry: s.Expiry}.Sign(key), nil
}
