// Package registry keeps the images that customers' containers run: a registry of the OCI Distribution
// Specification 1.1, to which skopeo, podman, docker and others push.
//
// Who pushes gives an API key as the password, with any name. Each account has its own images: names and tags
// of others are not seen, and blobs of others are not there, whatever their digest. Blobs are kept among the
// inputs of jobs (package spool), by their hash; images on disk (bbolt).
//
// # Bounds
//
// Bytes of an account and of all, names of an account, uploads at a time, the length of each blob and manifest,
// and how long a client may say nothing. An image that nobody has pushed, pulled or run for Config.Keep is
// forgotten; where all accounts together have too many bytes, the one that was not used for longest goes, if
// that is a day. A blob that no manifest has named within an hour is let go of.
package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/oci"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role/bolt"
)

// Config bounds a registry. Zero values stand for the defaults.
type Config struct {
	Account uint64        // bytes of an account's images and uploads; default 2 GiB
	All     uint64        // of all accounts; default 4 GiB
	Names   int           // images (name and tag) of an account; default 256
	Uploads int           // that are going on, of all accounts; default 64. One account gets an eighth.
	Keep    time.Duration // for how long an image is kept that nobody uses; default 30 days
	Silence time.Duration // for how long a client may say nothing while it uploads; default 30 s
}

const (
	looseFor  = time.Hour      // how long a blob is kept that no manifest names, and an upload that is not ended
	idleFirst = 24 * time.Hour // what was used since is not forgotten to make room
)

// Registry is the images of all accounts.
type Registry struct {
	cfg    Config
	db     *bbolt.DB
	inputs *spool.Inputs
	dir    string // of uploads
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	images  map[types.Account]map[string]*image
	loose   map[types.Account]map[types.Hash]*blob
	uploads map[string]*upload
}

// image is what a name and tag stand for, on disk under account ‖ NAME:TAG.
type image struct {
	Manifest types.Hash `json:"manifest"`
	Size     uint64     `json:"size"` // of the manifest
	Type     string     `json:"type"`
	Parts    []oci.Part `json:"parts"`
	Used     int64      `json:"used"` // Unix seconds
}

// blob is one that was uploaded and no manifest has named yet; it is pinned.
type blob struct {
	size uint64
	at   time.Time
}

// upload is a blob that is being uploaded.
type upload struct {
	account types.Account
	path    string
	size    uint64 // what has come
	at      time.Time
	busy    bool
}

var imagesBucket = []byte("images")

// Open opens the registry below a directory, over a store of inputs.
func Open(cfg Config, dir string, inputs *spool.Inputs, log *slog.Logger) (*Registry, error) {
	def := func(n *uint64, otherwise uint64) {
		if *n == 0 {
			*n = otherwise
		}
	}
	def(&cfg.Account, 2<<30)
	def(&cfg.All, 4<<30)
	if cfg.Names == 0 {
		cfg.Names = 256
	}
	if cfg.Uploads == 0 {
		cfg.Uploads = 64
	}
	if cfg.Keep == 0 {
		cfg.Keep = 30 * 24 * time.Hour
	}
	if cfg.Silence == 0 {
		cfg.Silence = 30 * time.Second
	}
	r := &Registry{cfg: cfg, inputs: inputs, dir: filepath.Join(dir, "uploads"), log: log, images: map[types.Account]map[string]*image{},
		loose: map[types.Account]map[types.Hash]*blob{}, uploads: map[string]*upload{}}
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(r.dir, 0o700)); err != nil { // uploads do not outlive a restart
		return nil, types.Refuse(types.HomeUnwritable, "registry: %v", err)
	}
	var err error
	if r.db, err = bolt.Open(filepath.Join(dir, "images.db"), imagesBucket); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return r, r.load()
}

// load reads what there is, and pins it. An image of which something is missing is forgotten.
func (r *Registry) load() error {
	var gone [][]byte
	err := r.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(imagesBucket).ForEach(func(k, v []byte) error {
			img := new(image)
			if len(k) <= len(types.Account{}) || json.Unmarshal(v, img) != nil || !r.pin(img) {
				gone = append(gone, bytes.Clone(k))
				return nil
			}
			r.of(types.Account(k[:len(types.Account{})]))[string(k[len(types.Account{}):])] = img
			return nil
		})
	})
	for _, k := range gone {
		r.log.Warn("registry: an image of before is not whole", "name", string(k[min(len(k), len(types.Account{})):]))
		err = errors.Join(err, r.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(imagesBucket).Delete(k) }))
	}
	return err
}

// Close closes what Open opened.
func (r *Registry) Close() error { return r.db.Close() }

// of returns an account's images. mu is held, or nobody else has r yet.
func (r *Registry) of(a types.Account) map[string]*image {
	if r.images[a] == nil {
		r.images[a] = map[string]*image{}
	}
	return r.images[a]
}

// pin keeps what an image is made of, all of it or nothing.
func (r *Registry) pin(img *image) bool {
	list := append([]oci.Part{{Hash: img.Manifest, Size: img.Size}}, img.Parts...)
	for i, p := range list {
		if n, ok := r.inputs.Size(p.Hash); !ok || n != p.Size || !r.inputs.Pin(p.Hash) {
			for _, p := range list[:i] {
				r.inputs.Unpin(p.Hash)
			}
			return false
		}
	}
	return true
}

func (r *Registry) unpin(img *image) {
	for _, p := range append([]oci.Part{{Hash: img.Manifest}}, img.Parts...) {
		r.inputs.Unpin(p.Hash)
	}
}

// has returns the length of a blob of an account's. mu is held.
func (r *Registry) has(a types.Account, h types.Hash) (uint64, bool) {
	if b := r.loose[a][h]; b != nil {
		return b.size, true
	}
	for _, img := range r.images[a] {
		if img.Manifest == h {
			return img.Size, true
		}
		for _, p := range img.Parts {
			if p.Hash == h {
				return p.Size, true
			}
		}
	}
	return 0, false
}

// bytes returns what an account's images and uploads take, each blob counted once. mu is held.
func (r *Registry) bytes(a types.Account) (sum uint64) {
	seen := map[types.Hash]uint64{}
	for _, img := range r.images[a] {
		seen[img.Manifest] = img.Size
		for _, p := range img.Parts {
			seen[p.Hash] = p.Size
		}
	}
	for h, b := range r.loose[a] {
		seen[h] = b.size
	}
	for _, n := range seen {
		sum += n
	}
	for _, u := range r.uploads {
		if u.account == a {
			sum += u.size
		}
	}
	return sum
}

// room refuses n more bytes of an account where there is no room for them, after it has made some. mu is held.
func (r *Registry) room(a types.Account, n uint64) error {
	if own := r.bytes(a); own+n > r.cfg.Account {
		return types.Refuse(types.OverQuota, "registry: the account's images take %d bytes, %d more are beyond its %d: delete some", own, n, r.cfg.Account)
	}
	for {
		total := uint64(0)
		var owner types.Account
		var oldest string
		var least *image
		accounts := map[types.Account]bool{}
		for b, list := range r.images {
			accounts[b] = true
			for name, img := range list {
				if least == nil || img.Used < least.Used {
					owner, oldest, least = b, name, img
				}
			}
		}
		for b := range r.loose {
			accounts[b] = true
		}
		for _, u := range r.uploads {
			accounts[u.account] = true
		}
		for b := range accounts {
			total += r.bytes(b)
		}
		if total+n <= r.cfg.All {
			return nil
		}
		if least == nil || time.Since(time.Unix(least.Used, 0)) < idleFirst {
			return types.Refuse(types.DiskFull, "registry: images of all accounts take %d bytes, and all of them are in use", total)
		}
		if err := r.drop(owner, oldest); err != nil {
			return err
		}
	}
}

// drop forgets an image. mu is held.
func (r *Registry) drop(a types.Account, name string) error {
	img := r.images[a][name]
	if img == nil {
		return nil
	}
	if err := r.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(imagesBucket).Delete(append(a[:], name...)) }); err != nil {
		return types.Refuse(types.HomeUnwritable, "registry: %v", err)
	}
	delete(r.images[a], name)
	if len(r.images[a]) == 0 {
		delete(r.images, a)
	}
	r.unpin(img)
	return nil
}

// keep keeps an image, which is pinned, under a name: on disk first. It lets go of the one before. mu is held.
func (r *Registry) keep(a types.Account, name string, img *image) error {
	raw, err := json.Marshal(img)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if err := r.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(imagesBucket).Put(append(a[:], name...), raw) }); err != nil {
		return types.Refuse(types.HomeUnwritable, "registry: %v", err)
	}
	old := r.images[a][name]
	r.of(a)[name] = img
	if old != nil && old != img {
		r.unpin(old)
	}
	return nil
}

// settle lets go of a loose blob. mu is held.
func (r *Registry) settle(a types.Account, h types.Hash) {
	if r.loose[a][h] == nil {
		return
	}
	delete(r.loose[a], h)
	if len(r.loose[a]) == 0 {
		delete(r.loose, a)
	}
	r.inputs.Unpin(h)
}

// Sweep forgets what nobody uses any more.
func (r *Registry) Sweep() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for a, list := range r.images {
		for name, img := range list {
			if time.Since(time.Unix(img.Used, 0)) > r.cfg.Keep {
				errs = append(errs, r.drop(a, name))
			}
		}
	}
	for a, list := range r.loose {
		for h, b := range list {
			if time.Since(b.at) > looseFor {
				r.settle(a, h)
			}
		}
	}
	for id, u := range r.uploads {
		if !u.busy && time.Since(u.at) > looseFor {
			delete(r.uploads, id)
			errs = append(errs, os.Remove(u.path))
		}
	}
	return errors.Join(errs...)
}

// Found is an image that a job is to run.
type Found struct {
	Manifest oci.Part
	Parts    []oci.Part
}

// Find returns an account's image: NAME, NAME:TAG or NAME@sha256:DIGEST, with the registry's address before it
// or not.
func (r *Registry) Find(a types.Account, ref string) (*Found, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, err := parse(ref)
	if err != nil {
		return nil, err
	}
	img := r.images[a][name]
	if at := strings.Index(name, "@"); img == nil && at > 0 { // pushed under a tag
		for key, other := range r.images[a] {
			if strings.HasPrefix(key, name[:at]+":") && "sha256:"+other.Manifest.String() == name[at+1:] {
				img, name = other, key
			}
		}
	}
	if img == nil {
		return nil, types.Refuse(compute.NoImage, "registry: the account has no image %.200q", name)
	}
	used := *img
	used.Used = time.Now().Unix()
	if used.Used > img.Used+3600 { // a run each second is not a write each second
		if !r.pin(&used) {
			return nil, types.Refuse(compute.InputMissing, "registry: a blob of %s is not here any more: push it again", name)
		}
		if err := r.keep(a, name, &used); err != nil {
			r.unpin(&used)
			return nil, err
		}
	}
	return &Found{Manifest: oci.Part{Hash: img.Manifest, Size: img.Size}, Parts: img.Parts}, nil
}

var (
	validName = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	validTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const maxName = 200

// parse reads a reference: the key under which its image is kept.
func parse(ref string) (string, error) {
	if first, rest, ok := strings.Cut(ref, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		ref = rest
	}
	name, tag, sep := ref, "latest", ":"
	if before, d, ok := strings.Cut(ref, "@"); ok {
		name, tag, sep = before, d, "@"
	} else if i := strings.LastIndex(ref, ":"); i >= 0 {
		name, tag = ref[:i], ref[i+1:]
	}
	if i := strings.LastIndex(name, ":"); sep == "@" && i >= 0 { // NAME:TAG@DIGEST
		name = name[:i]
	}
	return key(name, tag)
}

// key is what an image is kept under.
func key(name, tag string) (string, error) {
	switch {
	case len(name) > maxName || !validName.MatchString(name):
		return "", types.Refuse(compute.NoImage, "registry: image name %.200q", name)
	case digest.MatchString(tag):
		return name + "@" + tag, nil
	case validTag.MatchString(tag):
		return name + ":" + tag, nil
	}
	return "", types.Refuse(compute.NoImage, "registry: tag %.200q", tag)
}

// put keeps a manifest that an account pushed.
func (r *Registry) put(a types.Account, name, tag, kind string, raw []byte) (types.Hash, error) {
	k, err := key(name, tag)
	if err != nil {
		return types.Hash{}, err
	}
	m, err := oci.Parse(raw)
	if err != nil {
		return types.Hash{}, err
	}
	if digest.MatchString(tag) && tag != "sha256:"+m.Hash.String() {
		return m.Hash, types.Refuse(compute.DigestMismatch, "registry: the manifest is sha256:%v, not %s", m.Hash, tag)
	}
	img := &image{Manifest: m.Hash, Size: uint64(len(raw)), Type: kind, Parts: m.Parts(), Used: time.Now().Unix()}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range img.Parts {
		if n, ok := r.has(a, p.Hash); !ok || n != p.Size {
			return m.Hash, types.Refuse(compute.InputMissing, "registry: blob sha256:%v of %d bytes was not pushed", p.Hash, p.Size)
		}
	}
	if list := r.images[a]; list[k] == nil && len(list) >= r.cfg.Names {
		return m.Hash, types.Refuse(types.OverQuota, "registry: the account has %d images, as many as may be: delete some", len(list))
	}
	if err := r.room(a, uint64(len(raw))); err != nil {
		return m.Hash, err
	}
	if _, _, err := r.inputs.Add(bytes.NewReader(raw), oci.MaxManifest); err != nil {
		return m.Hash, err
	}
	defer r.inputs.Unpin(m.Hash) // pin counts it
	if !r.pin(img) {
		return m.Hash, types.Refuse(compute.InputMissing, "registry: a blob of the image is not here any more: push it again")
	}
	if err := r.keep(a, k, img); err != nil {
		r.unpin(img)
		return m.Hash, err
	}
	for _, p := range img.Parts {
		r.settle(a, p.Hash)
	}
	return m.Hash, nil
}

// get returns an account's image by name and tag or digest.
func (r *Registry) get(a types.Account, name, tag string) (*image, error) {
	k, err := key(name, tag)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if img := r.images[a][k]; img != nil {
		return img, nil
	}
	for other, img := range r.images[a] {
		if strings.HasPrefix(other, name+":") && tag == "sha256:"+img.Manifest.String() {
			return img, nil
		}
	}
	return nil, types.Refuse(compute.NoImage, "registry: the account has no image %s", k)
}

// tags lists the tags of a name, in their order; with name "" the names of the account.
func (r *Registry) tags(a types.Account, name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []string{}
	for k := range r.images[a] {
		at := strings.LastIndex(k, ":")
		if i := strings.Index(k, "@"); i >= 0 {
			at = i
		}
		if name == "" {
			list = append(list, k[:at])
		} else if k[:at] == name && k[at] == ':' {
			list = append(list, k[at+1:])
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// read opens a blob of an account's.
func (r *Registry) read(a types.Account, h types.Hash) (io.ReadSeekCloser, uint64, error) {
	r.mu.Lock()
	n, ok := r.has(a, h)
	r.mu.Unlock()
	if !ok {
		return nil, 0, types.Refuse(compute.InputMissing, "registry: the account has no blob sha256:%v", h)
	}
	f, err := r.inputs.Open(h)
	if err != nil {
		return nil, 0, types.Refuse(compute.InputMissing, "registry: %v", err)
	}
	return f, n, nil
}
