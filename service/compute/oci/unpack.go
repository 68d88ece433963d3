package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// unpacker lays the layers of an image over each other in a folder. It stays inside: os.Root, and links that
// are followed as they would be where the folder is the root.
type unpacker struct {
	root    *os.Root
	shift   int // what is added to user and group ids
	left    uint64
	entries int
	made    map[string]bool // by the present layer
}

// maxLinks is how many links one path may lead over.
const maxLinks = 40

// layer unpacks one layer, and returns SHA-256 of its tar.
func (u *unpacker) layer(ctx context.Context, r io.Reader) (types.Hash, error) {
	plain, err := expand(r)
	if err != nil {
		return types.Hash{}, err
	}
	defer plain.Close() // only read
	sum := sha256.New()
	// What follows the end of the tar counts in its hash, too.
	in := io.TeeReader(&bounded{ctx, plain, u.left + uint64(maxEntry)<<10}, sum)
	u.made = map[string]bool{}
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(h, t)
		}
		if err != nil {
			return types.Hash{}, refused(err)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return types.Hash{}, refused(err)
	}
	return types.Hash(sum.Sum(nil)), nil
}

// refused gives an error of a layer's bytes its reason. Those of the disk have none.
func refused(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	if types.ReasonOf(err) != "" || errors.As(err, &path) || errors.As(err, &link) || errors.Is(err, context.Canceled) {
		return err
	}
	return bad("layer: %v", err)
}

// bounded reads until a context ends, or so many bytes.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left uint64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if uint64(n) > b.left {
		return 0, types.Refuse(compute.TooLarge, "oci: the image is larger unpacked than it may be")
	}
	b.left -= uint64(n)
	return n, err
}

// expand returns the tar of a layer that may be compressed.
func expand(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(4)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, bad("layer: %v", err)
		}
		return z, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, bad("layer: %v", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

const whiteout = ".wh."

// entry unpacks one entry of a tar.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	if u.entries++; u.entries > maxEntry {
		return types.Refuse(compute.TooLarge, "oci: more than %d files", maxEntry)
	}
	name, err := u.resolve(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	switch {
	case base == whiteout+whiteout+".opq":
		return u.clear(path.Clean(dir))
	case strings.HasPrefix(base, whiteout+whiteout):
		return nil // of a file system that we do not know
	case strings.HasPrefix(base, whiteout):
		gone := strings.TrimPrefix(base, whiteout)
		if gone == "" || gone == "." || gone == ".." {
			return bad("layer: file %.100q", h.Name)
		}
		return u.root.RemoveAll(path.Join(dir, gone))
	}
	u.made[name] = true
	mode := fs.FileMode(h.Mode).Perm() | h.FileInfo().Mode()&fs.ModeSticky // not setuid and setgid: nobody gains anything by them
	info, err := u.root.Lstat(name)
	there := err == nil
	if there && (h.Typeflag != tar.TypeDir || !info.IsDir()) && name != "." {
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
		there = false
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !there {
			err = u.root.Mkdir(name, 0o700)
		} else {
			err = nil
		}
	case tar.TypeReg:
		err = u.file(name, r)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.own(name, h)
	case tar.TypeLink:
		to, err := u.resolve(h.Linkname)
		if err != nil {
			return err
		}
		if err := u.root.Link(to, name); err != nil {
			return bad("layer: link %.100q to %.100q: %v", h.Name, h.Linkname, err)
		}
		return nil
	default:
		return nil // devices and pipes: a container has its own
	}
	if err := errors.Join(err, u.own(name, h)); err != nil {
		return err
	}
	if err := u.root.Chmod(name, mode); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		return u.root.Chtimes(name, h.ModTime, h.ModTime)
	}
	return nil
}

func (u *unpacker) file(name string, r io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, int64(u.left)+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if uint64(n) > u.left {
		return types.Refuse(compute.TooLarge, "oci: the image is larger unpacked than it may be")
	}
	u.left -= uint64(n)
	return nil
}

// ids is how many users and groups a container has.
const ids = 1 << 16

func (u *unpacker) own(name string, h *tar.Header) error {
	id := func(n int) int {
		if n < 0 || n >= ids {
			n = ids - 2 // nobody
		}
		return u.shift + n
	}
	return u.root.Lchown(name, id(h.Uid), id(h.Gid))
}

// clear removes what lower layers have in a folder.
func (u *unpacker) clear(dir string) error {
	f, err := u.root.Open(dir)
	if err != nil {
		return nil // there is none
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if n = path.Join(dir, n); !u.made[n] {
			if err := u.root.RemoveAll(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// parts splits a path.
func parts(p string) (list []string) {
	for _, s := range strings.Split(p, "/") {
		if s != "" && s != "." {
			list = append(list, s)
		}
	}
	return list
}

// resolve returns where a path leads, without following its last part. Folders on the way that are missing are made.
func (u *unpacker) resolve(name string) (string, error) {
	if len(name) > 4096 || strings.ContainsRune(name, 0) {
		return "", bad("layer: a path of %d bytes", len(name))
	}
	todo, at := parts(path.Clean("/"+name)), "."
	if len(todo) == 0 {
		return ".", nil
	}
	for links := 0; len(todo) > 1; {
		next := path.Join(at, todo[0])
		if todo[0] == ".." { // of a link
			at, todo = path.Dir(at), todo[1:]
			continue
		}
		info, err := u.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := errors.Join(u.root.Mkdir(next, 0o755), u.root.Lchown(next, u.shift, u.shift)); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := u.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if links++; links > maxLinks || len(to) > 4096 {
				return "", bad("layer: %.100q leads over too many links", name)
			}
			if path.IsAbs(to) {
				at = "."
			}
			todo = append(parts(to), todo[1:]...)
			continue
		case !info.IsDir():
			return "", bad("layer: %.100q is below a file", name)
		}
		at, todo = next, todo[1:]
	}
	if todo[0] == ".." {
		return path.Dir(at), nil
	}
	return path.Join(at, todo[0]), nil
}

// unpack lays an image's layers over each other in a folder, and holds each to its digest.
func unpack(ctx context.Context, dir string, shift int, most uint64, img *Image, c *Config, open Opener) (size uint64, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	defer root.Close()
	if err := root.Lchown(".", shift, shift); err != nil {
		return 0, fmt.Errorf("oci: %w", err)
	}
	u := &unpacker{root: root, shift: shift, left: most}
	for i, l := range img.Layers {
		f, size, err := open(l.Hash)
		if err != nil {
			return 0, err
		}
		sum := sha256.New()
		in := io.TeeReader(f, sum)
		diff, err := u.layer(ctx, in)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		switch err = errors.Join(err, f.Close()); {
		case err != nil:
			return 0, err
		case size != l.Size || types.Hash(sum.Sum(nil)) != l.Hash:
			return 0, types.Refuse(compute.DigestMismatch, "oci: layer %d is not %v of %d bytes", i, l.Hash, l.Size)
		case diff != c.Diffs[i]:
			return 0, types.Refuse(compute.DigestMismatch, "oci: layer %d is %v unpacked, the configuration says %v", i, diff, c.Diffs[i])
		}
	}
	return most - u.left, nil
}
