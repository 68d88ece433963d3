// Pack is a guest in Go: it compresses the files below /in into /out.tar.gz, and says how well.
package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

func main() {
	out, err := os.Create("/out.tar.gz")
	if err == nil {
		err = pack(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
}

func pack(out *os.File) error {
	z, _ := gzip.NewWriterLevel(out, gzip.BestCompression)
	t := tar.NewWriter(z)
	var all int64
	histogram := map[byte]int{}
	err := filepath.WalkDir("/in", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, c := range b {
			histogram[c]++
		}
		all += int64(len(b))
		if err := t.WriteHeader(&tar.Header{Name: path[1:], Mode: 0o644, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err = t.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	entropy := 0.0
	for c := range 256 {
		if n := histogram[byte(c)]; n > 0 {
			p := float64(n) / float64(all)
			entropy -= p * math.Log2(p)
		}
	}
	fmt.Printf("%d bytes in %d: %.6f bits a byte, where single bytes would need %.6f\n", all, size, float64(size)*8/float64(all), entropy)
	return out.Close()
}
