package pipeline

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/types"
)

// golden is one object whose every byte is fixed: keys, seal, code, mask, names and manifest.
func golden(t testing.TB) (*Manifest, *devices) {
	t.Helper()
	c := New(Config{InFlight: 1, Rand: rand.NewChaCha8([32]byte{42})}, Secret{7}.Mask())
	d := newDevices()
	m, err := c.Encode(context.Background(), bytes.NewReader(content(5000)), Lab, Secret{7}.Bucket("photos"), d.emit)
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

// TestGolden pins the format: what was stored years ago must still be read.
func TestGolden(t *testing.T) {
	m, d := golden(t)
	var b strings.Builder
	b.WriteString("manifest " + hex.EncodeToString(m.Encode()) + "\n")
	for slot := range 8 {
		b.WriteString("shard " + hex.EncodeToString(d.shards[m.Segments[0].ID][slot]) + "\n")
	}
	const path = "testdata/golden.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the format changed (UPDATE_GOLDEN=1 rewrites it):\n%s", diff)
	}
}

func TestManifestCheck(t *testing.T) {
	for what, spoil := range map[string]func(m *Manifest){
		"k of 0":              func(m *Manifest) { m.K = 0 },
		"k above n":           func(m *Manifest) { m.K = 9 },
		"n above a byte":      func(m *Manifest) { m.N = 257 },
		"short key":           func(m *Manifest) { m.Key = m.Key[1:] },
		"size of another":     func(m *Manifest) { m.Size++ },
		"huge size":           func(m *Manifest) { m.Size = 1 << 63 },
		"segment missing":     func(m *Manifest) { m.Segments = m.Segments[:0] },
		"segment too many":    func(m *Manifest) { m.Segments = append(m.Segments, m.Segments[0]) },
		"length of a part":    func(m *Manifest) { m.Segments[0].Length-- },
		"shard missing":       func(m *Manifest) { m.Segments[0].Shards = m.Segments[0].Shards[1:] },
		"zero with a segment": func(m *Manifest) { m.Size = 0 },
	} {
		m, _ := golden(t)
		spoil(m)
		if err := m.Check(); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := DecodeManifest(m.Encode()); !errors.Is(err, ErrManifest) {
			t.Errorf("%s, decoded: %v", what, err)
		}
	}
	m, _ := golden(t)
	if _, err := DecodeManifest(append(m.Encode(), 0)); !errors.Is(err, types.BadEncoding) {
		t.Errorf("trailing byte: %v", err)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	m, _ := golden(f)
	f.Add(m.Encode())
	f.Add((&Manifest{K: 4, N: 8, Key: make([]byte, wrappedKey)}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err == nil && !bytes.Equal(m.Encode(), b) {
			t.Fatal("two encodings of one manifest")
		}
	})
}
