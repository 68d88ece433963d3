package node

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// settingsFile holds Settings, as JSON.
const settingsFile = "node.json"

// Join is what a network tells whoever wants to take part: where its bus is, and which verifiers to believe at first. It is
// public, but has to come from somebody who is trusted: everything that the device believes later starts from here.
type Join struct {
	Bus []string `json:"bus"` // nats:// or tls:// addresses
	Pin bus.Pin  `json:"pin"`
	// CA are the certificates, in PEM, that sign the bus's; "" takes the system's.
	CA string `json:"ca,omitempty"`
}

// Settings are what the owner chose for the device.
type Settings struct {
	Join   Join              `json:"join"`
	Owner  types.Account     `json:"owner"`
	Cell   types.Cell        `json:"cell"`
	Region types.Region      `json:"region"`
	Model  uint64            `json:"model,omitempty"`
	Nonce  [16]byte          `json:"nonce"`
	Expiry types.Epoch       `json:"claim_expiry"` // the last epoch in which the claim code can be used
	Listen string            `json:"listen"`       // of status and metrics
	Offers map[string]Offers `json:"offers"`       // by category name: what is provided
}

// Offers is the configuration of one category's provider: its own JSON object.
type Offers = json.RawMessage

// Init makes a home: the key, unless there is one already, and the settings, which it replaces.
func Init(home string, s Settings) error {
	if err := s.Join.Pin.Check(); err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	if len(s.Offers) == 0 {
		return errors.New("node: init: nothing is offered")
	}
	if _, err := s.categories(); err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	if _, err := CreateKey(home); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.Nonce == [16]byte{} {
		rand.Read(s.Nonce[:]) // never fails
	}
	text, err := json.MarshalIndent(&s, "", "  ")
	if err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	if err := replaceFile(filepath.Join(home, settingsFile), append(text, '\n')); err != nil {
		return fmt.Errorf("node: init: %w", err)
	}
	return nil
}

// LoadSettings reads a home's settings.
func LoadSettings(home string) (*Settings, error) {
	text, err := os.ReadFile(filepath.Join(home, settingsFile))
	if err != nil {
		return nil, fmt.Errorf("node: settings: %w", err)
	}
	s := new(Settings)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("node: settings: %s: %w", filepath.Join(home, settingsFile), err)
	}
	return s, nil
}

// categories returns what is offered, ascending.
func (s *Settings) categories() ([]types.Category, error) {
	var out []types.Category
	for c := types.Category(1); c <= types.IoT; c++ {
		if _, ok := s.Offers[c.String()]; ok {
			out = append(out, c)
		}
	}
	if len(out) != len(s.Offers) {
		return nil, fmt.Errorf("a category is offered that does not exist: %w", types.UnknownCategory)
	}
	return out, nil
}

// Claim returns the statement that the owner registers the device with, signed by the key in home.
func (s *Settings) Claim(home string) (*evidence.SignedStatement, error) {
	key, err := LoadKey(home)
	if err != nil {
		return nil, err
	}
	categories, err := s.categories()
	if err != nil {
		return nil, fmt.Errorf("node: claim: %w", err)
	}
	return evidence.Statement{Chain: s.Join.Pin.Chain, Device: key.Public(), Owner: s.Owner, Nonce: s.Nonce,
		Categories: categories, Model: s.Model, Cell: s.Cell, Expiry: s.Expiry}.Sign(key), nil
}
