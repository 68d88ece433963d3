package oci

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// MaxManifest is how long a manifest or configuration may be, in bytes.
const MaxManifest = 1 << 20

// Part is one of the blobs that an image is made of.
type Part struct {
	Hash types.Hash
	Size uint64
}

// Image is what a manifest says.
type Image struct {
	Hash   types.Hash // of the manifest
	Config Part
	Layers []Part // from the bottom up
}

// Parts lists what belongs to the image beside its manifest, each once.
func (m *Image) Parts() (list []Part) {
	seen := map[types.Hash]bool{}
	for _, p := range append([]Part{m.Config}, m.Layers...) {
		if !seen[p.Hash] {
			seen[p.Hash] = true
			list = append(list, p)
		}
	}
	return list
}

// Size is how many bytes the image takes, as it is stored.
func (m *Image) Size(manifest int) uint64 {
	n := uint64(manifest)
	for _, p := range m.Parts() {
		n += p.Size
	}
	return n
}

func bad(format string, args ...any) error {
	return types.Refuse(compute.BadImage, "oci: "+format, args...)
}

// Digest returns a digest of SHA-256.
func Digest(d v1.Hash) (h types.Hash, err error) {
	raw, err := hex.DecodeString(d.Hex)
	if err != nil || d.Algorithm != "sha256" || len(raw) != len(h) {
		return h, bad("digest %.100q: want sha256", d.String())
	}
	return types.Hash(raw), nil
}

// part checks a descriptor.
func part(d *v1.Descriptor, most uint64) (Part, error) {
	h, err := Digest(d.Digest)
	if err != nil {
		return Part{}, err
	}
	if d.Size <= 0 || uint64(d.Size) > most {
		return Part{}, types.Refuse(compute.TooLarge, "oci: %v of %d bytes, at most %d", h, d.Size, most)
	}
	return Part{h, uint64(d.Size)}, nil
}

// Index reports whether a manifest is a list of manifests for several platforms.
func Index(raw []byte) bool {
	var kind struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	return json.Unmarshal(raw, &kind) == nil && len(kind.Manifests) > 0
}

// Parse reads an image's manifest.
func Parse(raw []byte) (*Image, error) {
	if len(raw) > MaxManifest {
		return nil, types.Refuse(compute.TooLarge, "oci: a manifest of %d bytes, at most %d", len(raw), MaxManifest)
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, bad("manifest: %v", err)
	}
	switch {
	case Index(raw):
		return nil, bad("a list of images for several platforms: push one of them")
	case m.SchemaVersion != 2:
		return nil, bad("manifest of schema %d, want 2", m.SchemaVersion)
	case len(m.Layers) == 0 || len(m.Layers) > compute.MaxLayers:
		return nil, bad("%d layers, want 1 to %d", len(m.Layers), compute.MaxLayers)
	}
	img := &Image{Hash: types.Sum(raw)}
	if img.Config, err = part(&m.Config, MaxManifest); err != nil {
		return nil, err
	}
	for i := range m.Layers {
		l, err := part(&m.Layers[i], compute.MaxInputs)
		if err != nil {
			return nil, err
		}
		if kind := string(m.Layers[i].MediaType); !strings.Contains(kind, ".tar") || strings.Contains(kind, "foreign") || strings.Contains(kind, "encrypted") {
			return nil, bad("layer %d is of type %.100q: want a tar", i, kind)
		}
		img.Layers = append(img.Layers, l)
	}
	if n := img.Size(len(raw)); n > compute.MaxImage {
		return nil, types.Refuse(compute.TooLarge, "oci: an image of %d bytes, at most %d", n, compute.MaxImage)
	}
	return img, nil
}

// Config is what an image says of its program.
type Config struct {
	Entrypoint []string     `json:"entrypoint"`
	Cmd        []string     `json:"cmd"`
	Env        []string     `json:"env"`
	Dir        string       `json:"dir"`
	User       string       `json:"user"`
	Diffs      []types.Hash `json:"diffs"` // SHA-256 of each layer's tar
}

// ParseConfig reads an image's configuration, and checks that it is for this machine.
func ParseConfig(raw []byte, layers int) (*Config, error) {
	f, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, bad("configuration: %v", err)
	}
	switch {
	case f.OS != "linux" && f.OS != "" || f.Architecture != runtime.GOARCH && f.Architecture != "":
		return nil, bad("the image is for %.40s/%.40s, this machine is linux/%s", f.OS, f.Architecture, runtime.GOARCH)
	case len(f.RootFS.DiffIDs) != layers:
		return nil, bad("the configuration names %d layers, the manifest %d", len(f.RootFS.DiffIDs), layers)
	}
	c := &Config{Entrypoint: f.Config.Entrypoint, Cmd: f.Config.Cmd, Env: f.Config.Env, Dir: f.Config.WorkingDir, User: f.Config.User}
	for _, d := range f.RootFS.DiffIDs {
		h, err := Digest(d)
		if err != nil {
			return nil, err
		}
		c.Diffs = append(c.Diffs, h)
	}
	return c, nil
}
