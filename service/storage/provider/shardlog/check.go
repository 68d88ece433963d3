package shardlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/storage"
)

// Files lists the logs of a store in a directory, for whoever looks whether they are in order. A damaged log
// needs no mending: the store goes on without what it cannot read, and its device declares it lost.
func Files(dir string) (files []health.File) {
	names, err := osDisk(dir).list()
	if err != nil {
		return nil // who needs the directory says so
	}
	slices.Sort(names)
	logs := slices.DeleteFunc(names, func(name string) bool {
		var number uint32
		_, err := fmt.Sscanf(name, "%08x.log", &number)
		return err != nil || name != logName(number)
	})
	for i, name := range logs {
		newest := i == len(logs)-1
		files = append(files, health.File{
			Path: name, Lost: "the shards in it: the device declares them lost, and their customers make them anew elsewhere",
			Check: func(path string, whole bool) error { return check(path, whole, newest) },
		})
	}
	return files
}

// check reads a log's headers and, whole, its shards. What the newest log ends with may be cut off: the last
// run did not finish writing it.
func check(path string, whole, newest bool) error {
	var number uint32
	if _, err := fmt.Sscanf(filepath.Base(path), "%08x.log", &number); err != nil {
		return errors.New("its name is not a log's")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size, at := info.Size(), int64(0)
	head, data := make([]byte, headerSize), []byte(nil)
	shards, wrong := 0, 0
	for at+headerSize <= size {
		if _, err := f.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		h, err := decodeHeader(head, number, uint32(at))
		if err != nil || at+headerSize+int64(h.Length) > size {
			break
		}
		if h.kind == kindPut {
			shards++
		}
		if whole && h.kind == kindPut {
			data = slices.Grow(data[:0], h.Length)[:h.Length]
			if _, err := f.ReadAt(data, at+headerSize); err != nil {
				return err
			}
			if storage.ShardID(data) != h.key.Shard {
				wrong++
			}
		}
		at += headerSize + int64(h.Length)
	}
	switch {
	case at < size && !newest:
		return fmt.Errorf("after %d shards, byte %d begins no record: what follows, %d bytes, cannot be read", shards, at, size-at)
	case wrong > 0:
		return fmt.Errorf("%d of %d shards have other bytes than were stored", wrong, shards)
	}
	return nil
}
