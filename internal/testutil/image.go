package testutil

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Busybox writes an image of Debian's static busybox as an OCI layout below dir, tagged latest: for `skopeo
// copy oci:DIR:latest …`. Without arguments its program says hello.
func Busybox(t testing.TB, dir string) {
	t.Helper()
	program, err := os.ReadFile(Program(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var plain, zipped bytes.Buffer
	w := tar.NewWriter(&plain)
	add := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, a := range []string{"sh", "echo", "cat", "sleep", "tail", "yes", "true", "wc", "dd", "mkdir", "tr", "wget"} {
		add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&zipped)
	if _, err = z.Write(plain.Bytes()); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	sum := func(p []byte) string {
		h := sha256.Sum256(p)
		return hex.EncodeToString(h[:])
	}
	write := func(name string, p []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(kind string, p []byte) string {
		write("blobs/sha256/"+sum(p), p)
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","size":%d,"digest":"sha256:%s"`, kind, len(p), sum(p))
	}
	layer := blob("layer.v1.tar+gzip", zipped.Bytes()) + "}"
	config := blob("config.v1+json", fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{"Cmd":["/bin/echo","hello"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`,
		runtime.GOARCH, sum(plain.Bytes()))) + "}"
	manifest := blob("manifest.v1+json", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`, config, layer))
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`, manifest))
}
