//go:build linux

package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// lay unpacks layers below a folder, and returns that.
func lay(t *testing.T, layers ...[]entry) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	b := blobs{}
	img, c := parse(t, b, b.image(t, `{}`, layers...))
	dir := filepath.Join(t.TempDir(), "tree")
	_, err := unpack(t.Context(), dir, shift, MaxTree, img, c, b.open)
	return dir, err
}

func parse(t *testing.T, b blobs, h types.Hash) (*Image, *Config) {
	t.Helper()
	img, err := Parse(b[h])
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(b[img.Config.Hash], len(img.Layers))
	if err != nil {
		t.Fatal(err)
	}
	return img, c
}

// TestUnpack: upper layers change, hide and replace what lower ones have.
func TestUnpack(t *testing.T) {
	dir, err := lay(t,
		[]entry{{name: "usr/bin/", kind: tar.TypeDir}, {name: "bin", kind: tar.TypeSymlink, link: "/usr/bin"}, {name: "etc/a", body: "a"}, {name: "etc/b", body: "b"},
			{name: "var/x/1", body: "1"}, {name: "var/x/2", body: "2"}, {name: "file", body: "old"}, {name: "root", body: "s", mode: 0o4755},
			{name: "dev/null", kind: tar.TypeChar}, {name: "hard", kind: tar.TypeLink, link: "etc/a"}},
		[]entry{{name: "bin/new", body: "n"}, {name: "etc/.wh.b"}, {name: "var/x/3", body: "3"}, {name: "var/x/.wh..wh..opq"}, {name: "file/in", body: "folder"}}[0:4],
		[]entry{{name: "file/", kind: tar.TypeDir}, {name: "file/in", body: "folder"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"usr/bin/new": "n", "etc/a": "a", "hard": "a", "var/x/3": "3", "file/in": "folder", "root": "s"}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		raw, err := os.ReadFile(path)
		if want[rel] != string(raw) {
			t.Errorf("%s: %q", rel, raw)
		}
		delete(want, rel)
		info, _ := e.Info()
		if info.Mode()&fs.ModeSetuid != 0 {
			t.Errorf("%s is setuid", rel)
		}
		return err
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v: missing %v", err, want)
	}
}

// TestUnpackStaysInside: no layer reaches beyond its folder.
func TestUnpackStaysInside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	for name, layers := range map[string][][]entry{
		"parent":            {{{name: "../../outside/x", body: "x"}}},
		"absolute":          {{{name: outside + "/x", body: "x"}}},
		"link":              {{{name: "out", kind: tar.TypeSymlink, link: outside}, {name: "out/x", body: "x"}}},
		"link of before":    {{{name: "out", kind: tar.TypeSymlink, link: "../../../../../../.." + outside}}, {{name: "out/x", body: "x"}}},
		"link over parents": {{{name: "a/b", kind: tar.TypeSymlink, link: "../../../../.."}, {name: "a/b" + outside + "/x", body: "x"}}},
		"through a file":    {{{name: "out", kind: tar.TypeSymlink, link: outside + "/x"}, {name: "out", body: "x"}}},
		"hard link":         {{{name: "p", kind: tar.TypeLink, link: "/etc/passwd"}}},
		"whiteout":          {{{name: "out", kind: tar.TypeSymlink, link: outside}}, {{name: "out/.wh.kept"}}},
		"opaque":            {{{name: "out", kind: tar.TypeSymlink, link: outside}}, {{name: "out/.wh..wh..opq"}}},
		"whiteout of dots":  {{{name: "a/.wh..."}}, {{name: ".wh..."}}, {{name: ".wh.."}}},
	} {
		if err := os.MkdirAll(outside, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := lay(t, layers...)
		if err != nil && types.ReasonOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := os.ReadDir(outside); err != nil || len(list) != 1 {
			t.Errorf("%s reaches outside: %v %v", name, list, err)
		}
	}
}

// TestUnpackRefuses: what is not what digests and bounds say is refused with its reason.
func TestUnpackRefuses(t *testing.T) {
	if _, err := lay(t, []entry{{name: "loop", kind: tar.TypeSymlink, link: "loop"}, {name: "loop/x"}}); types.ReasonOf(err) != compute.BadImage {
		t.Error(err)
	}
	b := blobs{}
	img, c := parse(t, b, b.image(t, `{}`, []entry{{name: "x", body: strings.Repeat("x", 1000)}}))
	other, _ := layer(t, entry{name: "y", body: "y"})
	try := func(name string, c *Config, left uint64, open Opener, want types.Reason) {
		t.Helper()
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if left > 0 {
			f, _, err := open(img.Layers[0].Hash)
			if err == nil {
				_, err = (&unpacker{root: root, shift: os.Getuid(), left: left}).layer(t.Context(), f)
			}
			if types.ReasonOf(err) != want {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		if _, err := unpack(t.Context(), filepath.Join(t.TempDir(), "tree"), os.Getuid(), MaxTree, img, c, open); types.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	try("another layer", c, 0, func(types.Hash) (io.ReadCloser, uint64, error) {
		return io.NopCloser(strings.NewReader(string(other))), uint64(len(other)), nil
	}, compute.DigestMismatch)
	z, err := gzip.NewReader(bytes.NewReader(b[img.Layers[0].Hash]))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	try("the same tar in other bytes", c, 0, func(types.Hash) (io.ReadCloser, uint64, error) {
		return io.NopCloser(bytes.NewReader(plain)), img.Layers[0].Size, nil
	}, compute.DigestMismatch)
	diff := *c
	diff.Diffs = []types.Hash{{1}}
	try("another tar", &diff, 0, b.open, compute.DigestMismatch)
	try("half a layer", c, 0, func(h types.Hash) (io.ReadCloser, uint64, error) {
		return io.NopCloser(strings.NewReader(string(b[h][:len(b[h])/2]))), uint64(len(b[h])), nil
	}, compute.BadImage)
	try("more than fits", c, 999, b.open, compute.TooLarge)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := unpack(ctx, filepath.Join(t.TempDir(), "tree"), os.Getuid(), MaxTree, img, c, b.open); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestParse: manifests that can't be run here are refused as they come.
func TestParse(t *testing.T) {
	h := strings.Repeat("ab", 32)
	d := func(kind, digest, size string) string {
		return `{"mediaType":"` + kind + `","digest":"` + digest + `","size":` + size + `}`
	}
	const tgz = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	good := d("application/vnd.oci.image.config.v1+json", "sha256:"+h, "10")
	for name, c := range map[string]struct {
		text string
		want types.Reason
	}{
		"good":         {`{"schemaVersion":2,"config":` + good + `,"layers":[` + d(tgz, "sha256:"+h, "10") + `]}`, ""},
		"no JSON":      {`{`, compute.BadImage},
		"index":        {`{"schemaVersion":2,"manifests":[` + good + `]}`, compute.BadImage},
		"no layers":    {`{"schemaVersion":2,"config":` + good + `,"layers":[]}`, compute.BadImage},
		"many layers":  {`{"schemaVersion":2,"config":` + good + `,"layers":[` + strings.Repeat(d(tgz, "sha256:"+h, "10")+",", 128) + d(tgz, "sha256:"+h, "10") + `]}`, compute.BadImage},
		"huge layer":   {`{"schemaVersion":2,"config":` + good + `,"layers":[` + d(tgz, "sha256:"+h, "999999999999") + `]}`, compute.TooLarge},
		"negative":     {`{"schemaVersion":2,"config":` + good + `,"layers":[` + d(tgz, "sha256:"+h, "-1") + `]}`, compute.TooLarge},
		"other digest": {`{"schemaVersion":2,"config":` + good + `,"layers":[` + d(tgz, "sha512:"+h+h, "10") + `]}`, compute.BadImage},
		"chart":        {`{"schemaVersion":2,"config":` + good + `,"layers":[` + d("application/vnd.cncf.helm.chart", "sha256:"+h, "10") + `]}`, compute.BadImage},
	} {
		if _, err := Parse([]byte(c.text)); types.ReasonOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if _, err := ParseConfig([]byte(`{"os":"linux","architecture":"`+other+`","rootfs":{"diff_ids":["sha256:`+h+`"]}}`), 1); types.ReasonOf(err) != compute.BadImage {
		t.Error(err)
	}
}
